"""Hand messages off, once, to whom consented, and keep the receipt."""
