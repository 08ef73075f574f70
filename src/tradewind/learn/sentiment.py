"""Sentiment of reviews in any script: praise or blame, how sure, and which words said it.

A linear support vector machine on hashed n-grams whose weights are the log-ratio of their frequency in praise and in blame
(NBSVM: Wang and Manning 2012); its margin becomes a probability by Platt's method on held-out folds. Trained on the shop's own
stars it learns the shop's own words; without, on whatever labelled reviews there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tradewind.errors import InputError, NotFitted
from tradewind.learn import _store
from tradewind.learn._text_grams import Grams, normalise
from tradewind.params import Number, Rule, check

Values = NDArray[np.float64]
LEAST = 50  # labelled texts of each kind
FOLDS = 4  # for the probability
FLAT = 0.25  # of the weight of an n-gram that says nothing
PRAISE, BLAME = 4.0, 2.0  # stars: from PRAISE on is praise, up to BLAME is blame; between is neither


@dataclass(frozen=True)
class Feelings:
    """``praise`` float64 [N]: the chance that each text is praise; ``verdict`` int8 [N]: 1 praise, -1 blame, 0 not sure enough."""

    praise: Values
    verdict: NDArray[np.int8]


class Sentiment:
    """Praise or blame. ``strength`` is the inverse penalty; a text whose chance lies within ``band`` of one half is left undecided.

    When not to use: for irony, and for texts that compare two products.
    """

    rules: ClassVar[dict[str, Rule]] = {"strength": Number(1e-3, 100), "band": Number(0, 0.49), "seed": Number(0, 2**31, whole=True)}

    def __init__(self, *, strength: float = 0.3, band: float = 0.1, seed: int = 0) -> None:
        self.strength, self.band, self.seed = strength, band, seed
        self.grams = Grams()
        self._columns: NDArray[np.int32] | None = None  # that training saw, sorted; the arrays below go by them
        self._weight = np.empty(0, np.float32)  # in the length of a text; the last is of what was never seen
        self._coefficient = np.empty(0, np.float32)
        self._scale = (0.0, 1.0, 0.0)  # bias of the machine, then slope and shift of Platt's sigmoid

    def fit(self, texts: Sequence[str], praise: Sequence[bool] | NDArray[Any]) -> Self:
        """Learn from labelled texts; equal texts count once, and those that are both praised and blamed not at all.

        Raises
        ------
        InputError
            The lengths differ, or there are fewer than 50 different texts of either kind.
        """
        check(type(self).__name__, {"strength": self.strength, "band": self.band, "seed": self.seed}, self.rules)
        if len(texts) != len(praise):
            raise InputError(f"Sentiment: got {len(texts)} texts and {len(praise)} labels; give one label per text.")
        kept = _distinct(texts, praise)
        y = np.fromiter(kept.values(), dtype=np.int8, count=len(kept))
        if min((y == 1).sum(), (y == 0).sum()) < LEAST:
            raise InputError(
                f"Sentiment needs {LEAST} different texts of praise and {LEAST} of blame; got {(y == 1).sum()} and {(y == 0).sum()}. "
                "Collect more reviews with ratings, or train on reviews of another shop."
            )
        rows = self.grams.rows(list(kept))
        self._columns = np.unique(rows.indices)
        rows = self._narrow(rows)
        fold = np.random.default_rng(self.seed).permutation(len(y)) % FOLDS
        margins = np.empty(len(y))
        for each in range(FOLDS):
            self._machine(rows[fold != each], y[fold != each])
            margins[fold == each] = self._margin(rows[fold == each])
        slope, shift = _platt(margins, y)
        self._machine(rows, y)
        self._scale = (self._scale[0], slope, shift)
        return self

    def fit_stars(self, texts: Sequence[str], stars: Sequence[float] | NDArray[Any]) -> Self:
        """Learn from ratings of 1 to 5: four and five are praise, one and two blame, what lies between is left out."""
        rated = np.asarray(stars, dtype=np.float64)
        clear = np.flatnonzero((rated >= PRAISE) | (rated <= BLAME))
        return self.fit([texts[int(i)] for i in clear], rated[clear] >= PRAISE)

    def _machine(self, rows: csr_matrix, y: NDArray[np.int8]) -> None:
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

    def _narrow(self, rows: csr_matrix) -> csr_matrix:
        """The same rows over the columns that training saw, and one more for all others."""
        assert self._columns is not None
        place = np.searchsorted(self._columns, rows.indices)
        known = self._columns[np.minimum(place, len(self._columns) - 1)] == rows.indices
        found = np.where(known, place, len(self._columns)).astype(np.int32)
        return csr_matrix((rows.data, found, rows.indptr), shape=(rows.shape[0], len(self._columns) + 1))

    def _margin(self, rows: csr_matrix) -> Values:
        return np.asarray(self._scaled(rows) @ self._coefficient, dtype=np.float64) + self._scale[0]

    def predict(self, texts: Sequence[str]) -> Feelings:
        """Praise of each text, empty ones at one half.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if self._columns is None:
            raise NotFitted("Sentiment")
        rows = self._narrow(self.grams.rows([normalise(text) for text in texts]))
        _, slope, shift = self._scale
        praise = 1.0 / (1.0 + np.exp(-(slope * self._margin(rows) + shift)))
        praise[np.diff(rows.indptr) == 0] = 0.5
        verdict = np.where(praise > 0.5 + self.band, 1, np.where(praise < 0.5 - self.band, -1, 0)).astype(np.int8)
        return Feelings(praise, verdict)

    def because(self, text: str, *, most: int = 3) -> list[tuple[str, float]]:
        """The words of a text that spoke most for praise (above 0) or blame (below 0): what the margin loses without each."""
        from tradewind.learn._text_grams import words

        whole = normalise(text)
        parts = list(dict.fromkeys(words(whole)))
        if self._columns is None:
            raise NotFitted("Sentiment")
        margins = self._margin(self._narrow(self.grams.rows([whole, *(whole.replace(part, " ") for part in parts)])))
        moved = sorted(zip(parts, margins[0] - margins[1:], strict=True), key=lambda pair: -abs(pair[1]))
        return [(part, float(by)) for part, by in moved[:most]]

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
        made._scale = tuple(values["scale"])
        return made


def _distinct(texts: Sequence[str], praise: Sequence[bool] | NDArray[Any]) -> dict[str, bool]:
    """Normalised texts with one label each."""
    found: dict[str, bool] = {}
    torn: set[str] = set()
    for text, good in zip(texts, praise, strict=True):
        plain = normalise(text)
        if plain and found.setdefault(plain, bool(good)) != bool(good):
            torn.add(plain)
    return {text: good for text, good in found.items() if text not in torn}


def _platt(margin: Values, y: NDArray[np.int8]) -> tuple[float, float]:
    """Slope and shift of the sigmoid with the greatest likelihood, targets smoothed as Platt (1999) does."""
    from scipy.optimize import minimize

    n = y.sum()
    target = np.where(y == 1, (n + 1) / (n + 2), 1 / (len(y) - n + 2))

    def loss(parameters: Values) -> float:
        z = parameters[0] * margin + parameters[1]
        return float((np.logaddexp(0, z) - target * z).mean())

    slope, shift = minimize(loss, np.array([2.0, 0.0]), method="BFGS").x
    return float(slope), float(shift)
