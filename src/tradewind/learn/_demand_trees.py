"""One gradient-boosted model for all series, direct by horizon: it is asked for every period ahead by itself and never feeds on itself.

Everything it sees of a series is divided by the series' own level, so that what sells a thousand a day and what sells one a week teach each
other. Promotions, holidays and the phase of the season are those of the period that is forecast: they are known ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._demand_calendar import distance
from tradewind.learn._demand_grid import Floats, Panel
from tradewind.learn._demand_kernels import profile

ROWS = 150_000  # examples that are learned from at most
ROUNDS = 150
MOST = 30.0  # times its level: what a target is cut to
LEAST = 60  # examples without which nothing is learned
SETTINGS: dict[str, Any] = {
    "objective": "tweedie", "tweedie_variance_power": 1.3, "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 100,
    "feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "max_bin": 63, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip
# Windows of the past, in periods, by step; the widest is the level that everything is divided by.
WINDOWS = {"day": (7, 28, 91), "week": (4, 13, 26), "month": (3, 6, 12)}


def fit(panel: Panel, horizon: int, *, region: str | None, seed: int) -> Any | None:
    """The booster, or None where there are too few examples. It learns from every known period of the panel, and from nothing after it."""
    import lightgbm

    rng = np.random.default_rng([seed, 11])
    n, periods = panel.y.shape
    widest = WINDOWS[panel.step][-1]
    origins = np.arange(periods - 1, max(widest // 2, 2), -max(1, horizon // 4))
    if not len(origins):
        return None
    per_origin = min(horizon, max(1, ROWS // (len(origins) * n)))  # horizons of a series at an origin
    sampled = min(1.0, ROWS / (len(origins) * n * per_origin))
    parts, truth = [], []
    for origin in origins:
        reach = min(horizon, periods - origin)
        mine = np.flatnonzero(rng.random(n) < sampled) if sampled < 1 else np.arange(n)
        some = panel.rows(mine)
        steps = rng.integers(1, reach + 1, size=(per_origin, len(mine)))
        state, level = _state(some, int(origin))
        for ahead in steps:
            target = some.y[np.arange(len(mine)), origin + ahead - 1] / np.maximum(level, 1e-9)
            keep = np.isfinite(target) & (level > 0)
            parts.append(_example(some, state, int(origin), ahead, region)[keep])
            truth.append(np.minimum(target[keep], MOST))
    x, y = np.concatenate(parts), np.concatenate(truth)
    if len(y) < LEAST or not (y > 0).any():
        return None
    settings = {**SETTINGS, "min_data_in_leaf": min(SETTINGS["min_data_in_leaf"], max(5, len(y) // 50)), "seed": seed}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=ROUNDS)


def predict(booster: Any, panel: Panel, horizon: int, *, region: str | None) -> Floats:
    """[n, horizon] after the end of the panel; 0 where the series sold nothing in the widest window."""
    origin = panel.y.shape[1]
    state, level = _state(panel, origin)
    out = np.empty((len(panel.y), horizon))
    for ahead in range(1, horizon + 1):
        x = _example(panel, state, origin, np.full(len(panel.y), ahead), region)
        out[:, ahead - 1] = booster.predict(x, num_threads=1) * level
    return np.maximum(out, 0.0)


def _state(panel: Panel, origin: int) -> tuple[Floats, Floats]:
    """What is known of each series at an origin [n, features], and its level [n]."""
    y = panel.y[:, :origin]
    known, value = np.isfinite(y), np.nan_to_num(y)
    means = []
    for window in WINDOWS[panel.step]:
        seen = known[:, -window:].sum(axis=1)
        means.append(value[:, -window:].sum(axis=1) / np.maximum(seen, 1))
    level = means[-1]
    over = np.maximum(level, 1e-9)[:, None]
    season = min(panel.season, y.shape[1])
    phases = np.stack([value[:, -season * k : y.shape[1] - season * (k - 1)] for k in range(1, 5) if season * k <= y.shape[1]]).mean(axis=0)
    shares = profile(y, season)
    middle = WINDOWS[panel.step][1]
    recent = value[:, -middle:]
    sold = value > 0
    silence = np.where(sold.any(axis=1), sold[:, ::-1].argmax(axis=1), origin).astype(np.float64)
    promoted = panel.promotions(origin)
    own = np.column_stack(
        [
            *(mean / over[:, 0] for mean in means[:-1]), value[:, -1] / over[:, 0], recent.max(axis=1) / over[:, 0],
            recent.std(axis=1) / over[:, 0], (recent > 0).mean(axis=1), silence, known.sum(axis=1), np.log1p(level),
            promoted[:, -middle:].mean(axis=1),
        ]
    )  # fmt: skip
    return np.concatenate([own, phases / over, shares], axis=1), np.asarray(level)


def _example(panel: Panel, state: Floats, origin: int, ahead: NDArray[np.int64], region: str | None) -> Floats:
    """The state of each series with the period that it is asked for, [n, features]."""
    rows = np.arange(len(state))
    target = origin + ahead - 1
    days = panel.dates(ahead=max(0, int(target.max(initial=0)) + 1 - panel.y.shape[1]))
    until, since = distance(days, region)
    season = min(panel.season, origin)
    phase = (ahead - 1) % season
    own, phases, shares = state[:, : -2 * season], state[:, -2 * season : -season], state[:, -season:]
    month = days[target].astype("datetime64[M]")
    in_month = (days[target] - month.astype("datetime64[D]")).astype(np.float64)
    promoted = panel.promotions(int(target.max(initial=0)) + 1)[rows, target]
    return np.column_stack(
        [own, phases[rows, phase], shares[rows, phase], ahead, phase, month.astype(np.int64) % 12, in_month,
         until[target], since[target], promoted]
    )  # fmt: skip
