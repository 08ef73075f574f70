"""Session-based neighbours: visits of other people that hold what this visit holds, and what stood near it in them.

Session kNN of Jannach and Ludewig (2017) with the weights that VS-kNN (Ludewig and Jannach 2018) and STAN (Garg et al. 2019) add: the
place in the visit, the rarity of an item, the age of the other visit, the distance from the item that both visits share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._signal import Signal, signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.item_knn import ranked
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

HOUR = 3_600_000_000
DAY = 24 * HOUR
STEP = 256  # visits answered at once: bounds memory to STEP x (events in the neighbours' windows)


class SessionKnn(Recommender):
    """Score of item i for a visit q: the sum over the ``neighbours`` most similar visits s of like(q, s)^sharpness x near(s, i).

    A visit is a stretch of one customer's events without ``gap_hours`` between two of them; asked is the last one, and of it the last
    ``last`` events. like(q, s) sums over the items that both hold: event weight x ``query``^(moments back in q) x log(1 + visits / visits
    with the item)^idf; it is halved for every ``half_life`` days of age. near(s, i) looks from the place in s of the newest shared
    item: ``forward``^(d - 1) for what came d moments later, ``backward``^(d - 1) for what came before, ``itself`` for the shared item
    again (useful where people come back to a thing, with ``exclude_seen=False``); it stops ``window`` events away. The sum is divided
    by (visits with i)^popularity. Only the newest ``reach`` visits with an item are looked at, so a request costs at most
    last x reach x window. ``update`` sorts the log anew: cheap for a batch of events, not for each one.
    When not to use: where visits hold one item (use ``graph``, or a longer ``gap_hours``).
    """

    name: ClassVar[str] = "session_knn"
    tags: ClassVar[frozenset[str]] = frozenset({"incremental"})
    rules: ClassVar[dict[str, Rule]] = {
        "neighbours": Number(1, 100_000, whole=True),
        "gap_hours": Number(0.01, 1_000_000),
        "last": Number(1, 1000, whole=True),
        "query": Number(0.01, 1),
        "idf": Number(0, 4),
        "half_life": Number(0.01, 1_000_000),
        "sharpness": Number(0.05, 20),
        "forward": Number(0, 1),
        "backward": Number(0, 1),
        "itself": Number(0, 100),
        "popularity": Number(0, 2),
        "window": Number(1, 1000, whole=True),
        "reach": Number(1, 1_000_000, whole=True),
    }

    def __init__(
        self,
        *,
        neighbours: int = 1000,
        gap_hours: float = 24.0,
        last: int = 20,
        query: float = 0.6,
        idf: float = 2.0,
        half_life: float = 60.0,
        sharpness: float = 0.85,
        forward: float = 0.8,
        backward: float = 0.5,
        itself: float = 2.0,
        popularity: float = 0.2,
        window: int = 20,
        reach: int = 2000,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.neighbours, self.gap_hours, self.last, self.query = neighbours, gap_hours, last, query
        self.idf, self.half_life, self.sharpness = idf, half_life, sharpness
        self.forward, self.backward, self.itself = forward, backward, itself
        self.popularity, self.window, self.reach, self.weights = popularity, window, reach, weights

    # ---- learning --------------------------------------------------------------------------------------------------

    def _fit(self, log: Sequences) -> None:
        self._customers = log.customers
        self._prepare(signal(log, table(self.weights)))

    def _update(self, log: Sequences) -> None:
        index = {name: row for row, name in enumerate(self._customers)}
        fresh = [name for name in log.customers if name not in index]
        index |= {name: row for row, name in enumerate(fresh, start=len(index))}
        self._customers = np.append(self._customers, np.array(fresh, dtype=object))
        old, new = self._events, signal(log, table(self.weights))
        rows = np.fromiter((index[name] for name in log.customers), np.int64, len(log))
        owner = np.concatenate([old.owner, rows[new.owner]])
        item, weight, at = (np.concatenate([getattr(part, name) for part in (old, new)]) for name in ("item", "weight", "at"))
        order = np.lexsort((at, owner))
        offsets = np.searchsorted(owner[order], np.arange(len(self._customers) + 1)).astype(np.int64)
        self._prepare(Signal(offsets, item[order], weight[order], at[order]))

    def _prepare(self, events: Signal) -> None:
        """Visits, and for every item the places where it stands in them, newest visit last."""
        self._events = events
        self._row = {name: row for row, name in enumerate(self._customers)}
        self._visits = visits = _Visits.of(events, self.gap_hours)
        # Among visits that end together the order must not depend on how customers are numbered: as_of decides nothing there.
        self._places = np.lexsort((np.arange(len(visits.item)), visits.end_at[visits.owner], visits.item))
        self._first = np.searchsorted(visits.item[self._places], np.arange(len(self.items) + 1))
        pairs = np.unique(visits.item.astype(np.int64) * max(len(visits.start), 1) + visits.owner)
        self._holders = np.bincount(pairs // max(len(visits.start), 1), minlength=len(self.items))
        self._rarity = np.log1p(len(visits.start) / np.maximum(self._holders, 1)) ** self.idf
        self._damping = np.maximum(self._holders, 1.0) ** -self.popularity

    # ---- answering -------------------------------------------------------------------------------------------------

    def _asked(self, histories: Sequences) -> _Asked:
        """The last visit of every history: each of its items once, where it stands last."""
        found = _Visits.of(signal(histories, table(self.weights)), self.gap_hours)
        newest = np.full(len(histories), -1)
        newest[found.customer] = np.arange(len(found.start))  # the last write of each history wins
        open_since = np.full(len(histories), np.iinfo(np.int64).max)
        open_since[found.customer] = found.start_at
        here = newest[found.customer[found.owner]] == found.owner
        row, item = found.customer[found.owner], found.item.astype(np.int64)
        end = found.start + found.length
        recent = here & (end[found.owner] - np.arange(len(item)) <= self.last)
        back = found.moment[end[found.owner] - 1] - found.moment
        order = np.flatnonzero(recent)[::-1]
        _, once = np.unique(row[order] * len(self.items) + item[order], return_index=True)
        chosen = order[np.sort(once)[::-1]]
        weight = found.weight[chosen] * self.query ** back[chosen] * self._rarity[item[chosen]]
        return _Asked(row[chosen], item[chosen], back[chosen], weight, open_since)

    def _pairs(self, histories: Sequences) -> _Pairs:
        """Every neighbour of every history, with the place of the newest shared item in it."""
        asked, visits = self._asked(histories), self._visits
        known = self._holders[asked.item] > 0
        stop = self._first[asked.item + 1]
        start = np.where(known, np.maximum(self._first[asked.item], stop - self.reach), stop)
        source = np.repeat(np.arange(len(asked.item)), stop - start)
        place = self._places[_runs(start, stop - start)]
        visit, row = visits.owner[place], asked.row[source]
        # The visit that is asked about, or what came after it, is no neighbour of itself.
        itself = np.fromiter((self._row.get(name, -1) for name in histories.customers), np.int64, len(histories))
        other = (visits.customer[visit] != itself[row]) | (visits.start_at[visit] < asked.open_since[row])
        source, place, visit, row = source[other], place[other], visit[other], row[other]
        order = np.lexsort((place, -asked.back[source], visit, row))
        source, place, visit, row = source[order], place[order], visit[order], row[order]
        if not len(row):
            none = np.empty(0, np.int64)
            return _Pairs(none, none, none, np.empty(0), none, none, np.empty(0))
        fresh = np.ones(len(row), dtype=bool)
        fresh[1:] = (row[1:] != row[:-1]) | (visit[1:] != visit[:-1])
        once = fresh.copy()  # an item that stands in a visit twice is shared once
        once[1:] |= source[1:] != source[:-1]
        part = np.where(once, asked.weight[source], 0.0)
        begin = np.flatnonzero(fresh)
        last = np.append(begin[1:], len(row)) - 1
        age = np.maximum(self.as_of - visits.end_at[visit[begin]], 0) / DAY
        like = np.add.reduceat(part, begin) * 0.5 ** (age / self.half_life)
        pair = np.cumsum(fresh) - 1
        return _Pairs(row[begin], visit[begin], place[last], like, pair, asked.item[source], part).nearest(self.neighbours, len(histories))

    def _votes(self, pairs: _Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """What each neighbour says: pair, item, vote."""
        visits = self._visits
        begin = np.maximum(visits.start[pairs.visit], pairs.place - self.window)
        end = np.minimum((visits.start + visits.length)[pairs.visit], pairs.place + self.window + 1)
        place = _runs(begin, end - begin)
        pair = np.repeat(np.arange(len(pairs.row)), end - begin)
        steps = visits.moment[place] - visits.moment[pairs.place[pair]]
        item = visits.item[place].astype(np.int64)
        # Lines of one order stand side by side: a step of 0 counts like a step of 1.
        near = np.where(steps >= 0, self.forward ** np.maximum(steps - 1.0, 0), self.backward ** np.maximum(-steps - 1.0, 0))
        near = np.where(item == visits.item[pairs.place[pair]], np.where(place == pairs.place[pair], self.itself, near), near)
        return pair, item, pairs.like[pair] ** self.sharpness * near * visits.weight[place] * self._damping[item]

    def _offers(self, histories: Sequences) -> Any:
        """Scores as a sparse float32 [U, I]."""
        from scipy.sparse import csr_array, vstack

        shape, parts = (len(histories), len(self.items)), []
        for start in range(0, len(histories), STEP):
            rows = np.arange(start, min(start + STEP, len(histories)))
            pairs = self._pairs(histories.rows(rows))
            pair, item, vote = self._votes(pairs)
            block = csr_array((vote, (pairs.row[pair], item)), shape=(len(rows), shape[1]))
            block.sum_duplicates()
            parts.append(block.astype(np.float32))
        return csr_array(vstack(parts, format="csr")) if parts else csr_array(shape, dtype=np.float32)

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._offers(histories).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        return ranked(self._offers(histories), barred, k, self.name)

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The items of the visit by whose neighbours ``item`` was found, strongest first, at most three."""
        pairs = self._pairs(history)
        pair, voted, vote = self._votes(pairs)
        carried = np.bincount(pair[voted == item], vote[voted == item], minlength=len(pairs.row))
        whole = np.bincount(pairs.pair, pairs.part, minlength=len(pairs.row))
        share = pairs.part * (carried / np.maximum(whole, 1e-300))[pairs.pair]
        parts = np.bincount(pairs.shared, share, minlength=len(self.items))
        total = parts.sum()
        best = [code for code in np.argsort(-parts, kind="stable")[:3].tolist() if parts[code] > 0]
        return tuple(Reason("because", {"item": self.items[code], "share": round(float(parts[code] / total), 4)}) for code in best)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        events = self._events
        arrays: _store.Arrays = {"offsets": events.offsets, "item": events.item, "weight": events.weight, "at": events.at}
        return {}, arrays | _store.pack("customers", self._customers)

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        self._customers = _store.unpack("customers", arrays)
        self._prepare(Signal(arrays["offsets"], arrays["item"], arrays["weight"], arrays["at"]))


@dataclass(frozen=True)
class _Visits:
    """Visits one after the other, customers' in order of time. Per visit: ``customer``, ``start`` and ``length`` into the events,
    ``start_at`` and ``end_at``; per event: ``item``, ``weight``, ``owner`` (the visit) and ``moment`` (counted within the visit).
    """

    customer: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    start_at: NDArray[np.int64]
    end_at: NDArray[np.int64]
    item: NDArray[np.int32]
    weight: NDArray[np.float64]
    owner: NDArray[np.int64]
    moment: NDArray[np.int64]

    @classmethod
    def of(cls, events: Signal, gap_hours: float) -> _Visits:
        """Cut by the gaps; an item several times in a row (view, cart, purchase) is its strongest event."""
        customer = events.owner
        wait = np.diff(events.at, prepend=0)
        opens = np.ones(len(customer), dtype=bool)
        opens[1:] = (customer[1:] != customer[:-1]) | (wait[1:] > gap_hours * HOUR)
        ends = np.append(np.flatnonzero(opens)[1:], len(customer)) - 1 if len(customer) else np.empty(0, np.int64)
        fresh = opens.copy()
        fresh[1:] |= events.item[1:] != events.item[:-1]
        kept = np.flatnonzero(fresh)
        weight = np.maximum.reduceat(events.weight, kept) if len(kept) else np.empty(0)
        opens_kept = opens[kept]
        owner = np.cumsum(opens_kept) - 1
        start = np.flatnonzero(opens_kept)
        at = events.at[kept]
        moves = opens_kept.copy()
        moves[1:] |= at[1:] != at[:-1]
        length = np.diff(np.append(start, len(kept)))
        first, last = np.flatnonzero(opens), ends
        moment = np.cumsum(moves)
        return cls(
            customer[first],
            start,
            length,
            events.at[first],
            events.at[last],
            events.item[kept],
            weight,
            owner,
            moment - moment[start][owner],
        )


@dataclass(frozen=True)
class _Asked:
    """Items of the visits that are asked about: ``row``, ``item``, moments ``back``, ``weight``; per history when its visit began."""

    row: NDArray[np.int64]
    item: NDArray[np.int64]
    back: NDArray[np.int64]
    weight: NDArray[np.float64]
    open_since: NDArray[np.int64]


@dataclass(frozen=True)
class _Pairs:
    """Neighbours: ``row`` of the history, ``visit``, ``place`` (event of the newest shared item), ``like``; and what is shared: ``pair``,
    ``shared`` item and its ``part`` of the likeness."""

    row: NDArray[np.int64]
    visit: NDArray[np.int64]
    place: NDArray[np.int64]
    like: NDArray[np.float64]
    pair: NDArray[np.int64]
    shared: NDArray[np.int64]
    part: NDArray[np.float64]

    def nearest(self, k: int, rows: int) -> _Pairs:
        """The ``k`` most alike of each history; all that tie with the last one stay."""
        counts = np.bincount(self.row, minlength=rows)
        if counts.max() <= k:
            return self
        order = np.lexsort((-self.like, self.row))
        first = np.concatenate(([0], np.cumsum(counts)))[:-1]
        bound = np.full(rows, -np.inf)
        long = counts > k
        bound[long] = self.like[order[first[long] + k - 1]]
        kept = self.like >= bound[self.row]
        number = np.cumsum(kept) - 1
        mine = kept[self.pair]
        return _Pairs(
            self.row[kept], self.visit[kept], self.place[kept], self.like[kept], number[self.pair[mine]], self.shared[mine], self.part[mine]
        )


def _runs(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """All of ``start[n] .. start[n] + length[n] - 1``, one run after the other."""
    shift = np.cumsum(length) - length
    found: NDArray[np.int64] = np.arange(int(length.sum())) + np.repeat(start - shift, length)
    return found


PLUGIN = SessionKnn
