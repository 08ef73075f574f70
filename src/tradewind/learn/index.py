"""The k items with the largest inner product: exact at the speed of eight bits, and approximate above some 300,000 items.

>>> import numpy as np
>>> from tradewind.learn.index import Exact
>>> Exact(np.eye(3, dtype=np.float32)).search(np.array([0.1, 0.3, 0.2], np.float32), 2).items.tolist()
[1, 2]

Both take the same filters, and both apply them before the best are chosen: ``allowed`` (bool [I]) and ``barred`` (item
numbers). A filter is never the reason for a short answer while allowed items are left. One thread does all the work when torch
is told so (``torch.set_num_threads(1)``); several processes scale, several threads stall each other on a busy machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._cells import Cells
from tradewind.learn._cells import cells as partition
from tradewind.learn._quantised import (
    STRIPE,
    Floats,
    IntegerProduct,
    Query,
    checked,
    closed,
    integer_product,
    padded,
    quantise,
    rescore,
    scored,
    shortlist,
    unquantised,
)
from tradewind.params import Number, OneOf, check

__all__ = ["Approximate", "Exact", "Found", "Index"]

Allowed = NDArray[np.bool_] | None
Barred = NDArray[np.int64] | None
QUERIES = 64  # of one pass over the items in a batch, at most
SCORES = 8_000_000  # of one such pass, at most: bounds memory
FEW = 10_000  # allowed items up to which all of them are scored


class Found(NamedTuple):
    """The best items of one query, best first: ``items`` int32 [n], ``scores`` float32 [n]; n is k or all that is allowed."""

    items: NDArray[np.int32]
    scores: Floats


class Index(ABC):
    """Item vectors that can be asked for the k best of a query. Vectors are kept by reference and must not change."""

    vectors: Floats
    bias: Floats  # minus infinity where an item is not usable

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, query: Floats, k: int, *, allowed: Allowed = None, barred: Barred = None) -> Found:
        """The k best items of ``query`` (float [D]) by ``vectors @ query + bias``.

        Scores are computed in double precision and rounded to float32; ties go to the lower item number.

        Raises
        ------
        InputError
            ``k`` is not a whole number from 1, a shape does not fit, or the query is not finite.
        """
        self._check(np.asarray(query)[None], k, allowed)
        return self._search(Query.of(query), min(k, len(self)), allowed, barred)

    def batch(
        self, queries: Floats, k: int, *, allowed: Allowed = None, barred: list[NDArray[np.int64]] | None = None
    ) -> tuple[NDArray[np.int32], Floats]:
        """Items int32 [U, k] and scores float32 [U, k] of many queries; item -1 and minus infinity where nothing is left."""
        items, scores = self._empty(queries, k, allowed)
        for row, query in enumerate(queries):
            found = self._search(Query.of(query), min(k, len(self)), allowed, None if barred is None else barred[row])
            items[row, : len(found.items)], scores[row, : len(found.items)] = found
        return items, scores

    def _empty(self, queries: Floats, k: int, allowed: Allowed) -> tuple[NDArray[np.int32], Floats]:
        self._check(np.asarray(queries), k, allowed)
        return np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)

    def _check(self, queries: NDArray[Any], k: int, allowed: Allowed) -> None:
        check(type(self).__name__, {"k": k}, {"k": Number(1, 2**31, whole=True)})
        width = self.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
            raise InputError(f"search: a query must be {width} finite numbers; got an array of the shape {queries.shape[1:]}.")
        if allowed is not None and (allowed.shape != (len(self),) or allowed.dtype != bool):
            raise InputError(f"allowed: got {allowed.dtype} of the shape {allowed.shape}; it must be a bool for each of {len(self)} items.")

    @abstractmethod
    def _search(self, query: Query, k: int, allowed: Allowed, barred: Barred) -> Found:
        """The answer to checked input."""


class Exact(Index):
    """The exact answer: a quantised pass over all items, then the ones that it cannot rule out in double precision.

    ``vectors`` float32 [I, D], ``bias`` float32 [I] or None, ``usable`` bool [I]: items that may ever be found. ``kernel``:
    "int8" (needs torch and a processor that multiplies eight-bit numbers exactly), "float32" (numpy, four times the memory
    traffic), or "auto": int8 where it is there; ``index.kernel`` says which. The answer is the same, only time differs.
    When not to use: above some 300,000 items, when a millisecond counts (:class:`Approximate`).
    """

    def __init__(
        self, vectors: Floats, bias: Floats | None = None, *, usable: NDArray[np.bool_] | None = None, kernel: str = "auto"
    ) -> None:
        self.vectors, level, use = checked(vectors, bias, usable)
        self.kernel = chosen(kernel)
        self.bias = np.where(use, level, np.float32(-np.inf))
        room = -(-len(self) // STRIPE) * STRIPE
        self._level = np.full(room, -np.inf, np.float32)
        self._level[: len(self)] = self.bias
        if self.kernel == "int8":
            codes, scale, bound = quantise(self.vectors, self.bias)
            self._product = IntegerProduct(padded(codes, room), padded(scale, room), self._level if self._level.any() else None)
        else:
            bound = unquantised(self.vectors, self.bias)
        self._bound = bound.grouped(lambda each: padded(each, room).reshape(STRIPE, -1).max(axis=0))

    def _search(self, query: Query, k: int, allowed: Allowed, barred: Barred) -> Found:
        return self._best(self.first(query), query, k, None if allowed is None else closed(allowed), barred)

    def first(self, query: Query) -> Floats:
        """First-pass scores of all items, float32, minus infinity behind the last one; valid until the next call on this thread."""
        if self.kernel == "int8":
            return self._product(query)
        scores = self._level.copy()
        scores[: len(self)] += np.dot(self.vectors, query.plain)
        return scores

    def bound(self, query: Query) -> Floats:
        """How far a first-pass score can be from the true one, by group of ``_quantised.shortlist``."""
        return self._bound.of(query)

    def exact(self, items: NDArray[np.int64], query: Query) -> Floats:
        """The scores of some items in double precision, rounded to float32."""
        return scored(self.vectors, self.bias, items, query)

    def _best(self, scores: Floats, query: Query, k: int, penalty: Floats | None, barred: Barred) -> Found:
        if penalty is not None:
            scores[: len(self)] += penalty
        if barred is not None:
            scores[barred] = -np.inf
        return Found(*rescore(self.vectors, self.bias, shortlist(scores, self._bound.of(query), k), query, k))

    def batch(
        self, queries: Floats, k: int, *, allowed: Allowed = None, barred: list[NDArray[np.int64]] | None = None
    ) -> tuple[NDArray[np.int32], Floats]:
        """Items int32 [U, k] and scores float32 [U, k] of many queries, which share the pass over the items."""
        if self.kernel != "int8":
            return super().batch(queries, k, allowed=allowed, barred=barred)
        items, scores = self._empty(queries, k, allowed)
        penalty = None if allowed is None else closed(allowed)
        step = min(QUERIES, max(1, SCORES // len(self._level)))
        for start in range(0, len(queries), step):
            group = [Query.of(row) for row in queries[start : start + step]]
            for row, first in enumerate(self._product.many(group), start):
                found = self._best(first, group[row - start], min(k, len(self)), penalty, None if barred is None else barred[row])
                items[row, : len(found.items)], scores[row, : len(found.items)] = found
        return items, scores


class Approximate(Index):
    """Most of the exact answer from the most promising cells of a k-means partition, scored exactly (inverted file, Jegou 2011).

    ``cells``: how many (None: 2 sqrt(I)); ``probes``: how many of them a query reads (None: a twentieth), see :meth:`tune`.
    A query reads cells in the order of the best score that they promise - mean, plus spread times what the largest of that many
    normal draws exceeds it by - until ``probes`` are read and at least 20 k allowed items were seen; so filters make it read more,
    up to everything. Up to 10,000 allowed items are all scored: then the answer is exact. When not to use: below some 300,000
    items, where :class:`Exact` answers as fast.
    """

    def __init__(
        self,
        vectors: Floats,
        bias: Floats | None = None,
        *,
        usable: NDArray[np.bool_] | None = None,
        cells: int | None = None,
        probes: int | None = None,
        seed: int = 0,
        kernel: str = "auto",
    ) -> None:
        self.vectors, level, use = checked(vectors, bias, usable)
        count = int(use.sum())
        rules = {"cells": Number(1, max(count, 1), whole=True), "probes": Number(1, max(count, 1), whole=True)}
        wanted = min(max(1, round(2 * count**0.5)), max(count, 1)) if cells is None else cells
        check("Approximate", {"cells": wanted, "probes": 1 if probes is None else probes}, rules)
        self.kernel = chosen(kernel)
        self.bias = np.where(use, level, np.float32(-np.inf))
        self._cells: Cells = partition(self.vectors, self.bias, wanted, seed, integer=self.kernel == "int8")
        self.probes = min(len(self._cells), max(1, len(self._cells) // 20) if probes is None else probes)

    def tune(self, queries: Floats, *, k: int = 100, recall: float = 0.97) -> float:
        """Set ``probes`` to the fewest (in steps of a quarter) that reach ``recall`` of the exact k best on ``queries`` [Q, D].

        Returns the recall reached. Tune on some customers' vectors and measure on others.
        """
        check("tune", {"k": k, "recall": recall}, {"k": Number(1, 2**31, whole=True), "recall": Number(0.01, 1)})
        exact = Exact(self.vectors, np.where(np.isfinite(self.bias), self.bias, 0), usable=np.isfinite(self.bias), kernel=self.kernel)
        truth = exact.batch(queries, k)[0]
        self.probes = max(1, len(self._cells) // 200)
        while True:
            reached = overlap(self.batch(queries, k)[0], truth)
            if reached >= recall or self.probes == len(self._cells):
                return reached
            self.probes = min(len(self._cells), self.probes + -(-self.probes // 4))

    def _search(self, query: Query, k: int, allowed: Allowed, barred: Barred) -> Found:
        if allowed is not None and np.count_nonzero(allowed) <= FEW:
            ids = np.flatnonzero(allowed & np.isfinite(self.bias))
            ids = ids if barred is None else ids[~np.isin(ids, barred)]
            return Found(*rescore(self.vectors, self.bias, ids, query, k))
        order = self._cells.order(query, self.probes)
        read = self.probes
        while True:
            items, scores, wrong = self._cells.read(order[:read], query, barred)
            if allowed is not None:
                scores += closed(allowed[items])
            seen = int(np.count_nonzero(np.isfinite(scores)))
            if seen >= 20 * k or read >= len(self._cells):
                break
            order, read = self._cells.order(query, len(self._cells)), min(len(self._cells), read * 2)
        places = shortlist(scores, np.array([wrong], np.float32), k)
        return Found(*rescore(self.vectors, self.bias, items[places], query, k))


def chosen(kernel: str) -> str:
    """ "int8" or "float32": what ``kernel`` means on this machine.

    Raises
    ------
    InputError
        "int8" was asked for and cannot be had here.
    """
    check("index", {"kernel": kernel}, {"kernel": OneOf(("auto", "int8", "float32"))})
    if kernel == "int8" and integer_product() is None:
        raise InputError('kernel="int8" needs PyTorch and a processor with exact eight-bit products. Use kernel="auto" or "float32".')
    return "float32" if kernel == "float32" or integer_product() is None else "int8"


def overlap(found: NDArray[np.int32], truth: NDArray[np.int32]) -> float:
    """Mean share of the true k best that was found; rows as :meth:`Index.batch` gives them."""
    shares = [len(np.intersect1d(a[a >= 0], b[b >= 0])) / max(1, int((b >= 0).sum())) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(shares)) if shares else 1.0
