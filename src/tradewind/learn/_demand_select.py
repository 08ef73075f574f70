"""Rolling origins inside the history: every candidate forecasts what was then the future, and each class of demand keeps what did best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _demand_kernels as smooth
from tradewind.learn import _demand_sparse as sparse
from tradewind.learn import _demand_trees as trees
from tradewind.learn._demand_blend import CLASSES, LEAST, SOLD, Judge, by_class
from tradewind.learn._demand_grid import Floats, Panel

KERNELS: dict[str, smooth.Kernel] = {
    "naive": smooth.naive,
    "seasonal_naive": smooth.seasonal_naive,
    "moving_average": smooth.moving_average,
    "ses": smooth.ses,
    "holt_damped": smooth.holt_damped,
    "seasonal": smooth.seasonal,
    "theta": smooth.theta,
    "croston_sba": sparse.croston_sba,
    "tsb": sparse.tsb,
    "adida": sparse.adida,
    "imapa": sparse.imapa,
}
PROFILED = ("moving_average", "ses", "theta", "croston_sba", "tsb", "adida")  # kernels that are tried on a profile of the season, too
TREES, CORRECTED = "trees", "trees_corrected"  # the boosted model as it is, and with its bias of the rolling origins taken off
UNPROVED: Mapping[str, float] = {"moving_average": 0.5, "tsb": 0.5}  # for a history too short to prove anything
SERIES = 2000  # that the choice looks at, at most
SHRINK = 20.0  # pieces expected in promoted periods that the common promotion factor weighs for an item
FACTORS = (0.5, 10.0)  # of a promotion, at most
BIAS = (0.7, 1.4)  # that the boosted model is corrected by, at most


@dataclass(frozen=True)
class Fold:
    """One origin: what was known, what the candidates said [n, H] by name, and what was then sold [n, H]."""

    known: Panel
    said: dict[str, Floats]
    sold: Floats


def origins(periods: int, horizon: int, folds: int) -> tuple[list[int], int]:
    """Up to ``folds`` origins in the later half of the history, newest first, and the horizon that fits behind them; none if too short."""
    ahead = min(horizon, periods // 3)
    if ahead < 1 or periods < 6:
        return [], 0
    room = periods - ahead - max(periods // 2, 3)
    step = min(ahead, room // max(folds - 1, 1))
    return ([periods - ahead - k * step for k in range(folds)] if step >= 1 else [periods - ahead]), ahead


def kernels(panel: Panel, horizon: int) -> dict[str, Floats]:
    """What every kernel says, [n, horizon]: promotions divided out of the history and multiplied into what is planned."""
    periods, season = panel.y.shape[1], panel.season
    season = season if periods >= 2 * season else 1
    promoted = panel.promotions(periods + horizon)
    factor = promotion_factors(panel)[:, None]
    y = panel.y / np.where(promoted[:, :periods] > 0, factor, 1.0)
    ahead = np.where(promoted[:, periods:] > 0, factor, 1.0)
    told = {name: kernel(y, horizon, season=season) * ahead for name, kernel in KERNELS.items()}
    if season > 1:
        told |= {f"{name}_profile": smooth.seasoned(KERNELS[name])(y, horizon, season=season) * ahead for name in PROFILED}
    return told


def promotion_factors(panel: Panel) -> Floats:
    """How many times its other demand an item sells while promoted [n], drawn to the factor of all items where little was sold."""
    periods = panel.y.shape[1]
    on = (panel.promotions(periods) > 0) & np.isfinite(panel.y)
    off = np.isfinite(panel.y) & ~on
    value = np.nan_to_num(panel.y)
    base = (value * off).sum(axis=1) / np.maximum(off.sum(axis=1), 1)
    expected, got = base * on.sum(axis=1), (value * on).sum(axis=1) * (base > 0)
    if not on.any() or expected.sum() <= 0:
        return np.ones(len(panel.y))
    common = float(np.clip(got.sum() / expected.sum(), *FACTORS))
    return np.asarray(np.clip((got + SHRINK * common) / (expected + SHRINK), *FACTORS))


def folds_of(panel: Panel, horizon: int, *, folds: int, region: str | None, boosted: bool, seed: int) -> list[Fold]:
    """The candidates at every origin. The boosted model is learned once, from what was over at the earliest of them."""
    starts, ahead = origins(panel.y.shape[1], horizon, folds)
    if not starts:
        return []
    booster = trees.fit(panel.until(min(starts)), horizon, region=region, seed=seed) if boosted else None
    made = []
    for start in starts:
        known = panel.until(start)
        # What was planned at the origin for the periods after it counts as known ahead.
        planned = Panel(panel.items, panel.start, known.y, panel.step, panel.stores, panel.promotions(start + ahead), panel.value)
        said = kernels(planned, ahead)
        if booster is not None:
            said[TREES] = trees.predict(booster, planned, ahead, region=region)
        made.append(Fold(known, said, panel.y[:, start : start + ahead]))
    return made


def corrected(folds: Sequence[Fold], kinds: NDArray[np.int8]) -> list[Fold]:
    """The folds with one more candidate: the boosted model times what the other folds say that it is wrong by."""
    made = []
    for number, fold in enumerate(folds):
        more = {}
        if TREES in fold.said:
            factor = corrections([one for other, one in enumerate(folds) if other != number], kinds)
            more[CORRECTED] = fold.said[TREES] * factor[kinds][:, None]
        made.append(Fold(fold.known, fold.said | more, fold.sold))
    return made


def corrections(folds: Sequence[Fold], kinds: NDArray[np.int8]) -> Floats:
    """What the boosted model is multiplied by, by class, so that it expects in sum what was sold; few series: as for all."""
    used = [fold for fold in folds if TREES in fold.said]
    everyone = _sold_over_expected(used, np.ones(len(kinds), dtype=bool))
    few = [int((kinds == kind).sum()) < LEAST for kind in range(len(CLASSES))]
    return np.array([everyone if low else _sold_over_expected(used, kinds == kind) for kind, low in enumerate(few)])


def _sold_over_expected(folds: Sequence[Fold], mine: NDArray[np.bool_]) -> float:
    sold = sum(float(np.nansum(fold.sold[mine])) for fold in folds)
    expected = sum(float((fold.said[TREES][mine] * np.isfinite(fold.sold[mine])).sum()) for fold in folds)
    return float(np.clip(sold / expected, *BIAS)) if expected > 0 and sold > 0 else 1.0


def choose(folds: Sequence[Fold], kinds: NDArray[np.int8], *, weigh: Floats | None) -> tuple[dict[str, float], ...]:
    """Weights of the candidates by class: least mean root mean squared scaled error of their average over series and folds.

    ``weigh``: the price of a piece [n]; a series then counts by what it sold for in the last periods of a fold's history.
    """
    if not folds:
        return tuple(dict(UNPROVED) for _ in CLASSES)
    names = sorted(set.intersection(*(set(fold.said) for fold in folds)))  # a short history has no season at early origins
    errors, scale, weight = [], [], []
    for fold in folds:
        errors.append(np.stack([fold.said[name] - fold.sold for name in names]))
        scale.append(root_change(fold.known.y))
        horizon = fold.sold.shape[1]
        recent = np.nan_to_num(fold.known.y[:, -horizon:]).sum(axis=1)
        weight.append(np.ones(len(kinds)) if weigh is None else weigh * recent)
    sold = [np.isfinite(fold.sold) for fold in folds]

    def judge(mine: NDArray[np.bool_]) -> tuple[Judge, list[bool]]:
        parts = []
        for error, unit, by in zip(errors, scale, weight, strict=True):
            fair = mine & np.isfinite(unit) & np.isfinite(error[0]).any(axis=1) & (by > 0)
            if fair.any():
                share = by[fair] / by[fair].mean()
                parts.append((np.nan_to_num(error[:, fair]), np.isfinite(error[0, fair]).sum(axis=1), share / unit[fair]))
        got = sum(float(np.nansum(fold.sold[mine])) for fold in folds)
        told = [sum(float((f.said[name][mine] * known[mine]).sum()) for f, known in zip(folds, sold, strict=True)) for name in names]
        return partial(_losses, parts), [expected > 0 and expected >= SOLD * got for expected in told]

    return by_class(kinds, names, judge, UNPROVED)


def _losses(parts: Sequence[tuple[Floats, NDArray[np.int64], Floats]], picks: Sequence[int]) -> Floats:
    """Weighted root mean squared scaled errors of the average of candidates: one for each series and fold."""
    each, share = np.unique(picks, return_counts=True)
    told = [np.tensordot(share / len(picks), error[each], axes=1) for error, _, _ in parts]
    found = [np.sqrt((mean**2).sum(axis=1) / count) * unit for mean, (_, count, unit) in zip(told, parts, strict=True)]
    return np.concatenate(found) if found else np.zeros(1)


def root_change(y: Floats) -> Floats:
    """Root mean squared change from period to period since the first sale: what RMSSE is scaled by (as in M5); NaN where there is none."""
    step = np.diff(y, axis=1)
    known = np.isfinite(step) & (np.cumsum(y > 0, axis=1)[:, :-1] > 0)
    mean = np.where(known, step**2, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(mean > 0, np.sqrt(mean), np.nan)


def sample(panel: Panel, seed: int) -> Panel:
    """At most ``SERIES`` of the series, by chance."""
    if len(panel.y) <= SERIES:
        return panel
    return panel.rows(np.sort(np.random.default_rng([seed, 7]).choice(len(panel.y), SERIES, replace=False)))
