"""How much more, or less, a shop sells at one time of the year than at another, from its own orders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
YEAR = 365.25
LEAST_DAYS = 240.0  # of history, below which a season is a guess
WIDTH = 14.0  # days, of the kernel that smooths the year
WEEK = 7


def season(day: Values, value: Values, *, now: float) -> Values | None:
    """Index of sales for each of 365 days of the year (day % YEAR), mean 1 over the days that were seen; None: too short a history.

    ``day`` and ``value`` are orders before day ``now``. Days of the year that nobody has seen lie on the straight line, in
    logarithms, between the nearest that were: after eleven months the twelfth is between its neighbours of either end. With
    two years or more each year is first brought to the same level, so that growth is not read as season.
    """
    first = float(day.min()) if len(day) else now
    if now - first < LEAST_DAYS:
        return None
    days = np.arange(int(first), int(now), dtype=np.float64)
    sold = np.asarray(np.bincount((day - int(first)).astype(np.int64), weights=value, minlength=len(days))[: len(days)], dtype=np.float64)
    ago = ((now - 1 - days) // YEAR).astype(np.int64)
    if now - first >= 2 * YEAR:
        means = np.bincount(ago, weights=sold) / np.maximum(np.bincount(ago), 1)
        whole = np.bincount(ago) >= 0.9 * YEAR
        level = np.where(whole & (means > 0), means, 0.0)[ago]
        days, sold = days[level > 0], sold[level > 0] / level[level > 0]
    of_year = np.floor(days % YEAR)
    grid = np.arange(365.0)
    apart = np.abs(grid[:, None] - of_year[None, :])
    apart = np.minimum(apart, YEAR - apart)
    weight = np.exp(-0.5 * (apart / WIDTH) ** 2)
    near = (apart <= WEEK).sum(axis=1) >= WEEK
    smooth = (weight @ sold) / np.maximum(weight.sum(axis=1), 1e-300)
    near &= smooth > 0
    if near.sum() < 2:
        return None
    known = grid[near]
    around = np.concatenate([known - 365, known, known + 365])
    index = np.exp(np.interp(grid, around, np.tile(np.log(smooth[near]), 3)))
    return np.asarray(index / index[near].mean())


def over(index: Values, start: float, days: float) -> float:
    """Mean of the index over the ``days`` from day ``start`` on."""
    at = np.floor(np.arange(start, start + days) % YEAR).astype(np.int64)
    return float(index[np.minimum(at, 364)].mean())
