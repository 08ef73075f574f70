"""How well a score or a probability tells 0 from 1: AUC, precision, recall, F1, log loss, calibration, with intervals.

All arguments are [n]; outcomes are 0 or 1; rows are independent (``stats/binary.py`` has weights, and intervals over customers with
several rows). Sources: E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988), in the fast form of X. Sun and W. Xu, IEEE
Signal Processing Letters 21 (2014); A. Niculescu-Mizil and R. Caruana, ICML 2005 (reliability).
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError
from tradewind.stats import binary, bootstrap
from tradewind.stats.experiment import proportion
from tradewind.types import Estimate

Values = NDArray[np.float64]
BINS = binary.BINS


def auc(outcome: ArrayLike, score: ArrayLike, *, name: str = "AUC", level: float = 0.95) -> Estimate:
    """Probability that a 1 outranks a 0, ties counted half, with DeLong's interval (on the logit, so that it stays within 0 and 1).

    >>> round(auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 3)
    0.75
    """
    y, s = _pair(outcome, score)
    one, zero = s[y == 1], s[y == 0]
    m, n = len(one), len(zero)
    ranks = _ranks(np.concatenate([one, zero]))
    above = (ranks[:m] - _ranks(one)) / n  # of each 1: share of the 0s below it
    below = 1 - (ranks[m:] - _ranks(zero)) / m
    value = float(above.mean())
    variance = (float(above.var(ddof=1)) / m if m > 1 else 0.0) + (float(below.var(ddof=1)) / n if n > 1 else 0.0)
    if variance == 0 or value in (0.0, 1.0):
        return Estimate(name, value, None, None, level, m + n, note="no interval: the groups do not overlap, or have one member")
    reach = NormalDist().inv_cdf(0.5 + level / 2) * variance**0.5 / (value * (1 - value))
    middle = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-edge))) for edge in (middle - reach, middle + reach))
    return Estimate(name, value, low, high, level, m + n)


def at_threshold(outcome: ArrayLike, score: ArrayLike, threshold: float, *, level: float = 0.95, seed: int = 0) -> Mapping[str, Estimate]:
    """``precision``, ``recall`` (Wilson's intervals) and ``F1`` (bootstrap) of saying 1 where the score is ``threshold`` or more."""
    y, s = _pair(outcome, score)
    said = s >= threshold
    hits, claims, there = int((said & (y == 1)).sum()), int(said.sum()), int(y.sum())
    top, bottom = 2.0 * (said & (y == 1)), said + y
    f1 = bootstrap.ratio(top, bottom, name="F1", seed=seed, level=level)
    found = (proportion(hits, claims, name="precision", level=level), proportion(hits, there, name="recall", level=level), f1)
    return {one.name: one for one in found}


def log_loss(outcome: ArrayLike, chance: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean surprise in nats."""
    return bootstrap.mean(binary.losses(*_chances(outcome, chance)), name="log loss", seed=seed, level=level)


def reliability(outcome: ArrayLike, chance: ArrayLike, *, bins: int = BINS, level: float = 0.95) -> list[dict[str, float]]:
    """One row per bin of equally many: ``said`` (mean chance), ``was`` (rate) with ``low`` and ``high`` (Wilson), ``n``."""
    y, p = _chances(outcome, chance)
    rows = []
    for part in np.array_split(np.argsort(p, kind="stable"), min(bins, len(p))):
        rate = proportion(int(y[part].sum()), len(part), level=level)
        rows.append({"said": float(p[part].mean()), "was": rate.value, "low": rate.low or 0.0, "high": rate.high or 0.0, "n": len(part)})
    return rows


def calibration_error(
    outcome: ArrayLike, chance: ArrayLike, *, bins: int = BINS, draws: int = 400, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Expected calibration error over bins of equally many, with a bootstrap interval.

    The error of a finite sample is above 0 even where chances are right; ``note`` says how large it then is (the mean over
    outcomes drawn from the chances themselves). Compare the two before blaming the model.
    """
    y, p = _chances(outcome, chance)
    rng, order = np.random.default_rng(seed), np.argsort(p, kind="stable")
    y, p, once = y[order], p[order], np.ones(len(y))

    def error(outcomes: Values, weight: Values) -> float:
        return binary.calibration_error(outcomes, p, weight, bins=bins)

    drawn = [error(y, np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)).astype(np.float64)) for _ in range(draws)]
    noise = np.mean([error((rng.random(len(p)) < p).astype(np.float64), once) for _ in range(draws)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    note = f"right chances would show {noise:.4f} at this sample size"
    return Estimate("calibration error", error(y, once), float(low), float(high), level, len(y), note=note)


def _ranks(values: Values) -> Values:
    """Ranks from 1, ties at their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place])


def _pair(outcome: ArrayLike, score: ArrayLike) -> tuple[Values, Values]:
    y, s = (np.asarray(each, dtype=np.float64) for each in (outcome, score))
    if y.ndim != 1 or y.shape != s.shape or not np.isfinite(s).all():
        raise InputError(f"outcome and score must be of one length, [n], and scores finite; got {y.shape} and {s.shape}.")
    if not np.isin(y, (0.0, 1.0)).all() or len(np.unique(y)) < 2:
        raise InputError(f"outcomes must be 0 and 1 and hold both; got {np.unique(y)[:5].tolist()} in {len(y)} rows.")
    return y, s


def _chances(outcome: ArrayLike, chance: ArrayLike) -> tuple[Values, Values]:
    y, p = _pair(outcome, chance)
    if p.min() < 0 or p.max() > 1:
        raise InputError(f"chances lie between 0 and 1; got {p.min():g} to {p.max():g}. Calibrate scores first.")
    return y, p
