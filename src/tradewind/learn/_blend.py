"""Log-linear blend of several recommenders: weights are tuned on a held-out part of the log, one source at a time.

One set of weights serves everybody; lists that hide what the customer had, lists that do not, and histories of like length get
weights of their own where customers who were not tuned on are better off with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._holdout import Holdout
from tradewind.learn._rank import seen_mask, top_k
from tradewind.learn.sequences import Sequences
from tradewind.stats import bootstrap, ranking

Scores = NDArray[np.float32]
Weights = dict[str, float]
GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
ROUNDS = 2
K = 10  # places that the weights are tuned for
BEST = 100  # items of each source that a trial of weights looks at, per customer
LENGTHS = (2, 5, 10, 30, 100)  # events from which a history belongs to the next bucket
ENOUGH = 100  # held-out customers that a bucket needs for weights of its own
FOLDS = 4
CLEAR = 1.64  # standard errors that a gain needs where it was tuned, before it is tried elsewhere
ENTER = 1.0  # standard errors that a source must bring to enter a blend
NEW, AGAIN = "new", "again"  # lists without what the customer had, and lists that may hold it


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


# ---- weights by list and length of the history ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Blend:
    """Weights by source: ``overall``, and ``own`` of a kind of list ("new", "again") or of one of its buckets ("new/2")."""

    overall: Weights
    own: Mapping[str, Weights] = field(default_factory=dict)

    def of(self, view: str, bucket: int) -> Weights:
        """The narrowest weights that there are."""
        return self.own.get(f"{view}/{bucket}") or self.own.get(view) or self.overall

    @property
    def used(self) -> set[str]:
        """The sources with a weight above 0 anywhere."""
        return {name for weights in (self.overall, *self.own.values()) for name, weight in weights.items() if weight > 0}


def buckets(histories: Sequences) -> NDArray[np.int64]:
    """The bucket of each history by its events on items, int64 [U]: 0 below the first of ``LENGTHS``."""
    events = np.bincount(histories.owner[histories.item >= 0], minlength=len(histories))
    return np.searchsorted(LENGTHS, events, side="right").astype(np.int64)


def hides(histories: Sequences, barred: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which lists hide all that the customer bought (all that was seen, where nothing was bought), bool [U]."""
    seen, bought = seen_mask(histories, True), seen_mask(histories, ["purchase"])
    had = np.where(bought.any(axis=1, keepdims=True), bought, seen)
    left: NDArray[np.bool_] = np.asarray((had & ~barred).any(axis=1))
    return ~left


# ---- tuning --------------------------------------------------------------------------------------------------------------


def tune(sources: Mapping[str, Scores], known: NDArray[np.bool_], holdout: Holdout) -> Weights:
    """Weights by coordinate ascent on the held-out NDCG, from the best single source on; the first listed wins ties."""
    return Trials.of(sources, known, holdout).best()


def tuned(trials: Trials, *, seed: int) -> Blend:
    """Overall weights, and those of lists and buckets that are proved to help.

    From wide to narrow: each starts from the weights above it and needs ``ENOUGH`` customers, and a gain on customers who were
    not tuned on (cross-fitting) whose bootstrap interval lies above 0.
    """
    overall, own = trials.best(enter=ENTER), dict[str, Weights]()
    everybody = np.ones(len(trials.bucket), dtype=bool)
    for view in trials.views:
        cells = [(f"{view}/{number}", trials.bucket == number) for number in range(len(LENGTHS) + 1)]
        for name, rows in [(view, everybody), *cells] if len(trials.views) > 1 else cells:
            found = trials.proved(own.get(view, overall), view, np.flatnonzero(rows), seed=seed)
            if found is not None:
                own[name] = found
    return Blend(overall, own)


@dataclass(frozen=True)
class Trials:
    """What held-out customers could be shown, cut down to the best items of each source, so that one trial of weights is cheap.

    ``values`` float32 [M, V, C] of the sources ``names``; ``wanted`` bool [V, C]; by kind of list (``views``) ``open`` bool [V, C] and
    ``relevant`` int64 [V], the number of wanted items; ``bucket`` int64 [V].
    """

    names: tuple[str, ...]
    views: tuple[str, ...]
    values: Scores
    wanted: NDArray[np.bool_]
    open: Mapping[str, NDArray[np.bool_]]
    relevant: Mapping[str, NDArray[np.int64]]
    bucket: NDArray[np.int64]

    @classmethod
    def of(cls, sources: Mapping[str, Scores], known: NDArray[np.bool_], holdout: Holdout) -> Trials:
        """From scores [V, I] for all customers of ``holdout``."""
        listed = (NEW, AGAIN) if holdout.repeats else (NEW,)
        seen = seen_mask(holdout.histories, True)
        free = {NEW: known & ~seen, AGAIN: known}
        chosen = np.zeros(known.shape, dtype=bool)
        for values in sources.values():
            for view in listed:
                items, _ = top_k(np.where(free[view], values, -np.inf), min(BEST, known.shape[1]))
                row, column = np.nonzero(items >= 0)
                chosen[row, items[row, column]] = True
        width = int(chosen.sum(axis=1).max(initial=1))
        # Ascending items with what was not chosen behind them: ties go to the lower item, as in a ranking.
        cells = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
        wanted = np.zeros(known.shape, dtype=bool)
        wanted[np.repeat(np.arange(len(known)), np.diff(holdout.offsets)), holdout.items] = True

        def taken(table: NDArray[Any]) -> NDArray[Any]:
            return np.take_along_axis(table, cells, axis=1)

        return cls(
            tuple(sources),
            listed,
            np.stack([taken(values) for values in sources.values()]),
            taken(wanted),
            {view: taken(free[view] & chosen) for view in listed},
            {NEW: (wanted & ~seen).sum(axis=1), AGAIN: wanted.sum(axis=1)},
            buckets(holdout.histories),
        )

    @classmethod
    def joined(cls, parts: Sequence[Trials]) -> Trials:
        """Trials of one set of sources, one after the other."""
        width = max(part.wanted.shape[1] for part in parts)

        def stacked(tables: Sequence[NDArray[Any]]) -> NDArray[Any]:
            padded = [np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, width - each.shape[-1])]) for each in tables]
            return np.concatenate(padded, axis=-2)

        first = parts[0]
        return cls(
            first.names,
            first.views,
            stacked([part.values for part in parts]),
            stacked([part.wanted for part in parts]),
            {view: stacked([part.open[view] for part in parts]) for view in first.views},
            {view: np.concatenate([part.relevant[view] for part in parts]) for view in first.relevant},
            np.concatenate([part.bucket for part in parts]),
        )

    def total(self, weights: Mapping[str, float], rows: NDArray[np.int64]) -> Scores:
        """Blended values, float32 [R, C]."""
        strength = np.array([weights.get(name, 0.0) for name in self.names], dtype=np.float32)
        found: Scores = np.tensordot(strength, self.values[:, rows], axes=1)
        return found

    def ndcg(self, total: Scores, view: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """NDCG of each customer, [R]; NaN where nothing was wanted."""
        hit = _hits(np.where(self.open[view][rows], total, -np.inf), self.wanted[rows])
        return ranking.ndcg(hit, self.relevant[view][rows])

    def each(self, total: Scores, over: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """NDCG by kind of list and customer, [len(over), R]."""
        return np.stack([self.ndcg(total, view, rows) for view in over])

    def reached(self, total: Scores, over: Sequence[str], rows: NDArray[np.int64]) -> float:
        """Mean over customers and kinds of list."""
        return _mean(self.each(total, over, rows))

    def best(self, *, enter: float = 0.0) -> Weights:
        """The overall weights: all customers, all kinds of list alike; ``enter`` as in :meth:`ascended`."""
        rows = np.arange(self.values.shape[1])
        alone = {name: self.reached(self.total({name: 1.0}, rows), self.views, rows) for name in self.names}
        start = max(self.names, key=lambda name: alone[name])
        return self.ascended({start: 1.0}, self.views, rows, enter=enter)

    def ascended(self, start: Mapping[str, float], over: Sequence[str], rows: NDArray[np.int64], *, enter: float = 0.0) -> Weights:
        """Weights by coordinate ascent from ``start`` on the mean NDCG of ``rows``.

        A source without a weight so far gets one only for a gain of more than ``enter`` standard errors.
        """
        weights = {name: float(start.get(name, 0.0)) for name in self.names}
        now = self.each(self.total(weights, rows), over, rows)
        for _ in range(ROUNDS):
            before = _mean(now)
            for place, name in enumerate(self.names):
                others = self.total({**weights, name: 0.0}, rows)
                rest = any(weight for other, weight in weights.items() if other != name)
                chosen, best = weights[name], now
                for step in GRID:
                    if step == weights[name] or not (step or rest):
                        continue
                    trial = self.each(others + np.float32(step) * self.values[place, rows], over, rows)
                    if _mean(trial) > _mean(best) + 1e-6:
                        chosen, best = step, trial
                if chosen and not weights[name] and _mean(best) - _mean(now) <= enter * _error(best - now):
                    continue
                now, weights = best, {**weights, name: chosen}
            if _mean(now) == before:
                break
        return weights

    def proved(self, parent: Weights, view: str, rows: NDArray[np.int64], *, seed: int) -> Weights | None:
        """Weights for ``rows`` that beat ``parent`` on customers they were not tuned on, else None."""
        rows = rows[self.relevant[view][rows] > 0]
        if len(rows) < ENOUGH:
            return None
        found = self.ascended(parent, (view,), rows, enter=ENTER)
        gain = self._gain(found, parent, view, rows)
        # A gain that is not clear where it was tuned will not be clear elsewhere: no need to look.
        if gain.mean() <= CLEAR * gain.std() / np.sqrt(len(gain)):
            return None
        fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
        for number in range(FOLDS):
            weights = self.ascended(parent, (view,), rows[fold != number], enter=ENTER)
            gain[fold == number] = self._gain(weights, parent, view, rows[fold == number])
        low = bootstrap.mean(gain, name="gain", seed=seed).low
        return found if low is not None and low > 0 else None

    def _gain(self, weights: Weights, parent: Weights, view: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        ours, theirs = (self.ndcg(self.total(each, rows), view, rows) for each in (weights, parent))
        return ours - theirs


def _hits(values: Scores, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each of the first K places, bool [R, K], holds a wanted item; as ``top_k``, and quicker on short rows."""
    width = values.shape[1]
    bound = np.partition(values, width - K, axis=1)[:, width - K] if width > K else np.full(len(values), -np.inf, np.float32)
    row, column = np.nonzero((values >= bound[:, None]) & np.isfinite(values))
    order = np.lexsort((column, -values[row, column], row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    row, column, place = row[place < K], column[place < K], place[place < K]
    found = np.zeros((len(values), K), dtype=bool)
    found[row, place] = wanted[row, column]
    return found


def _mean(values: NDArray[np.float64]) -> float:
    """Mean over the rows [n, R] of their means; a row of nothing but NaN counts 0."""
    known = ~np.isnan(values)
    means = np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return float(means.mean())


def _error(values: NDArray[np.float64]) -> float:
    """Standard error of :func:`_mean`."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1), 1)
    middle = np.where(known, values, 0).sum(axis=1) / count
    spread = np.where(known, values - middle[:, None], 0) ** 2
    return float(np.sqrt((spread.sum(axis=1) / count**2).sum()) / len(values))
