"""Why a customer got what: the decision read back. Everything is in the plan; nothing is invented afterwards.

Printed, it is everything in plain English; :meth:`Explanation.text` tells it to one reader, in English or Chinese.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.decide.eligibility import EXPLAIN
from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan

_LISTED = 5  # names per reason before they share a line
FULL = {
    "budget_full": "the budget was used up by decisions drawn before this one",
    "stock_full": "the last piece went to a decision drawn before this one",
    "limit_full": "a limit of its channel or offer was used up by decisions drawn before this one",
}
_SAID = EXPLAIN | FULL


@dataclass(frozen=True)
class Candidate:
    """One action that could have been taken; money in minor units."""

    action: str
    propensity: float
    value: float
    sd: float
    cost: float
    score: float
    reasons: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Explanation:
    """The decision about one customer. Prints as English; :meth:`to_dict` is for programs."""

    customer: str
    plan_id: str
    decision_id: str
    variant: str
    mode: str
    action: str
    propensity: float
    price: float
    currency: str
    send_at: datetime | None
    candidates: tuple[Candidate, ...]
    suppressed: dict[str, str]
    at: datetime
    policy: str
    model: str
    features: str
    seed: int
    titles: dict[str, dict[str, str]]  # of the offers among the candidates, by language
    recomputed: bool  # whether log and seed give the propensities that were logged

    def to_dict(self) -> dict[str, Any]:
        """JSON values; times as ISO 8601."""
        return asdict(self) | {"at": self.at.isoformat(), "send_at": self.send_at.isoformat() if self.send_at else None}

    def text(self, *, reader: str, locale: str = "en") -> str:
        """The decision for one reader ("customer", "marketer", "auditor"), in "en" or "zh-CN"; raises NotFound for another."""
        from tradewind.decide.readers import text

        return text(self, reader=reader, locale=locale)

    def __str__(self) -> str:
        lines = [f"Customer {self.customer} in plan {self.plan_id}", self._verdict(), ""]
        lines.append(f"Candidates (money in minor units of {self.currency}; score = value - {self.price:.3f} x cost):")
        for one in self.candidates:
            mark = ">" if one.action == self.action else " "
            lines.append(
                f" {mark} {one.action}: chance {one.propensity:.1%}, value {one.value:.1f} +- {one.sd:.1f}, "
                f"cost {one.cost:.0f}, score {one.score:.1f}"
            )
            lines.extend(f"     {sentence}" for sentence in map(_sentence, one.reasons) if sentence)
        if self.suppressed:
            lines += ["", "Not considered:"]
            lines += [f"   {names}: {_SAID.get(code, code)}" for names, code in self._grouped()]
        return "\n".join(lines)

    def _grouped(self) -> Iterator[tuple[str, str]]:
        """One line each, or one line for all of a reason that suppressed many."""
        groups: dict[str, list[str]] = {}
        for name, code in self.suppressed.items():
            groups.setdefault(code, []).append(name)
        for code, names in groups.items():
            if len(names) > _LISTED:
                yield f"{', '.join(names[:3])} and {len(names) - 3:,} more", code
            else:
                yield from ((name, code) for name in names)

    def _verdict(self) -> str:
        if self.mode == "override":
            why = next((FULL[code] for code in self.suppressed.values() if code in FULL), "a hard limit came first")
            return f"Gets nothing: the policy drew an action, but {why}."
        what = "nothing" if self.action == NOTHING else f"{self.action}, to be sent at {self.send_at:%Y-%m-%d %H:%M} UTC"
        if self.variant == "holdout":
            return f"Gets nothing: held out to measure what the plan earns. Else the choice was: {what} (chance {self.propensity:.1%})."
        return f"Gets {what} (chance {self.propensity:.1%})."


def explain(plan: Plan, customer: str) -> Explanation:
    """Read one decision of ``plan``; raises NotFound for a customer who is not in it."""
    from tradewind.decide.plan import Plan as Table
    from tradewind.decide.policy import recompute

    row = plan.row(customer)
    again = recompute(Table(plan.table.slice(plan.rows[customer], 1), plan.meta))
    offers = plan.meta["offers"]
    names = ("candidates", "propensities", "values", "sds", "costs", "scores", "reasons")
    found = (
        Candidate(action, propensity, value, sd, cost, score, tuple(json.loads(reasons)))
        for action, propensity, value, sd, cost, score, reasons in zip(*(row[name] for name in names), strict=True)
    )
    return Explanation(
        customer=customer,
        plan_id=plan.plan_id,
        decision_id=row["decision_id"],
        variant=row["variant"],
        mode=row["mode"],
        action=row["action"],
        propensity=row["propensity"],
        price=row["price"],
        currency=str(plan.meta["currency"]),
        send_at=row["send_at"],
        candidates=tuple(found),
        suppressed=json.loads(row["suppressed"]),
        at=row["at"],
        policy=row["policy"],
        model=row["model"],
        features=row["features"],
        seed=row["seed"],
        titles={name: dict(offers[name]["title"]) for key in row["candidates"] if (name := key.split("|")[0]) in offers},
        recomputed=bool(np.array_equal(again, row["propensities"])),
    )


def _sentence(reason: dict[str, Any]) -> str:
    code, details = reason["code"], reason.get("details", {})
    if code == "nothing":
        return ""
    if code == "recommended":
        return f"the item is number {details['rank']} for this customer by {details['source']}"
    if code == "popular":
        return "no own recommendation fits; the item is popular"
    if code == "basket":
        return "for the whole basket"
    if code == "offer":
        terms = ", ".join(f"{name} {value}" for name, value in details.items() if name != "kind")
        return f"offer of kind {details['kind']}" + (f": {terms}" if terms else "")
    return f"{code}: " + ", ".join(f"{name} {value}" for name, value in details.items())
