"""Several limits at once, one choice per customer: budgets, stock, capacity of channels, caps; with a certificate.

Every limit gets a price. The dual function of the prices is convex and made of planes: each pricing of the rows gives its value and one
plane, a small linear program over the planes proposes the next prices, and a box around the best ones keeps it steady (Kelley 1960, The
cutting-plane method; Marsten, Hogan and Blankenship 1975, The boxstep method). A sample gives the first prices; then a row
whose choice is the same everywhere in the box around them is settled, and only the others are priced again. What the choice at the best
prices exceeds is repaired (:mod:`tradewind.stats._repair`), so that no limit is broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tradewind.errors import InputError
from tradewind.stats._repair import Problem, fill, repair

_FEW = 2_000  # rows that give a first idea of the prices
_SAMPLE, _SAMPLES = 16_000, 4  # rows of a sample, and how many samples
_SAFE = 4.0  # the box around the samples' prices, in standard errors
_ROUNDS = 400
_NEAR = 30_000  # rows that are looked at for repair and for what is left
_CHUNK = 2_048


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


def allocate_many(values: np.ndarray, resources: Sequence[Resource], *, tolerance: float = 1e-6) -> AllocationMany:
    """Choose at most one column per row within all limits, so that total value is (nearly) greatest.

    Parameters
    ----------
    values
        (rows, columns), float; -inf where a column is not allowed. float32 is read without a copy; sums are float64.
    resources
        At least one; each in its own unit.
    tolerance
        The search for prices ends when no prices can lower the bound by more than this share of it.

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
        search = _minimise(whole.take(~known, less=base), prices, boxes, tolerance)
        prices, evaluations = search.prices, evaluations + search.evaluations
        if not search.at_edge:
            break
        boxes = boxes * 4
    open_ = np.flatnonzero(~known)
    choice[open_] = search.choice
    choice = _feasible(whole, choice, prices, open_)
    used, value = whole.used(choice), whole.worth(choice)
    return AllocationMany(
        (choice - 1).astype(np.int32),
        {each.name: float("inf") if each.limit == 0 else 0.0 for each in resources} | dict(zip(kept, prices.tolist(), strict=True)),
        {each.name: 0.0 for each in resources} | dict(zip(kept, used.tolist(), strict=True)),
        {each.name: float(each.limit) for each in resources},
        value,
        max(search.bound, value),
        evaluations,
        float(known.mean()) if len(known) else 0.0,
    )


@dataclass(frozen=True)
class _Search:
    prices: np.ndarray
    bound: float
    choice: np.ndarray
    at_edge: bool  # lower prices may lie outside the box
    evaluations: int


def _from_samples(whole: Problem) -> tuple[np.ndarray, np.ndarray, int]:
    """Prices to start from, how far those of all rows may be from them, and the evaluations spent: several samples tell both."""
    count, size = len(whole.limits), min(_SAMPLE, whole.rows // 16)
    start, boxes = np.zeros(count), np.full(count, np.inf)
    if size < _FEW or not count:
        return start, boxes, 0
    step = whole.rows // size
    few = whole.sample(0, whole.rows // _FEW)
    search = _minimise(few, start, boxes, 1e-4)
    start, spread, evaluations, found = search.prices, 0.1 * search.prices + 1e-3 * search.bound / few.limits, search.evaluations, []
    for first in range(_SAMPLES):
        part = whole.sample(first * step // _SAMPLES, step)
        search = _minimise(part, start, boxes, 1e-5, spread)
        evaluations += search.evaluations
        found.append(search.prices)
        start, unit = search.prices, search.bound / part.limits
        spread = 0.02 * start + 1e-4 * unit
    error = np.std(found, axis=0, ddof=1) / np.sqrt(_SAMPLES)
    return np.mean(found, axis=0), _SAFE * error + 1e-6 * unit, evaluations


def _screen(part: Problem, prices: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, float]]:
    """Rows that choose the same at all prices in the box, every row's choice, and what those rows use and are worth."""
    known, choice = np.zeros(part.rows, dtype=bool), np.zeros(part.rows, dtype=np.int32)
    if not np.isfinite(boxes).all():
        return known, choice, (np.zeros(len(prices)), 0.0)
    down = np.minimum(boxes, prices)  # a price is not negative
    centre, half = prices + (boxes - down) / 2, (boxes + down) / 2
    swing = np.einsum("k,kab->ab", half, np.abs(part.fixed[:, :, None] - part.fixed[:, None, :]))
    for start in range(0, part.rows, _CHUNK):
        some = slice(start, start + _CHUNK)
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


def _minimise(part: Problem, start: np.ndarray, boxes: np.ndarray, tolerance: float, radius: np.ndarray | None = None) -> _Search:
    """The prices in the box around ``start`` at which the dual bound is least, by cutting planes; ``radius`` is the first stride."""
    best, bound = start, np.inf
    planes, heights = [], []
    at, choice, lowest = start, np.zeros(part.rows, dtype=np.int32), -np.inf
    radius = boxes if radius is None else radius
    low, high = np.maximum(start - boxes, 0.0), start + boxes
    scale = 1 / part.whole
    evaluations, at_edge = 0, False
    for evaluations in range(1, _ROUNDS + 1):
        chosen, height = part.priced(at)
        slope = part.limits - part.used(chosen)
        planes.append(slope * scale)
        heights.append(height - slope @ at)
        if evaluations > 1:  # the stride grows where the planes foretold the bound well, and shrinks where they did not at all
            share = (bound - height) / (bound - lowest)
            radius = radius * (2.0 if share > 0.5 else 0.5 if share < -1.0 else 1.0)
        if height < bound:
            best, bound, choice = at, height, chosen
            if not len(start):
                break
            high = np.minimum(high, np.maximum(bound * scale, start)) if np.isinf(boxes).any() else high
            radius = np.where(np.isinf(radius), (high - low) / 4, radius)
        while True:
            bottom, top = np.maximum(low, best - radius), np.minimum(high, best + radius)
            at, lowest = _lowest(np.array(planes), np.array(heights), bottom, top, scale, bound)
            inside = (np.isclose(at, low) | (at > bottom)) & (np.isclose(at, high) | (at < top))
            if bound - lowest > tolerance * abs(bound) or inside.all():
                break
            radius = radius * 4
        if bound - lowest <= tolerance * abs(bound):
            edge = (np.isclose(best, low, rtol=1e-9) & (low > 0)) | np.isclose(best, high, rtol=1e-9)
            at_edge = bool((edge & (high > low)).any())
            break
    return _Search(best, float(bound), choice, at_edge and bool(np.isfinite(boxes).all()), evaluations)


def _lowest(
    planes: np.ndarray, heights: np.ndarray, bottom: np.ndarray, top: np.ndarray, scale: np.ndarray, unit: float
) -> tuple[np.ndarray, float]:
    """The lowest point above all planes within bounds: prices and height. Solved in units of value, relative to ``unit``."""
    from scipy.optimize import linprog

    unit = max(abs(unit), 1e-300)
    count = planes.shape[1]
    found = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.column_stack([planes, -np.ones(len(planes))]),
        b_ub=-heights / unit,
        bounds=[*zip(bottom / scale / unit, top / scale / unit, strict=True), (None, None)],
        method="highs-ds",
    )
    assert found.status == 0, found.message
    return np.clip(found.x[:-1] * scale * unit, bottom, top), float(found.fun) * unit


def _feasible(whole: Problem, choice: np.ndarray, prices: np.ndarray, open_: np.ndarray) -> np.ndarray:
    """``choice`` with no limit broken: repaired and filled up among the open rows that are nearest to a change, else among all."""
    near = _nearest(whole, prices, open_)
    rest = choice.copy()
    rest[near] = 0
    part = whole.take(near, less=(whole.used(rest), whole.worth(rest)))
    rest[near] = fill(part, repair(part, choice[near], prices), prices)
    if (whole.used(rest) <= whole.limits).all():
        return rest
    return fill(whole, repair(whole, choice, prices), prices)


def _nearest(whole: Problem, prices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows whose two best scores differ least."""
    if len(rows) <= _NEAR:
        return rows
    margin = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        score = whole.scores(rows[start : start + _CHUNK], prices)
        line, at = np.arange(len(score)), score.argmax(axis=1)
        best = score[line, at]
        score[line, at] = -np.inf
        margin[start : start + _CHUNK] = best - score.max(axis=1)
    return np.asarray(np.sort(rows[np.argpartition(margin, _NEAR)[:_NEAR]]))


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
