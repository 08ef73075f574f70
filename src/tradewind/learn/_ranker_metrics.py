"""How good predicted probabilities are: order, sharpness and honesty, each with an interval over whole customers.

Every metric takes ``y`` (0 or 1), ``p`` (probabilities) and ``weight``, all float64 [N]; ``weight`` counts how often a row was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._binary import auc, interval
from tradewind.stats import bootstrap
from tradewind.types import Estimate

Values = NDArray[np.float64]
Metric = Callable[[Values, Values, Values], float]
BINS = 10


def log_loss(y: Values, p: Values, weight: Values) -> float:
    """Mean negative log-likelihood, in nats."""
    p = np.clip(p, 1e-15, 1 - 1e-15)
    return float(-(weight * (y * np.log(p) + (1 - y) * np.log1p(-p))).sum() / weight.sum())


def normalised_entropy(y: Values, p: Values, weight: Values) -> float:
    """Log loss over that of always saying the average rate (He et al. 2014): 1 is worthless, lower is better."""
    rate = float((weight * y).sum() / weight.sum())
    return log_loss(y, p, weight) / log_loss(y, np.full(len(y), rate), weight) if 0 < rate < 1 else float("nan")


def calibration_error(y: Values, p: Values, weight: Values) -> float:
    """Expected calibration error: mean |predicted - observed| over ``BINS`` bins of equal mass by prediction.

    It is biased upwards by noise: of the true probabilities themselves it is about sqrt(2 / pi x rate x BINS / N), not 0.
    """
    order = np.argsort(p, kind="stable")
    y, p, weight = y[order], p[order], weight[order]
    mass = np.cumsum(weight) - weight / 2
    which = np.minimum((mass / weight.sum() * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(which, weights=weight * (p - y), minlength=BINS)
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


def grouped_auc(y: Values, p: Values, group: NDArray[Any], *, seed: int, draws: int = 500) -> Estimate:
    """AUC inside each group with both answers, averaged by the groups' rows (gAUC, Zhou et al. 2018)."""
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


def reliability(y: Values, p: Values, *, bins: int = BINS) -> list[dict[str, float]]:
    """Per bin of equal mass: rows, mean prediction, observed rate."""
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, bins)
    return [{"rows": len(part), "predicted": float(p[part].mean()), "observed": float(y[part].mean())} for part in parts if len(part)]
