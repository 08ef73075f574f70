"""What happens while a campaign runs: firings become decisions, limits are looked at, and what is over is taken back.

Every step can be repeated, and two processes may take it at once: firings change state in the transaction that commits their plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, select, update

from tradewind.decide import campaign_books as books
from tradewind.decide.campaign_file import Campaign
from tradewind.decide.campaign_plan import Ask, around, asked, decided
from tradewind.decide.commit import commit, settle
from tradewind.decide.hashing import canonical
from tradewind.decide.plan import Plan
from tradewind.engine.books_campaigns import campaign_plans, campaigns, firings
from tradewind.engine.ledger import outbox
from tradewind.errors import StateError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

FRESH = timedelta(hours=48)  # a firing that could not be decided for longer has lost its reason
ACTED = "policy:campaign"
_OPEN = ("planned", "ready", "leased")
_MANY = 500  # messages withdrawn in one transaction
f = firings.c


@dataclass(frozen=True)
class Decided:
    """What became of the pending firings of a campaign: reason -> how many were dropped."""

    plan: Plan | None = None
    decided: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


def decide_firings(home: Home, one: books.Version, campaign: Campaign, ask: Ask, *, now: datetime) -> Decided:
    """Decide for whom the trigger fired, as the shop decides, and commit the plan; nothing changes when there is nobody."""
    with home.ledger.read() as conn:
        rows = conn.execute(
            select(firings).where(f.campaign == campaign.name, f.state == "pending").order_by(f.at.desc(), f.firing_id)
        ).all()
    if not rows:
        return Decided()
    request = asked(home, campaign, ask, as_of=now, now=now, only=around(home, {row.customer for row in rows}, as_of=now))
    inside = set(request.profiles["customer"].to_numpy()[campaign.audience_of(request.profiles)])
    wanted: dict[str, Sequence[str]] = {}
    states: dict[str, tuple[str, str]] = {}
    for row in rows:
        told = json.loads(row.detail)
        if row.at < micros(now - FRESH):
            why = "stale"
        elif row.customer not in inside:
            why = "audience"
        elif row.customer in wanted:
            why = "newer"  # one decision per customer; the newest reason is the one
        else:
            wanted[row.customer], why = told["items"], ""
        states[row.firing_id] = (why, canonical({**told, "dropped": why}) if why else row.detail)
    dropped = _counts(why for why, _ in states.values())
    if not wanted:
        with home.ledger.write() as conn:
            _mark(conn, states, None, now=now)
        return Decided(None, 0, dropped)
    plan = decided(request, campaign, wanted.keys(), wanted=wanted, soon=True)

    def also(conn: Connection) -> None:
        if books.states(conn, [plan.plan_id]) or _state(conn, one) != "running":
            raise StateError(f"Campaign {one.campaign} was paused or finished meanwhile: its firings wait. Run: tradewind campaign tick.")
        books.link(conn, plan.plan_id, one, now=now)
        _mark(conn, states, plan.plan_id, now=now)

    commit(plan, home, now, also=also)
    return Decided(plan, len(wanted), dropped)


def withdraw(home: Home, *, now: datetime) -> int:
    """Take back the messages of versions that are done and that no provider can have; what they held is free again. Returns how many."""
    p, c, o = campaign_plans.c, campaigns.c, outbox.c
    over = (
        select(p.plan_id)
        .join_from(campaign_plans, campaigns, and_(p.campaign == c.campaign, p.version == c.version))
        .where(c.state == "done")
    )
    waiting = and_(o.plan_id.in_(over), o.state.in_(_OPEN), o.attempts == 0)
    gone = 0
    while True:
        with home.ledger.write() as conn:
            rows = conn.execute(select(o.message_id, o.decision_id).where(waiting).order_by(o.message_id).limit(_MANY)).all()
            if not rows:
                return gone
            change = {
                "state": "suppressed", "detail": "done:campaign", "lease_owner": None, "lease_until": None, "fence": o.fence + 1,
                "updated_at": micros(now),
            }  # fmt: skip
            conn.execute(update(outbox).where(o.message_id.in_([row.message_id for row in rows])).values(change))
            for row in rows:
                settle(conn, row.decision_id, spent=0)
        gone += len(rows)


def _state(conn: Connection, one: books.Version) -> str:
    c = campaigns.c
    return str(conn.execute(select(c.state).where(c.campaign == one.campaign, c.version == one.version)).scalar_one())


def _mark(conn: Connection, states: Mapping[str, tuple[str, str]], plan_id: str | None, *, now: datetime) -> None:
    """Move pending firings to their end; raises StateError when somebody else did, so that nothing is decided twice."""
    for name, (why, detail) in states.items():
        values: dict[str, Any] = {"state": "dropped" if why else "decided", "detail": detail, "updated_at": micros(now)}
        mine = update(firings).where(f.firing_id == name, f.state == "pending")
        if conn.execute(mine.values(values | {"plan_id": None if why else plan_id})).rowcount != 1:
            raise StateError("Another process decides these firings right now. Nothing is lost: run tradewind campaign tick again.")


def _counts(whys: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for why in whys:
        if why:
            found[why] = found.get(why, 0) + 1
    return found
