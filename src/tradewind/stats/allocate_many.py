"""Several limits at once, one choice per customer: budgets, stock, capacity of channels, caps; with a certificate.

Every limit gets a price, and at fixed prices every row chooses for itself. Samples give the first prices and their errors; a row whose
choice is the same everywhere in the box around them is settled, and only the others are priced again until the dual bound is least
(:mod:`tradewind.stats._prices`). What the choice at the best prices exceeds is repaired and what it leaves is used
(:mod:`tradewind.stats._repair`), so that no limit is broken. Bound less value is what any other allocation could earn more at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tradewind.errors import InputError
from tradewind.stats._limits import CHUNK, Problem
from tradewind.stats._prices import Search, descend, polish
from tradewind.stats._repair import feasible

_FEW = 2_000  # rows that give a first idea of the prices
_SAMPLE, _SAMPLES = 16_000, 4  # rows of a sample, and how many samples
_SAFE = 6.0  # the box around the samples' prices, in standard errors


@dataclass(frozen=True)
class Resource:
    """Something scarce: all choices together use at most ``limit`` of it.

    ``use`` is what a choice uses: (columns,) when it does not depend on the row, such as 1 for every column of a channel or of an offer
    with stock; (rows, columns) otherwise, such as expected cost.
    """

    name: str
    limit: float
    use: np.ndarray


@dataclass(frozen=True)
class AllocationMany:
    """``choice`` (rows): the chosen column, -1 for none. No limit is exceeded; at most ``gap`` = ``bound`` - ``value`` was missed.

    A price of inf means that nothing of a resource may be used (its limit is 0).
    """

    choice: np.ndarray
    prices: Mapping[str, float]
    used: Mapping[str, float]
    limits: Mapping[str, float]
    value: float
    bound: float
    evaluations: int
    settled: float  # share of the rows whose choice the sample's prices already decided

    @property
    def gap(self) -> float:
        return self.bound - self.value

    def certificate(self) -> str:
        """What is proved, in lines to print: value, bound, gap, and use and price of every limit."""
        head = f"value {self.value:,.6g}  bound {self.bound:,.6g}  gap {self.gap:.3g} ({self.gap / max(abs(self.bound), 1e-300):.2e} of it)"
        rows = [f"{name}: {self.used[name]:,.6g} of {limit:,.6g} at price {self.prices[name]:.6g}" for name, limit in self.limits.items()]
        return "\n".join([head, *rows])


def allocate_many(values: np.ndarray, resources: Sequence[Resource], *, tolerance: float = 5e-5) -> AllocationMany:
    """Choose at most one column per row within all limits, so that total value is (nearly) greatest.

    Parameters
    ----------
    values
        (rows, columns), float; -inf where a column is not allowed. float32 is read without a copy; sums are float64.
    resources
        At least one; each in its own unit.
    tolerance
        The search ends when the gap is within this share of the bound, or when no other prices and no move of a row close it.

    Raises
    ------
    InputError
        Shapes differ, a use is negative or not finite, a value is not a number, a limit is negative, or names repeat.

    When not to use: one budget alone (``allocate`` is exact and faster), or hundreds of limits (a few dozen are fine).

    >>> plans = [Resource("budget", 5, np.array([[1.0, 4.0], [1.0, 4.0]])), Resource("stock", 1, np.array([0.0, 1.0]))]
    >>> allocate_many(np.array([[3.0, 5.0], [2.0, 9.0]]), plans).choice
    array([0, 1], dtype=int32)
    """
    whole, kept = _problem(values, resources)
    prices, boxes, evaluations = _from_samples(whole)
    while True:
        known, choice, base = _screen(whole, prices, boxes)
        open_ = np.flatnonzero(~known)
        low, high = np.maximum(prices - boxes, 0.0), prices + boxes
        search = descend(whole.take(open_, less=base), prices, boxes, tolerance=1e-9)
        closed = False
        if not _at_edge(search.prices, low, high):
            best = _settle(whole, search, choice, open_, search.choice)
            closed = not len(kept) or search.bound - whole.worth(best) <= tolerance * abs(search.bound)
            if not closed:
                polish(search, low, high, tolerance=tolerance / 10)
                tried = [_settle(whole, search, choice, open_, each) for each in (search.choice, search.mixed())]
                best = max(best, *tried, key=whole.worth)
                closed = search.bound - whole.worth(best) <= tolerance * abs(search.bound)
        prices, evaluations = search.prices, evaluations + len(search.heights)
        if _at_edge(prices, low, high):
            boxes = boxes * 3  # the samples misled
        elif closed or np.isinf(boxes).all():
            break
        else:
            boxes = np.full(len(boxes), np.inf)  # many rows tie: look at all prices and all rows
    used, value = whole.used(best), whole.worth(best)
    return AllocationMany(
        (best - 1).astype(np.int32),
        {each.name: float("inf") if each.limit == 0 else 0.0 for each in resources} | dict(zip(kept, search.prices.tolist(), strict=True)),
        {each.name: 0.0 for each in resources} | dict(zip(kept, used.tolist(), strict=True)),
        {each.name: float(each.limit) for each in resources},
        value,
        max(search.bound, value),
        evaluations,
        float(known.mean()) if len(known) else 0.0,
    )


def _at_edge(prices: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether lower bounds may lie outside the box."""
    edge = (np.isclose(prices, low, rtol=1e-9) & (low > 0)) | np.isclose(prices, high, rtol=1e-9)
    return bool((edge & (high > low)).any())


def _settle(whole: Problem, search: Search, known: np.ndarray, open_: np.ndarray, found: np.ndarray) -> np.ndarray:
    """What the search ``found`` for the open rows beside the known ones, mended at the best prices."""
    choice = known.copy()
    choice[open_] = found
    return feasible(whole, choice, search.prices, open_)


def _from_samples(whole: Problem) -> tuple[np.ndarray, np.ndarray, int]:
    """Prices to start from, how far those of all rows may be from them, and the evaluations spent: several samples tell both."""
    count, size = len(whole.limits), min(_SAMPLE, whole.rows // 16)
    start, boxes = np.zeros(count), np.full(count, np.inf)
    if size < _FEW or not count:
        return start, boxes, 0
    search = descend(whole.sample(0, whole.rows // _FEW), start, boxes, tolerance=1e-5)
    evaluations, found, step = len(search.heights), [], whole.rows // size
    for first in range(_SAMPLES):
        part = whole.sample(first * step // _SAMPLES, step)
        search = descend(part, search.prices, boxes, tolerance=1e-9)
        evaluations += len(search.heights)
        found.append(search.prices)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(_SAMPLES)
    return np.mean(found, axis=0), _SAFE * error + 1e-6 * search.bound / part.limits, evaluations


def _screen(part: Problem, prices: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, float]]:
    """Rows that choose the same at all prices in the box, every row's choice, and what those rows use and are worth."""
    known, choice = np.zeros(part.rows, dtype=bool), np.zeros(part.rows, dtype=np.int32)
    if not np.isfinite(boxes).all():
        return known, choice, (np.zeros(len(prices)), 0.0)
    down = np.minimum(boxes, prices)  # a price is not negative
    centre, half = prices + (boxes - down) / 2, (boxes + down) / 2
    swing = np.einsum("k,kab->ab", half, np.abs(part.fixed[:, :, None] - part.fixed[:, None, :]))
    for start in range(0, part.rows, CHUNK):
        some = slice(start, start + CHUNK)
        score = part.scores(some, centre)
        at = score.argmax(axis=1)
        line = np.arange(len(at))
        reach = score[line, at][:, None] - score - swing[at]
        for k in part.dense:
            use = part.use(k, some)
            reach -= half[k] * np.abs(use[line, at][:, None] - use)
        reach[line, at] = 1.0
        known[some], choice[some] = reach.min(axis=1) > 0, at
    sure = np.where(known, choice, 0)
    return known, choice, (part.used(sure), part.worth(sure))


def _problem(values: np.ndarray, resources: Sequence[Resource]) -> tuple[Problem, list[str]]:
    """The checked problem over the limits that need a price, and their names."""
    values = np.asarray(values)
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    names = [each.name for each in resources]
    if not names or len(set(names)) < len(names):
        raise InputError(f"allocate_many: give at least one resource, each with a name of its own; got {names}.")
    if values.ndim != 2 or (values.size and not values.max() < np.inf):
        raise InputError(f"allocate_many: values must be numbers of shape (rows, columns), -inf where not allowed; got {values.shape}.")
    kept = []
    for each in resources:
        use = np.asarray(each.use)
        if use.shape not in (values.shape, values.shape[1:]):
            raise InputError(f'allocate_many: "{each.name}" uses {use.shape}; it must be {values.shape[1:]} or {values.shape}.')
        if use.size and not (use.min() >= 0 and use.max() < np.inf):
            raise InputError(f'allocate_many: what "{each.name}" uses must be finite and not negative.')
        if not each.limit >= 0:
            raise InputError(f'allocate_many: the limit of "{each.name}" must be 0 or more; got {each.limit}.')
        if each.limit == 0:
            values = np.where(use > 0, np.array(-np.inf, dtype=values.dtype), values)
        elif np.isfinite(each.limit):
            kept.append(replace(each, use=use))
    fixed = np.zeros((len(kept), values.shape[1] + 1))
    for k, each in enumerate(kept):
        if each.use.ndim == 1:
            fixed[k, 1:] = each.use
    dense = {k: each.use for k, each in enumerate(kept) if each.use.ndim == 2}
    limits = np.array([float(each.limit) for each in kept])
    return Problem(values, fixed, dense, limits, limits), [each.name for each in kept]
