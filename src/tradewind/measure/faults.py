"""Hand-made errors around a plan: found, named, counted, and said in the report. And what its language models cost."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import func, select

from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.engine.models import NANO
from tradewind.measure.rows import Fault
from tradewind.measure.validity import contingency
from tradewind.types import NO_MINOR, micros

UNEVEN = 0.001


def faults_of(home: Home, plan: Plan, *, start: datetime, end: datetime) -> tuple[Fault, ...]:
    """Units in two arms, several decisions, outcomes before their decision, doubled messages, and messages of other plans."""
    found = [_two_arms(plan), _several(plan), _early(home, plan, start), _doubled(home, plan), _others(home, plan, start, end)]
    return tuple(fault for fault in found if fault is not None)


def _two_arms(plan: Plan) -> Fault | None:
    arms: dict[str, set[str]] = {}
    for unit, variant in zip(plan.table["unit"].to_pylist(), plan.table["variant"].to_pylist(), strict=True):
        arms.setdefault(unit, set()).add(variant)
    count = sum(len(seen) > 1 for seen in arms.values())
    text = f"{count:,} of {len(arms):,} units stand in two arms and were left out of both."
    return Fault("two_arms", count, text, broken=count > 0.01 * len(arms)) if count else None


def _several(plan: Plan) -> Fault | None:
    count = sum(n > 1 for n in Counter(plan.table["customer"].to_pylist()).values())
    text = f"{count:,} customers have more than one decision in this plan; what they bought counts once for each."
    return Fault("several_decisions", count, text, broken=True) if count else None


def _early(home: Home, plan: Plan, start: datetime) -> Fault | None:
    """Events that name a decision of the plan but happened before it: a wrong clock, or a wrong join at the shop."""
    import ibis

    events = home.tables.events()
    early = events.filter(events.at < ibis.literal(start), events.decision_id.notnull()).select("decision_id")
    mine = set(plan.table["decision_id"].to_pylist())
    count = sum(name in mine for name in home.tables.to_arrow(early)["decision_id"].to_pylist())
    text = f"{count:,} events name a decision of this plan but happened before it; nothing before the plan counts as its outcome."
    return Fault("early", count, text) if count else None


def _doubled(home: Home, plan: Plan) -> Fault | None:
    box = books.outbox.c
    with home.ledger.read() as connection:
        rows = connection.execute(
            select(box.decision_id, box.channel, func.count())
            .where(box.plan_id == plan.plan_id, box.state.in_(["accepted", "unknown"]))
            .group_by(box.decision_id, box.channel)
            .having(func.count() > 1)
        ).all()
    text = f"{len(rows):,} decisions were sent more than once on one channel (doubled exposure)."
    return Fault("doubled", len(rows), text) if rows else None


def _others(home: Home, plan: Plan, start: datetime, end: datetime) -> Fault | None:
    """Customers of this plan who got messages of other plans in its window: no fault while both arms got alike."""
    box = books.outbox.c
    with home.ledger.read() as connection:
        rows = connection.execute(
            select(box.customer)
            .distinct()
            .where(
                box.plan_id != plan.plan_id,
                box.state.in_(["accepted", "unknown"]),
                box.updated_at >= micros(start),
                box.updated_at < micros(end),
            )
        ).all()
    touched = {row[0] for row in rows}
    counts = Counter(
        (variant, customer in touched)
        for customer, variant in zip(plan.table["customer"].to_pylist(), plan.table["variant"].to_pylist(), strict=True)
    )
    told = {arm: counts[arm, True] for arm in ("treat", "holdout")}
    if not any(told.values()):
        return None
    import numpy as np

    p = contingency(np.array([[counts[arm, True], counts[arm, False]] for arm in told]))
    text = f"{told['treat']:,} treated and {told['holdout']:,} held-out customers got messages of other plans in this window"
    if p is not None and p < UNEVEN:
        return Fault(
            "other_plans", sum(told.values()), f"{text}, unevenly (p = {p:.2g}): the arms differ by more than this plan.", broken=True
        )
    return Fault("other_plans", sum(told.values()), f"{text}; the figures say what this plan earned on top of them.")


def model_cost(home: Home, plan: Plan, *, currency: str) -> tuple[float, tuple[Fault, ...]]:
    """Minor units of ``currency`` paid to language models between this plan and the next one; other currencies are told, not added."""
    calls, limits = books.model_calls.c, books.model_budgets.c
    with home.ledger.read() as connection:
        made = dict(connection.execute(select(books.plans.c.plan_id, books.plans.c.created_at)).all())
        start = made.get(plan.plan_id)
        if start is None:
            return 0.0, ()
        later = [at for at in made.values() if at > start]
        wanted = [calls.at >= start, calls.state != "free", *([calls.at < min(later)] if later else [])]
        rows = connection.execute(
            select(limits.currency, func.sum(calls.amount), func.count())
            .join(books.model_budgets, limits.budget == calls.budget)
            .where(*wanted)
            .group_by(limits.currency)
        ).all()
    cost, told = 0.0, []
    for code, amount, count in rows:
        if code == currency:
            cost = float(amount) / NANO * (1 if code in NO_MINOR else 100)
        else:
            text = f"{count:,} calls of language models cost {float(amount) / NANO:,.4f} {code}; not in the profit, which is in {currency}."
            told.append(Fault("model_currency", count, text))
    return cost, tuple(told)
