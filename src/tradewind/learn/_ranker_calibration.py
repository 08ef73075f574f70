"""Probabilities that mean what they say: log-odds in, log-odds out, by centred isotonic regression on the latest answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.response import centred_isotonic

Values = NDArray[np.float64]
EDGE = 1e-9  # no probability is nearer to 0 or 1
FEW = 25  # answers of each kind that a group of scores holds on average: fewer would be noise that the ends follow


def odds(probability: Values) -> Values:
    """Log-odds of probabilities, finite."""
    clipped = np.clip(probability, EDGE, 1 - EDGE)
    found: Values = np.log(clipped) - np.log1p(-clipped)
    return found


def chance(log_odds: Values) -> Values:
    """Probability of log-odds."""
    found: Values = np.exp(-np.logaddexp(0.0, -log_odds))
    return found


@dataclass(frozen=True)
class Calibration:
    """Straight lines between the centres of isotonic blocks (Oron and Flournoy 2017), in log-odds; slope 1 beyond the ends.

    So it never reorders what it does not have to: beyond the centres, where the method itself would go flat, scores stay apart.
    """

    score: Values
    rate: Values

    @classmethod
    def fit(cls, score: Values, y: Values, weight: Values | None = None) -> Self:
        """``score`` log-odds [N], ``y`` 0 or 1; ``weight`` the share of answers that are known by now (see ``Delay``)."""
        groups = max(1, int(min(y.sum(), len(y) - y.sum())) // FEW)
        order = np.argsort(score, kind="stable")
        group = np.empty(len(score), np.int64)
        group[order] = np.arange(len(score)) * groups // len(score)
        mean = odds(np.bincount(group, weights=chance(score)) / np.bincount(group))
        centres = centred_isotonic(mean[group], y, weight)
        found = cls(centres[:, 0], odds(centres[:, 1]))
        return cls(found.score, found.rate + _level(found(score), y, weight))

    def __call__(self, score: Values) -> Values:
        """Calibrated log-odds [N]."""
        beyond = score - np.clip(score, self.score[0], self.score[-1])
        found: Values = np.interp(score, self.score, self.rate) + beyond
        return found

    def to_json(self) -> dict[str, Any]:
        return {"score": self.score.tolist(), "rate": self.rate.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(np.asarray(value["score"], np.float64), np.asarray(value["rate"], np.float64))


def _level(score: Values, y: Values, weight: Values | None) -> float:
    """What to add to log-odds so that as many answers are predicted as there are: straight lines between centres bend the total."""
    known = np.ones(len(y)) if weight is None else weight
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (known * chance(score + middle)).sum() > y.sum() else (middle, high)
    return (low + high) / 2


def latest(at: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """The latest ``share`` of the rows, bool [N]; a moment is never cut in two."""
    late = at > np.quantile(at, 1 - share, method="lower")
    return late if late.any() else at == at.max()
