"""From the best items to the best list: diversity and calibration, each a small function over a shortlist, each with a dial.

Every function takes the scores of a shortlist (float [M], any scale, higher is better) and returns the chosen places in order,
int64 [k]; dial 0 is the order of the scores. Filters and caps come before: what is chosen from a shortlist that keeps them keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.params import Number, check

Floats = NDArray[np.float32] | NDArray[np.float64]
SMOOTH = 0.01  # of Steck's divergence: a category that the list lacks is unlikely, not impossible


def mmr(
    scores: Floats,
    k: int,
    *,
    dial: float,
    vectors: Floats | None = None,
    category: NDArray[Any] | Sequence[int] | None = None,
    share: float = 0.5,
) -> NDArray[np.int64]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): each place goes to the largest (1 - dial) score - dial likeness.

    Scores are stretched to 0..1. Likeness to the list is the largest, over the items already chosen, of ``share`` times "same
    category" plus 1 - ``share`` times the cosine of ``vectors`` [M, D], cut at 0; with one of them given, that one counts alone.
    ``category`` int [M], -1 is like nothing. When not to use: where the customer wants one thing and the more of it the better.

    Raises
    ------
    InputError
        ``dial`` or ``share`` lies outside 0..1, neither vectors nor categories are given, or a shape does not fit.
    """
    _checked(scores, k, dial)
    check("mmr", {"share": share}, {"share": Number(0, 1)})
    if vectors is None and category is None:
        raise InputError("mmr: give vectors, category, or both; without them no two items are alike.")
    for name, given in (("vectors", vectors), ("category", category)):
        if given is not None and len(given) != len(scores):
            raise InputError(f"mmr: {name} must hold one row for each of the {len(scores)} scores; got {len(given)}.")
    weight = 1.0 if vectors is None else 0.0 if category is None else share
    shelf = None if category is None else np.asarray(category, dtype=np.int64)
    unit = None if vectors is None else vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    relevance, like = _stretched(scores), np.zeros(len(scores))
    chosen: list[int] = []
    free = np.ones(len(scores), dtype=bool)
    for _ in range(min(k, len(scores))):
        place = int(np.argmax(np.where(free, (1 - dial) * relevance - dial * like, -np.inf)))
        chosen.append(place)
        free[place] = False
        near = np.zeros(len(scores))
        if shelf is not None and shelf[place] >= 0:
            near += weight * (shelf == shelf[place])
        if unit is not None:
            near += (1 - weight) * np.maximum(unit @ unit[place], 0)
        like = np.maximum(like, near)
    return np.array(chosen, np.int64)


def calibrated(scores: Floats, k: int, *, dial: float, category: NDArray[Any] | Sequence[int], taste: Floats) -> NDArray[np.int64]:
    """Calibrated recommendations (Steck, RecSys 2018): the list's categories in the proportions of the customer's taste.

    Greedy in (1 - dial) sum of scores - dial k KL(taste || list), with scores stretched to 0..1; the list's shares are smoothed
    by 0.01 of the taste. ``category`` int [M] (-1: none, which counts for no category); ``taste`` float [C], not negative, any
    sum; all zeros: the order of the scores. When not to use: for new customers, whose taste is noise.

    Raises
    ------
    InputError
        ``dial`` lies outside 0..1, or ``taste`` is negative, not finite, or shorter than the categories.
    """
    _checked(scores, k, dial)
    if np.shape(category) != np.shape(scores) or np.max(category, initial=-1) >= len(taste):
        raise InputError(f"calibrated: category must hold one number below {len(taste)} for each of the {len(scores)} scores.")
    wanted, shelf = np.asarray(taste, dtype=np.float64), np.asarray(category, dtype=np.int64)
    total = float(wanted.sum())
    if not np.isfinite(total) or (wanted < 0).any():
        raise InputError("calibrated: taste must be shares that are finite and not negative.")
    if total == 0 or dial == 0:
        return np.argsort(-np.asarray(scores, np.float64), kind="stable")[:k].astype(np.int64)
    wanted = wanted / total
    relevance, held = _stretched(scores), np.zeros(len(wanted))
    chosen: list[int] = []
    free = np.ones(len(scores), dtype=bool)
    length = min(k, len(scores))
    for size in range(1, length + 1):
        # Adding one of category c changes the divergence by the same amount whichever item it is: C values, not M.
        kept = wanted > 0
        shares = (1 - SMOOTH) * held / size + SMOOTH * wanted
        more = (1 - SMOOTH) * (held + 1) / size + SMOOTH * wanted
        base = float((wanted[kept] * np.log(wanted[kept] / shares[kept])).sum())
        gain = np.zeros(len(wanted) + 1)  # the last one: no category
        gain[:-1][kept] = wanted[kept] * np.log(more[kept] / shares[kept])
        value = (1 - dial) * relevance - dial * length * (base - gain[shelf])
        place = int(np.argmax(np.where(free, value, -np.inf)))
        chosen.append(place)
        free[place] = False
        if shelf[place] >= 0:
            held[shelf[place]] += 1
    return np.array(chosen, np.int64)


def divergence(taste: Floats, category: NDArray[Any] | Sequence[int]) -> float:
    """KL(taste || list) of a list's categories (int [k]), in nats, smoothed as in :func:`calibrated`; 0 is perfect calibration."""
    wanted = np.asarray(taste, np.float64) / max(float(np.sum(taste)), 1e-300)
    shelf = np.asarray(category, dtype=np.int64)
    held = np.bincount(shelf[shelf >= 0], minlength=len(wanted)) / max(len(shelf), 1)
    kept = wanted > 0
    shares = (1 - SMOOTH) * held[kept] + SMOOTH * wanted[kept]
    return float((wanted[kept] * np.log(wanted[kept] / shares)).sum())


def _checked(scores: Floats, k: int, dial: float) -> None:
    check("rerank", {"k": k, "dial": dial}, {"k": Number(1, 2**31, whole=True), "dial": Number(0, 1)})
    if np.ndim(scores) != 1 or not np.isfinite(scores).all():
        raise InputError("rerank: scores must be one row of finite numbers; leave items without a score out of the shortlist.")


def _stretched(scores: Floats) -> NDArray[np.float64]:
    found = np.asarray(scores, np.float64)
    span = np.ptp(found) if len(found) else 0.0
    return (found - found.min()) / span if span > 0 else np.zeros(len(found))
