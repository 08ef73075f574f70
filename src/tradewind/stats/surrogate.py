"""Long-term value before the long term is over: the surrogate index.

From history: what follows later, given what a customer did in a window and was before it, E[Y | S, X]. Its prediction for every unit of an
experiment is the index, and the difference of the index between the arms is the effect on the later outcome, if

1. the units were assigned at random;
2. surrogacy: the treatment changes the later outcome only through what is seen in the window (S, given X);
3. comparability: the later outcome follows from S and X in the experiment as it did in history.

Neither 2 nor 3 can be shown from the window alone. A message that pulls an order forward breaks 2: its buyers look like better
customers and are not.

Source: S. Athey, R. Chetty, G. Imbens, H. Kang, "The surrogate index", NBER working paper 26463 (2019); R. Prentice, Statistics
in Medicine 8 (1989).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError
from tradewind.stats import randomised
from tradewind.stats.means import quantile
from tradewind.types import Estimate

Floats = NDArray[np.float64]
ROWS = 20  # rows of history for each column below which nothing is fitted


@dataclass(frozen=True)
class Index:
    """A fitted index: ``beta`` [1 + k] of standardised columns with its ``covariance``; ``explained``: share of the variance of Y."""

    beta: Floats
    covariance: Floats
    centre: Floats
    scale: Floats
    explained: float
    n: int

    def of(self, columns: ArrayLike) -> Floats:
        """The index of each row of ``columns`` [n, k]: its expected later outcome, in the units of Y."""
        return np.asarray(self.design(np.asarray(columns, dtype=np.float64)) @ self.beta)

    def design(self, x: Floats) -> Floats:
        """One, and the standardised columns, [n, 1 + k]."""
        return np.column_stack([np.ones(len(x)), (x - self.centre) / self.scale])


def fit(columns: ArrayLike, later: ArrayLike, unit: ArrayLike) -> Index:
    """Least squares of ``later`` [n] on ``columns`` [n, k] (S and X); rows of one ``unit`` [n] may depend on each other.

    Raises
    ------
    InputError
        Shapes differ, a number is not finite, or there are fewer than 20 rows for each column.
    """
    x, y = np.asarray(columns, dtype=np.float64), np.asarray(later, dtype=np.float64)
    if x.ndim != 2 or y.shape != (len(x),) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"surrogate: columns [n, k] and later [n] must be finite and of the same rows; got {x.shape} and {y.shape}.")
    if len(x) < ROWS * (x.shape[1] + 1):
        raise InputError(f"surrogate: {len(x)} rows of history cannot teach {x.shape[1]} columns; {ROWS} for each are needed.")
    spread = x.std(axis=0)
    k, centre, scale = x.shape[1] + 1, x.mean(axis=0), np.where(spread > 0, spread, 1.0)
    z = Index(np.zeros(k), np.zeros((k, k)), centre, scale, 0.0, 0).design(x)
    inside = np.linalg.pinv(z.T @ z)  # a column that never varied teaches nothing and gets no weight
    beta = inside @ (z.T @ y)
    rest = y - z @ beta
    _, place = np.unique(np.asarray(unit).astype(str), return_inverse=True)
    count = int(place.max()) + 1
    scores = np.stack([np.bincount(place, weights=column, minlength=count) for column in (z * rest[:, None]).T])
    covariance = count / max(1, count - 1) * inside @ (scores @ scores.T) @ inside
    explained = 1 - float(rest.var() / y.var()) if y.var() > 0 else 0.0
    return Index(beta, covariance, centre, scale, explained, len(x))


def effect(index: Index, treat: ArrayLike, control: ArrayLike, *, name: str = "later", level: float = 0.95, unit: str = "") -> Estimate:
    """Effect on the mean later outcome, from ``columns`` of the arms [n, k], with an interval that knows of both samples.

    The interval of the index's difference (:func:`tradewind.stats.randomised.difference`) is widened by the noise of the fitted
    coefficients. It does *not* know of a broken assumption.

    When not to use: where the later outcome can be waited for; columns that the treatment does not reach through what is measured.

    Raises
    ------
    InputError
        An arm has fewer units than ``randomised.LEAST``, or a value is not finite.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (treat, control))
    found = randomised.difference(index.of(a), index.of(b), name=name, level=level, unit=unit)
    assert found.low is not None
    assert found.high is not None
    apart = index.design(a).mean(axis=0) - index.design(b).mean(axis=0)
    model = quantile(level, math.inf) * math.sqrt(max(0.0, float(apart @ index.covariance @ apart)))
    low, high = (found.value - math.hypot(found.value - found.low, model), found.value + math.hypot(found.high - found.value, model))
    return Estimate(name, found.value, low, high, level, found.n, unit, "by the surrogate index")
