"""Unsubscribes and complaints in the event log become withdrawals of consent: nobody has to remember to copy them."""

from __future__ import annotations

from tradewind.collect.consent import Consents
from tradewind.engine.home import Home
from tradewind.schema import Kind


def withdraw_from_log(home: Home) -> int:
    """Withdraw consent for every unsubscribe and complaint of the log that names a customer and a channel.

    Returns how many could still be contacted before. Idempotent: a consent that was given again later stands, because
    the latest entry counts.
    """
    events = home.tables.events()
    kinds = [Kind.UNSUBSCRIBE.value, Kind.COMPLAINT.value]
    left = events.filter(events.kind.isin(kinds), events.customer.notnull(), events.channel.notnull())
    rows = home.tables.to_arrow(left.select("customer", "channel", "at", "kind")).to_pylist()
    if not rows:
        return 0
    consents = Consents(home)
    open_to = {(row["customer"], row["channel"]) for row in consents.sendable().to_pylist()}
    before = len(open_to)
    for row in rows:
        if (row["customer"], row["channel"]) in open_to:
            consents.withdraw(row["customer"], row["channel"], source=f"event:{row['kind']}", at=row["at"])
    return before - len(open_to & {(row["customer"], row["channel"]) for row in consents.sendable().to_pylist()})
