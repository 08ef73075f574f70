"""Log-linear blend of several recommenders: weights are tuned on a held-out part of the log, one source at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._holdout import Holdout

Scores = NDArray[np.float32]
GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
ROUNDS = 2


def logs(scores: Scores, *, logits: bool = False) -> Scores:
    """Log of each item's share of a row, float32 [U, I]: shares of the scores, or the softmax of ``logits``.

    A share gets 1 / I on top, so that an item that a source does not know is unlikely and not impossible.
    """
    known = np.isfinite(scores)
    if logits:
        top = np.where(known, scores, -np.inf).max(axis=1, keepdims=True, initial=-1e30)
        strength = np.where(known, np.exp(np.where(known, scores - top, 0)), 0)
    else:
        strength = np.where(known, np.maximum(scores, 0), 0)
    share = strength / np.maximum(strength.sum(axis=1, keepdims=True), 1e-30)
    found: Scores = np.log(share + 1 / max(scores.shape[1], 1)).astype(np.float32)
    return found


def either(scores: Iterable[Scores]) -> NDArray[np.bool_]:
    """Where any of the sources knows the item, bool [U, I]."""
    first, *others = (np.isfinite(each) for each in scores)
    for each in others:
        first |= each
    return first


def mixed(sources: Mapping[str, Scores], weights: Mapping[str, float], known: NDArray[np.bool_]) -> Scores:
    """Weighted sum of logs; minus infinity where no source knows the item (``known`` bool [U, I])."""
    total = np.zeros(known.shape, dtype=np.float32)
    for name, values in sources.items():
        if weights.get(name, 0.0) > 0:
            total += np.float32(weights[name]) * values
    return np.where(known, total, np.float32(-np.inf))


def tune(sources: Mapping[str, Scores], known: NDArray[np.bool_], holdout: Holdout) -> dict[str, float]:
    """Weights by coordinate ascent on the held-out NDCG, from the best single source on; the first listed wins ties."""
    alone = {name: holdout.ndcg(mixed(sources, {name: 1.0}, known)) for name in sources}
    start = max(sources, key=lambda name: alone[name])
    weights = {name: float(name == start) for name in sources}
    best = alone[start]
    for _ in range(ROUNDS):
        for name in sources:
            for step in GRID:
                trial = {**weights, name: step}
                if step == weights[name] or not any(trial.values()):
                    continue
                reached = holdout.ndcg(mixed(sources, trial, known))
                if reached > best + 1e-6:
                    best, weights = reached, trial
    return weights
