"""One budget, one choice per customer: the Lagrangian dual, solved exactly, with a certificate.

Maximise the total value of one choice per row (or none) such that the total cost stays within the budget. At a fixed
price of cost every row chooses for itself. Two prices around the right one come from a sample; a row that chooses the same
at both does so in between, too, because the best score is convex in the price. Only the others, a few per cent, walk along their
concave hull from one price to the other, and one sort of their steps gives the price, the choice and the bound.
Source: Everett 1963, Generalized Lagrange multiplier method; Sinha and Zoltners 1979, The multiple-choice knapsack problem;
the path over all budgets as in Sverdrup, Wu, Athey and Wager 2023, Qini curves for multi-armed treatment rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tradewind.errors import InputError

_CHUNK = 4_096  # rows at once: the scores stay in the processor's cache
_SAMPLE = 50_000  # rows that give a first idea of the price; up to twice as many are solved without one
_SAFE = 4.0  # standard errors of the sample's spend within which the price is looked for first
_PASSES = 24  # then the rows that are left walk, however many


@dataclass(frozen=True)
class Allocation:
    """``choice`` (rows): the chosen column, -1 for none. ``gap`` = ``bound`` - ``value`` >= 0: at most this was missed.

    ``passes`` counts how often all rows were priced.
    """

    choice: np.ndarray
    price: float
    value: float
    spend: float
    bound: float
    passes: int

    @property
    def gap(self) -> float:
        return self.bound - self.value


@dataclass(frozen=True)
class CostCurve:
    """Value against budget, for all budgets: the steps that rows take as the price falls, dearest price first.

    Step ``i`` moves ``row[i]`` to ``column[i]`` once the price is below ``price[i]``; ``spend[i]`` and ``value[i]`` are the totals after
    it. ``start`` (rows) is the choice when nothing may be spent, and ``free`` is its value.
    """

    start: np.ndarray
    free: float
    price: np.ndarray
    spend: np.ndarray
    value: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def at(self, budget: float) -> float:
        """The greatest value of any allocation within ``budget``, one row being split if need be."""
        return float(np.interp(budget, np.append(0.0, self.spend), np.append(self.free, self.value)))

    def choice(self, budget: float) -> np.ndarray:
        """The column of every row within ``budget``, -1 for none: the steps that fit, in order."""
        return _stepped(self.start, self.row, self.column, int(np.searchsorted(self.spend, budget, side="right")))


@dataclass(frozen=True)
class SampledPrice:
    """The price that a sample suggests, and the range in which the price of all customers is expected."""

    price: float
    low: float
    high: float


@dataclass(frozen=True)
class _Priced:
    """What all rows choose at one price."""

    price: float
    choice: np.ndarray
    value: float
    spend: float


@dataclass(frozen=True)
class _Steps:
    """Moves along the rows' hulls, dearest first; the moves of one row are in their order."""

    row: np.ndarray
    column: np.ndarray
    price: np.ndarray  # value per cost of the move
    cost: np.ndarray
    value: np.ndarray


def allocate(values: np.ndarray, costs: np.ndarray, *, budget: float) -> Allocation:
    """Choose at most one column per row so that total cost <= ``budget`` and total value is (nearly) greatest.

    Parameters
    ----------
    values
        (rows, columns), float; -inf where a column is not allowed. float32 is read as it is, without a copy; sums are float64.
    costs
        (rows, columns), float >= 0, in the unit of ``budget``.

    Raises
    ------
    InputError
        Shapes differ, a cost is negative or not finite, a value is not a number, or the budget is negative.

    When not to use: several budgets at once (``allocate_many``).

    >>> allocate(np.array([[3.0, 5.0], [2.0, 9.0]]), np.array([[1.0, 4.0], [1.0, 4.0]]), budget=5.0).value
    12.0
    """
    values, costs = _floats(values), _floats(costs)
    _check(values, costs)
    _check_budget(budget)
    dear, cheap, passes = _ends(values, costs, budget)
    if dear.spend <= budget:
        return Allocation(dear.choice.astype(np.int32), dear.price, dear.value, dear.spend, dear.value, passes)
    active = np.flatnonzero(dear.choice != cheap.choice)
    steps = _walk(values, costs, cheap.choice, active, low=dear.price)
    total = np.cumsum(steps.cost)
    fits = int(np.searchsorted(total, budget - cheap.spend, side="right"))
    price = float(steps.price[fits]) if fits < len(total) else dear.price
    value = cheap.value + float(steps.value[:fits].sum())
    left = budget - cheap.spend - (float(total[fits - 1]) if fits else 0.0)
    taken = np.append(np.arange(fits), _fill(steps, fits, left)).astype(np.int64)
    return Allocation(
        _stepped(cheap.choice, steps.row[taken], steps.column[taken], len(taken)),
        price,
        cheap.value + float(steps.value[taken].sum()),
        cheap.spend + float(steps.cost[taken].sum()),
        value + price * left,
        passes,
    )


def cost_curve(values: np.ndarray, costs: np.ndarray) -> CostCurve:
    """The best value for every budget at once: all rows walk along their hulls, and one sort orders the steps.

    Arguments and errors as in :func:`allocate`. Needs some 30 bytes per step, and a row has up to as many steps as columns.
    When not to use: for one budget, ``allocate`` is faster and leaner.

    >>> cost_curve(np.array([[3.0, 5.0], [2.0, 9.0]]), np.array([[1.0, 4.0], [1.0, 4.0]])).at(5.0)
    12.0
    """
    values, costs = _floats(values), _floats(costs)
    _check(values, costs)
    start = _choose(values, costs, _highest(values, costs))
    steps = _walk(values, costs, start.choice, np.arange(len(values)), low=0.0)
    spend, value = np.cumsum(steps.cost), start.value + np.cumsum(steps.value)
    return CostCurve(start.choice.astype(np.int32), start.value, steps.price, spend, value, steps.row, steps.column)


def price_from_sample(values: np.ndarray, costs: np.ndarray, *, budget: float, rows: int, z: float = 1.96) -> SampledPrice:
    """The price of cost for ``rows`` customers and their ``budget``, from a random sample of them.

    ``low`` and ``high`` are the prices at which the sample spends ``z`` standard errors more or less than its part of the
    budget; ``low`` is 0 when the budget may suffice for all. What the sample got wrong, pacing corrects. Arguments and errors as in
    :func:`allocate`.
    """
    values, costs = _floats(values), _floats(costs)
    _check(values, costs)
    _check_budget(budget)
    if not 0 < len(values) <= rows:
        raise InputError(
            f"price_from_sample: the sample has {len(values)} rows of {rows}; it must have at least one, and no more than all."
        )
    curve = cost_curve(values, costs)
    target = budget * len(values) / rows
    chosen = curve.choice(target)
    each = np.where(chosen >= 0, costs[np.arange(len(costs)), chosen], 0.0) if costs.shape[1] else np.zeros(len(costs))
    error = z * float(each.std()) * np.sqrt(len(each)) * np.sqrt(1 - len(each) / rows)
    highest = _highest(values, costs)

    def price(spent: float) -> float:
        at = int(np.searchsorted(curve.spend, spent, side="right"))
        return highest if spent < 0 else float(curve.price[at]) if at < len(curve.price) else 0.0

    return SampledPrice(price(target), price(target + error), price(target - error))


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


def _floats(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _check_budget(budget: float) -> None:
    if not budget >= 0:
        raise InputError(f"allocate: the budget must be 0 or more; got {budget}.")


def _check(values: np.ndarray, costs: np.ndarray) -> None:
    if values.ndim != 2 or values.shape != costs.shape:
        raise InputError(f"allocate: values and costs must have one shape (rows, columns); got {values.shape} and {costs.shape}.")
    if not values.size:
        return
    if not values.max() < np.inf:  # not a number, when one of them is not
        raise InputError("allocate: a value is not a number. Use -inf for a column that is not allowed.")
    if not (costs.min() >= 0 and costs.max() < np.inf):
        raise InputError("allocate: costs must be finite and not negative.")


def _highest(values: np.ndarray, costs: np.ndarray) -> float:
    """A price at which nothing that costs is worth its cost."""
    best = 0.0
    for start in range(0, len(values), _CHUNK):
        value, cost = values[start : start + _CHUNK], costs[start : start + _CHUNK]
        with np.errstate(over="ignore"):
            ratio = np.divide(value, cost, out=np.zeros(value.shape), where=(cost > 0) & (value > 0), dtype=np.float64)
        best = max(best, float(ratio.max(initial=0.0)))
    return float(min(best * (1 + 1e-9) + 1e-12, np.finfo(np.float64).max))


def _choose(values: np.ndarray, costs: np.ndarray, price: float) -> _Priced:
    """The best column per row at ``price``, none unless its score is positive."""
    rows, columns = values.shape
    choice = np.full(rows, -1, dtype=np.int8 if columns < 128 else np.int32)
    value = spend = 0.0
    for start in range(0, rows if columns else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        with np.errstate(over="ignore"):
            score = np.multiply(costs[part], -price, dtype=np.float64)
        score += values[part]
        at = score.argmax(axis=1)
        some = np.flatnonzero(score[np.arange(len(at)), at] > 0)
        at = at[some]
        choice[start + some] = at
        value += float(values[part][some, at].sum(dtype=np.float64))
        spend += float(costs[part][some, at].sum(dtype=np.float64))
    return _Priced(price, choice, value, spend)


def _ends(values: np.ndarray, costs: np.ndarray, budget: float) -> tuple[_Priced, _Priced, int]:
    """Two prices between which few rows change: at the lower one the budget is exceeded unless that is 0, at the upper one kept."""
    step = len(values) // _SAMPLE
    highest = _highest(values, costs)
    low, high = 0.0, highest
    if step >= 2:
        guess = price_from_sample(values[::step], costs[::step], budget=budget, rows=len(values), z=_SAFE)
        low, high = guess.low, min(guess.high, highest)
    cheap, passes, factor = _choose(values, costs, high), 1, 2.0
    while cheap.spend > budget and high < highest:  # the sample misled
        low, high = high, min(high * factor + 1e-300, highest)
        cheap, passes, factor = _choose(values, costs, high), passes + 1, factor * factor
    dear, passes, factor = _choose(values, costs, low), passes + 1, 0.5
    while dear.spend <= budget and low > 0:
        cheap, low = dear, low * factor if factor > 1e-9 else 0.0
        dear, passes, factor = _choose(values, costs, low), passes + 1, factor * factor
    few = max(2 * _SAMPLE, len(values) // 8)
    while dear.spend > budget and np.count_nonzero(dear.choice != cheap.choice) > few and passes < _PASSES:
        middle = _choose(values, costs, (dear.price + cheap.price) / 2)
        passes += 1
        dear, cheap = (dear, middle) if middle.spend <= budget else (middle, cheap)
    return dear, cheap, passes


def _walk(values: np.ndarray, costs: np.ndarray, start: np.ndarray, rows: np.ndarray, *, low: float) -> _Steps:
    """The steps of ``rows`` from their ``start`` down to the price ``low``, in order of price."""
    found: list[tuple[np.ndarray, ...]] = []
    for at in range(0, len(rows) if values.shape[1] else 0, _CHUNK):
        some = rows[at : at + _CHUNK]
        value, cost = values[some].astype(np.float64), costs[some].astype(np.float64)
        here, line = start[some].astype(np.int64), np.arange(len(some))
        worth, paid = (np.where(here >= 0, array[line, here], 0.0) for array in (value, cost))
        last = np.full(len(some), np.inf)
        while len(some):
            gain, more = value - worth[:, None], cost - paid[:, None]
            with np.errstate(over="ignore"):
                ratio = np.divide(gain, more, out=np.zeros(gain.shape), where=(more > 0) & (gain > 0))
            to = ratio.argmax(axis=1)
            line = np.arange(len(some))
            best = ratio[line, to]
            on = np.flatnonzero((best >= low) & (best > 0))
            some, value, cost, to, line = some[on], value[on], cost[on], to[on], line[on]
            last = np.minimum(best[on], last[on])
            found.append((some, to.astype(start.dtype), last, more[line, to], gain[line, to]))
            worth, paid = value[np.arange(len(on)), to], cost[np.arange(len(on)), to]
    if not found:
        none = np.zeros(0)
        return _Steps(none.astype(np.int64), none.astype(start.dtype), none, none, none)
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    order = np.argsort(-columns[2], kind="stable")
    return _Steps(*(column[order] for column in columns))


def _fill(steps: _Steps, first: int, left: float) -> list[int]:
    """The steps from ``first`` on that still fit, dearest first; a row that missed a step takes no later one."""
    taken, blocked = [], set()
    if left < steps.cost[first:].min(initial=np.inf):
        return []
    for at, row, cost in zip(range(first, len(steps.row)), steps.row[first:].tolist(), steps.cost[first:].tolist(), strict=True):
        if cost <= left and row not in blocked:
            left -= cost
            taken.append(at)
        else:
            blocked.add(row)
    return taken


def _stepped(start: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: int) -> np.ndarray:
    """``start`` after the first ``count`` steps; of several steps of one row the last one counts."""
    choice = start.astype(np.int32)
    choice[rows[:count]] = columns[:count]
    return choice
