"""Is a plan fair to the groups that customers declared? Rules of the shop that every plan is held against before it is committed.

Measured is the policy, not the luck of one draw: each customer's logged propensities, over all candidates.

    exposure            chance of getting anything, over all customers of the group
    reachable exposure  the same among those for whom there was a candidate at all (consent, stock and rules apart)
    offer value         expected discount, minor units (the logged cost less the contact)

The rules are ``fairness.toml`` in the shop's folder (docs/fairness.md). A plan that breaks one raises :class:`Unfair`, and nothing is
written or sent.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, StateError, unknown
from tradewind.params import Number, check
from tradewind.stats.fairness import GroupShare, compare
from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

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
        for why in _faults(home, plan, rule)
    ]
    if faults:
        raise Unfair(
            f"Plan {plan.plan_id[:12]} breaks the shop's rules of fairness and was stopped: {'; '.join(faults)}. Set a floor of exposure "
            f"in the limits (docs/decide.md), change offers, consents or channels, or change {FILE}."
        )


@dataclass
class Watch:
    """The gate for those who ask at every decision or message: a plan is judged anew only when ``fairness.toml`` was written anew."""

    home: Home
    _seen: dict[str, tuple[int, str]] = field(default_factory=dict)  # plan -> (moment of the file, why it is stopped)

    def why(self, plan: Plan | str) -> str:
        """Why a plan (or the committed one of that id) is stopped; empty when it is not. A live decision goes by its plan.

        Raises
        ------
        InputError
            The rules cannot be read (:func:`read_rules`).
        """
        from tradewind.decide.commit import load

        path = self.home.root / FILE
        if not path.exists():
            return ""
        name, written = plan if isinstance(plan, str) else plan.plan_id, path.stat().st_mtime_ns
        if (seen := self._seen.get(name)) is None or seen[0] != written:
            found = load(self.home, name) if isinstance(plan, str) else plan
            try:
                gate(self.home, load(self.home, found.meta["live_of"]) if "live_of" in found.meta else found)
                self._seen[name] = (written, "")
            except Unfair as error:
                self._seen[name] = (written, str(error))
        return self._seen[name][1]


def _faults(home: Home, plan: Plan, rule: Rule) -> Iterator[str]:
    found = declared(home, plan, rule.column)
    if len(np.unique(found)) < 2:  # one group, or nobody who declared any: a plan for a few, such as a trigger's
        if rule.prove:
            yield f"all {len(plan):,} customers are of one group, so nothing can be shown"
        return
    yield from filter(None, (rule.broken(share) for share in shares(plan, found, rule.measure, level=rule.confidence)))


def groups(home: Home, plan: Plan, column: str) -> NDArray[np.str_]:
    """The declared group of every customer of ``plan``, for an audit.

    Raises
    ------
    InputError
        No customer declares it, or it has more than 50 values (then it is no group).
    """
    found = declared(home, plan, column)
    if set(found.tolist()) <= {UNKNOWN}:
        raise InputError(
            f'fairness: no customer of the plan declares "{column}". Load it as an attribute of customers, or as locale or zone.'
        )
    return found


def declared(home: Home, plan: Plan, column: str) -> NDArray[np.str_]:
    """A column of the customers' table or one of their attributes, for every customer of ``plan``; ``UNKNOWN`` where it is not there."""
    table = home.tables.get("customers")
    told: dict[str, str] = {}
    name = column if column in _COLUMNS else "attributes"
    for row in home.tables.to_arrow(table.select("customer", name)).to_pylist():
        value = row[name] if column in _COLUMNS else json.loads(row[name] or "{}").get(column)
        if value is not None:
            told[row["customer"]] = str(value)
    found = np.array([told.get(customer, UNKNOWN) for customer in plan.table["customer"].to_pylist()], dtype=str)
    if len(known := np.unique(found)) > _MOST:
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
