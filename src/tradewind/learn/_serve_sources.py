"""How each kind of recommender answers one history quickly: the same scores as its own, without a row over all items where it can.

A source prepares one history (encoder, graph walk) and then gives the best items under any filter, as often as it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _blend, fallback
from tradewind.learn._deep import LAST, Deep
from tradewind.learn._deep_data import codes
from tradewind.learn._quantised import STRIPE, closed, shortlist
from tradewind.learn.base import Recommender
from tradewind.learn.fallback import PERSONAL, Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.index import Approximate, Exact, Index
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.types import Reason

if TYPE_CHECKING:
    from tradewind.learn._lean import LastState

Floats = NDArray[np.float32]
Items = NDArray[np.int32]
Allowed = NDArray[np.bool_] | None
NOBODY = np.zeros(1, np.float32)
ORDER: tuple[str, ...] = getattr(fallback, "SOURCES", (*PERSONAL, "recent"))
PURCHASE = KINDS.index("purchase")
MANY = 300_000  # items above which an index is approximate unless it is told otherwise


class Prepared(ABC):
    """One history, ready to be asked."""

    @abstractmethod
    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        """The k best items and scores; fewer only where the recommender has nothing to say about the rest."""

    @abstractmethod
    def sources(self, items: Items) -> tuple[str, ...]:
        """Where each of some answered items came from."""

    def vectors(self, items: Items) -> Floats | None:  # noqa: ARG002 - only encoders have them
        """The vectors of some items, if the recommender has any."""
        return None


class Row(Prepared):
    """Scores of all items, float32 [I], minus infinity where there is nothing to say."""

    def __init__(self, scores: Floats, name: str) -> None:
        room = -(-len(scores) // STRIPE) * STRIPE
        self._scores, self._count, self._name = np.full(room, -np.inf, np.float32), len(scores), name
        self._scores[: len(scores)] = scores

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        scores = self._scores.copy()
        if allowed is not None:
            scores[: self._count] += closed(allowed)
        scores[barred] = -np.inf
        places = shortlist(scores, NOBODY, k)
        order = np.lexsort((places, -scores[places]))[:k]
        return places[order].astype(np.int32), scores[places[order]]

    def sources(self, items: Items) -> tuple[str, ...]:
        return (self._name,) * len(items)


class Few(Prepared):
    """Scores of some items only: ``items`` [n] and ``scores`` float32 [n]."""

    def __init__(self, items: NDArray[Any], scores: Floats, name: str) -> None:
        order = np.lexsort((items, -scores))
        self._items, self._scores, self._name = items[order].astype(np.int32), scores[order], name

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        keep = ~np.isin(self._items, barred)
        if allowed is not None:
            keep &= allowed[self._items]
        first = np.flatnonzero(keep)[:k]
        return self._items[first], self._scores[first]

    def sources(self, items: Items) -> tuple[str, ...]:
        return (self._name,) * len(items)


class Source:
    """Any recommender, by its own ``score``: right, and as slow as that is."""

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:  # noqa: ARG002 - a blend looks at both
        """One history (one row over the model's own vocabularies) made ready; ``allowed`` and ``barred`` say what the list is for."""
        return Row(self.model.score(history)[0], self.model.name)

    def why(self, history: Sequences, items: Iterable[int], sources: Iterable[str]) -> tuple[tuple[Reason, ...], ...]:
        """Reasons of each item."""
        return tuple(self.model.why(history, item, source) for item, source in zip(items, sources, strict=True))


class Walk(Source):
    """The graph: the edges from the last events, added up where they lead."""

    model: Graph

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:  # noqa: ARG002
        return Few(*self.model.reach(history), self.model.name)


class Encoder(Source):
    """A deep recommender: the state after the last event, and an index over the item vectors."""

    model: Deep

    def __init__(self, model: Deep, *, index: str, recall: float, histories: Sequences | None) -> None:
        from tradewind.learn._lean import lean

        super().__init__(model)
        self.net, self.trained = model._net, model._trained  # noqa: SLF001 - read by its own room, never written
        self._lean: LastState | None = lean(self.net)
        self._vectors = self.net.items.detach().float().numpy()
        self._bias = self.net.bias.detach().float().numpy()
        self._level = np.where(self.trained, self._bias, np.float32(-np.inf))
        self._index: Index | None = None
        self._wanted = (index, recall, histories)

    @property
    def lean(self) -> bool:
        """Whether the last position alone is computed, and not the whole network."""
        return self._lean is not None

    @property
    def index(self) -> Index:
        """The index, built when first needed: a blend does without."""
        if self._index is None:
            kind, recall, histories = self._wanted
            if kind == "approximate" or (kind == "auto" and len(self._vectors) > MANY):
                self._index = Approximate(self._vectors, self._bias, usable=self.trained)
                if histories is not None and len(histories):
                    self._index.tune(self.model.customer_vectors(histories), recall=recall)
            else:
                self._index = Exact(self._vectors, self._bias, usable=self.trained)
        return self._index

    def state(self, history: Sequences) -> Floats | None:
        """The customer's vector, float32 [dim]; None when no event tells the network anything."""
        from tradewind.learn._lean import whole

        recent = history.last(self.net.length)
        item = history.item
        if not (self.trained[item[item >= 0]]).any():
            return None
        events = codes(recent, self.trained)
        return whole(self.net, events) if self._lean is None else self._lean(events)

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:  # noqa: ARG002
        state = self.state(history)
        return Few(np.empty(0, np.int32), np.empty(0, np.float32), self.model.name) if state is None else Near(self, state)

    def logits(self, state: Floats) -> Floats:
        """The scores of all items, float32 [I]: minus infinity where nothing was learned."""
        scores = self._vectors @ state
        scores += self._level
        return scores

    def why(self, history: Sequences, items: Iterable[int], sources: Iterable[str]) -> tuple[tuple[Reason, ...], ...]:  # noqa: ARG002
        """As ``Deep._reasons``, for all items at once: the events without which the score of an item falls most."""
        wanted = np.fromiter(items, np.int64)
        places = np.flatnonzero((history.item >= 0) & self.trained[np.maximum(history.item, 0)])[-LAST:]
        state = self.state(history)
        if state is None:
            return ((),) * len(wanted)
        rows, level = self._vectors[wanted], self._bias[wanted]
        whole = rows @ state + level
        falls = np.empty((len(places), len(wanted)), np.float32)
        for number, place in enumerate(places):
            without = self.state(history.keep(np.arange(len(history.at)) != place))
            falls[number] = np.abs(whole) + 1 if without is None else whole - (rows @ without + level)
        return tuple(self._told(history, places, falls[:, column]) if self.trained[item] else () for column, item in enumerate(wanted))

    def _told(self, history: Sequences, places: NDArray[np.int64], falls: Floats) -> tuple[Reason, ...]:
        order = np.argsort(-falls, kind="stable")
        lifting = order[falls[order] > 0][:3]
        chosen = lifting if len(lifting) else [len(places) - 1]
        names = dict.fromkeys(self.model.items[history.item[places[number]]] for number in chosen)
        return tuple(Reason("sequence", {"item": name}) for name in names)


class Near(Prepared):
    """A customer's vector before the index."""

    def __init__(self, encoder: Encoder, state: Floats) -> None:
        self._encoder, self._state = encoder, state

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        return self._encoder.index.search(self._state, k, allowed=allowed, barred=barred)

    def sources(self, items: Items) -> tuple[str, ...]:
        return (self._encoder.model.name,) * len(items)

    def vectors(self, items: Items) -> Floats:
        return self._encoder.index.vectors[items]


class Blend(Source):
    """The default chain: the blended row of all items at once; what it leaves open, the recommender's own later steps fill."""

    model: Fallback

    def __init__(self, model: Fallback, *, index: str, recall: float, histories: Sequences | None) -> None:
        super().__init__(model)
        self.encoders = {
            name: Encoder(part, index=index, recall=recall, histories=histories)
            for name, part in model.parts.items()
            if isinstance(part, Deep)
        }

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:
        return Chain(self, history, again=not hidden(history, allowed, barred))

    def weights(self, history: Sequences, *, again: bool) -> dict[str, float]:
        """The weights of the sources for one history, in the order of the sources, without those of weight 0."""
        found = weights_of(self.model, history, again=again)
        return {name: found[name] for name in ORDER if found.get(name, 0.0) > 0 and name in self.model.parts}

    def personal(self, history: Sequences, *, again: bool) -> tuple[Floats | None, str]:
        """The blended scores of all items, and the names of the sources that spoke; None when no personal one did."""
        count = len(self.model.items)
        rest = np.float32(np.log(np.float32(1 / count)))  # of an item that a source does not know
        total, known, told = np.zeros(count, np.float32), np.zeros(count, dtype=bool), []
        for name, strength in self.weights(history, again=again).items():
            weight, found = np.float32(strength), self._logs(name, history)
            if found is None:
                total += weight * rest
                continue
            told.append(name)
            shares, where = found
            known[where] = True
            if where.dtype == bool:
                total += weight * shares
            else:
                total += weight * rest
                total[where] += weight * (shares - rest)
        if not set(told) & set(PERSONAL):
            return None, ""
        if not known.all():
            total += closed(known)
        return total, "+".join(told)

    def _logs(self, name: str, history: Sequences) -> tuple[Floats, NDArray[Any]] | None:
        """As ``_blend.logs`` of a source's row: for all items with a mask, or for the items listed; None when it says nothing."""
        part, least = self.model.parts[name], np.float32(1 / len(self.model.items))
        if isinstance(part, Graph):
            items, scores = part.reach(history)
            return (np.log(scores / scores.sum() + least), items) if len(items) else None
        if name in self.encoders:
            encoder = self.encoders[name]
            state = encoder.state(history)
            if state is None:
                return None
            row = encoder.logits(state)
            row -= row.max()
            np.exp(row, out=row)
            row *= 1 / row.sum()
            row += least
            return np.log(row, out=row), encoder.trained
        row = part.score(history)[0]
        where = np.isfinite(row)
        strength = np.where(where, np.maximum(row, 0), 0)
        return (np.log(strength / np.maximum(strength.sum(), 1e-30) + least), where) if where.any() else None

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
        scores, self._name = blend.personal(history, again=again)
        self._row = None if scores is None else Row(scores, self._name)
        self._from: dict[int, str] = {}

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        if self._row is not None:
            items, scores = self._row.best(k, allowed, barred)
            if len(items) == k:
                self._from.update(dict.fromkeys(items.tolist(), self._name))
                return items, scores
        model = self._blend.model
        closed_to = np.zeros(len(model.items), dtype=bool) if allowed is None else ~allowed
        closed_to[barred] = True
        items, scores, sources = (part[0] for part in model._rank(self._history, closed_to[None], k))  # noqa: SLF001 - its own chain
        items, scores, sources = items[items >= 0], scores[items >= 0], sources[items >= 0]
        self._from.update(zip(items.tolist(), sources.tolist(), strict=True))
        return items, scores

    def sources(self, items: Items) -> tuple[str, ...]:
        return tuple(self._from[item] for item in items.tolist())


def hidden(history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> bool:
    """Whether a list hides all that the customer bought, or all that was seen where nothing was bought."""
    seen = history.item >= 0
    bought = seen & (history.kind == PURCHASE)
    had = history.item[bought if bought.any() else seen]
    shown = ~np.isin(had, barred)
    if allowed is not None:
        shown &= allowed[had]
    return not shown.any()


def weights_of(model: Fallback, history: Sequences, *, again: bool) -> Mapping[str, float]:
    """The weights that the default recommender uses for one history."""
    blend = getattr(model, "_blend", None)
    if blend is None:
        return model.mix
    found: Mapping[str, float] = blend.of("again" if again else "new", int(_blend.buckets(history)[0]))
    return found


def source_of(model: Recommender, *, index: str, recall: float, histories: Sequences | None) -> Source:
    """The quickest source of a fitted recommender that gives its own scores."""
    if isinstance(model, Deep):
        return Encoder(model, index=index, recall=recall, histories=histories)
    if isinstance(model, Graph):
        return Walk(model)
    if isinstance(model, Fallback):
        return Blend(model, index=index, recall=recall, histories=histories)
    return Source(model)
