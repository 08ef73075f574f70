"""What learning and profiling may read: the tables of the shop without the behaviour of customers who withdrew ``analytics``.

Their events stay in the log: for the contract, against fraud, for counts of the whole shop. Their profiles and histories are empty, no
model learns from them, no trigger hears them, and a decision about them is as for whoever switched personalisation off. Who says yes
again is read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tradewind.collect.consent_acts import switched_off

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.engine.tables import Tables


def studied(home: Home) -> Tables:
    """The tables as learning and profiling read them; what a person says now counts for the past, too."""
    with home.ledger.read() as conn:
        return home.tables.without(switched_off(conn, "analytics"))
