"""Items in the cells of a k-means partition, quantised, each cell one contiguous block: what an approximate search reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._quantised import STRIPE, Floats, IntegerCells, Query, quantise, unquantised

SAMPLE = 32  # items per cell that the centres are learned from
ROUNDS = 8
CHUNK = 8192  # items assigned at once: bounds memory
PAD = 2 * STRIPE  # cells are filled up to multiples of this, so that products come in few shapes, each compiled once


class Cells:
    """Cells in order: ``items`` int64 [P] item of each place (0 in the padding), ``start`` int64 [cells + 1] places."""

    def __init__(self, vectors: Floats, bias: Floats, cell: NDArray[np.int64], centres: Floats, *, integer: bool) -> None:
        usable = np.flatnonzero(cell >= 0)
        counts = np.bincount(cell[usable], minlength=len(centres))
        kept = np.flatnonzero(counts)
        counts, number = counts[kept], np.cumsum(counts > 0) - 1
        self.start = np.concatenate(([0], np.cumsum(-(-counts // PAD) * PAD)))
        by_cell = usable[np.argsort(cell[usable], kind="stable")]
        place = np.arange(len(by_cell)) + np.repeat(self.start[:-1] - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        self.items = np.zeros(self.start[-1], np.int64)
        self.items[place] = by_cell
        self._place = np.full(len(vectors), -1, np.int64)
        self._place[by_cell] = place
        self._cell = np.full(len(vectors), -1, np.int64)
        self._cell[usable] = number[cell[usable]]
        self._level = np.full(self.start[-1], -np.inf, np.float32)
        self._level[place] = bias[by_cell]
        ordered = np.zeros((self.start[-1], vectors.shape[1]), np.float32)
        ordered[place] = vectors[by_cell]
        self._describe(ordered, place, counts)
        self._runs: IntegerCells | None = None
        if integer:
            codes, self._scale, bound = quantise(ordered, self._level)
            self._runs = IntegerCells(codes, self.start)
        else:
            bound, self._vectors = unquantised(ordered, self._level), ordered
        self._bound = bound.grouped(lambda each: np.maximum.reduceat(each, self.start[:-1]) if len(each) else each)

    def _describe(self, ordered: Floats, place: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Mean, spread and mean bias of each cell: what :meth:`order` promises from."""
        sums = np.add.reduceat(ordered, self.start[:-1], axis=0) if len(counts) else np.zeros((0, ordered.shape[1]), np.float32)
        self._mean = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        owner = np.repeat(np.arange(len(counts)), counts)
        squares = np.einsum("nd,nd->n", ordered[place], ordered[place])
        spread = np.bincount(owner, squares, minlength=len(counts)) / np.maximum(counts, 1) - (self._mean**2).sum(axis=1)
        largest = np.sqrt(2 * np.log(np.maximum(counts, 1)))
        self._spread = (np.sqrt(np.maximum(spread, 0) / ordered.shape[1]) * largest).astype(np.float32)
        self._high = (np.bincount(owner, self._level[place], minlength=len(counts)) / np.maximum(counts, 1)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._mean)

    def order(self, query: Query, most: int) -> NDArray[np.int64]:
        """The ``most`` cells with the best promise; all of them come in order of it, fewer in any order."""
        promise = self._mean @ query.plain + self._high + np.float32(query.norm) * self._spread
        if most < len(promise):
            return np.argpartition(-promise, most - 1)[:most]
        return np.argsort(-promise, kind="stable")

    def read(
        self, cells: NDArray[np.int64], query: Query, barred: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], Floats, np.float32]:
        """Items, first-pass scores (minus infinity for padding and ``barred``) and the largest error of some cells."""
        if not len(cells):
            return np.empty(0, np.int64), np.empty(0, np.float32), np.float32(0)
        parts = [slice(a, b) for a, b in zip(self.start[cells].tolist(), self.start[cells + 1].tolist(), strict=True)]
        level = np.concatenate([self._level[part] for part in parts])
        if self._runs:
            scores = self._runs.read(query, cells.tolist())
            scores *= np.concatenate([self._scale[part] for part in parts]) * np.float32(query.scale)
        else:
            scores = np.concatenate([self._vectors[part] @ query.plain for part in parts])
        scores += level
        items = np.concatenate([self.items[part] for part in parts])
        if barred is not None and len(barred):
            base = np.full(len(self), -1, np.int64)
            base[cells] = np.cumsum([0, *(part.stop - part.start for part in parts[:-1])])
            found = barred[self._cell[barred] >= 0]
            found = found[base[self._cell[found]] >= 0]
            scores[base[self._cell[found]] + self._place[found] - self.start[self._cell[found]]] = -np.inf
        return items, scores, self._bound.of(query)[cells].max()


def cells(vectors: Floats, bias: Floats, count: int, seed: int, *, integer: bool) -> Cells:
    """Partition the usable items (finite ``bias``) by k-means on a sample (Lloyd), at most ``count`` cells."""
    rng = np.random.default_rng(seed)
    usable = np.flatnonzero(np.isfinite(bias))
    cell = np.full(len(vectors), -1, np.int64)
    if not len(usable):
        return Cells(vectors, bias, cell, np.zeros((0, vectors.shape[1]), np.float32), integer=integer)
    sample = vectors[rng.choice(usable, min(len(usable), SAMPLE * count), replace=False)]
    centres = sample[rng.choice(len(sample), min(count, len(sample)), replace=False)].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(sample, centres)
        order = np.argsort(nearest, kind="stable")
        found, first = np.unique(nearest[order], return_index=True)
        sizes = np.diff(np.append(first, len(order)))
        fresh = sample[rng.choice(len(sample), len(centres))].copy()  # an empty cell starts again somewhere else
        fresh[found] = np.add.reduceat(sample[order], first, axis=0) / sizes[:, None]
        centres = fresh
    for start in range(0, len(usable), CHUNK):
        part = usable[start : start + CHUNK]
        cell[part] = _nearest(vectors[part], centres)
    return Cells(vectors, bias, cell, centres, integer=integer)


def _nearest(vectors: Floats, centres: Floats) -> NDArray[np.int64]:
    half = (centres * centres).sum(axis=1) / 2
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = np.argmax(vectors[part] @ centres.T - half, axis=1)
    return found
