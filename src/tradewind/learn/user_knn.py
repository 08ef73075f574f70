"""User-based collaborative filtering: what the customers most like you took, by cosine similarity of their histories.

A history is a vector over items: event weight x recency x inverse document frequency (rare items tell more about taste).
Classic of Resnick et al. (1994) with the weighting of sequential kNN (Ludewig and Jannach 2018).
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

CELLS = 30_000_000  # similarities held at once: bounds memory, and rows per step, by the number of customers


class UserKnn(Recommender):
    """Score of item i for customer u: sum over the ``neighbours`` most similar customers v of cos(u, v)^sharpness x taste(v, i).

    ``recency``: an event n steps back counts (n + 1)^-recency; ``idf``: power of the inverse document frequency. A customer
    is never the own neighbour. Exact, at the cost of one sparse product with all customers per request. When not to use:
    above some 200,000 customers, or where an answer must follow every click within milliseconds (use ``graph``).
    """

    name: ClassVar[str] = "user_knn"
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {
        "neighbours": Number(1, 100_000, whole=True),
        "recency": Number(0, 5),
        "idf": Number(0, 4),
        "sharpness": Number(0.05, 20),
    }

    def __init__(
        self,
        *,
        neighbours: int = 200,
        recency: float = 0.7,
        idf: float = 0.5,
        sharpness: float = 0.5,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.neighbours, self.recency, self.idf, self.sharpness = neighbours, recency, idf, sharpness
        self.weights = weights

    def _fit(self, log: Sequences) -> None:
        self._taste = self._vectors(log)
        self._customers = log.customers
        self._prepare()

    def _prepare(self) -> None:
        from scipy.sparse import csr_array

        users = self._taste.shape[0]
        seen = np.bincount(self._taste.indices, minlength=len(self.items))
        self._rarity = np.log1p(users / np.maximum(seen, 1)) ** self.idf
        self._unit = csr_array(self._normalised(self._taste).T)
        self._row = {name: row for row, name in enumerate(self._customers)}

    def _vectors(self, log: Sequences) -> Any:
        """Taste vectors, sparse float32 [U, I]."""
        from scipy.sparse import csr_array

        found = signal(log, table(self.weights), merge=True)
        back = np.repeat(found.offsets[1:], found.lengths) - np.arange(len(found.item))
        data = (found.weight * back.astype(np.float64) ** -self.recency).astype(np.float32)
        vectors = csr_array((data, found.item, found.offsets), shape=(len(log), len(self.items)))
        vectors.sum_duplicates()
        return vectors

    def _normalised(self, vectors: Any) -> Any:
        from scipy.sparse import csr_array

        data = vectors.data * self._rarity[vectors.indices]
        owner = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
        length = np.sqrt(np.bincount(owner, data * data, minlength=vectors.shape[0]))
        return csr_array(((data / length[owner]).astype(np.float32), vectors.indices, vectors.indptr), shape=vectors.shape)

    def _similar(self, histories: Sequences) -> Any:
        """The nearest customers of each history: sparse float32 [U, customers], values cos^sharpness."""
        from scipy.sparse import csr_array

        query = self._normalised(self._vectors(histories))
        similar = (query @ self._unit).toarray()
        itself = np.fromiter((self._row.get(name, -1) for name in histories.customers), np.int64, len(histories))
        similar[np.flatnonzero(itself >= 0), itself[itself >= 0]] = 0
        width = similar.shape[1]
        if width > self.neighbours:
            bound = np.partition(similar, width - self.neighbours, axis=1)[:, width - self.neighbours]
            similar[similar < bound[:, None]] = 0
        return csr_array(np.where(similar > 1e-9, np.maximum(similar, 1e-9) ** self.sharpness, 0).astype(np.float32))

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        step = max(1, CELLS // max(len(self._customers), 1))
        scores = np.empty((len(histories), len(self.items)), dtype=np.float32)
        for start in range(0, len(histories), step):
            rows = np.arange(start, min(start + step, len(histories)))
            scores[rows] = (self._similar(histories.rows(rows)) @ self._taste).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        similar = self._similar(history)
        holders = similar.indices[self._taste[similar.indices][:, [item]].toarray().ravel() > 0]
        if not len(holders):
            return ()
        return (Reason("similar_customers", {"customers": len(holders), "of": len(similar.indices)}),)

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        taste = self._taste
        arrays = {"indptr": taste.indptr, "indices": taste.indices, "data": taste.data}
        return {}, arrays | _store.pack("customers", self._customers)

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        from scipy.sparse import csr_array

        self._customers = _store.unpack("customers", arrays)
        shape = (len(self._customers), len(self.items))
        self._taste = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        self._prepare()


PLUGIN = UserKnn
