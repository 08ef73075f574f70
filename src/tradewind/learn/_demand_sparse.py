"""Kernels for items that sell now and then; the same contract as ``_demand_kernels``."""

from __future__ import annotations

import numpy as np

from tradewind.learn._demand_kernels import Floats, _chunked, _columns, _flat, level

ALPHA = 0.1  # of sizes and intervals, as is usual for Croston's method
SLOW = np.array([0.1, 0.15, 0.2, 0.25, 0.3])  # smoothing constants of what was added up: few blocks need a narrow choice
MOST = 28  # periods that are added up at most


def croston_sba(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Croston's ratio of smoothed size and smoothed interval, with the correction of Syntetos & Boylan (2005)."""
    del season
    return _flat(_chunked(_croston, y), horizon)


def tsb(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Smoothed probability of a sale times smoothed size (Teunter, Syntetos & Babai 2011): fades when an item stops selling."""
    del season
    return _flat(_chunked(_tsb, y), horizon)


def adida(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Smoothing of demand that is added up over the mean interval between sales (Nikolopoulos et al. 2011)."""
    del season
    wide = _widths(y)
    found = np.zeros(len(y))
    for width in np.unique(wide):
        mine = wide == width
        found[mine] = _chunked(_slow, added(y[mine], int(width)))
    return _flat(found, horizon)


def imapa(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """The mean of smoothings at every width from 1 to the mean interval (Petropoulos & Kourentzes 2015)."""
    del season
    wide = _widths(y)
    total = np.zeros(len(y))
    for width in range(1, int(wide.max(initial=1)) + 1):
        mine = wide >= width
        total[mine] += _chunked(_slow, added(y[mine], width))
    return _flat(total / wide, horizon)


def added(y: Floats, width: int) -> Floats:
    """Mean demand a period in blocks of ``width``, counted from the end: over the known periods of a block, NaN where there is none."""
    if width == 1:
        return y
    blocks = y[:, y.shape[1] % width :].reshape(len(y), y.shape[1] // width, width)
    if np.isfinite(blocks).all():
        return np.asarray(blocks.mean(axis=2))
    seen = np.isfinite(blocks).sum(axis=2)
    return np.where(seen > 0, np.nansum(blocks, axis=2) / np.maximum(seen, 1), np.nan)


def _widths(y: Floats) -> np.ndarray:
    """The mean interval between sales of each series, in whole known periods, at most half of the history."""
    sales = (y > 0).sum(axis=1)
    last = y.shape[1] - 1 - (y > 0)[:, ::-1].argmax(axis=1)
    until = np.isfinite(y) & (np.arange(y.shape[1]) <= last[:, None])
    wide = np.rint(until.sum(axis=1) / np.maximum(sales, 1)).astype(np.int64)
    return np.clip(np.where(sales > 0, wide, 1), 1, max(1, min(MOST, y.shape[1] // 2)))


def _slow(y: Floats) -> Floats:
    return level(y, SLOW)


def _start(value: Floats) -> tuple[Floats, np.ndarray]:
    """Size of the first sale (0 where there is none) and its period."""
    sold = value > 0
    at = sold.argmax(axis=0)
    return np.asarray(value[at, np.arange(value.shape[1])]), at


def _croston(y: Floats) -> Floats:
    value, known = _columns(y)
    size, at = _start(value)
    every = at + 1.0 if known is None else np.maximum((np.cumsum(known, axis=0))[at, np.arange(value.shape[1])], 1.0)
    since = np.ones(value.shape[1])
    for t in range(value.shape[0]):
        sold = (value[t] > 0) & (t > at)
        size = np.where(sold, size + ALPHA * (value[t] - size), size)
        every = np.where(sold, every + ALPHA * (since - every), every)
        gone = (1.0 if known is None else known[t]) * (t > at)
        since = np.where(sold, 1.0, since + gone)
    return np.asarray((1 - ALPHA / 2) * size / np.maximum(every, 1.0))


def _tsb(y: Floats) -> Floats:
    value, known = _columns(y)
    size, _ = _start(value)
    sold = (value > 0).astype(np.float64)
    chance = sold[0].copy() if known is None else sold[(known > 0).argmax(axis=0), np.arange(value.shape[1])]
    seen = np.ones_like(value) if known is None else known
    for t in range(value.shape[0]):
        chance = chance + ALPHA * seen[t] * (sold[t] - chance)
        size = size + ALPHA * sold[t] * (value[t] - size)
    return np.asarray(chance * size)
