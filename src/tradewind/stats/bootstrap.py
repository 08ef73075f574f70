"""Percentile bootstrap over users: intervals of means, of differences of means, and of ratios of sums (Efron 1979).

Users are resampled whole, because their lists and orders hang together; with many users the resampling is done by
multinomial counts, which is the same thing without copying rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.types import Estimate

Values = NDArray[np.float64]
CELLS = 4_000_000  # counts held at once


def mean(values: Values, *, name: str, seed: int, draws: int = 1000, level: float = 0.95, unit: str = "") -> Estimate:
    """The mean of one value per user with its interval; NaN users are left out and ``n`` says how many remain.

    When not to use: below some 30 users, where the interval is too narrow.
    """
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Estimate(name, float("nan"), level=level, n=0, unit=unit, note="no user to measure")
    low, high = _interval(_resampled(np.column_stack((kept, np.ones(len(kept)))), seed=seed, draws=draws), level)
    return Estimate(name, float(kept.mean()), low, high, level, len(kept), unit)


def difference(values: Values, base: Values, *, name: str, seed: int, draws: int = 1000, level: float = 0.95, unit: str = "") -> Estimate:
    """The mean of ``values - base`` of the same users: the paired interval, much narrower than two separate ones.

    Raises
    ------
    InputError
        The two arrays are not of the same users.
    """
    if values.shape != base.shape:
        raise InputError(f"difference: got {values.shape} and {base.shape} values; pass one value per user of the same users.")
    return mean(values - base, name=name, seed=seed, draws=draws, level=level, unit=unit)


def ratio(top: Values, bottom: Values, *, name: str, seed: int, draws: int = 1000, level: float = 0.95, unit: str = "") -> Estimate:
    """Sum of ``top`` over sum of ``bottom`` across users, for example margin per message, with its interval."""
    total = float(bottom.sum())
    if not len(top) or total == 0:
        return Estimate(name, float("nan"), level=level, n=len(top), unit=unit, note="nothing to divide by")
    low, high = _interval(_resampled(np.column_stack((top, bottom)), seed=seed, draws=draws), level)
    return Estimate(name, float(top.sum()) / total, low, high, level, len(top), unit)


def _resampled(pairs: Values, *, seed: int, draws: int) -> Values:
    """Ratios of the two column sums under ``draws`` resamplings of the rows, [draws]."""
    if draws < 100:
        raise InputError(f"draws: got {draws}; an interval needs 100 or more.")
    rng = np.random.default_rng(seed)
    users = len(pairs)
    share = np.full(users, 1 / users)
    step = max(1, CELLS // users)
    sums = [rng.multinomial(users, share, size=min(step, draws - start)) @ pairs for start in range(0, draws, step)]
    stacked = np.concatenate(sums)
    ratios: Values = stacked[:, 0] / np.where(stacked[:, 1] == 0, np.nan, stacked[:, 1])
    return ratios


def _interval(drawn: Values, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
