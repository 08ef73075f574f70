"""What is known about (customer, item, moment) before the moment: dense features, the same in training and when serving.

Facts about the customer and the pair are exact to the microsecond: they come from the history before the impression. Facts
about the item, its click rate and the item graph are those of the last of several boundaries in time, in training as when serving
(where the boundary is the moment of the fit), so that nothing is learned from a freshness that serving does not have, and no row
sees its own answer.

Click rates are clicks over expected clicks: an impression at a place where people rarely look counts for less. The expectation per
place comes from clicks = rate of the item x effect of the place, fitted to the counts (Poisson, by proportional fitting), which
separates the two as soon as items move between places (Agarwal et al. 2019, "Estimating position bias without intrusive interventions").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._ranker_rows import DAY, Rows, Vocabulary, pieces
from tradewind.learn.base import Recommender
from tradewind.learn.graph import Graph
from tradewind.learn.sequences import EVENT_ARRAYS, KINDS, Sequences
from tradewind.types import from_micros

OF_ITEM = ("item_week", "item_month", "item_purchases", "item_age", "item_rate", "item_known", "category_rate")
OF_CUSTOMER = ("customer_rate", "customer_known", "events", "week_events", "bought", "idle")
OF_PAIR = (
    "same_item", "same_item_idle", "same_item_bought", "same_category", "same_category_share", "same_category_idle",
    "last_category", "same_band_share", "band_gap", "graph",
)  # fmt: skip
DENSE = (*OF_ITEM, *OF_CUSTOMER, *OF_PAIR)
SLICES = 8  # boundaries at which facts about items are taken while training
LAST = 50  # events of a history that the pair's facts look at
BLOCK = 20_000  # rows at once: bounds memory to BLOCK x LAST cells
REQUESTS = 512  # histories scored by the graph at once
PLACES = 64  # places with an effect of their own; later ones share the last
PRIOR = 4.0  # expected clicks that a click rate is shrunk by
NEVER = 400.0  # days since something that did not happen
OLD = 60.0  # days after which an item is simply old: what only grows with time would drift away from what was learned
_PURCHASE = KINDS.index("purchase")


def place(position: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of a table of positions: 0 is the first place."""
    return np.minimum(position, PLACES) - 1


def place_effects(rows: Rows, items: int) -> NDArray[np.float64]:
    """Expected clicks of an average item per place, float64 [PLACES]; rising and falling as the log says."""
    at, who = place(rows.position), np.where(rows.item < 0, items, rows.item).astype(np.int64)
    cells, where = np.unique(who * PLACES + at, return_inverse=True)
    shown = np.bincount(where).astype(np.float64)
    clicked = np.bincount(where, weights=rows.click)
    cell_item, cell_place = cells // PLACES, cells % PLACES
    base = (clicked.sum() + 1) / (shown.sum() + 2)
    effect, rate = np.full(PLACES, base), np.ones(items + 1)
    per_place, per_item = (np.bincount(part, weights=clicked, minlength=n) for part, n in ((cell_place, PLACES), (cell_item, items + 1)))
    for _ in range(30):
        rate = (per_item + PRIOR) / (np.bincount(cell_item, weights=shown * effect[cell_place], minlength=items + 1) + PRIOR)
        expected = np.bincount(cell_place, weights=shown * rate[cell_item], minlength=PLACES)
        effect = (per_place + PRIOR * base) / (expected + PRIOR)
    return effect


@dataclass(frozen=True)
class Facts:
    """What was known about items and customers at one boundary: ``item`` float32 [I + 1, 7], ``customer`` float32 [P + 1, 2].

    The last rows stand for an unknown item and an unknown customer.
    """

    item: NDArray[np.float32]
    customer: NDArray[np.float32]
    graph: Recommender


@dataclass(frozen=True)
class Dense:
    """Computes ``DENSE`` for rows: ``train`` while learning, ``serve`` afterwards; kept with the model."""

    vocabulary: Vocabulary
    effects: NDArray[np.float64]
    people: NDArray[np.object_]  # sorted customers with impressions
    facts: Facts

    @classmethod
    def learn(cls, rows: Rows, vocabulary: Vocabulary, as_of: int) -> tuple[Self, NDArray[np.float32]]:
        """Itself as of ``as_of``, and the features of the training rows, float32 [N, F]."""
        effects = place_effects(rows, len(vocabulary.items))
        people = np.array(sorted(set(rows.customers) - {""}), dtype=object)
        codes = _codes(people, rows.customers)
        bounds = np.unique(np.quantile(rows.at, np.linspace(0, 1, SLICES, endpoint=False), method="lower"))
        part = np.searchsorted(bounds, rows.at, side="right") - 1
        values = np.empty((len(rows), len(DENSE)), np.float32)
        for number, bound in enumerate(bounds.tolist()):
            index = np.flatnonzero(part == number)
            facts = _facts(rows, codes, len(people), vocabulary, effects, bound)
            values[index] = _features(rows.take(index), codes[index], facts)
        return cls(vocabulary, effects, people, _facts(rows, codes, len(people), vocabulary, effects, as_of)), values

    def serve(self, rows: Rows) -> NDArray[np.float32]:
        """The features of rows from the moment of the fit on, float32 [N, F]."""
        return _features(rows, _codes(self.people, rows.customers), self.facts)

    def state(self) -> tuple[dict[str, Any], _store.Arrays]:
        """Itself as JSON values and arrays."""
        head, own = self.facts.graph.state()
        arrays: _store.Arrays = {f"graph/{name}": array for name, array in own.items()}
        arrays |= {"effects": self.effects, "facts.item": self.facts.item, "facts.customer": self.facts.customer}
        arrays |= {"category": self.vocabulary.category, "band": self.vocabulary.band}
        arrays |= _store.pack("people", self.people)
        return {"graph": head}, arrays | _store.pack("categories", self.vocabulary.categories)

    @classmethod
    def restored(cls, values: dict[str, Any], arrays: _store.Arrays) -> Self:
        """The inverse of :meth:`state`."""
        graph = Recommender.from_state(values["graph"], pieces(arrays, "graph/"))
        vocabulary = Vocabulary(graph.items, _store.unpack("categories", arrays), arrays["category"], arrays["band"])
        facts = Facts(arrays["facts.item"], arrays["facts.customer"], graph)
        return cls(vocabulary, arrays["effects"], _store.unpack("people", arrays), facts)


def _codes(people: NDArray[np.object_], customers: NDArray[np.object_]) -> NDArray[np.int64]:
    index = {name: code for code, name in enumerate(people)}
    return np.fromiter((index.get(name, len(people)) for name in customers), np.int64, len(customers))


def _facts(rows: Rows, codes: NDArray[np.int64], people: int, vocabulary: Vocabulary, effects: NDArray[np.float64], bound: int) -> Facts:
    """Everything from events and impressions before ``bound`` (microseconds)."""
    log, size = rows.log, len(vocabulary.items)
    past = (log.at < bound) & (log.item >= 0)
    item, at, kind = log.item[past], log.at[past], log.kind[past]
    columns = [np.bincount(item[at >= bound - days * DAY], minlength=size) for days in (7, 28)]
    columns.append(np.bincount(item[(kind == _PURCHASE) & (at >= bound - 28 * DAY)], minlength=size))
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, item, at)
    age = np.where(first < bound, np.minimum((bound - np.minimum(first, bound)) / DAY, OLD), NEVER)
    seen = rows.at < bound
    click, expected = rows.click[seen], effects[place(rows.position[seen])]
    shown_item = np.where(rows.item[seen] < 0, size, rows.item[seen])
    shelf = np.append(vocabulary.category, -1).astype(np.int64)
    rate, shown = _rate(shown_item, click, expected, size + 1)
    by_shelf, _ = _rate(shelf[shown_item] + 1, click, expected, len(vocabulary.categories) + 1)
    known = np.log1p(np.column_stack([*columns, age]))
    absent = np.log1p(np.array([[0.0, 0.0, 0.0, NEVER]]))
    of_item = np.column_stack([np.concatenate([known, absent]), rate, shown, by_shelf[shelf + 1]])
    rate, shown = _rate(codes[seen], click, expected, people + 1)
    rate[people] = shown[people] = 0.0  # nobody in particular
    kept = replace(log, catalogue=type(log.catalogue)())
    graph = Graph().fit(kept, as_of=from_micros(bound))
    return Facts(of_item.astype(np.float32), np.column_stack([rate, shown]).astype(np.float32), graph)


def _rate(
    who: NDArray[Any], click: NDArray[np.float64], expected: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of shrunk clicks over expected clicks, and how much that rests on data and not on the prior (0 to 1), both float64 [size]."""
    clicks, chances = (np.bincount(who, weights=part, minlength=size) for part in (click, expected))
    return np.log((clicks + PRIOR) / (chances + PRIOR)), chances / (chances + PRIOR)


def _features(rows: Rows, codes: NDArray[np.int64], facts: Facts) -> NDArray[np.float32]:
    values = np.empty((len(rows), len(DENSE)), np.float32)
    first, second = len(OF_ITEM), len(OF_ITEM) + 2
    values[:, :first] = facts.item[rows.item]  # -1 is the row of an unknown item
    values[:, first:second] = facts.customer[codes]
    for start in range(0, len(rows), BLOCK):
        index = np.arange(start, min(start + BLOCK, len(rows)))
        values[index, second:-1] = _of_history(rows, index)
    values[:, -1] = _graph(rows, facts.graph)
    return values


def _of_history(rows: Rows, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features of the customer and the pair from the last events before each row, float32 [B, 13]."""
    places, real = rows.window(index, LAST)
    log = rows.log
    if not len(log.at):
        places, real = np.zeros((len(index), 1), np.int64), np.zeros((len(index), 1), bool)
        empty: dict[str, Any] = {name: np.full(1, -1, getattr(log, name).dtype) for name in EVENT_ARRAYS}
        log = replace(log, **empty)
    idle = np.where(real, (rows.at[index, None] - log.at[places]) / DAY, np.inf)
    item, code = log.item[places], rows.item[index]
    same = real & (item == code[:, None]) & (code[:, None] >= 0)
    bought = real & (log.kind[places] == _PURCHASE)
    shelf = rows.shelf[index][:, None]
    on_shelf = real & (log.category[places] == shelf) & (shelf >= 0)
    filed = real & (log.category[places] >= 0)
    last = np.where(filed, np.arange(places.shape[1]), -1).max(axis=1)
    newest = on_shelf[np.arange(len(index)), np.maximum(last, 0)] & (last >= 0)
    band, own = log.band[places].astype(np.float64), rows.band[index].astype(np.float64)
    priced = real & (band >= 0)
    many = np.maximum(priced.sum(axis=1), 1)
    near = np.where(own >= 0, (priced & (band == own[:, None])).sum(axis=1) / many, 0.0)
    gap = np.where((own >= 0) & priced.any(axis=1), own - np.where(priced, band, 0).sum(axis=1) / many, 0.0)
    columns = (
        np.log1p(real.sum(axis=1)), np.log1p((idle < 7).sum(axis=1)), np.log1p(bought.sum(axis=1)), _since(idle, real),
        np.log1p(same.sum(axis=1)), _since(idle, same), np.log1p((same & bought).sum(axis=1)),
        np.log1p(on_shelf.sum(axis=1)), on_shelf.sum(axis=1) / np.maximum(filed.sum(axis=1), 1), _since(idle, on_shelf), newest,
        near, gap,
    )  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


def _since(idle: NDArray[np.float64], hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log of 1 + days since the latest hit."""
    days: NDArray[np.float64] = np.log1p(np.minimum(np.where(hit, idle, NEVER).min(axis=1), NEVER))
    return days


def _graph(rows: Rows, graph: Recommender) -> NDArray[np.float32]:
    """Log of 1 + the item graph's score of each pair."""
    return np.log1p(np.maximum(pair_scores(rows, graph), 0)).astype(np.float32)


def pair_scores(rows: Rows, model: Recommender) -> NDArray[np.float32]:
    """The score of each row's item by a recommender over the same items, float32 [N]; minus infinity where it says nothing."""
    out = np.full(len(rows), -np.inf, np.float32)
    size = len(rows.log.at) + 1
    asked, which = np.unique(rows.row * size + rows.end, return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(0, len(asked) + REQUESTS, REQUESTS))
    for number, (start, stop) in enumerate(pairwise(bounds.tolist())):
        mine = order[start:stop]
        block = asked[number * REQUESTS : (number + 1) * REQUESTS]
        scores = model.score(_cut(rows.log, block // size, block % size))
        known = mine[rows.item[mine] >= 0]
        out[known] = scores[which[known] - number * REQUESTS, rows.item[known]]
    return out


def _cut(log: Sequences, row: NDArray[np.int64], end: NDArray[np.int64]) -> Sequences:
    """The histories of some rows up to some places of the flat log."""
    first = log.offsets[np.maximum(row, 0)] if len(log) else np.zeros(len(row), np.int64)
    length = np.where(row >= 0, end - first, 0)
    offsets = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
    take = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], length)
    names = np.full(len(row), "", dtype=object)
    names[row >= 0] = log.customers[row[row >= 0]] if len(log) else names[:0]
    return replace(log, customers=names, offsets=offsets, **{name: getattr(log, name)[take] for name in EVENT_ARRAYS})
