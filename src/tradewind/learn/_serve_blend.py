"""The default recommender for one history: its blended row of all items in a millisecond, its own later steps where that ends.

The softmax of the encoder is read from the quantised first pass of an index, and what may be among the best is then computed again in
full precision; the other sources speak about few items, or are as quick as their own ``score``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._blend import AGAIN, NEW, buckets
from tradewind.learn._deep import Deep
from tradewind.learn._quantised import Query, closed, shortlist
from tradewind.learn._serve_sources import EXACT, Allowed, Encoder, Floats, Items, Prepared, Row, Source, Walk
from tradewind.learn._signal import same
from tradewind.learn.base import Recommender
from tradewind.learn.fallback import PERSONAL, SOURCES, Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.index import Exact
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.types import Reason

PURCHASE = KINDS.index("purchase")
SLACK = np.float32(1e-5)  # of the float32 steps after a first pass
CROWD = 1000  # places of the list for strangers that are kept
SUMMED = 512  # largest scores that enter the sum of a softmax in full precision


class Softmax:
    """The log-shares of all items by one customer's vector, from a first pass: each within ``wrong`` of the true one.

    ``rough`` float32 [I] is log(softmax + 1/I), as ``_blend.logs`` reads logits; ``exact`` gives it in full precision for some items.
    The sum over all items uses the first pass too, but for its largest terms: the rest errs to both sides, so that what remains
    is below 1e-3, the same for all items with a share worth naming. It is the one number here that is not exact.
    """

    def __init__(self, index: Exact, state: Floats) -> None:
        query, count = Query.of(state), len(index)
        first = index.first(query)
        self._index, self._query, self._least = index, query, np.float32(1 / count)
        self.wrong = index.bound(query)
        top = shortlist(first, EXACT, min(SUMMED, count))
        logits = first[:count].copy()
        logits[top] = index.exact(top, query)
        self._most = logits.max()
        logits -= self._most
        np.exp(logits, out=logits)
        self._sum = logits.sum()
        logits *= 1 / self._sum
        logits += self._least
        self.rough: Floats = np.log(logits, out=logits)

    def exact(self, items: NDArray[np.int64]) -> Floats:
        """The same of some items, from their logits in double precision."""
        found: Floats = np.log(np.exp(self._index.exact(items, self._query) - self._most) / self._sum + self._least)
        return found


class Blend(Source):
    """The default chain: the blended row of all items at once; what it leaves open, the recommender's own later steps fill."""

    model: Fallback

    def __init__(self, model: Fallback, *, index: str, recall: float, histories: Sequences | None) -> None:
        super().__init__(model)
        for part in model.parts.values():
            # Parts that were loaded hold copies of the vocabularies; one object for all is recognised without comparing every name.
            if same(part.items, model.items):
                part.items = model.items
            if same(part.categories, model.categories):
                part.categories = model.categories
        self.encoders = {
            name: Encoder(part, index=index, recall=recall, histories=histories)
            for name, part in model.parts.items()
            if isinstance(part, Deep)
        }

        self._crowd: tuple[tuple[int, ...], Items, Floats, NDArray[np.object_]] | None = None

    def warm(self) -> None:
        for encoder in self.encoders.values():
            encoder.exact.search(np.zeros(encoder.exact.vectors.shape[1], np.float32), 1)

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:
        return Chain(self, history, again=not hidden(history, allowed, barred))

    def weights(self, history: Sequences, *, again: bool) -> dict[str, float]:
        """The weights of the sources for one history, in the order of the sources, without those of weight 0."""
        found = weights_of(self.model, history, again=again)
        return {name: found[name] for name in SOURCES if found.get(name, 0.0) > 0 and name in self.model.parts}

    def personal(self, history: Sequences, *, again: bool) -> Row | None:
        """The blended scores of all items, named by the sources that spoke; None when no personal one did."""
        count = len(self.model.items)
        rest = np.float32(np.log(np.float32(1 / count)))  # of an item that a source does not know
        total, level, told = np.zeros(count, np.float32), np.float32(0), []
        known: list[NDArray[Any]] = []
        soft: tuple[np.float32, Softmax] | None = None
        for name, strength in self.weights(history, again=again).items():
            weight, found = np.float32(strength), self._logs(name, history)
            if found is None:
                level += weight * rest
                continue
            told.append(name)
            shares, where = found
            known.append(where)
            if isinstance(shares, Softmax):
                soft = (weight, shares)
                total += weight * shares.rough
            elif where.dtype == bool:
                total += weight * shares
            else:
                level += weight * rest
                total[where] += weight * (shares - rest)
        if not set(told) & set(PERSONAL):
            return None
        total += level
        if not any(where.dtype == bool and where.all() for where in known):
            total += closed(_either(known, count))
        if soft is None:
            return Row(total, "+".join(told))
        weight, shares = soft

        def exact(items: NDArray[np.int64]) -> Floats:
            found: Floats = total[items] + weight * (shares.exact(items) - shares.rough[items])
            return found

        return Row(total, "+".join(told), wrong=weight * shares.wrong + SLACK, exact=exact)

    def _logs(self, name: str, history: Sequences) -> tuple[Floats | Softmax, NDArray[Any]] | None:
        """As ``_blend.logs`` of a source's row: for all items with a mask, or for the items listed; None when it says nothing."""
        part, least = self.model.parts[name], np.float32(1 / len(self.model.items))
        if isinstance(part, Graph):
            items, scores = part.reach(history)
            return (np.log(scores / scores.sum() + least), items) if len(items) else None
        if name in self.encoders:
            encoder = self.encoders[name]
            state = encoder.state(history)
            return None if state is None else (Softmax(encoder.exact, state), encoder.trained)
        row = part.score(history)[0]
        where = np.isfinite(row)
        strength = np.where(where, np.maximum(row, 0), 0)
        return (np.log(strength / np.maximum(strength.sum(), 1e-30) + least), where) if where.any() else None

    def crowd(self, history: Sequences) -> tuple[Items, Floats, NDArray[np.object_]]:
        """What anybody without a history is shown, the first thousand places: kept until a part has learned a later event."""
        mark = tuple(part.as_of for part in self.model.parts.values())
        if self._crowd is None or self._crowd[0] != mark:
            free = np.zeros((1, len(self.model.items)), dtype=bool)
            items, scores, sources = self.model._rank(history, free, min(CROWD, free.shape[1]))  # noqa: SLF001 - its own chain
            self._crowd = (mark, items[0], scores[0], sources[0])
        return self._crowd[1:]

    def why(self, history: Sequences, items: Iterable[int], sources: Iterable[str]) -> tuple[tuple[Reason, ...], ...]:
        """As ``Fallback.why``; an encoder that comes first answers for all its items at once."""
        wanted, names = list(items), list(sources)
        first: dict[str, list[int]] = {}
        for place, (item, source) in enumerate(zip(wanted, names, strict=True)):
            weights = self.weights(history, again=item in history.item)
            first.setdefault(min(source.split("+"), key=lambda name: -weights.get(name, 0.0)), []).append(place)
        found: dict[int, tuple[Reason, ...]] = {}
        for name, places in first.items():
            if name in self.encoders:
                found |= zip(places, self.encoders[name].why(history, [wanted[place] for place in places], ()), strict=True)
        return tuple(found.get(place) or self.model.why(history, wanted[place], names[place]) for place in range(len(wanted)))


class Chain(Prepared):
    """One history before the default chain: the personal step, and the whole chain where that leaves a place open."""

    def __init__(self, blend: Blend, history: Sequences, *, again: bool) -> None:
        self._blend, self._history = blend, history
        self._row = blend.personal(history, again=again)
        self._from: dict[int, str] = {}

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        if self._row is not None:
            items, scores = self._row.best(k, allowed, barred)
            if len(items) == k:
                self._from.update(zip(items.tolist(), self._row.sources(items), strict=True))
                return items, scores
        if not (self._history.item >= 0).any():
            items, scores, sources = self._blend.crowd(self._history)
            first = np.flatnonzero(_open(items, allowed, barred))[:k]
            if len(first) == k:
                return self._kept(items[first], scores[first], sources[first])
        model = self._blend.model
        closed_to = np.zeros(len(model.items), dtype=bool) if allowed is None else ~allowed
        closed_to[barred] = True
        items, scores, sources = (part[0] for part in model._rank(self._history, closed_to[None], k))  # noqa: SLF001 - its own chain
        return self._kept(items[items >= 0], scores[items >= 0], sources[items >= 0])

    def _kept(self, items: Items, scores: Floats, sources: NDArray[np.object_]) -> tuple[Items, Floats]:
        self._from.update(zip(items.tolist(), sources.tolist(), strict=True))
        return items, scores

    def sources(self, items: Items) -> tuple[str, ...]:
        return tuple(self._from[item] for item in items.tolist())


def _either(known: list[NDArray[Any]], count: int) -> NDArray[np.bool_]:
    """Where any source knows the item, from masks and lists."""
    found = np.zeros(count, dtype=bool)
    for where in known:
        if where.dtype == bool:
            found |= where
        else:
            found[where] = True
    return found


def _open(items: Items, allowed: Allowed, barred: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some distinct items may be shown."""
    found = ~np.isin(items, barred)
    return found if allowed is None else found & allowed[items]


def hidden(history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> bool:
    """Whether a list hides all that the customer bought, or all that was seen where nothing was bought."""
    seen = history.item >= 0
    bought = seen & (history.kind == PURCHASE)
    had = history.item[bought if bought.any() else seen]
    if allowed is not None:
        had = had[allowed[had]]
    return set(had.tolist()) <= set(barred.tolist())


def weights_of(model: Fallback, history: Sequences, *, again: bool) -> Mapping[str, float]:
    """The weights that the default recommender uses for one history."""
    return model._blend.of(AGAIN if again else NEW, int(buckets(history)[0]))  # noqa: SLF001 - read by its own room, never written


def source_of(model: Recommender, *, index: str, recall: float, histories: Sequences | None) -> Source:
    """The quickest source of a fitted recommender that gives its own scores."""
    if isinstance(model, Deep):
        return Encoder(model, index=index, recall=recall, histories=histories)
    if isinstance(model, Graph):
        return Walk(model)
    if isinstance(model, Fallback):
        return Blend(model, index=index, recall=recall, histories=histories)
    return Source(model)
