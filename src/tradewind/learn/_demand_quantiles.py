"""Quantiles of demand over a span of periods: several methods on all series at once, averaged as rolling origins say.

A span of L periods has a mean (the sum of the forecasts) and a history of L-period sums. The methods:

- ``nb``: negative binomial with that mean and the dispersion of the history (var = mean + mean^2 / k, k by moments);
- ``nb_fixed``: negative binomial with that mean and the plain variance of the history;
- ``recent``, ``longer``: the empirical quantile of the last W and 2 W sums, W from ``WINDOW``;
- ``weighted``: the empirical quantile of all sums, newer ones with more weight;
- ``conformal``: the mean plus the negative binomial's deviation times the class's quantile of past standardised errors (split conformal).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._demand_blend import CLASSES, Judge, blended, by_class
from tradewind.learn._demand_kernels import Floats

METHODS = ("nb", "nb_fixed", "recent", "longer", "weighted", "conformal")
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99)
WINDOW = {"day": 56, "week": 26, "month": 12}
GRID = np.linspace(0.005, 0.995, 199)  # of the standardised errors that are kept
SHOWN = 6  # windows of a fold that are judged at most


@dataclass(frozen=True)
class Spread:
    """What a span needs beside its mean: ``errors`` [classes, GRID] and the weights of the methods by class and level."""

    periods: int
    window: int
    errors: Floats
    weights: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]  # "scaled" | "pieces" -> level -> class -> method -> weight
    whole: bool  # whether demand comes in whole pieces; then quantiles are rounded to whole ones

    def quantiles(self, y: Floats, mean: Floats, levels: Sequence[float], *, kinds: NDArray[np.int8], by: str = "scaled") -> Floats:
        """[levels, n] of the demand over this span, never falling with the level.

        ``by``: "scaled" weights every series alike, "pieces" by what it sells; the levels of ``LEVELS`` nearest to those asked decide.
        """
        past, out = Past(y, self.periods, self.window), np.empty((len(levels), len(y)))
        for number, tau in enumerate(levels):
            near = int(np.abs(np.array(LEVELS) - tau).argmin())
            told = self.weights[by][near]
            used = {name for one in told for name in one}
            parts = methods(past, mean[:, None], tau, self.errors, kinds, only=used)
            out[number] = blended(parts, told, kinds)[:, 0]
        out = np.maximum.accumulate(np.maximum(out, 0.0), axis=0)
        return np.floor(out + 0.5) if self.whole else out


def sums(y: Floats, periods: int) -> Floats:
    """[n, T - periods + 1] sums of consecutive periods; NaN where less than half is known, else scaled up to a whole span."""
    if periods == 1:
        return y
    if y.shape[1] < periods:
        return np.full((len(y), 1), np.nan)
    zero = np.zeros((len(y), 1))
    total = np.concatenate([zero, np.cumsum(np.nan_to_num(y), axis=1)], axis=1)
    seen = np.concatenate([zero, np.cumsum(np.isfinite(y), axis=1)], axis=1)
    gained, count = total[:, periods:] - total[:, :-periods], seen[:, periods:] - seen[:, :-periods]
    return np.where(2 * count >= periods, gained * periods / np.maximum(count, 1), np.nan)


def moments(past: Floats) -> tuple[Floats, Floats]:
    """Mean and sample variance of each row's known values; a row with fewer than two has the variance of its mean."""
    known = np.isfinite(past)
    count = known.sum(axis=1)
    mean = np.where(known, past, 0.0).sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (past - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return mean, np.where(count > 1, squares / np.maximum(count - 1, 1), mean)


class Past:
    """The sums of consecutive periods that a history [n, T] holds, their dispersion and, once asked for, their distributions."""

    def __init__(self, y: Floats, periods: int, window: int) -> None:
        past = sums(y, periods)
        self.usual, self.variance = moments(past)
        excess = np.maximum(self.variance - self.usual, 0.0) / np.maximum(self.usual, 1e-9) ** 2
        self.over = np.maximum(np.where(self.usual > 0, excess, 0.0), 1e-4)[:, None]  # 1 / k of the negative binomial
        thinned = past[:, ::-1][:, :: max(1, periods // 4)][:, ::-1]  # overlapping sums are much alike
        self._parts = {
            "recent": (thinned[:, -window:], 0.0),
            "longer": (thinned[:, -2 * window :], 0.0),
            "weighted": (thinned, 1.2 / window),
        }
        self._sorted: dict[str, tuple[Floats, Floats]] = {}

    def spread(self, mean: Floats) -> Floats:
        """Variance of the negative binomial with the means [n, K]."""
        return np.asarray(mean + mean**2 * self.over)

    def empirical(self, name: str, tau: float) -> Floats:
        """Inverse of the empirical distribution of each row's known sums, newer ones with more weight; 0 where there is none."""
        if name not in self._sorted:
            past, rate = self._parts[name]
            age = np.arange(past.shape[1], dtype=np.float64)[::-1]
            weight = np.where(np.isfinite(past), (1 - rate) ** age, 0.0)
            order = np.argsort(past, axis=1, kind="stable")  # NaN last, with no weight
            share = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
            self._sorted[name] = np.nan_to_num(np.take_along_axis(past, order, axis=1)), share
        value, share = self._sorted[name]
        at = (share < tau * share[:, -1:] - 1e-12).sum(axis=1).clip(max=value.shape[1] - 1)
        return np.where(share[:, -1] > 0, value[np.arange(len(value)), at], 0.0)


def methods(
    past: Past, mean: Floats, tau: float, errors: Floats, kinds: NDArray[np.int8], *, only: set[str] | None = None
) -> dict[str, Floats]:
    """Quantile ``tau`` of each method, [n, K], for K spans with the means [n, K]."""
    from scipy.stats import nbinom

    wanted = set(METHODS) if only is None else only
    mean = np.maximum(mean, 1e-6)
    scaled = past.spread(mean)
    fixed = np.maximum(np.repeat(past.variance[:, None], mean.shape[1], axis=1), mean * 1.0001)
    shape = mean / mean.mean(axis=1, keepdims=True)
    found: dict[str, Floats] = {}
    for name, variance in (("nb", scaled), ("nb_fixed", fixed)):
        if name in wanted:
            chance = mean / variance
            found[name] = nbinom.ppf(tau, mean * chance / (1 - chance), chance)
    for name in ("recent", "longer", "weighted"):
        if name in wanted:
            found[name] = past.empirical(name, tau)[:, None] * shape
    if "conformal" in wanted:
        at = np.array([np.interp(tau, GRID, row) for row in errors])[kinds]
        found["conformal"] = np.maximum(mean + np.sqrt(scaled) * at[:, None], 0.0)
    return found


def learn(folds: Sequence[tuple[Floats, Floats, Floats]], kinds: NDArray[np.int8], *, periods: int, window: int, whole: bool) -> Spread:
    """The spread of a span from rolling origins: (history [n, t], forecast [n, H], what was sold [n, H]) of each.

    A fold's conformal errors come from the other folds. ``scaled`` losses are divided by the mean absolute change of the history.
    """
    cut = [_windows(mean, sold, periods) for _, mean, sold in folds]
    pasts = [Past(y, periods, window) for y, _, _ in folds]
    raw = [_standardised(past, mean, sold) for past, (mean, sold) in zip(pasts, cut, strict=True)]
    tries: dict[float, list[tuple[Floats, Floats]]] = {tau: [] for tau in LEVELS}  # predictions [methods, n, K] and truth
    for number, (past, (mean, sold)) in enumerate(zip(pasts, cut, strict=True)):
        others = [one for other, one in enumerate(raw) if other != number] or [raw[number]]
        errors = _pooled(others, kinds)
        for tau in LEVELS:
            parts = methods(past, mean, tau, errors, kinds)
            tries[tau].append((np.stack([parts[name] for name in METHODS]), sold))
    scales = [_change(y) for y, _, _ in folds]
    weights = {
        by: [_choose(tries[tau], tau, scales if by == "scaled" else None, kinds, whole) for tau in LEVELS] for by in ("scaled", "pieces")
    }
    return Spread(periods, window, _pooled(raw, kinds), weights, whole)


def _choose(
    tried: list[tuple[Floats, Floats]], tau: float, scales: list[Floats] | None, kinds: NDArray[np.int8], whole: bool
) -> Sequence[Mapping[str, float]]:
    """Weights of the methods by class: least pinball loss of their average, rounded as it will be."""

    def judge(mine: NDArray[np.bool_]) -> tuple[Judge, list[bool]]:
        def losses(picks: Sequence[int]) -> Floats:
            each, share = np.unique(picks, return_counts=True)
            found = []
            for number, (parts, sold) in enumerate(tried):
                said = np.tensordot(share / len(picks), parts[each][:, mine], axes=1)
                error = sold[mine] - (np.floor(said + 0.5) if whole else said)
                lost = np.maximum(tau * error, (tau - 1) * error)
                known = np.isfinite(lost)
                mean = np.where(known, lost, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
                fair = known.any(axis=1) if scales is None else known.any(axis=1) & np.isfinite(scales[number][mine])
                found.append(mean[fair] if scales is None else mean[fair] / scales[number][mine][fair])
            return np.concatenate(found) if any(len(one) for one in found) else np.zeros(1)

        return losses, [True] * len(METHODS)

    return by_class(kinds, METHODS, judge, {"nb": 1.0})


def _windows(mean: Floats, sold: Floats, periods: int) -> tuple[Floats, Floats]:
    """Means and truths of up to ``SHOWN`` spans of a fold that do not overlap, [n, K]."""
    count = max(mean.shape[1] // periods, 1)
    picked = np.unique(np.linspace(0, count - 1, min(count, SHOWN)).round().astype(int)) if periods > 1 or count > 12 else np.arange(count)
    told = [slice(k * periods, (k + 1) * periods) for k in picked]
    return np.stack([mean[:, one].sum(axis=1) for one in told], 1), np.stack([sold[:, one].sum(axis=1) for one in told], 1)


def _standardised(past: Past, mean: Floats, sold: Floats) -> Floats:
    low = np.maximum(mean, 1e-6)
    return np.asarray((sold - mean) / np.sqrt(past.spread(low)))


def _pooled(errors: Sequence[Floats], kinds: NDArray[np.int8]) -> Floats:
    """Quantiles [classes, GRID] of all known errors of a class; of all classes where one has few."""
    everything = np.concatenate([one[np.isfinite(one)] for one in errors])
    out = []
    for kind in range(len(CLASSES)):
        mine = np.concatenate([one[kinds == kind][np.isfinite(one[kinds == kind])] for one in errors])
        told = mine if len(mine) >= 1 / (1 - GRID[-1]) else everything
        out.append(np.quantile(told, GRID) if len(told) else np.zeros(len(GRID)))
    return np.stack(out)


def _change(y: Floats) -> Floats:
    """Mean absolute change from period to period; NaN where there is none."""
    step = np.abs(np.diff(y, axis=1))
    known = np.isfinite(step)
    mean = np.where(known, step, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(mean > 0, mean, np.nan)
