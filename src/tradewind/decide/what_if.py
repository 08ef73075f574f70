"""What a customer would have got with one thing changed: the same moment, prices, draw and chance, solved again.

From the log alone (:func:`without`): a higher or lower price of the budget, or without an offer, an item or a channel. Scores and
deviations of all candidates are logged, so the answer is exact. With the shop's data (:func:`under`): other limits of
contact, such as two messages in thirty days; what had been ruled out is valued again by the plan's own model at the plan's prices.
Nobody else is decided again: the prices stay those of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.decide.assemble import logged_choices
from tradewind.decide.door import Door
from tradewind.decide.hashing import uniforms
from tradewind.decide.live import Decision, Live
from tradewind.decide.plan import Plan
from tradewind.decide.readers import words
from tradewind.decide.sampling import draw_matrix, pick, propensities, wins
from tradewind.errors import InputError, unknown
from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.request import Limits, Request
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class WhatIf:
    """``before`` is what the policy drew (for the holdout: would have given), ``now`` what it would draw with the change."""

    customer: str
    change: str
    before: str
    before_chance: float
    now: str
    chance: float

    def text(self, locale: str = "en") -> str:
        """One sentence; raises NotFound for a language without sentences."""
        say = words(locale)
        told = say["what_if"]

        def named(action: str, chance: float) -> str:
            return str(told["action"].format(action=say["nothing"] if action == NOTHING else action, chance=f"{chance:.1%}"))

        pattern = told["same" if self.now == self.before else "other"]
        return str(pattern.format(change=self.change, now=named(self.now, self.chance), before=named(self.before, self.before_chance)))

    def __str__(self) -> str:
        return self.text()


def without(plan: Plan, customer: str, *, names: Sequence[str] = (), price: float | None = None) -> WhatIf:
    """The decision without the offers, items or channels ``names``, or at another ``price`` of the budget (1 is free money).

    Raises
    ------
    NotFound
        The plan does not know the customer, or no candidate of the customer has such a name.
    InputError
        The price is below 1, or nothing is changed.
    """
    row = plan.row(customer)
    keys = row["candidates"]
    parts = sorted({part for key in keys for part in key.split("|") if key != NOTHING and part})
    for name in names:
        if name not in parts:
            raise unknown("offer, item or channel among the customer's candidates", name, parts)
    if price is not None and not price >= 1:
        raise InputError(f"what if: the price of the budget is at least 1 (one unit of money costs itself); got {price}.")
    if not names and price is None:
        raise InputError("what if: say what changes: names of offers, items or channels to leave out, or a price.")
    choices, size = logged_choices(Plan(plan.table.slice(plan.rows[customer], 1), plan.meta))
    kept = np.array([[not set(names) & set(key.split("|")) for key in keys[1:]] + [False] * (choices.valid.shape[1] - len(keys) + 1)])
    costs = np.zeros(choices.values.shape)
    costs[0, : len(keys) - 1] = row["costs"][1:]
    paid = 0.0 if price is None else price - float(row["price"])
    changed = replace(choices, values=choices.values - paid * costs, valid=choices.valid & kept)
    draws = draw_matrix(int(plan.meta["seed"]), size, correlation=float(plan.meta["correlation"]))
    shares, _ = wins(changed, draws, price=1.0)
    chances = propensities(shares, changed.valid, floor=float(plan.meta["floor"]))
    drawn = int(pick(chances, uniforms(int(row["seed"]), [row["decision_id"]]))[0])
    told = [f"no {name}" for name in names] + ([] if price is None else [f"price = {price:g}"])
    return WhatIf(customer, ", ".join(told), *_drawn(row), keys[drawn], float(chances[0, drawn]))


def under(home: Home, request: Request, plan: Plan, customer: str, changes: Mapping[str, Any]) -> WhatIf:
    """The decision under other limits of contact: ``changes`` are fields of ``Limits``, such as ``{"messages_30d": 2}``.

    ``request`` is the plan's own, made again. Raises StateError when the shop's data have changed since, NotFound for an unknown
    field or customer, and InputError for a limit that contradicts itself.
    """
    known = vars(request.limits)
    for name in changes:
        if name not in known:
            raise unknown("limit of contact", name, known)
    limits = replace(request.limits, **changes)
    limits.check()
    row = plan.row(customer)
    found = _Under(home, request, plan, limits).as_then(customer)
    told = ", ".join(f"{name} = {value:g} ({known[name]:g})" for name, value in changes.items())
    return WhatIf(customer, told, *_drawn(row), str(found.row["action"]), float(found.row["propensity"]))


class _Limited(Live):
    def __init__(self, request: Request, plan: Plan, limits: Limits) -> None:
        super().__init__(request, plan)
        self._request = replace(self._request, limits=limits)


class _Under(Door):
    """The door of a plan behind which other limits hold; nothing is written."""

    def __init__(self, home: Home, request: Request, plan: Plan, limits: Limits) -> None:
        super().__init__(home, request, plan)
        self._live = _Limited(request, plan, limits)

    def as_then(self, customer: str) -> Decision:
        """With the channels that the plan knew of: what she has withdrawn since does not belong to what would have been."""
        return self.decide(customer, channels=self._people.now().channels.get(customer, []))


def _drawn(row: Mapping[str, Any]) -> tuple[str, float]:
    return str(row["action"]), float(row["propensity"])
