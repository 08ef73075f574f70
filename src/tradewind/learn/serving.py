"""One request, one thread, single-digit milliseconds: events in, the best allowed items out, with scores, sources and reasons.

>>> server = Server(model, log, filters=filters)                                             # doctest: +SKIP
>>> answer = server.answer(events, k=10, request=Request(as_of=now, region="CN"))            # doctest: +SKIP
>>> answer.items, answer.reasons                                                             # doctest: +SKIP

The scores are those of the recommender itself; what is saved is the work that one request does not need. Run one process per core
with one thread each: threads that wait for each other cost more than they bring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted, unknown
from tradewind.learn import rerank
from tradewind.learn._rank import Ranking
from tradewind.learn._serve_blend import source_of
from tradewind.learn._serve_sources import Allowed, Encoder, Items, Prepared
from tradewind.learn._signal import ordered, recode, same
from tradewind.learn.base import Recommender
from tradewind.learn.filters import Filters, Request, capped
from tradewind.learn.sequences import CHANNELS, KINDS, Sequences, kind_codes
from tradewind.params import Number, OneOf, Rule, check
from tradewind.types import Event, Reason, from_micros

__all__ = ["Answer", "Filters", "Request", "Server"]

KIND = {name: code for code, name in enumerate(KINDS)}
CHANNEL = {name: code for code, name in enumerate(CHANNELS)}
BOUGHT = KIND["purchase"]
START, MICROSECOND = from_micros(0), timedelta(microseconds=1)
TUNED = 256  # customers whose vectors tune an approximate index


@dataclass(frozen=True)
class Answer:
    """The best items of one request, best first; shorter than asked only when nothing allowed is left to say.

    ``items`` ids, ``scores`` float32 (comparable within one source), ``sources`` names of models, ``state`` "hot", "warm" or
    "cold", ``codes`` int32 numbers in the catalogue. ``reasons`` are worked out when they are first looked at.
    """

    items: tuple[str, ...]
    scores: NDArray[np.float32]
    sources: tuple[str, ...]
    state: str
    codes: Items
    _why: Callable[[], tuple[tuple[Reason, ...], ...]] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def reasons(self) -> tuple[tuple[Reason, ...], ...]:
        """For each item why it is there."""
        return self._why()


class Server:
    """Answers requests from a fitted recommender.

    ``model``: any recommender; deep ones, ``graph`` and ``fallback`` have quick ways, others answer by their own ``score``.
    ``log``: tells the category and the price band of each item (its latest event) for events that come in; without it they are
    unknown. ``filters``: what may be shown. ``diversity`` and ``calibration`` (0..1): the dials of :mod:`rerank` over the best
    ``shortlist`` items. ``index``: "exact", "approximate", or "auto": approximate above 300,000 items, tuned to ``recall`` of
    the exact best 100 on customers of ``log``. ``threads``: of torch, in this process.

    A server holds the model as it is: after ``fit`` make a new one; after ``update`` of a graph or ``refresh`` of the default go on.

    Raises
    ------
    InputError
        A parameter is out of its range, the model is not fitted, or ``filters`` are over another catalogue.
    """

    def __init__(
        self,
        model: Recommender,
        log: Sequences | None = None,
        *,
        filters: Filters | None = None,
        diversity: float = 0.0,
        calibration: float = 0.0,
        shortlist: int = 100,
        index: str = "auto",
        recall: float = 0.97,
        threads: int = 1,
    ) -> None:
        values = {"diversity": diversity, "calibration": calibration, "shortlist": shortlist, "index": index, "recall": recall}
        rules: dict[str, Rule] = {"diversity": Number(0, 1), "calibration": Number(0, 1), "shortlist": Number(1, 100_000, whole=True)}
        rules |= {"index": OneOf(("auto", "exact", "approximate")), "recall": Number(0.01, 1), "threads": Number(1, 1024, whole=True)}
        check("Server", values | {"threads": threads}, rules)
        if not hasattr(model, "items"):
            raise NotFitted(f'The model "{model.name}" has learned nothing yet. Call fit(log, as_of=...) before serving it.')
        self.model, self.filters = model, filters
        if filters is not None and not same(filters.items, model.items):
            raise InputError("filters: they are over another catalogue. Build them over the model's own items: Filters(model.items, ...).")
        self.diversity, self.calibration, self.shortlist = diversity, calibration, shortlist
        self._threads(threads)
        self._learn_items(log)
        sample = None if log is None else log.rows(np.flatnonzero(log.lengths > 0)[:: max(1, len(log) // TUNED)][:TUNED])
        self.source = source_of(model, index=index, recall=recall, histories=sample)
        self.source.warm()

    def _threads(self, threads: int) -> None:
        try:
            import torch
        except ImportError:  # a shop without deep models
            return
        torch.set_num_threads(threads)

    def _learn_items(self, log: Sequences | None) -> None:
        model = self.model
        self._code: dict[str, int] = {}
        # One place more than items, so that item -1 has category and band -1 without a copy of the table.
        self._category, self._band = np.full(1, -1, np.int32), np.full(1, -1, np.int8)
        self._grow()
        if log is None:
            return
        item = recode(log.item, log.items, self._code)
        shelf = recode(log.category, log.categories, {name: code for code, name in enumerate(model.categories)})
        for target, values in ((self._category, shelf), (self._band, log.band)):
            told = np.flatnonzero((item >= 0) & (values >= 0))
            told = told[np.argsort(log.at[told], kind="stable")]
            target[item[told]] = values[told]  # the last write of each item wins

    def _grow(self) -> None:
        """Items that joined the model's catalogue since: their category and price band are unknown."""
        before, now = len(self._code), len(self.model.items)
        if before < now:
            self._code |= {name: before + code for code, name in enumerate(self.model.items[before:])}
            self._category, self._band = widened(self._category, now + 1, -1), widened(self._band, now + 1, -1)

    # ---- requests --------------------------------------------------------------------------------------------------

    def answer(
        self,
        events: Sequence[Event],
        *,
        k: int = 10,
        customer: str = "",
        request: Request | None = None,
        exclude_seen: bool | Sequence[str] = True,
    ) -> Answer:
        """The best ``k`` items after ``events``, in any order of time; items and categories that are unknown tell nothing.

        ``customer`` decides "hot" or "warm". ``exclude_seen`` as in ``recommend``; with ``filters``, what was bought and is no
        consumable is left out whatever it says, unless the request says ``again``.

        Raises
        ------
        InputError
            ``k`` is not a whole number from 1, a kind of event does not exist, or filters are there and no ``request`` is.
        """
        return self.serve(self.history(events, customer=customer), k=k, request=request, exclude_seen=exclude_seen)

    def history(self, events: Sequence[Event], *, customer: str = "") -> Sequences:
        """Events as one history over the model's own vocabularies, in order of time."""
        self._grow()
        ordered_events = sorted(events, key=lambda event: event.at)
        for event in ordered_events:
            if event.kind not in KIND:
                raise unknown("event kind", event.kind, KINDS)
        item = np.array([self._code.get(event.item, -1) if event.item else -1 for event in ordered_events], dtype=np.int32)
        return Sequences(
            customers=np.array([customer], dtype=object),
            items=self.model.items,
            categories=self.model.categories,
            offsets=np.array([0, len(item)]),
            item=item,
            kind=np.array([KIND[event.kind] for event in ordered_events], dtype=np.int8),
            at=np.array([(event.at - START) // MICROSECOND for event in ordered_events], dtype=np.int64),
            value=np.array([event.value or 0 for event in ordered_events], dtype=np.int64),
            band=self._band[item],
            category=self._category[item],
            channel=np.array([CHANNEL.get(event.channel or "", -1) for event in ordered_events], dtype=np.int8),
        )

    def serve(
        self, history: Sequences, *, k: int = 10, request: Request | None = None, exclude_seen: bool | Sequence[str] = True
    ) -> Answer:
        """As :meth:`answer`, for a history of one row that is there already."""
        check("serve", {"k": k}, {"k": Number(1, 1_000_000, whole=True)})
        if len(history) != 1:
            raise InputError(f"serve: give one history; got {len(history)}. For many at once use campaign().")
        row = self._aligned(history)
        allowed, barred, brand_most = self._limits(row.item, row.kind, request, exclude_seen)
        prepared = self.source.prepare(row, allowed, barred)
        count = len(self.model.items)
        reranked = self.diversity > 0 or self.calibration > 0
        wanted = min(max(k, self.shortlist) if reranked else k, count)
        items, scores = self._search(prepared, wanted, allowed, barred, brand_most)
        if reranked and len(items):
            places = self._reranked(prepared, row, items, scores, min(k, count))
            items, scores = items[places], scores[places]
        sources = prepared.sources(items)
        state = str(self.model.states(row)[0])
        names = tuple(self.model.items[items].tolist())
        return Answer(names, scores, sources, state, items, lambda: self.source.why(row, items.tolist(), sources))

    def campaign(
        self, histories: Sequences, *, k: int = 10, request: Request | None = None, exclude_seen: bool | Sequence[str] = True
    ) -> Ranking:
        """The best ``k`` items for many customers, as ``recommend`` gives them; deep models share the passes over the items.

        Re-ranking and limits per brand are applied to each customer.
        """
        check("campaign", {"k": k}, {"k": Number(1, 1_000_000, whole=True)})
        rows = self._aligned(histories)
        users, width = len(rows), min(k, len(self.model.items))
        items, scores = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
        sources = np.full((users, k), "", dtype=object)
        plain = not (self.diversity or self.calibration or (request is not None and request.per_brand is not None))
        if plain and isinstance(self.source, Encoder):
            told = np.bincount(rows.owner[(rows.item >= 0) & self.source.trained[np.maximum(rows.item, 0)]], minlength=users) > 0
            asked = np.flatnonzero(told)
            parts = [slice(*rows.offsets[place : place + 2].tolist()) for place in asked.tolist()]
            limits = [self._limits(rows.item[part], rows.kind[part], request, exclude_seen) for part in parts]
            vectors = self.source.states(rows.rows(asked))
            allowed = limits[0][0] if limits else None
            found = self.source.index.batch(vectors, width, allowed=allowed, barred=[barred for _, barred, _ in limits])
            items[asked, :width], scores[asked, :width] = found
            sources[items >= 0] = self.model.name
        else:
            for row in range(users):
                answer = self.serve(rows.rows(np.array([row])), k=width, request=request, exclude_seen=exclude_seen)
                items[row, : len(answer)], scores[row, : len(answer)] = answer.codes, answer.scores
                sources[row, : len(answer)] = answer.sources
        return Ranking(rows.customers, self.model.items, items, scores, sources, self.model.states(rows))

    # ---- how -------------------------------------------------------------------------------------------------------

    def _aligned(self, history: Sequences) -> Sequences:
        self._grow()
        if not same(history.items, self.model.items):
            history = replace(history, items=self.model.items, item=recode(history.item, history.items, self._code))
        if not same(history.categories, self.model.categories):
            index = {name: code for code, name in enumerate(self.model.categories)}
            history = replace(history, categories=self.model.categories, category=recode(history.category, history.categories, index))
        return ordered(history)

    def _limits(
        self, item: NDArray[np.int32], kind: NDArray[np.int8], request: Request | None, exclude_seen: bool | Sequence[str]
    ) -> tuple[Allowed, NDArray[np.int64], int | None]:
        """The items that are allowed, item numbers that are not, and the most items of a brand."""
        barred = np.empty(0, np.int64)
        if exclude_seen is not False:
            hit = item >= 0
            if exclude_seen is not True:
                hit &= np.isin(kind, kind_codes(list(exclude_seen)))
            barred = item[hit].astype(np.int64)
        if self.filters is None:
            if request is not None:
                raise InputError(
                    "A request was passed to a server without filters: nothing would hold. Build it with filters=Filters(...)."
                )
            return None, barred, None
        if request is None:
            raise InputError("This server has filters, so it must know the time and the customer: pass request=Request(as_of=...).")
        bought = item[(kind == BOUGHT) & (item >= 0)].astype(np.int64)
        barred = np.concatenate((barred, self.filters.bought(bought, request)))
        return widened(self.filters.allowed(request), len(self.model.items), False), barred, request.per_brand

    def _search(
        self, prepared: Prepared, k: int, allowed: Allowed, barred: NDArray[np.int64], brand_most: int | None
    ) -> tuple[Items, NDArray[np.float32]]:
        if brand_most is None or self.filters is None:
            return prepared.best(k, allowed, barred)

        def search(n: int, taken: Sequence[int], still: NDArray[np.bool_] | None) -> tuple[Items, NDArray[np.float32]]:
            open_now = allowed if still is None else still if allowed is None else allowed & still
            return prepared.best(n, open_now, np.concatenate((barred, np.array(taken, np.int64))))

        return capped(search, k, brand=widened(self.filters.brand, len(self.model.items), -1), most=brand_most)

    def _reranked(self, prepared: Prepared, row: Sequences, items: Items, scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Places of the shortlist, calibrated to the history's categories first, then spread out."""
        shelf, places = self._category[items], np.arange(len(items), dtype=np.int64)
        # Scores of several sources share no scale; only their order does.
        relevance = scores.astype(np.float64) if len(set(prepared.sources(items))) == 1 else -places.astype(np.float64)
        if self.calibration > 0:
            taste = np.bincount(row.category[row.category >= 0], minlength=len(self.model.categories) or 1).astype(np.float64)
            size = len(items) if self.diversity > 0 else k
            places = rerank.calibrated(relevance, size, dial=self.calibration, category=shelf, taste=taste)
            relevance = -np.arange(len(places), dtype=np.float64)
        if self.diversity > 0:
            vectors = prepared.vectors(items[places])
            places = places[rerank.mmr(relevance, k, dial=self.diversity, vectors=vectors, category=shelf[places])]
        return places[:k]


def widened(values: NDArray[Any], size: int, fill: object) -> NDArray[Any]:
    """``values`` with ``fill`` behind up to ``size``; the same object when it is as long already."""
    return values if len(values) == size else np.concatenate((values, np.full(size - len(values), fill, values.dtype)))
