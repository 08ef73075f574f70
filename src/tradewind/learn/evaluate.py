"""Full-ranking evaluation on a global time split: every model learns before the cut and is asked for what came after.

Nothing is sampled and nothing is tuned here: models choose their own settings inside the log before the cut. Retail is
judged twice: "all" (buying again counts, nothing is hidden from the list) and "new" (items that the customer never had).
Customers without a history and items that were never seen before the cut are measured apart, too.
Leave-one-out is here only to compare with papers; it lets models see the future of other customers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind import plugins
from tradewind.errors import InputError
from tradewind.learn._audit import SHORTCUT, low_branching, miscalibration, shortcut
from tradewind.learn._holdout import distinct
from tradewind.learn._rank import seen_mask
from tradewind.learn._signal import ordered
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import KINDS, Sequences, kind_codes
from tradewind.params import Number, check
from tradewind.stats import bootstrap, ranking
from tradewind.types import Estimate, micros

YARDSTICKS = ("popular", "recent", "graph", "user_knn", "als")  # always measured beside whatever is asked for
VIEWS = ("all", "new")
PER_USER = ("ndcg", "recall", "mrr", "map", "hit_rate")
COLD = {"ndcg_cold_customers": "customers without a history", "ndcg_cold_items": "wanted items never seen before the cut"}

AT_K = ("ndcg", "recall", "mrr", *COLD)
SHOWN = ("ndcg", "recall", "mrr", "coverage", "novelty", "diversity", "miscalibration", "popularity_bias", "ms_per_customer")


class Targets(NamedTuple):
    """Who is asked and what was wanted: histories [V], CSR of distinct items."""

    histories: Sequences
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One model under one view: estimates by name, the values per user behind them (float64 [V]), and the model's tags."""

    model: str
    view: str
    k: int
    estimates: Mapping[str, Estimate]
    values: Mapping[str, NDArray[np.float64]]
    tags: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True)
class Evaluation:
    """All rows, and what the split was: its hash, users, shares of cold customers, of cold wanted items and of low branching."""

    rows: tuple[Row, ...]
    split: Mapping[str, Any]

    def row(self, model: str, view: str = "all") -> Row:
        """The row of a model.

        Raises
        ------
        InputError
            It was not measured.
        """
        for row in self.rows:
            if (row.model, row.view) == (model, view):
                return row
        raise InputError(f'No row "{model}" / "{view}". Measured: {", ".join(sorted({row.model for row in self.rows}))}.')

    def difference(self, model: str, base: str, *, metric: str = "ndcg", view: str = "all", seed: int = 0) -> Estimate:
        """``model`` minus ``base`` with the paired bootstrap interval over the same users."""
        a, b = self.row(model, view).values[metric], self.row(base, view).values[metric]
        return bootstrap.difference(a, b, name=f"{metric}: {model} - {base}", seed=seed)

    def shortcut(self, view: str = "new", *, seed: int = 0) -> tuple[str, str, Estimate] | None:
        """Best untrained model (graph, popular, recent), best trained one (deep, else als), and the ratio of their NDCG.

        Over customers with a history; None where either side was not measured.
        """
        rows = {row.model: row for row in self.rows if row.view == view}
        trained = {name for name, row in rows.items() if "deep" in row.tags} or {"als"}
        known = {name: np.where(np.isnan(row.values["ndcg_cold_customers"]), row.values["ndcg"], np.nan) for name, row in rows.items()}
        return shortcut(known, trained, seed=seed)

    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the ranking of the models: data on which counting is about as good as training."""
        texts = []
        for view in sorted({row.view for row in self.rows}):
            found = self.shortcut(view)
            if found and found[2].value >= SHORTCUT:
                plain, best, share = found
                texts.append(
                    f'Shortcut-solvable, view "{view}": "{plain}", which only counts, reaches {share.value:.0%} [{share.low:.0%}, '
                    f'{share.high:.0%}] of the NDCG of "{best}", the best trained model; the latest item of '
                    f"{self.split['low_branching']:.0%} of the customers was followed by at most {self.split['k']} items. "
                    "On such data a gain of one trained model over another says little (arXiv 2605.07125)."
                )
        return tuple(texts)

    def records(self) -> list[dict[str, Any]]:
        """One flat dict per row, for tables and JSON."""
        return [
            {"model": row.model, "view": row.view}
            | {name: each.value for name, each in row.estimates.items()}
            | {
                f"{name}_{end}": getattr(each, end)
                for name, each in row.estimates.items()
                if each.low is not None
                for end in ("low", "high")
            }
            for row in self.rows
        ]

    def to_text(self) -> str:
        """A table for people: what was split, warnings, one line per model and view, cold customers and items apart."""
        facts = (
            f"split {self.split['hash'][:12]}: {self.split['users']} customers, {self.split['cold_customers']:.1%} without a history, "
            f"{self.split['cold_items']:.1%} of wanted items never seen before the cut, {self.split['had_before']:.1%} had before"
        )
        lines = [facts, *self.warnings(), *self._lines(SHOWN, self.rows)]
        cold = [row for row in self.rows if row.view == "new"]
        if any(row.estimates[name].n for row in cold for name in COLD):
            lines += ["apart:", *self._lines(tuple(COLD), cold)]
        return "\n".join(lines)

    def _lines(self, columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
        head = "".join(f"{name + '@' + str(self.split['k']) if name in AT_K else name:>26}" for name in columns)
        best_first = sorted(rows, key=lambda row: (row.view, -_nan_last(row.estimates[columns[0]].value)))
        body = [f"{row.view:<5}{row.model:<14}" + "".join(f"{_shown(row.estimates[name]):>26}" for name in columns) for row in best_first]
        return [f"{'view':<5}{'model':<14}{head}", *body]


def evaluate(
    models: Iterable[Recommender | str],
    log: Sequences,
    cut: datetime,
    *,
    k: int = 10,
    horizon_days: float = 28.0,
    targets: Sequence[str] = ("purchase",),
    seed: int = 0,
    draws: int = 1000,
) -> Evaluation:
    """Fit each model on ``log`` before ``cut`` and rank the whole catalogue for everybody who acts in the horizon after it.

    ``models`` are models or names of this room; popular, recent, graph, user_knn and als are always added. ``targets`` are the
    kinds of event that count as wanted. Intervals are percentile bootstraps over customers (``draws``, 95 %); ``ms_per_customer``
    is wall time of ranking all of them at once.

    Raises
    ------
    InputError
        Nobody acts within the horizon, or two models have one name.
    """
    past = ordered(log.before(cut))
    fitted = (model.fit(past, as_of=cut) for model in _complete(models))
    return evaluate_fitted(fitted, log, cut, k=k, horizon_days=horizon_days, targets=targets, seed=seed, draws=draws)


def evaluate_fitted(
    models: Iterable[Recommender],
    log: Sequences,
    cut: datetime,
    *,
    k: int = 10,
    horizon_days: float = 28.0,
    targets: Sequence[str] = ("purchase",),
    seed: int = 0,
    draws: int = 1000,
) -> Evaluation:
    """:func:`evaluate` of models that have learned from ``log`` before ``cut``; no yardstick is added.

    Raises
    ------
    InputError
        As :func:`evaluate`; or a model has another catalogue than the log, or learned from what came after ``cut``.
    """
    check("evaluate", {"k": k, "horizon_days": horizon_days}, {"k": Number(1, 10_000, whole=True), "horizon_days": Number(0.001, 10_000)})
    wanted, split = time_split(log, cut, horizon_days=horizon_days, targets=targets)
    past = ordered(log.before(cut))
    split |= {"k": k, "low_branching": low_branching(past, wanted.histories, k)}
    rows: list[Row] = []
    for model in models:
        if not np.array_equal(model.items, log.items):
            raise InputError(f'The model "{model.name}" has another catalogue than the log; its columns cannot be compared.')
        if model.as_of > micros(cut):
            raise InputError(f'The model "{model.name}" learned from events after the cut, {cut.isoformat()}. Fit it with as_of=cut.')
        rows.extend(measure(model, wanted, past, view=view, targets=targets, k=k, seed=seed, draws=draws) for view in VIEWS)
    return Evaluation(tuple(rows), split)


def time_split(
    log: Sequences, cut: datetime, *, horizon_days: float, targets: Sequence[str] = ("purchase",)
) -> tuple[Targets, dict[str, Any]]:
    """Histories before ``cut`` of all who act in ``[cut, cut + horizon)``, what they wanted, and facts with a hash of the split."""
    log = ordered(log)
    past, future = log.split(cut)
    future = future.before(cut + timedelta(days=horizon_days))
    offsets, items = distinct(future, _counting(targets))
    rows = np.flatnonzero(np.diff(offsets) > 0)
    if not len(rows):
        raise InputError(
            f"Nobody has an event of kind {', '.join(targets)} in the {horizon_days:g} days from {cut.isoformat()}. "
            "Choose an earlier cut or more days."
        )
    histories = past.rows(rows)
    offsets = np.concatenate(([0], np.cumsum(np.diff(offsets)[rows])))
    digest = hashlib.sha256(f"{cut.isoformat()} {horizon_days} {sorted(targets)} {len(past.at)}\n".encode())
    for name, start, end in zip(histories.customers, offsets[:-1], offsets[1:], strict=True):
        digest.update("\t".join([str(name), *log.items[items[start:end]]]).encode() + b"\n")
    seen = np.bincount(past.item[past.item >= 0], minlength=len(log.items)) > 0
    has = np.bincount(histories.owner[histories.item >= 0], minlength=len(rows)) > 0
    had = seen_mask(histories, list(targets))[np.repeat(np.arange(len(rows)), np.diff(offsets)), items]
    facts = {
        "hash": digest.hexdigest(),
        "cut": cut.isoformat(),
        "horizon_days": horizon_days,
        "targets": list(targets),
        "users": len(rows),
        "wanted": len(items),
        "train_events": len(past.at),
        "cold_customers": float(1 - has.mean()),
        "cold_items": float(1 - seen[items].mean()),
        "had_before": float(had.mean()),
    }
    return Targets(histories, offsets, items), facts


def leave_one_out(log: Sequences, *, back: int = 1) -> tuple[Sequences, Targets]:
    """The log without each customer's last ``back`` events, and the ``back``-th last event as target of the history before it.

    ``back=1`` is the papers' test, ``back=2`` their validation. Customers with ``back`` events or fewer are left out of the targets.
    """
    log = ordered(log)
    place = np.repeat(log.lengths, log.lengths) - 1 - (np.arange(len(log.at)) - np.repeat(log.offsets[:-1], log.lengths))
    train = log.keep(place >= back)
    rows = np.flatnonzero(log.lengths > back)
    items = log.item[log.offsets[1:][rows] - back].astype(np.int64)
    return train, Targets(train.rows(rows), np.arange(len(rows) + 1), items)


def measure(
    model: Recommender, wanted: Targets, past: Sequences, *, view: str, targets: Sequence[str], k: int, seed: int, draws: int = 1000
) -> Row:
    """Rank for the customers of ``wanted`` with a fitted model and measure the lists; ``past`` gives popularity and categories."""
    histories, offsets, items = wanted
    if view == "new":
        seen = seen_mask(histories, list(targets))
        fresh = ~seen[np.repeat(np.arange(len(histories)), np.diff(offsets)), items]
        offsets, items = np.concatenate(([0], np.cumsum(fresh)))[offsets], items[fresh]
    relevant = np.diff(offsets)
    started = time.perf_counter()
    lists = model.recommend(histories, k=k, exclude_seen=list(targets) if view == "new" else False).items
    taken = time.perf_counter() - started
    hit = ranking.hits(lists, offsets, items)
    functions = (ranking.ndcg, ranking.recall, ranking.reciprocal_rank, ranking.average_precision, ranking.hit_rate)
    values = {name: function(hit, relevant) for name, function in zip(PER_USER, functions, strict=True)}
    positive = past.item >= 0
    counts = np.bincount(past.item[positive], minlength=len(past.items))
    pairs = np.unique(past.owner[positive] * len(past.items) + past.item[positive])
    owners = np.bincount(pairs % max(len(past.items), 1), minlength=len(past.items))
    shelf = np.full(len(past.items), -1, np.int32)
    shelf[past.item[positive]] = past.category[positive]
    asked = relevant > 0
    values["novelty"] = np.where(asked, ranking.novelty(lists, owners, len(past)), np.nan)
    values["diversity"] = np.where(asked, ranking.diversity(lists, shelf), np.nan)
    values["miscalibration"] = np.where(asked, miscalibration(lists, shelf, histories), np.nan)
    values |= _cold(lists, offsets, items, histories, owners)
    estimates = {name: bootstrap.mean(each, name=name, seed=seed, draws=draws) for name, each in values.items()}
    whole = {
        "ms_per_customer": 1000 * taken / max(len(histories), 1),
        "coverage": ranking.coverage(lists[asked], len(past.items)),
        "gini": ranking.gini(lists[asked], len(past.items)),
        "popularity_bias": ranking.popularity_bias(lists[asked], items, counts),
    }
    estimates |= {name: Estimate(name, value, n=int(asked.sum())) for name, value in whole.items()}
    return Row(model.name, view, k, estimates, values, model.tags)


def _cold(
    lists: NDArray[np.int32], offsets: NDArray[np.int64], items: NDArray[np.int64], histories: Sequences, owners: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """NDCG of the customers without a history, and NDCG as if only items that nobody had (``owners`` [I] 0) were wanted; else NaN."""
    empty = np.bincount(histories.owner[histories.item >= 0], minlength=len(histories)) == 0
    relevant = np.diff(offsets)
    strangers = np.where(empty, ranking.ndcg(ranking.hits(lists, offsets, items), relevant), np.nan)
    fresh = owners[items] == 0
    offsets = np.concatenate(([0], np.cumsum(fresh)))[offsets]
    unseen = ranking.ndcg(ranking.hits(lists, offsets, items[fresh]), np.diff(offsets))
    return dict(zip(COLD, (strangers, unseen), strict=True))


def _complete(models: Iterable[Recommender | str]) -> list[Recommender]:
    """The models asked for and the yardsticks that are missing, names made into models."""
    listed = [plugins.load("learn", model, what="model")() if isinstance(model, str) else model for model in models]
    names = [model.name for model in listed]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'Two models are called "{name}"; measure them in two calls.')
    yardsticks = [plugins.load("learn", name, what="model")() for name in YARDSTICKS if name not in names]
    return [*listed, *yardsticks]


def _counting(kinds: Sequence[str]) -> NDArray[np.float64]:
    weights = np.zeros(len(KINDS))
    weights[kind_codes(kinds)] = 1.0
    return weights


def _nan_last(value: float) -> float:
    return -1.0 if np.isnan(value) else value


def _shown(estimate: Estimate) -> str:
    if np.isnan(estimate.value):
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} [{estimate.low:.4f} {estimate.high:.4f}]"
