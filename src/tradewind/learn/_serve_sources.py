"""How each kind of recommender answers one history quickly: the same scores as its own, without a row over all items where it can.

A source prepares one history (encoder, graph walk) and then gives the best items under any filter, as often as it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._deep import LAST, Deep
from tradewind.learn._deep_data import codes
from tradewind.learn._quantised import STRIPE, closed, shortlist
from tradewind.learn.base import Recommender
from tradewind.learn.graph import Graph
from tradewind.learn.index import Approximate, Exact, Index
from tradewind.learn.sequences import EVENT_ARRAYS, Sequences
from tradewind.types import Reason

if TYPE_CHECKING:
    from tradewind.learn._lean import LastState

Floats = NDArray[np.float32]
Items = NDArray[np.int32]
Allowed = NDArray[np.bool_] | None
Rescore = Callable[[NDArray[np.int64]], Floats]
EXACT = np.zeros(1, np.float32)
TOKENS = 4096  # events encoded at once
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
    """Scores of all items, float32 [I], minus infinity where there is nothing to say.

    They may be off by ``wrong`` (per group of :func:`shortlist`, or one for all); then ``exact`` gives the right ones of some items.
    """

    def __init__(
        self, scores: Floats, name: str, *, wrong: Floats = EXACT, exact: Callable[[NDArray[np.int64]], Floats] | None = None
    ) -> None:
        room = -(-len(scores) // STRIPE) * STRIPE
        self._scores, self._count, self._name, self._wrong, self._exact = (
            np.full(room, -np.inf, np.float32),
            len(scores),
            name,
            wrong,
            exact,
        )
        self._scores[: len(scores)] = scores

    def best(self, k: int, allowed: Allowed, barred: NDArray[np.int64]) -> tuple[Items, Floats]:
        scores = self._scores.copy()
        if allowed is not None:
            scores[: self._count] += closed(allowed)
        scores[barred] = -np.inf
        places = shortlist(scores, self._wrong, k)
        values = scores[places] if self._exact is None else self._exact(places)
        order = np.lexsort((places, -values))[:k]
        return places[order].astype(np.int32), values[order]

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

    def warm(self) -> None:
        """Build what requests need, so that none of them waits for it."""

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
        self._wanted = (index, recall, histories)

    @property
    def lean(self) -> bool:
        """Whether the last position alone is computed, and not the whole network."""
        return self._lean is not None

    def warm(self) -> None:
        self.index.search(np.zeros(self._vectors.shape[1], np.float32), 1)

    @cached_property
    def exact(self) -> Exact:
        """The index that scans all items."""
        return Exact(self._vectors, self._bias, usable=self.trained)

    @cached_property
    def index(self) -> Index:
        """The index that requests are answered from."""
        kind, recall, histories = self._wanted
        if kind == "exact" or (kind == "auto" and len(self._vectors) <= MANY):
            return self.exact
        found = Approximate(self._vectors, self._bias, usable=self.trained)
        if histories is not None and len(histories):
            found.tune(self.model.customer_vectors(histories), recall=recall)
        return found

    def state(self, history: Sequences) -> Floats | None:
        """The customer's vector, float32 [dim]; None when no event tells the network anything."""
        from tradewind.learn._lean import whole

        recent = history if len(history.at) <= self.net.length else history.last(self.net.length)
        item = history.item
        if not (self.trained[item[item >= 0]]).any():
            return None
        events = codes(recent, self.trained)
        return whole(self.net, events) if self._lean is None else self._lean(events)

    def states(self, histories: Sequences) -> Floats:
        """The vectors of many customers, float32 [U, dim]; zeros where no event is."""
        if self._lean is None:
            return self.model.customer_vectors(histories)
        recent = histories.last(self.net.length)
        events, lengths = codes(recent, self.trained), recent.lengths
        found = np.zeros((len(recent), self._vectors.shape[1]), np.float32)
        for length in np.unique(lengths[lengths > 0]).tolist():
            rows, step = np.flatnonzero(lengths == length), max(1, TOKENS // length)
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                found[some] = self._lean.many(events[:, recent.offsets[some, None] + np.arange(length)])
        return found

    def prepare(self, history: Sequences, allowed: Allowed, barred: NDArray[np.int64]) -> Prepared:  # noqa: ARG002
        state = self.state(history)
        return Few(np.empty(0, np.int32), np.empty(0, np.float32), self.model.name) if state is None else Near(self, state)

    def why(self, history: Sequences, items: Iterable[int], sources: Iterable[str]) -> tuple[tuple[Reason, ...], ...]:  # noqa: ARG002
        """As ``Deep._reasons``, for all items at once: the events without which the score of an item falls most."""
        wanted = np.fromiter(items, np.int64)
        places = np.flatnonzero((history.item >= 0) & self.trained[np.maximum(history.item, 0)])[-LAST:]
        state = self.state(history)
        if state is None:
            return ((),) * len(wanted)
        rows, level = self._vectors[wanted], self._bias[wanted]
        whole = rows @ state + level
        falls = np.abs(whole)[None] + 1  # without its only telling event, a history tells nothing
        if len(places) > 1:
            falls = whole - (self._without(history, places) @ rows.T + level)
        return tuple(self._told(history, places, falls[:, column]) if self.trained[item] else () for column, item in enumerate(wanted))

    def _without(self, history: Sequences, places: NDArray[np.int64]) -> Floats:
        """The customer's vector without the event at each of ``places``, float32 [P, dim]."""
        rest = [np.delete(np.arange(len(history.at)), place) for place in places]
        arrays = {name: getattr(history, name)[np.concatenate(rest)] for name in EVENT_ARRAYS}
        offsets = np.arange(len(places) + 1) * (len(history.at) - 1)
        return self.states(replace(history, customers=np.repeat(history.customers, len(places)), offsets=offsets, **arrays))

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
