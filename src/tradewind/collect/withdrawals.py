"""Unsubscribes and complaints in the event log become withdrawals of consent: nobody has to remember to copy them."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import func, select

from tradewind.collect.consent import Consents
from tradewind.engine.home import Home
from tradewind.engine.ledger import consents as given
from tradewind.schema import Kind
from tradewind.types import micros


def withdraw_from_log(home: Home) -> int:
    """Withdraw consent for every unsubscribe and complaint of the log that names a customer; without a channel, for all of them.

    Returns how many customers and channels could still be contacted before. Idempotent: a consent that was given after
    the event stands.
    """
    events = home.tables.events()
    left = events.filter(events.kind.isin([Kind.UNSUBSCRIBE.value, Kind.COMPLAINT.value]), events.customer.notnull())
    rows = home.tables.to_arrow(left.select("customer", "channel", "at", "kind").order_by("at", "customer")).to_pylist()
    if not rows:
        return 0
    consents = Consents(home)
    before = consents.sendable().to_pylist()
    channels: dict[str, list[str]] = defaultdict(list)
    for pair in before:  # channels only: who leaves one says nothing about the use of data
        channels[pair["customer"]].append(pair["channel"])
    asked = {row["customer"] for row in rows} & channels.keys()
    if not asked:
        return 0
    latest = _latest(home)
    for row in rows:
        for channel in channels.get(row["customer"], ()):
            if row["channel"] in (None, channel) and micros(row["at"]) >= latest.get((row["customer"], channel), 0):
                consents.withdraw(row["customer"], channel, source=f"event:{row['kind']}", at=row["at"])
    return len(before) - int(consents.sendable().num_rows)


def _latest(home: Home) -> dict[tuple[str, str], int]:
    """When each customer last said something about each channel, in microseconds."""
    query = select(given.c.customer, given.c.channel, func.max(given.c.at)).group_by(given.c.customer, given.c.channel)
    with home.ledger.read() as connection:
        return {(customer, channel): int(at) for customer, channel, at in connection.execute(query)}
