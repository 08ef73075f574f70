"""Validation inside a log, to stop training in time and to weigh a blend; it never looks beyond the log that it gets.

Held out is the last stretch of time, as a shop will use the model: learn before, answer after. Where too few customers
act in it, the last moment of some customers is held out instead: all lines of the last order, because lines of one
order give each other away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._rank import seen_mask, top_k
from tradewind.learn._signal import signal
from tradewind.learn.sequences import Sequences
from tradewind.stats import ranking

ENOUGH = 40  # customers below which nothing is held out
MOST = 1500
DAYS = 28
SHARE = 0.15  # of all events at most in the held-out stretch of time
CELLS = 20_000_000  # customers x items of one score matrix at most


@dataclass(frozen=True)
class Holdout:
    """``train``: the log without what is held out; ``histories`` of V customers before it; their wanted items as CSR."""

    train: Sequences
    histories: Sequences
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    repeats: bool  # whether customers take again what they had: then seen items stay in the ranking

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        return seen_mask(self.histories, True)

    def ndcg(self, scores: NDArray[np.float32], k: int = 10) -> float:
        """Mean NDCG@k of a score matrix [V, I]; where customers buy again, the mean of "all items" and "new items"."""
        fresh = ~self._seen[np.repeat(np.arange(len(scores)), np.diff(self.offsets)), self.items]
        offsets = np.concatenate(([0], np.cumsum(fresh)))[self.offsets]
        new = _mean_ndcg(np.where(self._seen, -np.inf, scores), offsets, self.items[fresh], k)
        return (new + _mean_ndcg(scores, self.offsets, self.items, k)) / 2 if self.repeats else new


def _mean_ndcg(scores: NDArray[np.float32], offsets: NDArray[np.int64], items: NDArray[np.int64], k: int) -> float:
    lists, _ = top_k(scores, min(k, scores.shape[1]))
    relevant = np.diff(offsets)
    if not relevant.any():
        return 0.0
    return float(np.nanmean(ranking.ndcg(ranking.hits(lists, offsets, items), relevant)))


def held_out(log: Sequences, weights: NDArray[np.float64], *, seed: int) -> Holdout | None:
    """The last stretch of time, else some customers' last moment, else None when the log is too small for either."""
    most = int(min(MOST, max(ENOUGH, CELLS // max(len(log.items), 1))))
    return last_days(log, weights, seed=seed, most=most) or last_moment(log, weights, seed=seed, most=most)


def last_days(log: Sequences, weights: NDArray[np.float64], *, seed: int, most: int = MOST) -> Holdout | None:
    """Hold out the last ``DAYS`` days, or the last ``SHARE`` of all events when that is shorter, for up to ``most`` customers."""
    if not len(log.at):
        return None
    cut = max(int(log.at.max()) - DAYS * 86_400_000_000, int(np.quantile(log.at, 1 - SHARE)))
    train, future = log.keep(log.at < cut), log.keep(log.at >= cut)
    offsets, _ = distinct(future, weights)
    known = np.bincount(_positive(train, weights), minlength=len(log)) > 0
    eligible = np.flatnonzero(known & (np.diff(offsets) > 0))
    if len(eligible) < ENOUGH:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(eligible)[:most])
    held_offsets, held_items = distinct(future.rows(chosen), weights)
    return _holdout(train, train.rows(chosen), held_offsets, held_items)


def _positive(log: Sequences, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    return log.owner[(log.item >= 0) & (weights[log.kind] > 0)]


def _holdout(train: Sequences, histories: Sequences, offsets: NDArray[np.int64], items: NDArray[np.int64]) -> Holdout:
    seen = seen_mask(histories, True)[np.repeat(np.arange(len(histories)), np.diff(offsets)), items]
    return Holdout(train, histories, offsets, items, bool(seen.mean() > 0.01))


def last_moment(log: Sequences, weights: NDArray[np.float64], *, seed: int, most: int = MOST) -> Holdout | None:
    """Hold out the last moment of up to ``most`` customers (at most every second one); None when the log is too small."""
    owner = log.owner
    if not len(log.at):
        return None
    final = np.maximum.reduceat(log.at, log.offsets[:-1][log.lengths > 0])
    last = np.full(len(log), np.iinfo(np.int64).min)
    last[log.lengths > 0] = final
    positive = (log.item >= 0) & (weights[log.kind] > 0)
    ending = log.at == last[owner]
    wanted, before = (np.bincount(owner[positive & part], minlength=len(log)) > 0 for part in (ending, ~ending))
    eligible = np.flatnonzero(wanted & before)
    count = min(most, len(eligible) // 2)
    if count < ENOUGH:
        return None
    chosen = np.sort(np.random.default_rng(seed).choice(eligible, count, replace=False))
    held = np.zeros(len(log), dtype=bool)
    held[chosen] = True
    train = log.keep(~(held[owner] & ending))
    histories = train.rows(chosen)
    offsets, items = distinct(log.keep(held[owner] & ending).rows(chosen), weights)
    return _holdout(train, histories, offsets, items)


def distinct(log: Sequences, weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct items of each customer's positive events, ascending, as CSR offsets [U + 1] and items."""
    found = signal(log, weights)
    keys = np.unique(found.owner * len(log.items) + found.item)
    owner, items = np.divmod(keys, max(len(log.items), 1))
    return np.searchsorted(owner, np.arange(len(log) + 1)).astype(np.int64), items.astype(np.int64)
