"""The whole curve of gain against budget, for several arms of different cost: the multi-armed Qini.

Each customer's arms are points (cost, predicted effect). Whatever the price of money, only arms on the upper convex hull from the
origin are ever chosen, and a customer moves along the hull while the money lasts. All steps of all customers, sorted by effect
per cost, are the optimal allocation for every budget at once; at most one customer stands within a step.
The path is laid by predictions; what it earns is read from scores of a trial that the predictions have not seen.
Source: E. Sverdrup, H. Wu, S. Athey, S. Wager, "Qini curves for multi-armed treatment rules", 2024 (arXiv 2306.11979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats.allocate import cost_curve

Values = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Path:
    """Steps in the order in which money is spent: ``row`` moves from ``before`` to ``after`` (columns; -1 is nothing).

    ``cost`` and ``value`` are what each step adds, float64 [steps]; ``rows`` and ``arms`` are the shape of the problem.
    """

    row: Whole
    before: Whole
    after: Whole
    cost: Values
    value: Values
    rows: int
    arms: int

    def policy(self, budget: float) -> Values:
        """Probabilities [rows, arms + 1] (column 0 is nothing) that spend ``budget`` per row, or all that is worth spending."""
        spend = np.cumsum(self.cost)
        whole = int(np.searchsorted(spend, _limit(budget, self.rows), side="right"))
        at = np.zeros(self.rows, dtype=np.int64)
        at[self.row[:whole]] = self.after[:whole] + 1  # later steps of a row overwrite earlier ones
        found = np.zeros((self.rows, self.arms + 1))
        found[np.arange(self.rows), at] = 1.0
        if whole < len(self.row):
            left = max(budget, 0.0) * self.rows - (spend[whole - 1] if whole else 0.0)
            share = max(left, 0.0) / self.cost[whole]
            found[self.row[whole], [self.before[whole] + 1, self.after[whole] + 1]] = 1 - share, share
        return found

    def predicted(self, budget: float) -> float:
        """Predicted total effect per row at ``budget`` per row."""
        return float(self.gains(np.ones(self.rows), self.value, [budget])[0])

    def gains(self, weight: Values, step_value: Values, budgets: Sequence[float]) -> Values:
        """Mean gain at each budget (per row) when row i counts ``weight[i]`` times and each step brings ``step_value``."""
        count = weight[self.row]
        spend = np.concatenate(([0.0], np.cumsum(count * self.cost)))
        earned = np.concatenate(([0.0], np.cumsum(count * step_value)))
        total = float(weight.sum())
        whole = np.searchsorted(spend, [_limit(budget, total) for budget in budgets], side="right") - 1
        following = np.minimum(whole + 1, len(spend) - 1)
        left, width = np.maximum(budgets, 0.0) * total - spend[whole], spend[following] - spend[whole]
        share = np.divide(np.maximum(left, 0.0), width, out=np.zeros(len(whole)), where=width > 0)
        found: Values = (earned[whole] + np.minimum(share, 1.0) * (earned[following] - earned[whole])) / total
        return found


def path(effects: Values, costs: Values) -> Path:
    """The optimal path of ``effects`` [n, arms] (over nothing) and ``costs`` [n, arms] >= 0, both float.

    -inf marks an arm that is not allowed. Arms without cost come first. Equal effect per cost is spent in the order of the rows,
    so shuffle rows whose order means something. The steps are those of :func:`tradewind.stats.allocate.cost_curve`.

    Raises
    ------
    InputError
        Shapes differ, a cost is negative or not finite, or an effect is not a number.

    >>> path(np.array([[3.0, 5.0], [2.0, 9.0]]), np.array([[1.0, 4.0], [1.0, 4.0]])).predicted(2.5)
    6.0
    """
    effects, costs = np.asarray(effects, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    _check(effects, costs)
    found = cost_curve(effects, costs)
    free = np.flatnonzero(found.start >= 0)
    row, after = np.concatenate([free, found.row]), np.concatenate([found.start[free], found.column]).astype(np.int64)
    order = np.lexsort((np.arange(len(row)), row, np.concatenate([np.full(len(free), -np.inf), -found.price])))
    row, after = row[order], after[order]
    by_row = np.argsort(row, kind="stable")
    follows = row[by_row][1:] == row[by_row][:-1]
    before = np.full(len(row), -1)
    before[by_row[1:][follows]] = after[by_row[:-1][follows]]

    def added(table: Values) -> Values:
        return np.asarray(table[row, after] - np.where(before >= 0, table[row, before], 0.0))

    return Path(row, before, after, added(costs), added(effects), *effects.shape)


def curve(way: Path, scored: Values, budgets: Sequence[float], *, draws: int = 200, seed: int = 0) -> tuple[Values, Values]:
    """Gain over nothing per customer that the path earns by ``scored`` [n, arms + 1], at each budget per customer.

    Returns the estimates [budgets] and ``draws`` bootstrap replications [draws, budgets], customers resampled and the money
    spent anew in each. The same ``seed`` gives the same customers, so that replications of two paths (or of
    :func:`untargeted`) on one trial may be subtracted: the paired difference at equal spend.
    """
    step = scored[way.row, way.after + 1] - scored[way.row, way.before + 1]
    rng = np.random.default_rng(seed)
    counts = (rng.multinomial(way.rows, np.full(way.rows, 1 / way.rows)).astype(np.float64) for _ in range(draws))
    return way.gains(np.ones(way.rows), step, budgets), np.array([way.gains(each, step, budgets) for each in counts])


def untargeted(
    effects: Values, costs: Values, scored: Values, budgets: Sequence[float], *, draws: int = 200, seed: int = 0
) -> tuple[Values, Values]:
    """As :func:`curve`, for the best spending that treats every customer alike.

    ``effects`` and ``costs`` [arms] are the means by which the arms are chosen; the best mix is the path of one average customer.
    """
    way = path(effects[None, :], costs[None, :])
    mixes = np.concatenate([way.policy(budget) for budget in budgets])  # [budgets, arms + 1]
    over = scored - scored[:, :1]
    rng = np.random.default_rng(seed)
    counts = (rng.multinomial(len(over), np.full(len(over), 1 / len(over))) for _ in range(draws))
    return over.mean(axis=0) @ mixes.T, np.array([(each @ over) / len(over) @ mixes.T for each in counts])


def _limit(budget: float, total: float) -> float:
    """Steps that end here are whole, sums being rounded."""
    return max(float(budget), 0.0) * total * (1 + 1e-12)


def _check(effects: Values, costs: Values) -> None:
    if effects.ndim != 2 or effects.shape != costs.shape:
        raise InputError(f"path: effects and costs must have one shape (rows, arms); got {effects.shape} and {costs.shape}.")
    if np.isnan(effects).any() or np.isposinf(effects).any():
        raise InputError("path: an effect is not a number. Use -inf for an arm that is not allowed.")
    if not np.isfinite(costs).all() or (costs < 0).any():
        raise InputError("path: costs must be finite and not negative.")
