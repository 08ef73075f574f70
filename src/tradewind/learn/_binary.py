"""How well a score tells two outcomes apart: AUC and lift, with intervals by resampling whole customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.types import Estimate

Values = NDArray[np.float64]


def auc(y: Values, score: Values, weight: Values | None = None) -> float:
    """Probability that a positive outranks a negative, ties counted half (Mann-Whitney); NaN unless both occur."""
    w = np.ones(len(y)) if weight is None else weight
    points, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, weights=w * y, minlength=len(points))
    negative = np.bincount(place, weights=w * (1 - y), minlength=len(points))
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs > 0 else float("nan")


def lift(y: Values, score: Values, weight: Values | None = None, *, share: float = 0.1) -> float:
    """Response rate among the best ``share`` of the rows over that of all; rows tied at the edge count in proportion."""
    w = np.ones(len(y)) if weight is None else weight
    points, place = np.unique(-score, return_inverse=True)
    size = np.bincount(place, weights=w, minlength=len(points))
    hits = np.bincount(place, weights=w * y, minlength=len(points))
    wanted = share * size.sum()
    taken = np.clip((wanted - (np.cumsum(size) - size)) / np.maximum(size, 1e-300), 0, 1)
    total = hits.sum()
    return float((taken * hits).sum() / wanted / (total / size.sum())) if total > 0 else float("nan")


def interval(
    metric: Callable[[Values, Values, Values], float],
    y: Values,
    score: Values,
    unit: NDArray[Any],
    *,
    name: str,
    seed: int,
    draws: int = 500,
) -> Estimate:
    """``metric(y, score, weight)`` with a 95 % percentile interval from resampling whole units (customers, households).

    Raises
    ------
    InputError
        ``y`` has only one outcome.
    """
    if len(np.unique(y)) < 2:
        raise InputError(f"{name}: all {len(y)} outcomes are {y[0] if len(y) else 'missing'}; it needs both.")
    rng = np.random.default_rng(seed)
    _, place = np.unique(np.asarray(unit, dtype=str), return_inverse=True)
    units = int(place.max()) + 1
    drawn = [metric(y, score, np.bincount(rng.integers(0, units, units), minlength=units)[place].astype(float)) for _ in range(draws)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Estimate(name=name, value=metric(y, score, np.ones(len(y))), low=float(low), high=float(high), n=len(y))
