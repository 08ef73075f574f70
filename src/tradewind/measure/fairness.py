"""Who is offered how much: exposure and offer value of a plan by declared groups, outcomes beside, and a gate that can block it.

Measured is the policy, not the luck of one draw: each customer's logged propensities, over all candidates.

    exposure            chance of getting anything, over all customers of the group
    reachable exposure  the same among those for whom there was a candidate at all (consent, stock and rules apart)
    offer value         expected discount, minor units (the logged cost less the contact)

The gate reads ``fairness.toml`` in the shop's folder (docs/fairness.md). It is asked before a plan is committed and again before it is
delivered; a plan that breaks a rule raises :class:`Unfair` and nothing is written or sent.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.decide.plan import Plan
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError, unknown
from tradewind.measure.profit import sample
from tradewind.params import Number, check
from tradewind.stats.experiment import mean_difference
from tradewind.stats.fairness import GroupShare, compare
from tradewind.types import NOTHING, Estimate, Report, Section

FILE = "fairness.toml"
UNKNOWN = "(not declared)"
MEASURES = ("exposure", "reachable exposure", "offer value")
_COLUMNS = ("locale", "zone")  # of customers; any other name is an attribute
_MOST = 50  # groups


class Unfair(StateError):
    """A plan breaks a rule of ``fairness.toml``."""


@dataclass(frozen=True)
class Rule:
    """No group of ``column`` may get less than ``ratio`` times what all others get of ``measure``.

    Without ``prove`` a plan is blocked when a group is shown to get less (the interval lies below); with it, unless every group
    is shown to get enough (the whole interval lies above), so that small groups block, too.
    """

    column: str
    measure: str = "exposure"
    ratio: float = 0.8
    confidence: float = 0.95
    prove: bool = False

    def broken(self, share: GroupShare) -> str:
        """Why this group breaks the rule; empty when it does not."""
        if share.ratio is None:
            return f"{share.group} cannot be judged ({share.why})" if self.prove else ""
        low, high = share.ratio.low or 0.0, share.ratio.high or 0.0
        if (low if self.prove else high) >= self.ratio:
            return ""
        return f"{share.group} gets {share.ratio.value:.2f} times what others get ({low:.2f} to {high:.2f})"


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a file; none when there is no file.

    Raises
    ------
    InputError
        It is no TOML, or a rule has an unknown field or a value out of range.
    """
    if not path.exists():
        return ()
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}. See docs/fairness.md for an example.") from error
    rows = told.get("rule", [])
    if set(told) - {"rule"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: it holds [[rule]] tables and nothing else. See docs/fairness.md for an example.")
    return tuple(_rule(path, row) for row in rows)


def _rule(path: Path, row: Mapping[str, Any]) -> Rule:
    names = list(Rule.__dataclass_fields__)
    for name in row:
        if name not in names:
            raise unknown(f"field of a rule in {path.name}", name, names)
    if not isinstance(row.get("column"), str) or not isinstance(row.get("prove", False), bool):
        raise InputError(f'{path}: a rule needs column = "...", and prove is true or false; got {dict(row)}.')
    rule = Rule(**row)
    if rule.measure not in MEASURES:
        raise unknown("measure of fairness", str(rule.measure), MEASURES)
    limits = {"ratio": Number(0, 1), "confidence": Number(0.5, 0.9999)}
    check(path.name, {name: getattr(rule, name) for name in limits}, limits)
    return rule


def gate(home: Home, plan: Plan) -> None:
    """Raise :class:`Unfair` when ``plan`` breaks a rule of the shop; do nothing without rules."""
    faults = [
        f"{rule.measure} by {rule.column}: {why}; the rule asks for {rule.ratio:g}"
        for rule in read_rules(home.root / FILE)
        for share in shares(plan, groups(home, plan, rule.column), rule.measure, level=rule.confidence)
        if (why := rule.broken(share))
    ]
    if faults:
        raise Unfair(
            f"Plan {plan.plan_id[:12]} breaks the shop's rules of fairness and was stopped: {'; '.join(faults)}. Set a floor of exposure "
            f"in the limits (docs/decide.md), change offers, consents or channels, or change {FILE}."
        )


def groups(home: Home, plan: Plan, column: str) -> NDArray[np.str_]:
    """The declared group of every customer of ``plan``: a column of the customers' table, or one of their attributes.

    Raises
    ------
    InputError
        No customer declares it, or it has more than 50 values (then it is no group).
    """
    table = home.tables.get("customers")
    told: dict[str, str] = {}
    name = column if column in _COLUMNS else "attributes"
    for row in home.tables.to_arrow(table.select("customer", name)).to_pylist():
        value = row[name] if column in _COLUMNS else json.loads(row[name] or "{}").get(column)
        if value is not None:
            told[row["customer"]] = str(value)
    found = np.array([told.get(customer, UNKNOWN) for customer in plan.table["customer"].to_pylist()])
    known = sorted(set(found.tolist()) - {UNKNOWN})
    if not known:
        raise InputError(
            f'fairness: no customer of the plan declares "{column}". Load it as an attribute of customers, or as locale or zone.'
        )
    if len(known) > _MOST:
        raise InputError(f'fairness: "{column}" has {len(known)} values; groups are at most {_MOST}. Declare a coarser one.')
    return found


def shares(plan: Plan, group: NDArray[np.str_], measure: str, *, level: float = 0.95, comparisons: int | None = None) -> list[GroupShare]:
    """The groups compared by one of ``MEASURES``; with one group only there is nothing to compare, and the answer is empty."""
    values = _values(plan)[measure]
    counted = np.isfinite(values)
    if len(np.unique(group[counted])) < 2:
        return []
    return compare(values[counted], group[counted].tolist(), level=level, comparisons=comparisons)


def _values(plan: Plan) -> dict[str, NDArray[np.float64]]:
    """Every measure per customer of the plan; NaN where a customer is not counted."""
    rows = plan.table
    contact = {name: float(cost) for name, cost in plan.meta["channel_costs"].items()}
    exposure, reachable, value = (np.zeros(len(plan)) for _ in range(3))
    columns = (rows[name].to_pylist() for name in ("candidates", "propensities", "costs"))
    for at, row in enumerate(zip(*columns, strict=True)):
        for key, chance, cost in zip(*row, strict=True):
            if key != NOTHING:
                exposure[at] += chance
                value[at] += chance * max(cost - contact.get(key.rpartition("|")[2], 0.0), 0.0)
        reachable[at] = exposure[at] if len(row[0]) > 1 else np.nan
    return {"exposure": exposure, "reachable exposure": reachable, "offer value": value}


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
        if min(arm.sum(), held.sum()) < 2:
            short.append(name)
            continue
        values.append(mean_difference(found.profit[arm], found.profit[held], name=name, level=shared, unit="minor"))
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
