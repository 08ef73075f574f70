"""Item-based collaborative filtering: what goes together with the items of the history, in the same customers' hands.

Neighbours by cosine over customers, with shrinkage against chance (Sarwar et al. 2001; Deshpande and Karypis 2004, whose
asymmetric normaliser is ``source`` and ``target`` here).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._signal import signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

ROWS = 2048  # items whose neighbours are found at once: bounds memory to ROWS x (items that share a customer)
CELLS = 2_000_000  # values of one padded block when looking for the k largest


class ItemKnn(Recommender):
    """Score of item i: sum over the history's items j of taste(u, j) x near^steps(j, i), with the ``neighbours`` largest near of each j.

    near(j, i) = (together(j, i) / ((size(j) + shrinkage)^source x (size(i) + shrinkage)^target))^sharpness, where together(j, i) is
    the sum over customers who have both of taste(v, j) taste(v, i) / |v|^(2 activity), and size the same sum of j with itself.
    ``source`` = ``target`` = 0.5 and ``shrinkage`` = 0 is the cosine; a smaller ``target`` favours popular items. ``activity`` takes
    weight from customers who take a lot (0.5 divides by the squared length of the history's vector, once). ``recency``: an event n
    steps back counts (n + 1)^-recency in the query. near(j, j) is ``itself``: above 0 an item speaks for itself too, which is right where
    people come back to a thing (with ``exclude_seen=False``). Two ``steps`` add the neighbours of neighbours, so that rare items reach
    more of the catalogue; with ``itself`` as well, one step keeps a part in them. When not to use: where the order of events
    matters (use ``graph``), or where every click must change the neighbours.
    """

    name: ClassVar[str] = "item_knn"
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {
        "neighbours": Number(1, 100_000, whole=True),
        "shrinkage": Number(0, 1_000_000),
        "activity": Number(0, 2),
        "source": Number(0, 2),
        "target": Number(0, 2),
        "sharpness": Number(0.05, 20),
        "recency": Number(0, 5),
        "itself": Number(0, 100),
        "steps": Number(1, 4, whole=True),
    }

    def __init__(
        self,
        *,
        neighbours: int = 200,
        shrinkage: float = 3.0,
        activity: float = 0.5,
        source: float = 0.5,
        target: float = 0.3,
        sharpness: float = 1.0,
        recency: float = 0.7,
        itself: float = 0.0,
        steps: int = 1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.neighbours, self.shrinkage, self.activity = neighbours, shrinkage, activity
        self.source, self.target, self.sharpness, self.recency = source, target, sharpness, recency
        self.itself, self.steps, self.weights = itself, steps, weights

    def _fit(self, log: Sequences) -> None:
        from scipy.sparse import csr_array, diags_array, vstack

        taste = taste_of(log, self.weights, recency=0.0)
        owner = np.repeat(np.arange(len(log)), np.diff(taste.indptr))
        length = np.maximum(np.bincount(owner, taste.data**2, minlength=len(log)), 1e-12)
        damped = taste.copy()
        damped.data = (taste.data * length[owner] ** -self.activity).astype(np.float32)
        size = np.bincount(taste.indices, taste.data * damped.data, minlength=len(self.items)).astype(np.float64)
        alone = np.where(size > 0, self.itself, 0.0).astype(np.float32)
        size += self.shrinkage
        row, column = (np.where(size > 0, size, 1.0) ** -power for power in (self.source, self.target))
        by_item = csr_array(taste.T)
        parts = []
        for start in range(0, len(self.items), ROWS):
            near = by_item[start : start + ROWS] @ damped
            mine = np.repeat(np.arange(start, start + near.shape[0]), np.diff(near.indptr))
            strength = np.where(mine == near.indices, 0, near.data * row[mine] * column[near.indices])
            near.data = (strength**self.sharpness).astype(np.float32)
            parts.append(largest(near, self.neighbours))
        self._near = csr_array(vstack(parts, format="csr"))
        if self.itself:
            self._near = csr_array(self._near + diags_array(alone))

    def _offers(self, histories: Sequences) -> Any:
        """Scores as a sparse float32 [U, I]."""
        offers = taste_of(histories, self.weights, recency=self.recency)
        for _ in range(self.steps):
            offers = offers @ self._near
        return offers

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._offers(histories).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        return ranked(self._offers(histories), barred, k, self.name)

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The history's items that carry the score, strongest first, at most three."""
        query = taste_of(history, self.weights, recency=self.recency)
        lead = (np.arange(len(self.items)) == item).astype(np.float32)  # how much each item leads to this one
        for _ in range(self.steps):
            lead = self._near @ lead
        parts = query.data * lead[query.indices]
        best = [place for place in np.lexsort((query.indices, -parts)).tolist() if parts[place] > 0][:3]
        total = parts.sum()
        return tuple(
            Reason("because", {"item": self.items[query.indices[place]], "share": round(float(parts[place] / total), 4)}) for place in best
        )

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {}, {"indptr": self._near.indptr, "indices": self._near.indices, "data": self._near.data}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        from scipy.sparse import csr_array

        size = len(self.items)
        self._near = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size))


def taste_of(log: Sequences, weights: Mapping[str, float] | None, *, recency: float) -> Any:
    """Histories as a sparse float32 [U, I]: event weight x (steps back + 1)^-recency, summed per item; columns ascend in a row."""
    from scipy.sparse import csr_array

    found = signal(log, table(weights), merge=True)
    back = np.repeat(found.offsets[1:], found.lengths) - np.arange(len(found.item))
    data = (found.weight * back.astype(np.float64) ** -recency).astype(np.float32)
    # 32-bit positions halve what the products of both neighbour models move through memory.
    vectors = csr_array((data, found.item, _short(found.offsets)), shape=(len(log), len(log.items)))
    vectors.sum_duplicates()
    return vectors


def _short(offsets: NDArray[np.int64]) -> NDArray[Any]:
    return offsets.astype(np.int32) if not len(offsets) or offsets[-1] < 2**31 else offsets


def largest(matrix: Any, k: int) -> Any:
    """The positive entries of a sparse [U, I] that are among the k largest of their row; all that tie with the last one stay."""
    return _at_least(matrix, np.maximum(kth_largest(matrix, k), np.finfo(np.float32).tiny))


def _at_least(matrix: Any, bound: NDArray[np.float32]) -> Any:
    """The entries of a sparse [U, I] from the bound of their row, [U], on."""
    from scipy.sparse import csr_array

    kept = np.flatnonzero(matrix.data >= np.repeat(bound, np.diff(matrix.indptr)))
    return csr_array((matrix.data[kept], matrix.indices[kept], _short(np.searchsorted(kept, matrix.indptr))), shape=matrix.shape)


def kth_largest(matrix: Any, k: int) -> NDArray[np.float32]:
    """The k-th largest stored value of each row of a sparse float32 [U, I]; minus infinity where a row holds at most k."""
    lengths = np.diff(matrix.indptr)
    bound = np.full(len(lengths), -np.inf, dtype=np.float32)
    order = np.argsort(lengths, kind="stable")
    start = int(np.searchsorted(lengths[order], k, side="right"))
    while start < len(order):  # rows of like length together: little padding
        width = int(lengths[order[start]])
        limit = int(np.searchsorted(lengths[order], width * 1.2, side="right"))
        rows = order[start : min(limit, start + max(1, int(CELLS / (width * 1.2))))]
        width = int(lengths[rows[-1]])
        place = matrix.indptr[rows][:, None] + np.arange(width)
        beyond = np.arange(width) >= lengths[rows][:, None]
        values = matrix.data[np.minimum(place, len(matrix.data) - 1)]
        values[beyond] = -np.inf
        bound[rows] = np.partition(values, width - k, axis=1)[:, width - k]
        start += len(rows)
    return bound


def _floor(matrix: Any, k: int) -> NDArray[np.float32]:
    """A value that at least k entries of each row reach, float32 [U]; minus infinity where the row is short.

    The k-th largest maximum of 4k equal parts of a row: cheaper than the k-th largest entry, and seldom much below it.
    """
    lengths, parts = np.diff(matrix.indptr), 4 * k
    bound = np.full(len(lengths), -np.inf, dtype=np.float32)
    long = np.flatnonzero(lengths >= 2 * parts)
    if len(long):
        ends = matrix.indptr[long][:, None] + lengths[long][:, None] * np.arange(parts + 1) // parts
        pairs = np.stack([ends[:, :-1], ends[:, 1:]], axis=2).ravel()  # each part, then an empty gap that reduceat spends on one entry
        most = np.maximum.reduceat(np.append(matrix.data, np.float32(0)), pairs)[::2].reshape(len(long), parts)
        bound[long] = np.partition(most, parts - k, axis=1)[:, parts - k]
    return bound


def ranked(scores: Any, barred: NDArray[np.bool_], k: int, name: str) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
    """What ``Recommender._rank`` returns, from sparse scores: never as large as the catalogue, ties by the lower item."""
    users, width = scores.shape
    cell = np.repeat(np.arange(users) * width, np.diff(scores.indptr)) + scores.indices
    scores.data[barred.ravel().take(cell)] = 0
    best = _at_least(scores, np.maximum(_floor(scores, k), np.finfo(np.float32).tiny))
    owner = np.repeat(np.arange(users), np.diff(best.indptr))
    order = np.lexsort((best.indices, -best.data, owner))
    place = np.arange(len(order)) - np.repeat(best.indptr[:-1], np.diff(best.indptr))
    order, owner, place = order[place < k], owner[place < k], place[place < k]
    items, values = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
    items[owner, place], values[owner, place] = best.indices[order], best.data[order]
    return items, values, np.where(items >= 0, name, "").astype(object)


PLUGIN = ItemKnn
