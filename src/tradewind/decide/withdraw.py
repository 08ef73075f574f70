"""What a customer does may make a planned message pointless: it is withdrawn before hand-off, and what it held is free again.

A purchase withdraws planned messages about an item that was bought, and those of campaigns that exist because nothing was bought yet
(``UNTIL_PURCHASE``: by the campaign's name or its kind in the table of campaigns).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import and_, select, update

from tradewind.decide.commit import load, settle
from tradewind.engine.ledger import outbox, plans
from tradewind.schema import Kind
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

UNTIL_PURCHASE = frozenset({"cart", "abandoned_cart", "cart_reminder", "checkout", "abandoned_checkout"})
_OPEN = ("planned", "ready", "leased")


def withdraw_done(home: Home, *, now: datetime) -> int:
    """Withdraw the planned messages whose purpose a purchase since the plan has fulfilled; returns how many. Idempotent.

    A message that a provider may have taken already (it was tried) is left alone. Message, reservation and pieces change in one
    transaction each.
    """
    waiting = and_(outbox.c.state.in_(_OPEN), outbox.c.attempts == 0)
    query = select(outbox.c.message_id, outbox.c.decision_id, outbox.c.customer, outbox.c.plan_id, plans.c.as_of)
    with home.ledger.read() as conn:
        rows = conn.execute(query.join_from(outbox, plans, outbox.c.plan_id == plans.c.plan_id).where(waiting)).all()
    if not rows:
        return 0
    bought = _bought(home, since=min(row.as_of for row in rows))
    campaigns = {row["campaign"]: row["kind"] for row in home.tables.to_arrow(home.tables.get("campaigns")).to_pylist()}
    done = 0
    for plan_id in sorted({row.plan_id for row in rows if row.customer in bought}):
        plan = load(home, plan_id)
        told = {row["decision_id"]: row for row in plan.table.select(["decision_id", "offer", "item"]).to_pylist()}
        for row in (row for row in rows if row.plan_id == plan_id and row.customer in bought):
            mine = [item for at, item in bought[row.customer] if at >= row.as_of]
            campaign = plan.meta["offers"].get(told[row.decision_id]["offer"], {}).get("campaign")
            over = campaign is not None and {campaign, campaigns.get(campaign)} & UNTIL_PURCHASE
            if mine and (over or told[row.decision_id]["item"] in mine):
                done += _withdraw(home, row.message_id, row.decision_id, now=now)
    return done


def _withdraw(home: Home, message_id: str, decision_id: str, *, now: datetime) -> int:
    change = {
        "state": "suppressed", "detail": "done:purchase", "lease_owner": None, "lease_until": None,
        "fence": outbox.c.fence + 1, "updated_at": micros(now),
    }  # fmt: skip
    waiting = and_(outbox.c.message_id == message_id, outbox.c.state.in_(_OPEN), outbox.c.attempts == 0)
    with home.ledger.write() as conn:
        moved = conn.execute(update(outbox).where(waiting).values(change)).rowcount
        if moved:
            settle(conn, decision_id, spent=0)
    return int(moved)


def _bought(home: Home, *, since: int) -> dict[str, list[tuple[int, str | None]]]:
    """Customer -> when (microseconds) and what was bought since."""
    events = home.tables.events()
    mine = events.filter((events.kind == str(Kind.PURCHASE)) & events.customer.notnull() & (events.at >= from_micros(since)))
    found: dict[str, list[tuple[int, str | None]]] = {}
    for row in home.tables.to_arrow(mine.select("customer", "item", "at")).to_pylist():
        found.setdefault(row["customer"], []).append((micros(row["at"]), row["item"]))
    return found
