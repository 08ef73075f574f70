"""One budget, one choice per customer: the Lagrangian dual by bisection, with a certificate.

Maximise the total value of one choice per row (or none) such that the total cost stays within the budget. At a fixed
price of cost every row chooses for itself, so the dual has one variable, found by bisection. The dual bound minus the
value reached bounds what any other allocation could earn more, fractional ones included.
Source: Everett 1963, Generalized Lagrange multiplier method; Sinha and Zoltners 1979, The multiple-choice knapsack problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tradewind.errors import InputError

_CHUNK = 16_384  # rows at once: the scores stay in the processor's cache
_SAMPLE = 10_000  # rows that give a first idea of the price
PASSES = 60


@dataclass(frozen=True)
class Allocation:
    """``choice`` (rows): the chosen column, -1 for none. ``gap`` = ``bound`` - ``value`` >= 0: at most this was missed."""

    choice: np.ndarray
    price: float
    value: float
    spend: float
    bound: float
    passes: int

    @property
    def gap(self) -> float:
        return self.bound - self.value


def allocate(values: np.ndarray, costs: np.ndarray, *, budget: float, tolerance: float = 1e-7) -> Allocation:
    """Choose at most one column per row so that total cost <= ``budget`` and total value is (nearly) greatest.

    Parameters
    ----------
    values
        (rows, columns), float; -inf where a column is not allowed.
    costs
        (rows, columns), float >= 0, in the unit of ``budget``.
    tolerance
        Bisection ends when the spend is within this share of the budget, or the price is settled to this share.

    Raises
    ------
    InputError
        Shapes differ, a cost is negative or not finite, a value is not a number, or the budget is negative.

    When not to use: several budgets at once (the dual then has several variables).

    >>> allocate(np.array([[3.0, 5.0], [2.0, 9.0]]), np.array([[1.0, 4.0], [1.0, 4.0]]), budget=5.0).value
    12.0
    """
    values, costs = np.asarray(values, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    _check(values, costs, budget)
    cheap, used = _choose(values, costs, 0.0)
    passes = 1
    if used[1] <= budget:
        return Allocation(cheap, 0.0, used[0], used[1], used[0], passes)
    low, high, most = 0.0, _highest(values, costs), used[1]
    best, (value, spend) = _choose(values, costs, high)
    bound = high * budget + value - high * spend
    tries = _guesses(values, costs, budget, high)
    while passes < PASSES and budget - spend > tolerance * budget and high - low > tolerance * high:
        # Spend is nearly linear in the price when rows are many; every third pass halves, so that the end is certain.
        share = 0.5 if passes % 3 == 0 else float(np.clip((most - budget) / (most - spend), 0.02, 0.98))
        price = tries.pop() if tries and low < tries[-1] < high else low + share * (high - low)
        choice, (worth, used_now) = _choose(values, costs, price)
        passes += 1
        bound = min(bound, price * budget + worth - price * used_now)
        if used_now <= budget:
            high, best, value, spend = price, choice, worth, used_now
        else:
            low, cheap, most = price, choice, used_now
    best, value, spend = _fill(values, costs, best, cheap, high, budget - spend, value, spend)
    return Allocation(best, high, value, spend, max(bound, value), passes)


def bisect(spend: Callable[[float], float], *, target: float, low: float, high: float, passes: int = 24) -> float:
    """The smallest price found whose ``spend`` (falling in the price) is at most ``target``; ``high`` when none is.

    The search is on a logarithmic scale, so that ``low`` must be positive.
    """
    if spend(low) <= target:
        return low
    for _ in range(passes):
        middle = float(np.sqrt(low * high))
        if spend(middle) <= target:
            high = middle
        else:
            low = middle
        if high / low < 1 + 1e-6:
            break
    return high


def _check(values: np.ndarray, costs: np.ndarray, budget: float) -> None:
    if values.ndim != 2 or values.shape != costs.shape:
        raise InputError(f"allocate: values and costs must have one shape (rows, columns); got {values.shape} and {costs.shape}.")
    if np.isnan(values).any() or np.isposinf(values).any():
        raise InputError("allocate: a value is not a number. Use -inf for a column that is not allowed.")
    if not np.isfinite(costs).all() or (costs < 0).any():
        raise InputError("allocate: costs must be finite and not negative.")
    if not budget >= 0:
        raise InputError(f"allocate: the budget must be 0 or more; got {budget}.")


def _highest(values: np.ndarray, costs: np.ndarray) -> float:
    """A price at which nothing that costs is worth its cost."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((costs > 0) & (values > 0), values / costs, 0.0)
    return float(ratio.max(initial=0.0)) * (1 + 1e-9) + 1e-12


def _guesses(values: np.ndarray, costs: np.ndarray, budget: float, high: float) -> list[float]:
    """Prices around the one that a sample of the rows would have; none for few rows."""
    step = len(values) // _SAMPLE
    if step < 2:
        return []
    part = slice(0, None, step)
    price = allocate(values[part], costs[part], budget=budget * len(values[part]) / len(values)).price
    return [one for one in (price * 0.98, price * 1.02) if 0 < one < high]


def _choose(values: np.ndarray, costs: np.ndarray, price: float) -> tuple[np.ndarray, tuple[float, float]]:
    """The best column per row at ``price`` (none unless positive; the cheaper on a tie), total value and total cost."""
    choice = np.empty(len(values), dtype=np.int32)
    value = spend = 0.0
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        score = values[part] - price * costs[part]
        at = np.argmax(score, axis=1) if values.shape[1] else np.zeros(len(score), dtype=np.int64)
        rows = np.arange(len(at))
        good = score[rows, at] > 0 if values.shape[1] else np.zeros(len(at), dtype=bool)
        choice[part] = np.where(good, at, -1)
        value += float(values[part][rows[good], at[good]].sum())
        spend += float(costs[part][rows[good], at[good]].sum())
    return choice, (value, spend)


def _fill(
    values: np.ndarray, costs: np.ndarray, best: np.ndarray, dear: np.ndarray, price: float, left: float, value: float, spend: float
) -> tuple[np.ndarray, float, float]:
    """Spend what is left on rows that would choose dearer a little below the price, best value per cost first."""
    rows = np.flatnonzero(best != dear)
    old, new = best[rows], dear[rows]
    gain = np.where(new >= 0, values[rows, new], 0.0) - np.where(old >= 0, values[rows, old], 0.0)
    more = np.where(new >= 0, costs[rows, new], 0.0) - np.where(old >= 0, costs[rows, old], 0.0)
    filled = best.copy()
    order = np.lexsort((rows, -(gain - price * more), -gain / np.maximum(more, 1e-300)))
    for at in order[(gain[order] > 0) & (more[order] <= left)]:
        if more[at] <= left:
            left -= more[at]
            filled[rows[at]] = new[at]
            value, spend = value + float(gain[at]), spend + float(more[at])
    return filled, value, spend
