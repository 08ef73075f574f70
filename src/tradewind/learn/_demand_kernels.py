"""Forecasts of all series at once: each kernel takes demand [series, periods] and gives [series, horizon], float64.

NaN is demand that nobody knows: before the first sale, while the item was out of stock, a gap. It moves no level and counts in no error.
A series without any known value is forecast as 0. ``season`` is the number of periods after which a pattern returns (7 for days).
Levels are found by a grid of smoothing constants and the one-step squared errors: no optimiser, no compiler, the same bits every time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kernel = Callable[..., Floats]

ALPHAS = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8])
WINDOW = 28  # periods of the moving average
_BEGIN = 14  # known periods
_CHUNK = 512  # series at a time: the working set of a grid stays in the cache
_HOLT = [(a, b, phi) for a in (0.05, 0.15, 0.4) for b in (0.1, 0.3) for phi in (0.85, 0.97)]  # level, trend (share of it), damping


def naive(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """The last known value."""
    del season
    return _flat(_last(y), horizon)


def seasonal_naive(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """The last known value of the same phase of the season."""
    phases = _phases(y, season)
    return _by_phase(np.stack([_last(phases[:, :, phase]) for phase in range(season)], axis=1), horizon)


def moving_average(y: Floats, horizon: int, *, season: int = 1, window: int = WINDOW) -> Floats:
    """The mean of the known values among the last ``window``; of all known values where there is none."""
    del season
    recent = _mean(y[:, -window:])
    lacking = np.isnan(recent)
    if lacking.any():
        recent[lacking] = np.nan_to_num(_mean(y[lacking]))
    return _flat(recent, horizon)


def ses(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Simple exponential smoothing, the constant of each series from ``ALPHAS`` (Hyndman & Athanasopoulos, FPP3, 8.1)."""
    del season
    return _flat(_chunked(level, y), horizon)


def holt_damped(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Holt's linear method with a damped trend, constants by grid (Gardner & McKenzie 1985); never below zero."""
    del season
    return np.maximum(_chunked(lambda part: _holt(part, horizon), y), 0.0)


def seasonal(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """Seasonal smoothing: exponential smoothing of each phase of the season by itself."""
    phases = _phases(y, season)
    levels = np.stack([_chunked(level, np.ascontiguousarray(phases[:, :, phase])) for phase in range(season)], axis=1)
    return _by_phase(levels, horizon)


def theta(y: Floats, horizon: int, *, season: int = 1) -> Floats:
    """The Theta method as simple exponential smoothing with half the trend's slope as drift (Hyndman & Billah 2003)."""
    del season
    known = np.isfinite(y)
    count = known.sum(axis=1)
    # The optimal drift of the equivalent SES vanishes at first and grows to slope / 2; its start is left out, as usual for long series.
    at = np.arange(y.shape[1], dtype=np.float64)
    filled = np.where(known, y, 0.0)
    weight = np.maximum(count, 1)
    center, mean = known @ at / weight, filled.sum(axis=1) / weight
    spread = known @ at**2 - weight * center**2
    slope = np.where(count > 2, (filled @ at - weight * center * mean) / np.where(spread > 0, spread, 1.0), 0.0)
    ahead = _chunked(level, y)[:, None] + 0.5 * slope[:, None] * np.arange(1, horizon + 1)
    return np.maximum(ahead, 0.0)


def seasoned(kernel: Kernel) -> Kernel:
    """A kernel on demand divided by its profile of the season, its forecast multiplied with the profile.

    Phases with less than a tenth of the mean demand (the shop is closed) tell nothing about the level.
    """

    def forecast(y: Floats, horizon: int, *, season: int = 1) -> Floats:
        factor = profile(y, season)
        past = _repeated(factor, y.shape[1])
        plain = np.divide(y, past, out=np.full_like(y, np.nan), where=past > 0.1)
        return np.asarray(kernel(plain, horizon, season=season) * _by_phase(factor, horizon))

    return forecast


def profile(y: Floats, season: int, *, prior: float = 60.0) -> Floats:
    """Demand by phase of the season over the mean, [series, season], drawn to that of all series by ``prior`` periods of demand."""
    phases = _phases(y, season)
    total, seen = np.nansum(phases, axis=1), np.isfinite(phases).sum(axis=1)
    mean = total.sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    relative = np.divide(phases, mean[:, None, :], out=np.zeros_like(phases), where=mean[:, None, :] > 0)
    common = np.nansum(relative, axis=(0, 1)) / np.maximum((np.isfinite(phases) & (mean[:, None, :] > 0)).sum(axis=(0, 1)), 1)
    common = common / common.mean() if common.sum() > 0 else np.ones(season)
    own = np.divide(total, mean, out=np.zeros_like(total), where=mean > 0)
    pull = prior / season
    found = (own + pull * common) / (seen + pull)
    return np.asarray(found / np.maximum(found.mean(axis=1, keepdims=True), 1e-12))


# -- parts that the sparse kernels share ------------------------------------------------------------------------------


def level(y: Floats, rates: Floats = ALPHAS) -> Floats:
    """The smoothed level of each series [n] after its last period, the constant among ``rates`` by one-step squared error."""
    value, known = _columns(y)
    at = np.repeat(_first(value, known)[None, :], len(rates), axis=0)
    error, squares = np.empty_like(at), np.zeros_like(at)
    step = np.empty_like(at)
    rate = np.repeat(rates[:, None], value.shape[1], axis=1)
    for t in range(value.shape[0]):
        np.subtract(value[t], at, out=error)
        if known is not None:
            error *= known[t]
        np.multiply(error, rate, out=step)
        at += step
        error *= error
        squares += error
    best = squares.argmin(axis=0)
    return np.asarray(np.take_along_axis(at, best[None, :], axis=0)[0])


def _holt(y: Floats, horizon: int) -> Floats:
    value, known = _columns(y)
    a, b, phi = (np.array(column)[:, None] for column in zip(*_HOLT, strict=True))
    at = np.repeat(_first(value, known)[None, :], len(_HOLT), axis=0)
    trend, squares = np.zeros_like(at), np.zeros_like(at)
    ahead, error, step = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    for t in range(value.shape[0]):
        np.multiply(trend, phi, out=trend)
        np.add(at, trend, out=ahead)
        np.subtract(value[t], ahead, out=error)
        if known is not None:
            error *= known[t]
        np.multiply(error, a, out=step)
        np.add(ahead, step, out=at)
        step *= b
        trend += step
        error *= error
        squares += error
    best = squares.argmin(axis=0)
    pick = np.arange(value.shape[1])
    damp = phi[best, 0]
    steps = np.cumsum(damp[:, None] ** np.arange(1, horizon + 1), axis=1)
    return np.asarray(at[best, pick][:, None] + trend[best, pick][:, None] * steps)


def _chunked(work: Callable[[Floats], Floats], y: Floats) -> Floats:
    parts = [work(y[start : start + _CHUNK]) for start in range(0, len(y), _CHUNK)]
    return np.concatenate(parts) if parts else work(y)


def _columns(y: Floats) -> tuple[Floats, Floats | None]:
    """Periods first and contiguous, unknown as 0, and 1 where known; None where everything is."""
    value = np.ascontiguousarray(y.T)
    known = np.isfinite(value)
    if known.all():
        return value, None
    value[~known] = 0.0
    return value, known.astype(np.float64)


def _first(value: Floats, known: Floats | None) -> Floats:
    """Where smoothing begins: the first period; of a series that begins later, the mean of its first ``_BEGIN`` known periods.

    A series that begins later begins with a sale, which says little about its level.
    """
    if known is None:
        return np.asarray(value[0].copy())
    some = known * (np.cumsum(known, axis=0) <= _BEGIN)
    late = known[0] == 0
    begun = (value * some).sum(axis=0) / np.maximum(some.sum(axis=0), 1.0)
    return np.asarray(np.where(late, begun, value[0]))


def _last(y: Floats) -> Floats:
    known = np.isfinite(y)
    at = y.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.asarray(np.nan_to_num(y[np.arange(len(y)), at]))


def _mean(y: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows without any known value, which stay NaN
        return np.asarray(np.nanmean(y, axis=1))


def _flat(values: Floats, horizon: int) -> Floats:
    return np.asarray(np.repeat(values[:, None], horizon, axis=1))


def _phases(y: Floats, season: int) -> Floats:
    """[series, seasons, phase]; the last phase is that of the last period, and what is missing in front is NaN."""
    lack = -y.shape[1] % season
    padded = np.concatenate([np.full((len(y), lack), np.nan), y], axis=1) if lack else y
    return padded.reshape(len(y), padded.shape[1] // season, season)


def _by_phase(levels: Floats, horizon: int) -> Floats:
    return np.tile(levels, (1, -(-horizon // levels.shape[1])))[:, :horizon]


def _repeated(levels: Floats, periods: int) -> Floats:
    """[series, phase] over the past: the last period has the last phase."""
    season = levels.shape[1]
    return np.tile(levels, (1, -(-periods // season)))[:, -periods % season :]
