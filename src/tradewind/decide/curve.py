"""What a plan would cost and earn at other budgets, with an interval.

At every budget the request is decided anew, price, reach and scarce stock included; what is reported is an expectation over its
logged propensities, so that no luck of one draw is in it. The interval is the posterior's: the expected value of a policy is a
weighted sum of the model's effects, normal with variance ``w' S w``, where S is their posterior covariance and w the sum over
candidates of propensity times attributes times features. It holds what the model does not know about effects, correlated between
customers as it says; not the uncertainty of costs, and not chance in who buys. Before any data it has the width of the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tradewind.decide.assemble import logged_choices
from tradewind.decide.features import NUMERIC, PREFIX, action_rows, plan_matrix
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Request, decide
from tradewind.decide.scene import scene
from tradewind.decide.value import Scorer
from tradewind.errors import InputError
from tradewind.params import Number, check

LEVEL, Z = 0.9, 1.6448536269514722


@dataclass(frozen=True)
class Point:
    """One budget; expectations over treated customers, minor units. ``low`` and ``high`` bound ``profit``."""

    budget: int
    price: float
    treated: float
    cost: float
    value: float
    profit: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Budgets in rising order. Prints as a table."""

    points: tuple[Point, ...]
    currency: str
    level: float = LEVEL

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per budget; JSON values."""
        return [asdict(point) for point in self.points]

    def __str__(self) -> str:
        from tradewind.types import NO_MINOR

        unit = 1 if self.currency in NO_MINOR else 100
        between, money = f"{self.level:.0%} interval", f"   ({self.currency})"
        lines = [f"{'budget':>14} {'cost':>12} {'profit':>12} {between:>27} {'treated':>10} {'price':>8}{money}"]
        lines += [
            f"{one.budget / unit:>14,.2f} {one.cost / unit:>12,.2f} {one.profit / unit:>12,.2f} "
            f"{f'{one.low / unit:,.2f} .. {one.high / unit:,.2f}':>27} {one.treated:>10,.1f} {one.price:>8.3f}"
            for one in self.points
        ]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the picture as PNG.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        from matplotlib.figure import Figure

        from tradewind.types import NO_MINOR

        unit = 1 if self.currency in NO_MINOR else 100
        budget, profit, low, high, cost = (
            [getattr(one, name) / unit for one in self.points] for name in ("budget", "profit", "low", "high", "cost")
        )
        figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
        axis = figure.add_subplot()
        axis.fill_between(budget, low, high, alpha=0.2, label=f"{self.level:.0%} interval of the model")
        axis.plot(budget, profit, marker="o", label="expected incremental profit")
        axis.plot(budget, cost, marker=".", linestyle="--", label="expected cost")
        axis.axhline(0.0, color="black", linewidth=0.8)
        axis.set(xlabel=f"budget ({self.currency})", ylabel=self.currency, title="What the plan would earn at other budgets")
        axis.legend(loc="best", frameon=False)
        try:
            figure.savefig(path, format="png")
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}. Give a file in a folder that exists.") from error


def curve(request: Request, budgets: Sequence[int]) -> Curve:
    """Decide ``request`` at each of ``budgets`` (whole minor units) and say what to expect.

    Raises
    ------
    InputError
        There is no budget, or one that is no whole number from 0.
    """
    if not budgets:
        raise InputError("curve: give at least one budget, in whole minor units.")
    names = {f"budget {number}": value for number, value in enumerate(budgets, 1)}
    check("curve", names, {name: Number(0, 10**15, whole=True) for name in names})
    scorer = scene(request).shelf.scorer
    points = [_point(decide(replace(request, budget=budget)), scorer) for budget in sorted(set(budgets))]
    return Curve(tuple(points), request.currency)


def _point(plan: Plan, scorer: Scorer) -> Point:
    """Expectations of one plan over its propensities."""
    assert plan.features is not None
    treat = np.array(plan.table["variant"].to_pylist(), dtype=object) == "treat"
    valid = logged_choices(plan)[0].valid
    ours = treat[np.nonzero(valid)[0]]  # of the candidates, in the order of the log
    chance, value, cost = (_logged(plan, name, valid)[ours] for name in ("propensities", "values", "costs"))
    kinds = {name: str(one["kind"]) for name, one in plan.meta["offers"].items()}
    keys = [key for keys, wanted in zip(plan.table["candidates"].to_pylist(), treat, strict=True) if wanted for key in keys[1:]]
    attributes = action_rows(keys, scorer.names, kinds)
    for column in NUMERIC:
        every = plan.features[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        attributes[:, scorer.names.index(column)] = every[ours]
    columns = [name.removeprefix(PREFIX) for name in plan.features.column_names if name.startswith(PREFIX)]
    z = scorer.features(plan_matrix(plan.features, columns))
    weights = (attributes * chance[:, None]).T @ z[np.nonzero(valid)[0][ours]]
    mean, spent, width = float(chance @ value), float(chance @ cost), Z * scorer.spread(weights)
    return Point(
        budget=int(plan.meta["budget"]),
        price=float(plan.meta["price"]),
        treated=float(chance.sum()),
        cost=spent,
        value=mean,
        profit=mean - spent,
        low=mean - spent - width,
        high=mean - spent + width,
    )


def _logged(plan: Plan, name: str, valid: np.ndarray) -> np.ndarray:
    """A logged list of all customers without "nothing", flat."""
    full = np.concatenate([np.zeros((len(valid), 1), dtype=bool), valid], axis=1)
    every = np.concatenate([np.ones((len(valid), 1), dtype=bool), valid], axis=1)
    return np.asarray(plan.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)[full[every]])
