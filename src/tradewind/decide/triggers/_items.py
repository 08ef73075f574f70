"""Who cares about an item that changed: looked at it, wished for it or put it into the cart, and did not buy it since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from tradewind.decide.triggers.base import DAY, Episode, Signal, State
from tradewind.engine.books_campaigns import item_changes
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

INTEREST = ("view", "wish", "cart")


class Change(NamedTuple):
    """One row of ``item_changes``."""

    item: str
    at: int
    before: int
    after: int


def changes(home: Home, kind: str, start: int, end: int) -> list[Change]:
    """The changes of a kind in [start, end), in order of time and item."""
    c = item_changes.c
    query = select(c.item, c.at, c.before, c.after).where(c.kind == kind, c.at >= start, c.at < end).order_by(c.at, c.item)
    with home.ledger.read() as conn:
        return [Change(row.item, row.at, row.before or 0, row.after or 0) for row in conn.execute(query)]


def interested(home: Home, kind: str, found: Sequence[Change], *, days: float) -> list[Signal]:
    """A signal per change and customer whose last interest in the item, within ``days`` before the change, no purchase followed."""
    if not found:
        return []
    span = int(days * DAY)
    events = home.tables.events(as_of=from_micros(max(one.at for one in found)))
    mine = events.filter(events.item.isin(sorted({one.item for one in found})) & events.customer.notnull())
    mine = mine.filter(mine.kind.isin([*INTEREST, "purchase"]) & (mine.at >= from_micros(min(one.at for one in found) - span)))
    told: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for row in home.tables.to_arrow(mine.select("item", "at", "customer", "kind")).to_pylist():
        told[row["item"]].append((micros(row["at"]), row["kind"], row["customer"]))
    signals = []
    for change in found:
        wants: dict[str, bool] = {}
        for at, what, customer in sorted(told[change.item]):  # a purchase at the same moment sorts before view and wish, after cart
            if change.at - span <= at < change.at:
                wants[customer] = what != "purchase"
        name = f"{kind}:{change.item}:{change.at}"
        signals += [Signal(change.at, name, kind, who, change.item, change.after) for who, still in sorted(wants.items()) if still]
    return signals


def gather(state: State, signal: Signal) -> State:
    """Items that changed at one moment are one episode."""
    items = [*(state["items"] if state and state["start"] == signal.at else []), signal.item]
    return {"start": signal.at, "items": items}


def episode(state: State) -> Episode:
    assert state is not None
    return Episode(state["start"], state["items"], None)
