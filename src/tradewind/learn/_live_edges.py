"""The item graph in use: full integer counts, pruned scaled rows for scoring, and O(window) updates of both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._edges import SHARE, UNIT, count, distances, steps
from tradewind.learn._signal import Signal

Tail = list[tuple[int, float, int]]  # (item, weight, at) of the last merged events, oldest first


class LiveEdges:
    """Counts int64 [I, I] whose row a says how strongly a leads to each item, in both directions already weighed."""

    def __init__(self, *, window: int, distance: float, backward: float, row: float, top: int) -> None:
        self.window, self.row, self.top = window, row, top
        self.distance, self.back = distance, round(backward * SHARE)
        self.added: dict[int, dict[int, int]] = {}  # counts since the last compaction
        self.patches: dict[int, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
        self._dirty: set[int] = set()
        self._scale = distances(window, distance)
        self._steps: dict[float, list[int]] = {}

    def fit(self, found: Signal, items: int) -> None:
        """Count a merged signal from nothing."""
        forward = count(found, items=items, window=self.window, decay=self.distance)
        forward.sort_indices()  # sums of sorted rows are sorted, and several times as fast
        mirror = forward.T.tocsr()
        mirror.data *= self.back
        forward.data *= SHARE
        self.counts = forward + mirror
        self.popularity = popularity(found, items)
        self.compile()

    def compile(self) -> None:
        """Fold what was added into the counts and build the pruned, scaled rows anew."""
        from scipy.sparse import csr_array

        items = len(self.popularity)
        self.counts.resize((items, items))
        if self.added:
            rows = np.repeat(list(self.added), [len(row) for row in self.added.values()])
            columns = np.concatenate([np.fromiter(row, np.int64, len(row)) for row in self.added.values()])
            data = np.concatenate([np.fromiter(row.values(), np.int64, len(row)) for row in self.added.values()])
            self.counts = csr_array(self.counts + csr_array((data, (rows, columns)), shape=(items, items)))
        self.counts.sort_indices()
        self.added, self.patches, self._dirty = {}, {}, set()
        counts, lengths = self.counts, np.diff(self.counts.indptr)
        factor = np.repeat(_scaled((counts @ np.ones(items, np.int64)).astype(np.float64), self.row), lengths)
        values, indices, indptr = (counts.data * factor).astype(np.float32), counts.indices, counts.indptr
        heavy = np.flatnonzero(lengths > self.top)
        if len(heavy):
            keep = np.ones(len(values), dtype=bool)
            for start, end in zip(indptr[heavy].tolist(), indptr[heavy + 1].tolist(), strict=True):
                keep[start:end] = largest(counts.data[start:end], self.top)
            values, indices = values[keep], indices[keep]
            indptr = np.concatenate(([0], np.cumsum(np.add.reduceat(keep, indptr[:-1][lengths > 0], dtype=np.int64))))
            indptr = indptr[np.concatenate(([0], np.cumsum(lengths > 0)))]
        self.rows = csr_array((values, indices, indptr), shape=(items, items))

    def product(self, query: Any) -> NDArray[np.float32]:
        """``query`` (sparse [U, I]) times the rows, dense float32 [U, I]."""
        from scipy.sparse import csr_array

        self._patch()
        items = len(self.popularity)
        if not self.patches:
            return np.asarray((query @ self.rows).toarray(), dtype=np.float32)
        fresh = np.array(sorted(self.patches))
        stale = np.zeros(items, dtype=bool)
        stale[fresh] = True
        old = csr_array((np.where(stale[query.indices], 0, query.data), query.indices, query.indptr), shape=query.shape)
        self.rows.resize((items, items))
        parts = [self.patches[int(row)] for row in fresh]
        indptr = np.concatenate(([0], np.cumsum([len(columns) for columns, _ in parts])))
        indices, data = (np.concatenate(side) for side in zip(*parts, strict=True))
        renewed = csr_array((data, indices, indptr), shape=(len(fresh), items))
        return np.asarray((old @ self.rows).toarray() + (query.tocsc()[:, fresh] @ renewed).toarray(), dtype=np.float32)

    def reach(self, items: NDArray[np.int32], strength: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``strength`` times the rows of distinct ``items``, summed: the columns that are reached and their sums, in any order."""
        from scipy.sparse import csr_array

        width = len(self.popularity)
        if not self.patches and not self._dirty:
            rows, columns = self.rows, items.astype(np.int64)
        else:  # only the rows that are asked for are brought up to date: a request never pays for all that happened since the last
            parts = [self.entries(item) for item in items.tolist()]
            ends = np.cumsum([0, *(len(part) for part, _ in parts)])
            indices = np.concatenate([np.empty(0, np.int32), *(part for part, _ in parts)])
            data = np.concatenate([np.empty(0, np.float32), *(part for _, part in parts)])
            rows, columns = csr_array((data, indices, ends), shape=(len(items), width)), np.arange(len(items))
        query = csr_array((strength, columns, np.array([0, len(columns)])), shape=(1, rows.shape[0]))
        found = query @ rows
        return found.indices.astype(np.int32), found.data

    def entries(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Columns and scaled weights of one pruned row."""
        if row in self._dirty:
            self.patches[row] = self._renewed(row)
            self._dirty.discard(row)
        if row in self.patches:
            return self.patches[row]
        if row >= self.rows.shape[0]:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        part = slice(self.rows.indptr[row], self.rows.indptr[row + 1])
        return self.rows.indices[part], self.rows.data[part]

    def grow(self, items: int) -> None:
        """Make room for new items, which have no edges yet."""
        self.popularity = np.append(self.popularity, np.zeros(items - len(self.popularity), np.int64))

    def add(self, tail: Tail, item: int, weight: float, at: int) -> None:
        """Count one event after ``tail`` (changed in place) in O(window)."""
        if tail and tail[-1][0] == item:
            _, before, since = tail[-1]
            if weight <= before:
                return
            tail[-1] = (item, weight, since)
            self.popularity[item] += round(weight * UNIT) - round(before * UNIT)
            self._link(tail, since, weight, before)
            return
        tail.append((item, weight, at))
        self.popularity[item] += round(weight * UNIT)
        self._link(tail, at, weight, 0.0)
        if len(tail) > self.window + 1:
            del tail[0]

    def _link(self, tail: Tail, at: int, weight: float, before: float) -> None:
        item = tail[-1][0]
        added, dirty, back, mean = self.added, self._dirty, self.back, SHARE + self.back
        inward = added.setdefault(item, {})
        for step, (other, strength, then) in enumerate(tail[-2 : -2 - self.window : -1]):
            if other == item:
                continue
            amount = self._amount(strength * weight)[step]
            if before:
                amount -= self._amount(strength * before)[step]
            forth, reverse = (amount // 2 * mean,) * 2 if then == at else (amount * SHARE, amount * back)
            outward = added.get(other)
            if outward is None:
                outward = added[other] = {}
            outward[item] = outward.get(item, 0) + forth
            inward[other] = inward.get(other, 0) + reverse
            dirty.add(other)
        dirty.add(item)

    def _amount(self, weight: float) -> list[int]:
        found = self._steps.get(weight)
        if found is None:
            found = self._steps[weight] = steps(np.float64(weight) * np.ones(self.window), self._scale).tolist()
        return found

    def _patch(self) -> None:
        if not self._dirty:
            return
        if len(self.added) > max(1000, len(self.popularity) // 10):
            self.compile()
            return
        for row in self._dirty:
            self.patches[row] = self._renewed(row)
        self._dirty = set()

    def _renewed(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        added = self.added[row]
        columns, data = np.fromiter(added, np.int64, len(added)), np.fromiter(added.values(), np.int64, len(added))
        if row < self.counts.shape[0]:
            part = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
            columns, data = np.concatenate((self.counts.indices[part], columns)), np.concatenate((self.counts.data[part], data))
        order = np.argsort(columns, kind="stable")
        columns, data = columns[order], data[order]
        if len(columns):
            first = np.flatnonzero(np.concatenate(([True], columns[1:] != columns[:-1])))
            columns, data = columns[first], np.add.reduceat(data, first)
        scale = _scaled(np.array([data.sum()], dtype=np.float64), self.row)[0] if len(data) else 0.0
        if len(data) > self.top:
            keep = largest(data, self.top)
            columns, data = columns[keep], data[keep]
        return columns.astype(np.int32), (data * scale).astype(np.float32)


def largest(data: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Where the ``count`` largest of more values are; equal ones keep the first."""
    edge = np.partition(data, len(data) - count)[len(data) - count]
    keep: NDArray[np.bool_] = data > edge
    keep[np.flatnonzero(data == edge)[: count - int(keep.sum())]] = True
    return keep


def popularity(found: Signal, items: int) -> NDArray[np.int64]:
    """Summed weights per item in whole units, int64 [items]."""
    return np.bincount(found.item, np.rint(found.weight * UNIT), minlength=items).astype(np.int64)


def _scaled(totals: NDArray[Any], power: float) -> NDArray[np.float64]:
    whole = float(UNIT * SHARE)
    return np.where(totals > 0, np.maximum(totals / whole, 1e-9) ** -power, 0.0) / whole
