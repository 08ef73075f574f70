"""Matrix factorisation for implicit feedback: a short vector for every item, and for every history the vector that fits it best.

Alternating least squares of Hu, Koren and Volinsky (2008), with the regularisation scaled by the number of entries as in
Rendle et al. (2022), "Revisiting the performance of iALS on item recommendation benchmarks".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._als import Basis, solve, start
from tradewind.learn.base import Recommender
from tradewind.learn.item_knn import taste_of
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason


class Als(Recommender):
    """Score of item i for customer u: x_u . y_i, where x_u is solved from the history whenever it is asked for.

    Minimises sum over all pairs of c (p - x.y)^2 + regularization x alpha x (sum |x_u|^2 n_u^frequency + sum |y_i|^2 n_i^frequency):
    p is 1 and c is 1 + alpha x taste where the customer took the item, p is 0 and c is 1 elsewhere; n counts entries. ``recency``: an
    event n steps back counts (n + 1)^-recency. No vector of a customer is kept: who is new, or has just clicked, is answered
    exactly. ``threads`` changes the time, not the answer. When not to use: below some thousand customers, or where the last
    click tells more than the whole history (use ``graph``).
    """

    name: ClassVar[str] = "als"
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {
        "factors": Number(1, 4096, whole=True),
        "iterations": Number(1, 1000, whole=True),
        "alpha": Number(1e-6, 1e9),
        "regularization": Number(1e-9, 1e9),
        "frequency": Number(0, 2),
        "recency": Number(0, 5),
        "seed": Number(0, 2**31, whole=True),
        "threads": Number(1, 256, whole=True),
    }

    def __init__(
        self,
        *,
        factors: int = 64,
        iterations: int = 10,
        alpha: float = 100.0,
        regularization: float = 0.1,
        frequency: float = 1.0,
        recency: float = 0.0,
        seed: int = 0,
        threads: int = 1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.factors, self.iterations, self.alpha = factors, iterations, alpha
        self.regularization, self.frequency, self.recency = regularization, frequency, recency
        self.seed, self.threads, self.weights = seed, threads, weights

    def _fit(self, log: Sequences) -> None:
        from scipy.sparse import csr_array

        by_customer = self._confidences(log)
        by_item = csr_array(by_customer.T)
        factors = start(by_customer, by_item, self.factors, seed=self.seed)
        for _ in range(self.iterations):
            customers = self._solve(by_customer, Basis(factors), turned=False)
            factors = self._solve(by_item, Basis(customers), turned=False)
        self._factors = factors
        self._prepare()

    def _prepare(self) -> None:
        self._basis = Basis(self._factors)
        self._trained: NDArray[np.bool_] = np.asarray(self._factors.any(axis=1))

    def _confidences(self, log: Sequences) -> Any:
        found = taste_of(log, self.weights, recency=self.recency)
        found.data *= np.float32(self.alpha)
        return found

    def _penalty(self, entries: NDArray[np.int64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = self.regularization * self.alpha * np.maximum(entries, 1.0) ** self.frequency
        return scaled

    def _solve(self, rows: Any, basis: Basis, *, turned: bool = True) -> NDArray[np.float32]:
        return solve(rows, basis, self._penalty(np.diff(rows.indptr)), threads=self.threads, turned=turned)

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        rows = self._confidences(histories)
        rows.data[~self._trained[rows.indices]] = 0
        rows.eliminate_zeros()
        scores: NDArray[np.float32] = self._solve(rows, self._basis) @ self._factors.T
        scores[np.diff(rows.indptr) == 0] = -np.inf
        scores[:, ~self._trained] = -np.inf
        return scores

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The history's items that lift the score, strongest first, at most three; ``share`` is of all that lifts.

        The score is a sum over the history: (1 + a_j) y_i' A^-1 y_j with the customer's own A (section 5 of the paper of 2008).
        """
        rows = self._confidences(history)
        rows.data[~self._trained[rows.indices]] = 0
        rows.eliminate_zeros()
        if not len(rows.indices) or not self._trained[item]:
            return ()
        parts = self._parts(rows, item)
        lifts = np.maximum(parts, 0)
        best = np.lexsort((rows.indices, -parts))[:3].tolist()
        best = [place for place in best if lifts[place] > 0] or best[:1]
        total = max(float(lifts.sum()), 1e-30)
        return tuple(
            Reason("because", {"item": self.items[rows.indices[place]], "share": round(float(lifts[place]) / total, 4)}) for place in best
        )

    def _parts(self, row: Any, item: int) -> NDArray[np.float64]:
        """What each entry of one row adds to the score of ``item``, float64 [n]."""
        y = self._factors.astype(np.float64)
        own = y[row.indices]
        matrix = y.T @ y + own.T @ (row.data[:, None] * own) + self._penalty(np.diff(row.indptr))[0] * np.eye(y.shape[1])
        parts: NDArray[np.float64] = (1 + row.data) * (own @ np.linalg.solve(matrix, y[item]))
        return parts

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {}, {"factors": self._factors}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        self._factors = arrays["factors"]
        self._prepare()


PLUGIN = Als
