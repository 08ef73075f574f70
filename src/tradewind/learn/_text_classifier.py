"""What every judge of texts shares: what it may learn from, what it answers, and which words moved it.

A judge is fitted on labelled texts or on stars and says of a text how likely it is praise. Three kinds hold to this: the linear one
(``sentiment``), neural nets (``text_net``) and a linear one on the vectors of an encoder (``text_encoded``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn._text_grams import normalise, words
from tradewind.params import Number, Rule, check

Values = NDArray[np.float64]
Labels = NDArray[np.int8]
LEAST = 50  # labelled texts of each kind
PRAISE, BLAME = 4.0, 2.0  # stars: from PRAISE on is praise, up to BLAME is blame; between is neither


@dataclass(frozen=True)
class Feelings:
    """``praise`` float64 [N]: the chance that each text is praise; ``verdict`` int8 [N]: 1 praise, -1 blame, 0 not sure enough."""

    praise: Values
    verdict: NDArray[np.int8]


class TextClassifier(ABC):
    """The contract. A text whose chance lies within ``band`` of one half is left undecided.

    A kind gives ``rules`` of its parameters, ``_learn``, ``_log_odds`` and how it is kept.
    """

    rules: ClassVar[dict[str, Rule]] = {"band": Number(0, 0.49), "seed": Number(0, 2**31, whole=True)}
    band: float
    seed: int
    fitted = False

    def fit(self, texts: Sequence[str], praise: Sequence[bool] | NDArray[Any]) -> Self:
        """Learn from labelled texts; equal texts count once, and those that are both praised and blamed not at all.

        Raises
        ------
        InputError
            The lengths differ, or there are fewer than 50 different texts of either kind.
        """
        name = type(self).__name__
        check(name, {each: getattr(self, each) for each in self.rules}, self.rules)
        if len(texts) != len(praise):
            raise InputError(f"{name}: got {len(texts)} texts and {len(praise)} labels; give one label per text.")
        kept = distinct(texts, praise)
        y = np.fromiter(kept.values(), dtype=np.int8, count=len(kept))
        if min((y == 1).sum(), (y == 0).sum()) < LEAST:
            raise InputError(
                f"{name} needs {LEAST} different texts of praise and {LEAST} of blame; got {(y == 1).sum()} and {(y == 0).sum()}. "
                "Collect more reviews with ratings, or train on reviews of another shop."
            )
        self._learn(list(kept), y)
        self.fitted = True
        return self

    def fit_stars(self, texts: Sequence[str], stars: Sequence[float] | NDArray[Any]) -> Self:
        """Learn from ratings of 1 to 5: four and five are praise, one and two blame, what lies between is left out."""
        rated = np.asarray(stars, dtype=np.float64)
        clear = np.flatnonzero((rated >= PRAISE) | (rated <= BLAME))
        return self.fit([texts[int(i)] for i in clear], rated[clear] >= PRAISE)

    def predict(self, texts: Sequence[str]) -> Feelings:
        """Praise of each text, empty ones at one half.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        self._ready()
        plain = [normalise(text) for text in texts]
        praise = 1.0 / (1.0 + np.exp(-self._log_odds(plain)))
        praise[[not text for text in plain]] = 0.5
        verdict = np.where(praise > 0.5 + self.band, 1, np.where(praise < 0.5 - self.band, -1, 0)).astype(np.int8)
        return Feelings(praise, verdict)

    def because(self, text: str, *, most: int = 3) -> list[tuple[str, float]]:
        """The words of a text that spoke most for praise (above 0) or blame (below 0): what the log-odds lose without each."""
        self._ready()
        whole = normalise(text)
        parts = list(dict.fromkeys(words(whole)))
        odds = self._log_odds([whole, *(whole.replace(part, " ") for part in parts)])
        moved = sorted(zip(parts, odds[0] - odds[1:], strict=True), key=lambda pair: -abs(pair[1]))
        return [(part, float(by)) for part, by in moved[:most]]

    def _ready(self) -> None:
        if not self.fitted:
            raise NotFitted(type(self).__name__)

    @abstractmethod
    def _learn(self, texts: list[str], y: Labels) -> None:
        """Learn from different, normalised texts; ``y`` is 1 for praise."""

    @abstractmethod
    def _log_odds(self, texts: Sequence[str]) -> Values:
        """Log-odds of praise of normalised texts, float64 [N]."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the fitted model into the folder ``path``."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`."""


def distinct(texts: Sequence[str], praise: Sequence[bool] | NDArray[Any]) -> dict[str, bool]:
    """Normalised texts with one label each."""
    found: dict[str, bool] = {}
    torn: set[str] = set()
    for text, good in zip(texts, praise, strict=True):
        plain = normalise(text)
        if plain and found.setdefault(plain, bool(good)) != bool(good):
            torn.add(plain)
    return {text: good for text, good in found.items() if text not in torn}


def platt(margin: Values, y: Labels) -> tuple[float, float]:
    """Slope and shift of the sigmoid with the greatest likelihood, targets smoothed as Platt (1999) does."""
    from scipy.optimize import minimize

    n = y.sum()
    target = np.where(y == 1, (n + 1) / (n + 2), 1 / (len(y) - n + 2))

    def loss(parameters: Values) -> float:
        z = parameters[0] * margin + parameters[1]
        return float((np.logaddexp(0, z) - target * z).mean())

    slope, shift = minimize(loss, np.array([2.0, 0.0]), method="BFGS").x
    return float(slope), float(shift)
