"""How well scores and probabilities tell 0 from 1 when rows are weighted, with intervals over whole customers.

Every metric takes ``y`` (0 or 1), a score or probability ``p``, and ``weight``, all float64 [N]; ``weight`` counts how often a row was
drawn. ``stats/classification.py`` has the same metrics of independent rows, with intervals by formula.

Sources: X. He et al., ADKDD 2014 (normalised entropy); G. Zhou et al., KDD 2018 (grouped AUC).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats import bootstrap
from tradewind.types import Estimate

Values = NDArray[np.float64]
Metric = Callable[[Values, Values, Values], float]
BINS = 10
EDGE = 1e-15  # probabilities are kept so far away from 0 and 1 before a logarithm


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


def losses(y: Values, p: Values) -> Values:
    """Negative log-likelihood of every row, in nats."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def log_loss(y: Values, p: Values, weight: Values) -> float:
    """Mean negative log-likelihood, in nats."""
    return float((weight * losses(y, p)).sum() / weight.sum())


def normalised_entropy(y: Values, p: Values, weight: Values) -> float:
    """Log loss over that of always saying the average rate: 1 is worthless, lower is better."""
    rate = float((weight * y).sum() / weight.sum())
    return log_loss(y, p, weight) / log_loss(y, np.full(len(y), rate), weight) if 0 < rate < 1 else float("nan")


def calibration_error(y: Values, p: Values, weight: Values, *, bins: int = BINS) -> float:
    """Expected calibration error: mean |predicted - observed| over ``bins`` bins of equal mass by prediction.

    It is biased upwards by noise: of the true probabilities themselves it is about sqrt(2 / pi x rate x bins / N), not 0.
    """
    if (p[1:] < p[:-1]).any():
        order = np.argsort(p, kind="stable")
        y, p, weight = y[order], p[order], weight[order]
    mass = np.cumsum(weight) - weight / 2
    which = np.minimum((mass / weight.sum() * bins).astype(np.int64), bins - 1)
    gap = np.bincount(which, weights=weight * (p - y), minlength=bins)
    return float(np.abs(gap).sum() / weight.sum())


def over_actual(y: Values, p: Values, weight: Values) -> float:
    """Predicted over actual total: 1 is right on average."""
    found = float((weight * y).sum())
    return float((weight * p).sum() / found) if found else float("nan")


METRICS: Mapping[str, Metric] = {
    "auc": auc,
    "log_loss": log_loss,
    "normalised_entropy": normalised_entropy,
    "ece": calibration_error,
    "predicted_over_actual": over_actual,
}


def interval(
    metric: Metric,
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


def grouped_auc(y: Values, p: Values, group: NDArray[Any], *, seed: int, draws: int = 500) -> Estimate:
    """AUC inside each group with both answers, averaged by the groups' rows."""
    _, code = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    order = np.lexsort((p, code))
    code, y, p = code[order], y[order], p[order]
    # The rank of each row inside its group, ties shared.
    first = np.flatnonzero(np.concatenate(([True], code[1:] != code[:-1])))
    size = np.diff(np.append(first, len(code)))
    tie = np.flatnonzero(np.concatenate(([True], (code[1:] != code[:-1]) | (p[1:] != p[:-1]))))
    spans = np.diff(np.append(tie, len(code)))
    rank = np.repeat(tie + (spans - 1) / 2, spans) - np.repeat(first, size) + 1
    hits = np.add.reduceat(y, first)
    pairs = hits * (size - hits)
    area = np.where(pairs > 0, np.add.reduceat(rank * y, first) - hits * (hits + 1) / 2, 0) / np.maximum(pairs, 1)
    both = pairs > 0
    return bootstrap.ratio(
        np.where(both, area * size, 0.0), np.where(both, size, 0).astype(float), name="grouped_auc", seed=seed, draws=max(draws, 100)
    )


def judged(y: Values, p: Values, customers: NDArray[Any], *, seed: int, draws: int = 200) -> dict[str, Estimate]:
    """Every metric and the grouped AUC, with 95 % intervals by resampling whole customers.

    Raises
    ------
    InputError
        There is only one answer.
    """
    found = {name: interval(metric, y, p, customers, name=name, seed=seed, draws=draws) for name, metric in METRICS.items()}
    return found | {"grouped_auc": grouped_auc(y, p, customers, seed=seed, draws=draws)}


def gain(metric: Metric, y: Values, p: Values, base: Values, customers: NDArray[Any], *, seed: int, draws: int = 200) -> Estimate:
    """``metric`` of ``p`` minus that of ``base`` on the same rows, with the paired interval over customers."""
    if len(np.unique(y)) < 2:
        raise InputError(f"gain: all {len(y)} outcomes are the same; it needs both.")
    rng = np.random.default_rng(seed)
    _, place = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
    units = int(place.max()) + 1
    drawn = []
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, units, units), minlength=units)[place].astype(np.float64)
        drawn.append(metric(y, p, weight) - metric(y, base, weight))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    once = np.ones(len(y))
    return Estimate("gain", metric(y, p, once) - metric(y, base, once), float(low), float(high), n=len(y))
