"""The directional item graph: customers who had A went on to B, weighted by distance, updated with every event.

Recipe: pairs within a window of 20 events weigh distance^-0.7, backward 0.3 of that; rows are divided by their sum^0.2
and targets by their popularity^0.1; the query is the last fifty events, each moment back counts 0.7 (all lines of one order are
one moment). Kin of the
"embarrassingly simple graph heuristic" of arXiv 2605.07125 and of sequential neighbourhood models (Ludewig and Jannach 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import unknown
from tradewind.learn import _store
from tradewind.learn._edges import UNIT
from tradewind.learn._live_edges import LiveEdges, Tail
from tradewind.learn._signal import WEIGHTS, Signal, signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason, micros

LAST = 50  # events of the query


class Graph(Recommender):
    """Scores items by weighted edges from the customer's last events.

    ``window`` events, ``distance`` and ``query`` decays, ``backward`` share of a reversed pair, ``row`` and ``popularity``
    exponents of the two normalisers, ``top`` edges kept per item when scoring, ``weights`` per event kind.
    ``update`` costs O(window) per event and equals a fit on the whole log; an event that arrives after later ones of the
    same customer counts as if it had just happened (``late`` says how many did). When not to use: alone on long, dense
    histories (there the Transformer wins; ``fallback`` blends both), and never for customers without a history.
    """

    name: ClassVar[str] = "graph"
    tags: ClassVar[frozenset[str]] = frozenset({"incremental"})
    rules: ClassVar[dict[str, Rule]] = {
        "window": Number(1, 1000, whole=True),
        "distance": Number(0, 5),
        "backward": Number(0, 1),
        "row": Number(0, 2),
        "popularity": Number(0, 2),
        "query": Number(0.01, 1),
        "top": Number(1, 100_000, whole=True),
    }

    def __init__(
        self,
        *,
        window: int = 20,
        distance: float = 0.7,
        backward: float = 0.3,
        row: float = 0.2,
        popularity: float = 0.1,
        query: float = 0.7,
        top: int = 300,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.window, self.distance, self.backward, self.row = window, distance, backward, row
        self.popularity, self.query, self.top, self.weights = popularity, query, top, weights
        self._asked: tuple[Sequences, Any] | None = None

    def _fit(self, log: Sequences) -> None:
        self._asked = None
        self._edges = self._empty()
        found = self._signal(log)
        self._edges.fit(found, len(self.items))
        self._tails = _Tails.of(log.customers, found, self.window + 1)
        self.late = 0

    def _empty(self) -> LiveEdges:
        return LiveEdges(window=self.window, distance=self.distance, backward=self.backward, row=self.row, top=self.top)

    def _signal(self, log: Sequences) -> Signal:
        return signal(log, table(self.weights), merge=True)

    def _update(self, log: Sequences) -> None:
        self._asked = None
        self._edges.grow(len(self.items))
        found = signal(log, table(self.weights))
        rows, items, weights, times = found.owner.tolist(), found.item.tolist(), found.weight.tolist(), found.at.tolist()
        for row, item, weight, at in zip(rows, items, weights, times, strict=True):
            self._add(self._tails.live(log.customers[row]), item, weight, at)

    def observe(self, customer: str, item: str, *, at: datetime, kind: str = "purchase") -> None:
        """Learn one event the moment it happens: what ``update`` does for a log of one, in O(window) whatever the catalogue holds.

        An unknown item joins the end of the catalogue (that once costs a copy of it). Raises InputError for an unknown kind.
        """
        self._fitted()
        if kind not in KINDS:
            raise unknown("event kind", kind, KINDS)
        weight = float((WEIGHTS if self.weights is None else self.weights).get(kind, 0.0))
        code, moment = self._index().get(item), micros(at)
        if code is None:
            self.items = np.append(self.items, np.array([item], dtype=object))
            code = self._index()[item] = len(self.items) - 1
            self._edges.grow(len(self.items))
        self._asked, self.as_of = None, max(self.as_of, moment + 1)
        self._known.add(customer)
        if weight > 0:
            self._add(self._tails.live(customer), code, weight, moment)

    def _add(self, tail: Tail, item: int, weight: float, at: int) -> None:
        if tail and at < tail[-1][2]:
            self.late += 1
        self._edges.add(tail, item, weight, at)

    def _queries(self, histories: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Owner, item and weight of every query event."""
        found = self._signal(histories)
        recent = np.repeat(found.offsets[1:], found.lengths) - np.arange(len(found.item)) <= LAST
        weight = found.weight * self.query ** found.moments_back()
        return found.owner[recent], found.item[recent], weight[recent]

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        from scipy.sparse import csr_array

        owner, item, weight = self._queries(histories)
        query = csr_array((weight.astype(np.float32), (owner, item)), shape=(len(histories), len(self.items)))
        scores = self._edges.product(query) * self._damping()
        scores[scores <= 0] = -np.inf
        return scores

    def _damping(self, items: NDArray[np.int32] | slice = slice(None)) -> NDArray[np.float32]:
        # Ten times as fast as a power, and a request waits for it.
        return np.exp(-self.popularity * np.log(np.maximum(self._edges.popularity[items] / UNIT, 1.0))).astype(np.float32)

    def reach(self, history: Sequences) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Where the last events of one history lead: the finite part of its row of ``score``, items [n] and scores [n]."""
        self._fitted()
        _, item, weight = self._queries(self._aligned(history))
        asked, place = np.unique(item, return_inverse=True)
        strength = np.zeros(len(asked), np.float32)
        np.add.at(strength, place, weight.astype(np.float32))
        items, scores = self._edges.reach(asked, strength)
        scores = scores * self._damping(items)
        return items[scores > 0], scores[scores > 0]

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The events whose edges carry the score, strongest first, at most three."""
        sources, targets, strengths = self._paths(history)
        parts: dict[int, float] = {}
        for place in np.flatnonzero(targets == item).tolist():
            parts[int(sources[place])] = parts.get(int(sources[place]), 0.0) + float(strengths[place])
        total = sum(parts.values())
        best = sorted(parts.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
        return tuple(Reason("because", {"item": self.items[source], "share": round(part / total, 4)}) for source, part in best)

    def _paths(self, history: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Source, target and strength of every edge from the query of one history; kept for the next item of the same one."""
        if self._asked is None or self._asked[0] is not history:
            _, items, weights = self._queries(history)
            rows = [self._edges.entries(item) for item in items.tolist()]
            lengths = [len(columns) for columns, _ in rows]
            targets = np.concatenate([np.empty(0, np.int32), *[columns for columns, _ in rows]])
            strengths = np.concatenate([np.empty(0), *[data for _, data in rows]]) * np.repeat(weights, lengths)
            self._asked = (history, (np.repeat(items, lengths).astype(np.int64), targets, strengths))
        paths: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]] = self._asked[1]
        return paths

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        self._edges.compile()
        counts = self._edges.counts
        arrays = {"indptr": counts.indptr, "indices": counts.indices, "data": counts.data, "popularity": self._edges.popularity}
        return {"late": self.late}, arrays | self._tails.arrays()

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        from scipy.sparse import csr_array

        self.late = int(values["late"])
        self._edges = self._empty()
        self._edges.popularity = arrays["popularity"]
        size = len(self.items)
        self._edges.counts = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size))
        self._edges.compile()
        self._tails = _Tails.from_arrays(arrays)


class _Tails:
    """The last merged events of every customer: arrays from the fit, lists for customers who came back."""

    def __init__(self, customers: NDArray[np.object_], found: Signal) -> None:
        self._rows = {name: row for row, name in enumerate(customers)}
        self._found = found
        self._live: dict[str, Tail] = {}

    @classmethod
    def of(cls, customers: NDArray[np.object_], found: Signal, length: int) -> _Tails:
        keep = np.arange(len(found.item)) >= np.repeat(found.offsets[1:], found.lengths) - length
        offsets = np.concatenate(([0], np.cumsum(keep)))[found.offsets]
        return cls(customers, Signal(offsets, found.item[keep], found.weight[keep], found.at[keep]))

    def live(self, customer: str) -> Tail:
        if customer not in self._live:
            row = self._rows.get(customer)
            part = slice(0, 0) if row is None else slice(self._found.offsets[row], self._found.offsets[row + 1])
            columns = (self._found.item[part].tolist(), self._found.weight[part].tolist(), self._found.at[part].tolist())
            self._live[customer] = list(zip(*columns, strict=True))
        return self._live[customer]

    def arrays(self) -> _store.Arrays:
        names = sorted(self._rows.keys() | self._live.keys())
        tails = [self.live(name) for name in names]
        flat = [entry for tail in tails for entry in tail]
        offsets = np.concatenate(([0], np.cumsum([len(tail) for tail in tails], dtype=np.int64)))
        values = {
            "tail.offsets": offsets,
            "tail.item": np.array([entry[0] for entry in flat], dtype=np.int32),
            "tail.weight": np.array([entry[1] for entry in flat], dtype=np.float64),
            "tail.at": np.array([entry[2] for entry in flat], dtype=np.int64),
        }
        return values | _store.pack("tail.customers", names)

    @classmethod
    def from_arrays(cls, arrays: _store.Arrays) -> _Tails:
        found = Signal(arrays["tail.offsets"], arrays["tail.item"], arrays["tail.weight"], arrays["tail.at"])
        return cls(_store.unpack("tail.customers", arrays), found)


PLUGIN = Graph
