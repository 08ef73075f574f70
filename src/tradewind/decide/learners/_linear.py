"""A linear or logistic regression whose groups of coefficients are shrunk by the evidence, in closed form.

Coefficients of a group share a normal prior around zero; its precision is the fixed point of the evidence (MacKay 1992), taken on
the quadratic approximation of the likelihood (exact for a linear model). A group that the data do not support goes to zero, so
that interactions without proof leave every customer with the mean of the arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
WEAK = 1.0  # prior precision without shrinkage, in units of one customer on standardised columns
STRONGEST = 1e7
_STEPS = 30
_EVIDENCE = 60


@dataclass(frozen=True)
class Scale:
    """Standardises columns; an unknown value counts as the mean of its column, a column without variance as 0."""

    mean: Values
    scale: Values

    @classmethod
    def of(cls, x: Values) -> Scale:
        known = ~np.isnan(x)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, x, 0.0).sum(axis=0) / count
        scale = np.sqrt(np.where(known, (x - mean) ** 2, 0.0).sum(axis=0) / count)
        return cls(mean, np.where(scale > 1e-12, scale, np.inf))

    def __call__(self, x: Values) -> Values:
        return np.where(np.isnan(x), 0.0, (x - self.mean) / self.scale)


def sigmoid(eta: Values) -> Values:
    found: Values = 0.5 * (1 + np.tanh(eta / 2))
    return found


def fit(design: Values, y: Values, groups: NDArray[np.int64], *, binary: bool, shrink: bool, weight: Values | None = None) -> Values:
    """Coefficients [columns] of ``y`` on ``design`` [n, columns], whose first column is 1 for a logistic regression.

    ``groups`` [columns] numbers the groups that share a prior, -1 for free columns. ``binary`` fits a logistic regression, else
    least squares with ``weight`` [n]; precisions are in units of the noise, so that the unit of ``y`` does not matter.
    """
    prior = np.where(groups >= 0, WEAK, 1e-6)
    if binary:
        return _logistic(design, y, groups, prior, shrink=shrink)
    w = np.ones(len(y)) if weight is None else weight
    gram, vector = (design * w[:, None]).T @ design, design.T @ (w * y)
    start = np.linalg.solve(gram + np.diag(prior), vector)
    noise = float((w * (y - design @ start) ** 2).mean())
    if not shrink or noise <= 1e-12 * float((w * y**2).mean()):
        return np.asarray(start)
    return np.asarray(np.linalg.solve(gram + np.diag(evidence(gram, vector / noise**0.5, groups, prior)), vector))


def evidence(information: Values, vector: Values, groups: NDArray[np.int64], prior: Values) -> Values:
    """Prior precisions [columns] that the data make most probable, given a quadratic log-likelihood."""
    for _ in range(_EVIDENCE):
        covariance = np.linalg.inv(information + np.diag(prior))
        mean, variance = covariance @ vector, np.diag(covariance)
        following = prior.copy()
        for group in range(int(groups.max()) + 1):
            inside = groups == group
            used = float((1 - prior[inside] * variance[inside]).sum())  # coefficients that the data settle
            following[inside] = np.clip(used / max(float((mean[inside] ** 2).sum()), 1e-300), 1e-3, STRONGEST)
        if np.allclose(np.log(following), np.log(prior), atol=1e-3):
            return following
        prior = following
    return prior


def _logistic(design: Values, y: Values, groups: NDArray[np.int64], prior: Values, *, shrink: bool) -> Values:
    share = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    beta = np.zeros(design.shape[1])
    beta[0] = np.log(share / (1 - share))
    beta, gram = _newton(design, y, beta, prior)
    if shrink:
        for _ in range(2):  # the quadratic approximation moves a little with the mode
            prior = evidence(gram, gram @ beta + design.T @ (y - sigmoid(design @ beta)), groups, prior)
            beta, gram = _newton(design, y, beta, prior)
    return beta


def _newton(design: Values, y: Values, beta: Values, prior: Values) -> tuple[Values, Values]:
    """The mode of the penalised likelihood, and the information of the data there."""

    def loss(at: Values) -> float:
        eta = design @ at
        return float(np.logaddexp(0, eta).sum() - y @ eta + 0.5 * prior @ at**2)

    before = loss(beta)
    for _ in range(_STEPS):
        chance = sigmoid(design @ beta)
        gram = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(gram + np.diag(prior + 1e-9), design.T @ (y - chance) - prior * beta)
        size = 1.0
        while (after := loss(beta + size * step)) > before + 1e-9 and size > 1e-3:
            size /= 2
        beta = beta + size * step
        if before - after < 1e-6:
            break
        before = after
    chance = sigmoid(design @ beta)
    return beta, (design * (chance * (1 - chance))[:, None]).T @ design


def boosted(x: Values, y: Values, start: Values, *, binary: bool, seed: int, weight: Values | None = None) -> Any:
    """LightGBM on what a linear predictor ``start`` [n] leaves; few small trees, since effects are small beside the noise."""
    import lightgbm

    settings = {
        "objective": "binary" if binary else "l2",
        "learning_rate": 0.05,
        "num_leaves": 8,
        "min_data_in_leaf": max(20, len(y) // 100),
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "seed": seed,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y, weight=weight, init_score=start), num_boost_round=40)
