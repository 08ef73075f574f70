"""Who is decided differently in another plan, and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan

_WHY = {
    "joined": "only in the new plan",
    "left": "only in the old plan",
    "variant": "moved between treatment and holdout",
    "suppressed": "the old action is no candidate any more",
    "candidate": "the new action was no candidate before",
    "budget": "the budget was used up",
    "price": "the price of the budget changed",
    "value": "the estimates changed",
    "draw": "same candidates and chances, another draw",
}


@dataclass(frozen=True)
class Change:
    """One customer: ``before`` and ``after`` are what really happens (the holdout gets "nothing")."""

    customer: str
    before: str | None
    after: str | None
    why: str
    detail: str = ""


@dataclass(frozen=True)
class PlanDiff:
    """All changes, sorted by customer. Prints as English."""

    old: str
    new: str
    changes: tuple[Change, ...]
    same: int

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of customers."""
        return dict(sorted(Counter(change.why for change in self.changes).items()))

    def why(self, customer: str) -> str:
        """The reason for one customer's change in English; empty when nothing changed."""
        for change in self.changes:
            if change.customer == customer:
                return _WHY[change.why] + (f" ({change.detail})" if change.detail else "")
        return ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"counts": self.counts}

    def __str__(self) -> str:
        lines = [f"{self.old} -> {self.new}: {len(self.changes)} customers change, {self.same} do not."]
        lines += [f"  {number} x {_WHY[why]}" for why, number in self.counts.items()]
        lines += [
            f"  {one.customer}: {one.before or 'absent'} -> {one.after or 'absent'}: {self.why(one.customer)}" for one in self.changes[:20]
        ]
        if len(self.changes) > 20:
            lines.append(f"  ... and {len(self.changes) - 20} more")
        return "\n".join(lines)


def diff(old: Plan, new: Plan) -> PlanDiff:
    """Compare two plans customer by customer."""
    columns = ["customer", "variant", "action", "mode", "candidates", "propensities", "values", "suppressed", "price"]
    before = {row["customer"]: row for row in old.table.select(columns).to_pylist()}
    after = {row["customer"]: row for row in new.table.select(columns).to_pylist()}
    changes, same = [], 0
    for customer in sorted(before.keys() | after.keys()):
        one, other = before.get(customer), after.get(customer)
        if one is None or other is None:
            changes.append(Change(customer, one and _real(one), other and _real(other), "joined" if one is None else "left"))
        elif _real(one) == _real(other) and one["variant"] == other["variant"]:
            same += 1
        else:
            why, detail = _reason(one, other)
            changes.append(Change(customer, _real(one), _real(other), why, detail))
    return PlanDiff(old.plan_id, new.plan_id, tuple(changes), same)


def _real(row: dict[str, Any]) -> str:
    return NOTHING if row["variant"] == "holdout" else str(row["action"])


def _reason(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, str]:
    if one["variant"] != other["variant"]:
        return "variant", f"{one['variant']} -> {other['variant']}"
    if other["mode"] == "override" or one["mode"] == "override":
        return "budget", ""
    if one["action"] not in other["candidates"]:
        told = json.loads(other["suppressed"])
        offer, _, rest = one["action"].partition("|")
        item, _, channel = rest.rpartition("|")
        code = told.get(f"channel:{channel}") or told.get(f"{offer}|{item}") or told.get(offer) or "another item or rank"
        return "suppressed", code
    if other["action"] not in one["candidates"]:
        return "candidate", ""
    if one["candidates"] == other["candidates"] and one["propensities"] == other["propensities"]:
        return "draw", ""
    if one["values"] == other["values"] and one["price"] != other["price"]:
        return "price", f"{one['price']:.3f} -> {other['price']:.3f}"
    return "value", ""
