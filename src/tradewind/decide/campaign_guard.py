"""Guard-rails of a campaign: what it did to people and money so far, against the limits of its file. Exceeded: it is paused.

Rates are plain shares of the messages that a provider accepted: complaints, unsubscribes and bounces that name the decision. The
lower bound of the incremental profit is Welch's (95 %) over the matured outcomes that were collected, treated against held out,
times the treated. It is looked at again and again, so it stops a harmless campaign more often than one look in forty would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import case, func, select

from tradewind.decide.campaign_file import Campaign
from tradewind.decide.commit import load
from tradewind.engine import ledger as books
from tradewind.engine.books_campaigns import campaign_plans
from tradewind.schema import Kind
from tradewind.stats.experiment import mean_difference
from tradewind.types import NOTHING, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

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
                share = len(_decisions(home, _KINDS[name]) & handed) / len(handed)
                found.append(Finding(name, limit, share, share > limit, f"{len(handed)} messages"))
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


def _profit(home: Home, plans: Sequence[str], limit: int) -> Finding:
    treated, control = _outcomes(home, plans)
    if min(len(treated), len(control)) < 2:
        return Finding("max_loss", limit, None, False, f"{len(treated)} treated and {len(control)} held-out outcomes")
    each = mean_difference(treated, control, name="incremental profit")
    assert each.low is not None
    low = each.low * len(treated)
    return Finding("max_loss", limit, -low, -low > limit, f"lower bound of what it earned: {low:,.0f} minor units")


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
