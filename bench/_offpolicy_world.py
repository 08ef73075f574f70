"""Bandits whose truth is known, and the Open Bandit logs, for bench/offpolicy.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIMS = 5
PLACES = 3


@dataclass(frozen=True)
class Regime:
    """One kind of log: how many arms and decisions, how far the judged policy is from the log's, what rewards look like."""

    name: str
    arms: int
    n: int
    logging: float  # inverse temperature of the logging policy; below 0 it prefers what is bad
    judged: float
    floor: float  # propensity of every arm at least
    reward: str = "binary"  # "binary", "rare" or "money"
    curved: float = 0.0  # part of the truth that no linear model can say


REGIMES = (
    Regime("small, near", 5, 2000, 0.5, 1.0, 0.02),
    Regime("small, far", 5, 2000, -1.5, 2.0, 0.02),
    Regime("curved truth", 10, 2000, 0.5, 2.0, 0.01, curved=1.5),
    Regime("100 arms", 100, 4000, 0.3, 1.0, 0.001),
    Regime("rare outcomes", 10, 8000, 0.5, 1.5, 0.01, reward="rare"),
    Regime("noisy money", 10, 4000, 0.5, 1.5, 0.01, reward="money"),
    Regime("thin support", 10, 1000, -3.0, 3.0, 0.001),
)


FLOORS = (0.0001, 0.0003, 0.001, 0.003, 0.008, 0.03)  # of the log, for the study of how much support is needed


def floored(floor: float) -> Regime:
    return Regime("floors", 10, 2000, -1.5, 2.0, floor)  # one name: the same world under every floor


def draws(regime: Regime, *, runs: int, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """``runs`` logs of one world, stacked, and the judged policy's true value (mean over 200,000 contexts)."""
    rng = np.random.default_rng([seed, *regime.name.encode()])
    weights = rng.standard_normal((DIMS, regime.arms)) / DIMS**0.5
    curve = regime.curved * rng.standard_normal((DIMS, regime.arms)) / DIMS**0.5
    offset = 0.5 * rng.standard_normal(regime.arms)
    x = rng.standard_normal((runs, regime.n, DIMS))
    score = _score(x, weights, curve, offset)
    logging, judged = (_policy(score, each, regime) for each in (regime.logging, regime.judged))
    arm = np.minimum((rng.random((runs, regime.n, 1)) >= np.cumsum(logging, axis=2)).sum(axis=2), regime.arms - 1)
    mean = np.take_along_axis(_mean(score, regime), arm[..., None], axis=2)[..., 0]
    reward = _drawn(mean, regime, rng)
    many = _score(rng.standard_normal((1, 200_000, DIMS)), weights, curve, offset)
    truth = float((_policy(many, regime.judged, regime) * _mean(many, regime)).sum(axis=2).mean())
    return {"x": x, "arm": arm, "reward": reward, "propensity": logging, "policy": judged}, truth


def _score(x: np.ndarray, weights: np.ndarray, curve: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.asarray(x @ weights + (x**2 - 1) @ curve / 2**0.5 + offset)


def _policy(score: np.ndarray, sharpness: float, regime: Regime) -> np.ndarray:
    raised = np.exp(sharpness * (score - score.max(axis=2, keepdims=True) if sharpness > 0 else score - score.min(axis=2, keepdims=True)))
    soft = raised / raised.sum(axis=2, keepdims=True)
    return np.asarray(regime.floor + (1 - regime.floor * regime.arms) * soft)


def _mean(score: np.ndarray, regime: Regime) -> np.ndarray:
    shift = {"binary": -0.5, "rare": -4.5, "money": -2.0}[regime.reward]
    chance = 1 / (1 + np.exp(-(score + shift)))
    return np.asarray(chance * 50.0 if regime.reward == "money" else chance)


def _drawn(mean: np.ndarray, regime: Regime, rng: np.random.Generator) -> np.ndarray:
    if regime.reward != "money":
        return (rng.random(mean.shape) < mean).astype(np.float64)
    bought = rng.random(mean.shape) < mean / 50.0
    return np.asarray(np.where(bought, rng.lognormal(np.log(50.0) - 0.5, 1.0, mean.shape), 0.0))  # orders of 50 on average, heavy tail


def slates(*, runs: int, n: int, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """Ranked lists of three of five items, read from the top down: what is shown at a place changes what follows below."""
    rng = np.random.default_rng([seed, 77])
    items = 5
    appeal = np.linspace(-1.0, 1.0, items)
    logging, judged = (np.exp(each * appeal) / np.exp(each * appeal).sum() for each in (0.0, 1.2))
    boost = rng.normal(0, 0.7, (items, items))  # what was shown just above
    shown = rng.choice(items, size=(runs, n, PLACES), p=logging)

    def chance(place: int, item: Any, above: Any) -> Any:
        told = appeal[item] - 0.5 * place + (0 if above is None else boost[above, item])
        return 1 / (1 + np.exp(-told))

    clicks = np.empty(shown.shape)
    for place in range(PLACES):
        above = shown[..., place - 1] if place else None
        clicks[..., place] = rng.random(shown.shape[:2]) < chance(place, shown[..., place], above)
    many = rng.choice(items, size=(400_000, PLACES), p=judged)
    truth = sum(float(chance(place, many[:, place], many[:, place - 1] if place else None).mean()) for place in range(PLACES))
    return {"clicks": clicks, "propensity": logging[shown], "policy": judged[shown]}, truth


def delayed(*, runs: int, n: int, seed: int, window: float = 14.0) -> tuple[dict[str, np.ndarray], float]:
    """The first regime, but a purchase takes days (exponential, mean 5, within the window) and the log is cut today."""
    log, truth = draws(REGIMES[0], runs=runs, seed=seed)
    rng = np.random.default_rng([seed, 78])

    def delay(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(-5.0 * np.log(1 - rng.random(shape) * (1 - np.exp(-window / 5.0))))

    age = rng.uniform(0, 1.5 * window, (runs, n))
    seen = log["reward"][:, :n] * (delay((runs, n)) <= age)
    return {**{name: each[:, :n] for name, each in log.items()}, "seen": seen, "age": age, "history": delay((runs, 1000))}, truth


def open_bandit(folder: Path, behaviour: str, campaign: str) -> dict[str, np.ndarray]:
    """One log of the Open Bandit format: item, position, click, propensity, and the four user features as numbers."""
    import duckdb

    file = folder / behaviour / campaign / f"{campaign}.csv"
    table = duckdb.sql(
        "select item_id, position, click, propensity_score, user_feature_0, user_feature_1, user_feature_2, user_feature_3 "
        f"from read_csv('{file}')"
    ).fetchnumpy()
    features = [np.asarray(table[f"user_feature_{number}"]).astype(str) for number in range(4)]
    return {
        "arm": table["item_id"].astype(np.int64),
        "position": table["position"].astype(np.int64),
        "reward": table["click"].astype(np.float64),
        "propensity": table["propensity_score"].astype(np.float64),
        "x": np.column_stack([each == value for each in features for value in np.unique(each)[1:]]).astype(np.float64),
    }
