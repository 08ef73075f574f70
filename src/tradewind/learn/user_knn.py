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
from tradewind.learn.base import Recommender
from tradewind.learn.item_knn import largest, ranked, taste_of
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

STEP = 512  # histories compared at once: bounds memory to STEP x (customers that share an item)


class UserKnn(Recommender):
    """Score of item i for customer u: each of the ``neighbours`` most similar customers v adds taste(v, i) x cos(u, v)^sharpness.

    ``recency``: an event n steps back counts (n + 1)^-recency; ``idf``: power of the inverse document frequency;
    ``popularity``: the sum is divided by (customers who have i)^popularity, so that above 0 the rarer item gains. A customer
    is never the own neighbour; all who are as similar as the last neighbour count too. Exact, at the cost of one sparse
    product with the customers who share an item. When not to use: above some 200,000 customers, or where an answer must
    follow every click within milliseconds (use ``graph``).
    """

    name: ClassVar[str] = "user_knn"
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {
        "neighbours": Number(1, 100_000, whole=True),
        "recency": Number(0, 5),
        "idf": Number(0, 4),
        "sharpness": Number(0.05, 20),
        "popularity": Number(0, 2),
    }

    def __init__(
        self,
        *,
        neighbours: int = 200,
        recency: float = 0.7,
        idf: float = 0.5,
        sharpness: float = 0.5,
        popularity: float = 0.0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.neighbours, self.recency, self.idf, self.sharpness = neighbours, recency, idf, sharpness
        self.popularity, self.weights = popularity, weights

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
        self._votes = self._taste.copy()
        self._votes.data = (self._taste.data * np.maximum(seen, 1.0)[self._taste.indices] ** -self.popularity).astype(np.float32)
        self._row = {name: row for row, name in enumerate(self._customers)}

    def _vectors(self, log: Sequences) -> Any:
        """Taste vectors, sparse float32 [U, I]."""
        return taste_of(log, self.weights, recency=self.recency)

    def _normalised(self, vectors: Any) -> Any:
        from scipy.sparse import csr_array

        data = vectors.data * self._rarity[vectors.indices]
        owner = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
        length = np.sqrt(np.bincount(owner, data * data, minlength=vectors.shape[0]))
        return csr_array(((data / length[owner]).astype(np.float32), vectors.indices, vectors.indptr), shape=vectors.shape)

    def _similar(self, histories: Sequences) -> Any:
        """The nearest customers of each history: sparse float32 [U, customers], values cos^sharpness."""
        similar = self._normalised(self._vectors(histories)) @ self._unit
        itself = np.fromiter((self._row.get(name, -1) for name in histories.customers), np.int64, len(histories))
        own = similar.indices == np.repeat(itself, np.diff(similar.indptr))
        similar.data = np.where(own | (similar.data <= 1e-9), 0, similar.data).astype(np.float32)
        similar = largest(similar, self.neighbours)
        similar.data **= np.float32(self.sharpness)
        return similar

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        scores = np.empty((len(histories), len(self.items)), dtype=np.float32)
        for start in range(0, len(histories), STEP):
            rows = np.arange(start, min(start + STEP, len(histories)))
            scores[rows] = (self._similar(histories.rows(rows)) @ self._votes).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        return ranked(self._similar(histories) @ self._votes, barred, k, self.name)

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
