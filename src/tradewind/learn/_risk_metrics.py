"""What a risk score is worth: fraud caught where few good customers may be hit, or few orders can be looked at. Never only an AUC."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Floats = NDArray[np.float64]
DAY = 86_400_000_000  # microseconds


def recall_at(fraud: ArrayLike, score: ArrayLike, *, good_hit: float) -> float:
    """Share of fraud at or above the lowest threshold that hits at most the share ``good_hit`` of the good ones.

    Equal scores stand or fall together, so that a score of few values is not flattered. NaN without fraud.
    """
    y, _, order, last = _sorted(fraud, score)
    if y.sum() in (0, len(y)):
        return float("nan")
    hit, caught = np.cumsum(1 - y[order])[last], np.cumsum(y[order])[last]
    fits = hit <= good_hit * (1 - y).sum()
    return float(caught[fits].max(initial=0.0) / y.sum())


def money_recall_at(fraud: ArrayLike, score: ArrayLike, amount: ArrayLike, *, good_money: float) -> float:
    """Share of the money of fraud above the lowest threshold that stops at most the share ``good_money`` of good money."""
    y, _, order, last = _sorted(fraud, score)
    money = np.asarray(amount, dtype=np.float64)
    bad, good = money * y, money * (1 - y)
    if not bad.sum():
        return float("nan")
    fits = np.cumsum(good[order])[last] <= good_money * good.sum()
    return float(np.cumsum(bad[order])[last][fits].max(initial=0.0) / bad.sum())


def reviewed(fraud: ArrayLike, score: ArrayLike, amount: ArrayLike, at: ArrayLike, *, reviews: int) -> dict[str, float]:
    """When the ``reviews`` riskiest of each day (UTC) are looked at: ``recall``, ``money`` (share of fraud's money), ``precision``."""
    y, s, _, _ = _sorted(fraud, score)
    day, money = np.asarray(at) // DAY, np.asarray(amount, dtype=np.float64)
    order = np.lexsort((np.arange(len(s)), -s, day))
    begin = np.r_[0, np.flatnonzero(np.diff(day[order])) + 1]
    rank = np.arange(len(s)) - np.repeat(begin, np.diff(np.r_[begin, len(s)]))
    seen = np.zeros(len(s), dtype=bool)
    seen[order[rank < reviews]] = True
    return {
        "recall": _share(y[seen].sum(), y.sum()),
        "money": _share((y * money)[seen].sum(), (y * money).sum()),
        "precision": _share(y[seen].sum(), float(seen.sum())),
    }


def average_precision(fraud: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the fraud, equal scores together; the area under the precision-recall curve as steps."""
    y, _, order, last = _sorted(fraud, score)
    if not y.sum():
        return float("nan")
    caught = np.cumsum(y[order])[last]
    return float((np.diff(np.r_[0.0, caught]) * caught / (last + 1)).sum() / y.sum())


def _sorted(fraud: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Labels, scores, the order from the riskiest, and the last place of each run of equal scores in it."""
    y, s = np.asarray(fraud, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1 or not len(y):
        raise InputError(f"Give one label and one score per row, at least one; got {y.shape} and {s.shape}.")
    if not np.isin(y, (0.0, 1.0)).all() or not np.isfinite(s).all():
        raise InputError("Every label must be 0 or 1 and every score a number. Leave out what is not known yet.")
    order = np.argsort(-s, kind="stable")
    return y, s, order, np.r_[np.flatnonzero(np.diff(s[order])), len(s) - 1]


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
