"""Who is offered how much: exposure and offer value of a plan by declared groups, what followed, and what the shop's gate says.

The measures and the gate are ``decide/fairness.py``: what an audit reads is what can stop a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tradewind.decide.fairness import FILE, MEASURES, Unfair, gate, groups, read_rules, shares
from tradewind.decide.plan import Plan
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.measure.profit import sample
from tradewind.stats import randomised
from tradewind.types import Estimate, Report, Section


def fairness(home: Home, plan: Plan, columns: Sequence[str], *, as_of: datetime, level: float = 0.95) -> Report:
    """The audit of a plan: for each declared column all measures by group, what followed, and whether the shop's gate lets it pass.

    The ratios of one column hold together at ``level``, over groups and measures.

    Raises
    ------
    InputError
        There is no column to look at, or one that nobody declares.
    """
    if not columns:
        raise InputError('fairness: name the declared columns to compare by, for example "gender" or "locale".')
    sections = []
    for column in columns:
        group = groups(home, plan, column)
        sections += [_compared(plan, group, column, level), _followed(home, plan, group, column, as_of=as_of, level=level)]
    sections.append(_gated(home, plan))
    meta = {"plan_id": plan.plan_id, "shop": home.settings.name, "currency": plan.meta["currency"], "as_of": as_of.isoformat()}
    return Report(f"Who is offered how much by plan {plan.plan_id[:8]}", as_of, sections, home.settings.simulated, meta)


def _compared(plan: Plan, group: NDArray[np.str_], column: str, level: float) -> Section:
    names = np.unique(group)
    rows, told = [], []
    for measure in MEASURES:
        for share in shares(plan, group, measure, level=level, comparisons=len(names) * len(MEASURES)):
            ratio = share.ratio
            row = {"measure": measure, "group": share.group, "customers": share.mean.n, "mean": share.mean.value}
            row |= {"against others": None, "low": None, "high": None, "note": share.why}
            if ratio is not None:
                row |= {"against others": ratio.value, "low": ratio.low, "high": ratio.high}
                if (ratio.high or 0.0) < 1 or (ratio.low or 0.0) > 1:
                    told.append(f"{share.group}: {ratio.value:.2f} times the others' {measure}")
            rows.append(row)
    text = (
        f"Every group against all others together; intervals hold together at {level:.0%} for {len(names)} groups and {len(MEASURES)} "
        f"measures. Offer value is the expected discount in minor units of {plan.meta['currency']}."
    )
    said = f"Different beyond chance: {'; '.join(told)}." if told else "No difference between the groups is beyond chance."
    if len(names) < 2:
        said = f"All customers are of one group, {names[0]}: nothing to compare."
    return Section(f"By {column}", (text, said), (), tuple(rows))


def _followed(home: Home, plan: Plan, group: NDArray[np.str_], column: str, *, as_of: datetime, level: float) -> Section:
    """Incremental profit per customer by group against the holdout of the same group."""
    found = sample(home, plan, as_of=as_of)
    names = np.unique(group).tolist()
    shared = 1 - (1 - level) / len(names)
    values, short = [], []
    for name in names:
        rows = found.acted & (group == name)
        arm, held = rows & found.treated, rows & ~found.treated
        if min(arm.sum(), held.sum()) < randomised.LEAST:
            short.append(name)
            continue
        values.append(randomised.difference(found.profit[arm], found.profit[held], name=name, level=shared, unit="minor"))
    text = ["Incremental profit per customer against the held-out of the same group; intervals hold together."]
    if short:
        text.append(f"Too few treated or held-out customers in: {', '.join(short)}.")
    return Section(f"What followed, by {column}", tuple(text), tuple(_noted(one) for one in values))


def _noted(one: Estimate) -> Estimate:
    return Estimate(one.name, one.value, one.low, one.high, one.level, one.n, one.unit, f"{one.n:,} customers")


def _gated(home: Home, plan: Plan) -> Section:
    rules = read_rules(home.root / FILE)
    if not rules:
        return Section("The gate", (f"The shop has no {FILE}: no plan is blocked for fairness (docs/fairness.md).",))
    try:
        gate(home, plan)
    except Unfair as error:
        return Section("The gate", (str(error),))
    return Section("The gate", (f"The plan passes all {len(rules)} rules of {FILE}.",))
