"""Probabilities that mean what they say: log-odds in, log-odds out, learned from the latest answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.response import centred_isotonic

Values = NDArray[np.float64]
KINDS = ("level", "line", "isotonic")
FOLDS = 5
ERRORS = 2.0  # standard errors by which more bends must be better
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
    """Log-odds in, log-odds out: straight lines between the points (``score``, ``rate``), ``slope`` beyond them.

    ``fit`` tries three in order of how much they bend: another level (s + b), Platt's line (a s + b, 2000), and centred isotonic regression
    (Oron and Flournoy 2017). More bends must have the smaller cross-validated log loss by ``ERRORS`` standard errors: isotonic steps
    follow the noise of the latest answers, which a model trained by log loss does not deserve. Isotonic goes on with slope 1 beyond
    its ends, so that the order stays.
    """

    kind: str
    score: Values
    rate: Values
    slope: float

    @classmethod
    def fit(cls, score: Values, y: Values, weight: Values | None = None) -> Calibration:
        """``score`` log-odds [N], ``y`` 0 or 1; ``weight`` the share of answers that are known by now (see ``Delay``)."""
        known = np.ones(len(y)) if weight is None else weight
        fold = np.arange(len(y)) % FOLDS
        losses = {kind: np.zeros(len(y)) for kind in KINDS}
        for number in range(FOLDS):
            mine, rest = fold == number, fold != number
            if not 0 < y[rest].sum() < rest.sum():
                continue
            for kind in KINDS:
                told = cls.of(kind, score[rest], y[rest], known[rest])(score[mine])
                losses[kind][mine] = known[mine] * np.logaddexp(0, told) - y[mine] * told
        best = KINDS[0]
        for kind in KINDS[1:]:
            gain = losses[best] - losses[kind]
            if gain.sum() > ERRORS * np.sqrt(len(y)) * gain.std():
                best = kind
        return cls.of(best, score, y, known)

    @classmethod
    def of(cls, kind: str, score: Values, y: Values, known: Values) -> Calibration:
        """One of ``KINDS``."""
        if kind == "isotonic":
            centres = _centres(score, y, known)
            found = cls(kind, centres[:, 0], odds(centres[:, 1]), 1.0)
            return cls(kind, found.score, found.rate + _level(found(score), y, known), 1.0)
        slope = _slope(score, y, known) if kind == "line" else 1.0
        return cls(kind, np.zeros(1), np.array([_level(slope * score, y, known)]), slope)

    def __call__(self, score: Values) -> Values:
        """Calibrated log-odds [N]."""
        beyond = score - np.clip(score, self.score[0], self.score[-1])
        found: Values = np.interp(score, self.score, self.rate) + self.slope * beyond
        return found

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "score": self.score.tolist(), "rate": self.rate.tolist(), "slope": self.slope}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        return cls(value["kind"], np.asarray(value["score"], np.float64), np.asarray(value["rate"], np.float64), float(value["slope"]))


def _centres(score: Values, y: Values, known: Values) -> Values:
    """Centres (log-odds, rate) of isotonic blocks over groups of scores that hold some ``FEW`` answers of each kind."""
    groups = max(1, int(min(y.sum(), len(y) - y.sum())) // FEW)
    order = np.argsort(score, kind="stable")
    group = np.empty(len(score), np.int64)
    group[order] = np.arange(len(score)) * groups // len(score)
    mean = odds(np.bincount(group, weights=chance(score)) / np.bincount(group))
    return centred_isotonic(mean[group], y, known)


def _slope(score: Values, y: Values, known: Values) -> float:
    """Slope of the logistic regression of the answers on the score, by Newton's method; never below a twentieth."""
    x = np.column_stack([score, np.ones(len(score))])
    found = np.array([1.0, 0.0])
    for _ in range(25):
        p = chance(x @ found)
        curve = (x * (known * p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(curve, x.T @ (y - known * p))
        found = found + np.clip(step, -1, 1)
    return max(float(found[0]), 0.05)


def _level(score: Values, y: Values, known: Values) -> float:
    """What to add to log-odds so that as many answers are predicted as there are: straight lines between centres bend the total."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (known * chance(score + middle)).sum() > y.sum() else (middle, high)
    return (low + high) / 2


def latest(at: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """The latest ``share`` of the rows, bool [N]; a moment is never cut in two."""
    late = at > np.quantile(at, 1 - share, method="lower")
    return late if late.any() else at == at.max()
