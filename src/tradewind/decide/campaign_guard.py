"""Guard-rails of a campaign: what it did to people and money so far, against the limits of its file. Exceeded: it is paused.

They are looked at again and again, at every tick, so each judges by a test that stays valid however often one looks: with a probability of
95 % a harmless campaign is paused by none of the looks that its whole life holds. A rate (complaints, unsubscribes and bounces that name
the decision, of the messages that a provider accepted) is exceeded when an always-valid test says that it lies above its limit; a
loss, when the whole confidence sequence of the incremental profit (treated against held out, over the matured outcomes that were
collected, times the treated) lies below it. What is spent needs no test: it is what it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import case, func, select

from tradewind.decide.campaign_file import Campaign
from tradewind.decide.commit import load
from tradewind.engine import ledger as books
from tradewind.engine.books_campaigns import campaign_plans
from tradewind.schema import Kind
from tradewind.stats.sequential import FEW, confidence_sequence, sample_ratio
from tradewind.types import NOTHING, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

LEVEL = 0.95
_KINDS = {"complaint_rate": Kind.COMPLAINT, "unsubscribe_rate": Kind.UNSUBSCRIBE, "bounce_rate": Kind.BOUNCE}


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit: ``value`` is a share, or minor units; None where it cannot be told yet, for the reason ``note``."""

    name: str
    limit: float
    value: float | None
    exceeded: bool
    note: str = ""

    def __str__(self) -> str:
        shown = "not known yet" if self.value is None else f"{self.value:,.6g}"
        return (
            f"{self.name}: {shown} (limit {self.limit:,.6g}){' - EXCEEDED' if self.exceeded else ''}{f'; {self.note}' if self.note else ''}"
        )


def look(home: Home, campaign: Campaign, plans: Sequence[str], *, now: datetime) -> list[Finding]:
    """Every limit that the file sets, with what it is now over the campaign's ``plans``."""
    guard, found = campaign.guard, []
    rates = {name: getattr(guard, name) for name in _KINDS if getattr(guard, name) is not None}
    if rates:
        handed = _accepted(home, plans)
        for name, limit in rates.items():
            if len(handed) < guard.least_messages:
                found.append(Finding(name, limit, None, False, f"{len(handed)} of {guard.least_messages} messages handed off"))
            else:
                hits = len(_decisions(home, _KINDS[name]) & handed)
                p = above(hits, len(handed), limit)
                found.append(Finding(name, limit, hits / len(handed), p < 1 - LEVEL, f"{len(handed)} messages, p = {p:.2g} at every look"))
    if guard.spend_per_day is not None:
        spent = _spent(home, campaign.name, since=now - timedelta(days=1))
        found.append(Finding("spend_per_day", guard.spend_per_day, spent, spent > guard.spend_per_day))
    if guard.max_loss is not None:
        found.append(_profit(home, plans, guard.max_loss))
    return found


def _accepted(home: Home, plans: Sequence[str]) -> set[str]:
    o = books.outbox.c
    with home.ledger.read() as conn:
        return set(conn.execute(select(o.decision_id).where(o.plan_id.in_(plans), o.state == "accepted")).scalars())


def _decisions(home: Home, kind: Kind) -> set[str]:
    """Decisions that an event of the kind names."""
    events = home.tables.events()
    mine = events.filter((events.kind == str(kind)) & events.decision_id.notnull())
    return set(home.tables.to_arrow(mine.select("decision_id").distinct())["decision_id"].to_pylist())


def _spent(home: Home, campaign: str, *, since: datetime) -> int:
    """Minor units that the decisions since then hold, or cost when they are settled."""
    held, o, p = books.reservations.c, books.outbox.c, campaign_plans.c
    amount = case((held.state == "held", held.amount), else_=held.spent)
    joined = books.reservations.join(books.outbox, o.decision_id == held.decision_id).join(campaign_plans, p.plan_id == o.plan_id)
    with home.ledger.read() as conn:
        found = conn.execute(select(func.sum(amount)).select_from(joined).where(p.campaign == campaign, p.at > micros(since))).scalar()
    return int(found or 0)


def above(hits: int, messages: int, limit: float) -> float:
    """The always-valid p-value that ``hits`` of so many messages come from a share of ``limit`` (0-1) or less.

    The prior has the weight of the messages among which one hit would be expected: strong enough for small limits, quick at large excesses.
    The test against the limit itself is one against every smaller share, too: fewer hits are less evidence.
    """
    if hits <= limit * messages:
        return 1.0
    return sample_ratio([hits, messages - hits], [limit, 1 - limit], strength=1 / limit) if limit else 0.0


def _profit(home: Home, plans: Sequence[str], limit: int) -> Finding:
    treated, control = _outcomes(home, plans)
    if min(len(treated), len(control)) < FEW:
        note = f"{len(treated)} treated and {len(control)} held-out outcomes; {FEW} of each are needed"
        return Finding("max_loss", limit, None, False, note)
    value = float(np.mean(treated) - np.mean(control))
    error = math.sqrt(np.var(treated, ddof=1) / len(treated) + np.var(control, ddof=1) / len(control))
    each = confidence_sequence(value, error, len(treated) + len(control), "incremental profit", level=LEVEL)
    assert each.low is not None
    assert each.high is not None
    low, high = each.low * len(treated), each.high * len(treated)
    return Finding(
        "max_loss", limit, -value * len(treated), -high > limit, f"it earned {low:,.0f} to {high:,.0f} minor units, at every look"
    )


def _outcomes(home: Home, plans: Sequence[str]) -> tuple[list[float], list[float]]:
    """Margin after contacts of treated and of held-out decisions whose window is over."""
    rows = home.tables.to_arrow(home.tables.get("outcomes"))
    rows = rows.filter(pc.and_(pc.is_in(rows["plan_id"], value_set=pa.array(list(plans), pa.string())), rows["matured"]))
    treated: list[float] = []
    control: list[float] = []
    for plan_id in pc.unique(rows["plan_id"]).to_pylist():
        plan = load(home, plan_id)
        costs = plan.meta["channel_costs"]
        told = {row["decision_id"]: row for row in plan.table.select(["decision_id", "variant", "action", "channel"]).to_pylist()}
        for row in rows.filter(pc.equal(rows["plan_id"], plan_id)).select(["decision_id", "margin"]).to_pylist():
            if (mine := told.get(row["decision_id"])) is None:
                continue
            if mine["variant"] == "holdout":
                control.append(float(row["margin"]))
            else:
                treated.append(float(row["margin"]) - (costs[mine["channel"]] if mine["action"] != NOTHING else 0))
    return treated, control
