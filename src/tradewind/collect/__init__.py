"""Take events, items, customers and offers from anywhere; keep what is clean, mend what can be, quarantine the rest."""
