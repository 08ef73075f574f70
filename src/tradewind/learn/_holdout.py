"""Validation inside a log: some customers' last moment is held out, to stop training in time and to weigh a blend.

Held out is everything at the last moment (all lines of the last order), because lines of one order give each other away.
Nothing here ever looks beyond the log that it gets, which is already cut at ``as_of``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._rank import seen_mask, top_k
from tradewind.learn._signal import signal
from tradewind.learn.sequences import Sequences
from tradewind.stats import ranking

ENOUGH = 40  # customers below which nothing is held out
MOST = 1500


@dataclass(frozen=True)
class Holdout:
    """``train``: the log without what is held out; ``histories`` of V customers before it; their wanted items as CSR."""

    train: Sequences
    histories: Sequences
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    repeats: bool  # whether customers take again what they had: then seen items stay in the ranking

    def ndcg(self, scores: NDArray[np.float32], k: int = 10) -> float:
        """Mean NDCG@k of a score matrix [V, I]."""
        if not self.repeats:
            scores = np.where(seen_mask(self.histories, True), -np.inf, scores)
        items, _ = top_k(scores, min(k, scores.shape[1]))
        hit = ranking.hits(items, self.offsets, self.items)
        return float(np.nanmean(ranking.ndcg(hit, np.diff(self.offsets))))


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
    seen = seen_mask(histories, True)
    repeats = seen[np.repeat(np.arange(count), np.diff(offsets)), items].mean() > 0.01
    return Holdout(train, histories, offsets, items, bool(repeats))


def distinct(log: Sequences, weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct items of each customer's positive events, ascending, as CSR offsets [U + 1] and items."""
    found = signal(log, weights)
    keys = np.unique(found.owner * len(log.items) + found.item)
    owner, items = np.divmod(keys, max(len(log.items), 1))
    return np.searchsorted(owner, np.arange(len(log) + 1)).astype(np.int64), items.astype(np.int64)
