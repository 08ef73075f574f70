"""A ridge logistic regression over fixed transformations: what holds a response model steady where answers are few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
RIDGE = 0.01  # inverse strength, on standardised columns: strong
FADE_DAYS = 60.0
ODDS = ("kind_rate", "redeem_share")  # probabilities, strictly between 0 and 1
PLAIN = ("share", "rate", "confidence", "affinity", "stage", "price_band")  # already of one size


def transform(x: Matrix, names: Sequence[str]) -> Matrix:
    """Columns on comparable scales, float64 [N, F]: fading recency, log-odds of rates, logarithms of counts and money."""
    out = x.copy()
    for column, name in enumerate(names):
        values = x[:, column]
        if name.endswith("recency_days"):
            out[:, column] = np.where(np.isnan(values), 0.0, np.exp(-values / FADE_DAYS))  # never: nothing is left
        elif name in ODDS:
            out[:, column] = np.log(values / (1 - values))
        elif not name.endswith(PLAIN):
            out[:, column] = np.sign(values) * np.log1p(np.abs(values))
    return out


@dataclass(frozen=True)
class Linear:
    """Standardised logistic regression; a missing value counts as the mean of its column."""

    mean: Matrix
    scale: Matrix
    weight: Matrix
    bias: float

    @classmethod
    def fit(cls, x: Matrix, y: Matrix) -> Self:
        """``x`` is transformed, float64 [N, F]; ``y`` is 0 or 1, both occur."""
        from sklearn.linear_model import LogisticRegression

        known = ~np.isnan(x)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, x, 0.0).sum(axis=0) / count
        scale = np.sqrt(np.where(known, (x - mean) ** 2, 0.0).sum(axis=0) / len(x))
        scale = np.where(scale > 1e-12, scale, 1.0)
        model = LogisticRegression(C=RIDGE, max_iter=5000, tol=1e-8).fit(_standard(x, mean, scale), y)
        return cls(mean, scale, model.coef_[0], float(model.intercept_[0]))

    def parts(self, x: Matrix) -> Matrix:
        """What each column adds to the log-odds, float64 [N, F]."""
        return _standard(x, self.mean, self.scale) * self.weight

    def score(self, x: Matrix) -> Matrix:
        """Log-odds, float64 [N]."""
        total: Matrix = self.parts(x).sum(axis=1) + self.bias
        return total

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "weight": self.weight.tolist(), "bias": self.bias}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        mean, scale, weight = (np.asarray(value[name], dtype=np.float64) for name in ("mean", "scale", "weight"))
        return cls(mean, scale, weight, value["bias"])


def _standard(x: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    return np.where(np.isnan(x), 0.0, (x - mean) / scale)
