"""Sentiment of reviews in any script: praise or blame, how sure, and which words said it.

A linear support vector machine on hashed n-grams whose weights are the log-ratio of their frequency in praise and in blame
(NBSVM: Wang and Manning 2012); its margin becomes a probability by Platt's method on held-out folds. Trained on the shop's own
stars it learns the shop's own words; without, on whatever labelled reviews there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tradewind.errors import NotFitted
from tradewind.learn import _store
from tradewind.learn._text_classifier import Feelings, Labels, TextClassifier, Values, platt
from tradewind.learn._text_grams import Grams, narrow
from tradewind.params import Number, Rule

__all__ = ["Feelings", "Sentiment"]

FOLDS = 4  # for the probability
FLAT = 0.25  # of the weight of an n-gram that says nothing


class Sentiment(TextClassifier):
    """Praise or blame. ``strength`` is the inverse penalty; a text whose chance lies within ``band`` of one half is left undecided.

    When not to use: for irony, and for texts that compare two products.
    """

    rules: ClassVar[dict[str, Rule]] = {"strength": Number(1e-3, 100), **TextClassifier.rules}

    def __init__(self, *, strength: float = 0.3, band: float = 0.1, seed: int = 0) -> None:
        self.strength, self.band, self.seed = strength, band, seed
        self.grams = Grams()
        self._columns: NDArray[np.int32] | None = None  # that training saw, sorted; the arrays below go by them
        self._weight = np.empty(0, np.float32)  # in the length of a text; the last is of what was never seen
        self._coefficient = np.empty(0, np.float32)
        self._scale = (0.0, 1.0, 0.0)  # bias of the machine, then slope and shift of Platt's sigmoid

    def _learn(self, texts: list[str], y: Labels) -> None:
        rows = self.grams.rows(texts)
        self._columns = np.unique(rows.indices)
        rows = narrow(rows, self._columns)
        fold = np.random.default_rng(self.seed).permutation(len(y)) % FOLDS
        margins = np.empty(len(y))
        for each in range(FOLDS):
            self._machine(rows[fold != each], y[fold != each])
            margins[fold == each] = self._margin(rows[fold == each])
        slope, shift = platt(margins, y)
        self._machine(rows, y)
        self._scale = (self._scale[0], slope, shift)

    def _log_odds(self, texts: Sequence[str]) -> Values:
        _, slope, shift = self._scale
        assert self._columns is not None
        return slope * self._margin(narrow(self.grams.rows(texts), self._columns)) + shift

    def _machine(self, rows: csr_matrix, y: Labels) -> None:
        from sklearn.svm import LinearSVC

        counts = [np.bincount(rows[y == kind].indices, minlength=rows.shape[1]) + 1.0 for kind in (0, 1)]
        ratio = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
        self._weight = (FLAT + np.abs(ratio)).astype(np.float32)
        model = LinearSVC(C=self.strength, random_state=self.seed).fit(self._scaled(rows), y)
        self._coefficient = model.coef_[0].astype(np.float32)
        self._scale = (float(model.intercept_[0]), 1.0, 0.0)

    def _scaled(self, rows: csr_matrix) -> csr_matrix:
        """Rows weighted and brought to length one."""
        data = rows.data * self._weight[rows.indices]
        owner = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        length = np.sqrt(np.bincount(owner, weights=data.astype(np.float64) ** 2, minlength=rows.shape[0]))
        scaled = data / np.maximum(length, 1e-12)[owner]
        return csr_matrix((scaled.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape)

    def _margin(self, rows: csr_matrix) -> Values:
        return np.asarray(self._scaled(rows) @ self._coefficient, dtype=np.float64) + self._scale[0]

    def save(self, path: Path) -> None:
        """Write the fitted model into the folder ``path``; only columns that training saw are kept."""
        if self._columns is None:
            raise NotFitted("Sentiment")
        values = {"strength": self.strength, "band": self.band, "seed": self.seed, "scale": list(self._scale)}
        arrays = {"column": self._columns, "weight": self._weight, "coefficient": self._coefficient}
        _store.write(path / "sentiment", values, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`."""
        values, arrays = _store.read(path / "sentiment")
        made = cls(strength=values["strength"], band=values["band"], seed=values["seed"])
        made._columns, made._weight, made._coefficient = arrays["column"], arrays["weight"], arrays["coefficient"]
        made._scale, made.fitted = tuple(values["scale"]), True
        return made
