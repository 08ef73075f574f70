"""The books of campaigns: every version with its state, moved only along legal moves, each move in the audit log.

::

    draft -> planned -> approved -> running <-> paused -> done

``planned`` again from planned or approved (an approval is for the plan that was shown); ``done`` from every state but done.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from tradewind.decide.campaign_file import Campaign
from tradewind.decide.hashing import canonical
from tradewind.engine import audit
from tradewind.engine.books_campaigns import campaign_plans, campaigns, firings, trigger_marks
from tradewind.errors import StateError, unknown
from tradewind.types import from_micros, micros

MOVES: Mapping[str, tuple[str, ...]] = {
    "draft": ("planned", "done"),
    "planned": ("planned", "approved", "done"),
    "approved": ("planned", "running", "done"),
    "running": ("paused", "done"),
    "paused": ("running", "done"),
    "done": (),
}
OPEN = ("running", "paused")
c = campaigns.c
_STATES = (  # built once: delivery asks for every hand-off
    select(campaign_plans.c.plan_id, c.state)
    .join_from(campaign_plans, campaigns, (campaign_plans.c.campaign == c.campaign) & (campaign_plans.c.version == c.version))
    .where(campaign_plans.c.plan_id.in_(bindparam("plans", expanding=True)))
)


@dataclass(frozen=True)
class Version:
    """One version of a campaign in the books; ``spec`` is what its file said, ``shown`` what its plan showed."""

    campaign: str
    version: int
    state: str
    spec: Mapping[str, Any]
    shown: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return vars(self) | {"created_at": self.created_at.isoformat(), "updated_at": self.updated_at.isoformat()}


def versions(conn: Connection, campaign: str | None = None) -> list[Version]:
    """All versions, by campaign, newest first."""
    query = select(campaigns).order_by(c.campaign, c.version.desc())
    rows = conn.execute(query if campaign is None else query.where(c.campaign == campaign))
    return [
        Version(
            row.campaign, row.version, row.state, json.loads(row.spec), json.loads(row.shown) if row.shown else None,
            from_micros(row.created_at), from_micros(row.updated_at),
        )
        for row in rows
    ]  # fmt: skip


def newest(conn: Connection, campaign: str) -> Version:
    """The newest version; raises NotFound where there is none."""
    found = versions(conn, campaign)
    if not found:
        raise unknown("campaign", campaign, conn.execute(select(c.campaign).distinct()).scalars().all())
    return found[0]


def current(conn: Connection, campaign: str) -> Version | None:
    """The version that runs or is paused; at most one does."""
    return next((one for one in versions(conn, campaign) if one.state in OPEN), None)


def draft(conn: Connection, campaign: Campaign, *, by: str, now: datetime) -> Version:
    """The newest version if it is this very file and not over, else a new one in state draft."""
    known = versions(conn, campaign.name)
    text = canonical(campaign.told)
    if known and canonical(known[0].spec) == text and known[0].state != "done":
        return known[0]
    number = known[0].version + 1 if known else 1
    at = micros(now)
    row = {"campaign": campaign.name, "version": number, "state": "draft", "spec": text, "shown": None, "created_at": at, "updated_at": at}
    conn.execute(insert(campaigns).values(**row))
    if known and known[0].state in ("draft", "planned", "approved"):
        move(conn, known[0], "done", by=by, now=now, note={"why": f"replaced by version {number}"})
    _note(conn, by, "draft", campaign.name, {"version": number}, now)
    return newest(conn, campaign.name)


def move(
    conn: Connection, one: Version, state: str, *, by: str, now: datetime, note: Mapping[str, Any] | None = None,
    shown: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Move a version to another state, inside the caller's transaction, with a row in the audit log.

    Raises
    ------
    StateError
        There is no such move, or somebody else moved it meanwhile.
    """
    if state not in MOVES[one.state]:
        legal = ", ".join(MOVES[one.state]) or "nowhere"
        raise StateError(f"Campaign {one.campaign} (version {one.version}) is {one.state}; from there it goes to {legal}, not to {state}.")
    values: dict[str, Any] = {"state": state, "updated_at": micros(now)} | ({} if shown is None else {"shown": canonical(shown)})
    mine = (c.campaign == one.campaign, c.version == one.version, c.state == one.state)
    if conn.execute(update(campaigns).where(*mine).values(values)).rowcount != 1:
        raise StateError(
            f"Campaign {one.campaign} (version {one.version}) is not {one.state} any more. Look again: tradewind campaign show."
        )
    _note(conn, by, state, one.campaign, {"version": one.version, "from": one.state} | dict(note or {}), now)


def _note(conn: Connection, by: str, state: str, campaign: str, detail: Mapping[str, Any], now: datetime) -> None:
    audit.note(conn, by, f"campaign.{state}", f"campaign:{campaign}", detail, at=now)


def history(conn: Connection, campaign: str) -> list[audit.Entry]:
    """Every move of a campaign, oldest first; raises NotFound for an unknown one."""
    newest(conn, campaign)
    return audit.entries(conn, subject=f"campaign:{campaign}", limit=1_000_000)[::-1]


def link(conn: Connection, plan_id: str, one: Version, *, now: datetime) -> None:
    """Note that the campaign made a plan."""
    conn.execute(insert(campaign_plans).values(plan_id=plan_id, campaign=one.campaign, version=one.version, at=micros(now)))


def plans_of(conn: Connection, campaign: str) -> list[str]:
    """The plans that a campaign made, oldest first."""
    p = campaign_plans.c
    return list(conn.execute(select(p.plan_id).where(p.campaign == campaign).order_by(p.at, p.plan_id)).scalars())


def fired(conn: Connection, campaign: str) -> dict[str, int]:
    """How many firings of a campaign's trigger are in which state."""
    counted = select(firings.c.state, func.count()).where(firings.c.campaign == campaign).group_by(firings.c.state)
    return {str(state): int(number) for state, number in conn.execute(counted)}


def reading(conn: Connection, campaign: str) -> list[dict[str, Any]]:
    """How far the triggers of a campaign have read the log: ``since``, ``watermark``, events ``counted`` and ``late``; newest first."""
    m = trigger_marks.c
    rows = conn.execute(select(m.since, m.watermark, m.counted, m.late).where(m.campaign == campaign).order_by(m.since.desc())).mappings()
    return [{**row, "since": from_micros(row["since"]), "watermark": from_micros(row["watermark"])} for row in rows]


def states(conn: Connection, plan_ids: Collection[str]) -> dict[str, str]:
    """The state of the campaign's version that made each of the plans; plans of no campaign are left out."""
    return {row.plan_id: row.state for row in conn.execute(_STATES, {"plans": sorted(plan_ids)})}


def campaign_allows(conn: Connection, plan_id: str) -> bool:
    """Whether the messages of a plan may be handed off: it is of no campaign, or the version that made it is running.

    Those of a paused version wait; those of one that is done are withdrawn (``campaign_tick.withdraw``).
    """
    return states(conn, [plan_id]).get(plan_id, "running") == "running"
