"""What each arm would bring each customer, predicted without the customer's own outcome: the model inside DM and DR.

    link(E[r | x, a]) = z . beta + z . gamma_a,   z = (1, x)

beta is shared, gamma_a belongs to the arm and is shrunk towards 0, so that arms with few rows borrow from all. For a given penalty
the least squares solution is exact: gamma is eliminated arm by arm (a Schur complement), at arms x features^3 operations, for
thousands of arms. Rewards of 0 and 1 take a logistic link (Newton steps of the same solve). The penalty is chosen on a third
of the rows that were told.

Source: C. Henderson, "Best linear unbiased estimation and prediction under a selection model", Biometrics 31 (1975); V. Chernozhukov
et al., "Double/debiased machine learning", Econometrics Journal 21 (2018) for the cross-fitting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_SHARED = 1e-3  # of beta: only so that the solve never fails
_STEPS = 8


@dataclass(frozen=True)
class RewardModel:
    """``shared`` [d + 1], ``own`` [arms, d + 1]; ``centre`` and ``scale`` standardise x; ``low`` and ``high`` bound what is predicted."""

    shared: Values
    own: Values
    centre: Values
    scale: Values
    logistic: bool
    low: float
    high: float

    def predict(self, x: Values) -> Values:
        """Predicted reward of every arm, [n, arms]."""
        z = _design(x, self.centre, self.scale)
        linear = z @ (self.shared + self.own).T
        return np.clip(1 / (1 + np.exp(-np.clip(linear, -30, 30))) if self.logistic else linear, self.low, self.high)


def fit(x: ArrayLike, arm: ArrayLike, reward: ArrayLike, *, arms: int, seed: int = 0, penalty: float | None = None) -> RewardModel:
    """Fit on features ``x`` [n, d], chosen ``arm`` [n] and ``reward`` [n].

    Raises
    ------
    InputError
        Shapes differ, a number is not finite, or an arm does not exist.

    When not to use: effects of x that are far from linear; make features of them first.
    """
    features, a, y = np.asarray(x, dtype=np.float64), np.asarray(arm), np.asarray(reward, dtype=np.float64)
    if features.ndim != 2 or len({len(features), len(a), len(y)}) != 1 or not len(a):
        raise InputError(f"reward model: x [n, d], arm [n] and reward [n] must be of one log; got {features.shape}, {a.shape}, {y.shape}.")
    if not (np.isfinite(features).all() and np.isfinite(y).all()):
        raise InputError("reward model: a feature or a reward is not a finite number. Fill or leave out such rows, and say so.")
    if a.min() < 0 or a.max() >= arms:
        raise InputError(f"reward model: arms are numbered 0 to {arms - 1}; got {a.min()} to {a.max()}.")
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    z, logistic = _design(features, centre, scale), bool(np.isin(y, (0.0, 1.0)).all())
    low, high = float(y.min()), float(y.max())
    order = np.argsort(a, kind="stable")

    def solved(rows: NDArray[np.int64], strength: float) -> RewardModel:
        beta, gamma = (_logistic if logistic else _linear)(z[rows], y[rows], a[rows], arms, strength)
        return RewardModel(beta, gamma, centre, scale, logistic, low, high)

    if penalty is None:
        held = np.random.default_rng(seed).random(len(y)) < 1 / 3
        told, fresh = order[~held[order]], np.flatnonzero(held)
        losses = []
        for strength in PENALTIES if len(told) and len(fresh) else PENALTIES[-1:]:
            guess = solved(told, strength).predict(features[fresh])[np.arange(len(fresh)), a[fresh]] if len(fresh) else np.zeros(0)
            losses.append(_loss(guess, y[fresh], logistic=logistic))
        penalty = PENALTIES[int(np.argmin(losses))] if len(losses) > 1 else PENALTIES[-1]
    return solved(order, penalty)


def cross_fitted(x: ArrayLike, arm: ArrayLike, reward: ArrayLike, *, arms: int, folds: int = 5, seed: int = 0) -> Values:
    """Predictions [n, arms] for every decision by a model that was fitted without its fold; arguments and errors as :func:`fit`."""
    features, a, y = np.asarray(x, dtype=np.float64), np.asarray(arm), np.asarray(reward, dtype=np.float64)
    if not 2 <= folds <= len(y):
        raise InputError(f"cross_fitted: folds must be 2 or more and at most the number of decisions; got {folds} for {len(y)}.")
    fold = np.random.default_rng(seed).permutation(len(y)) % folds
    found = np.empty((len(y), arms))
    for one in range(folds):
        seen = fold != one
        found[~seen] = fit(features[seen], a[seen], y[seen], arms=arms, seed=seed).predict(features[~seen])
    return found


def _design(x: Values, centre: Values, scale: Values) -> Values:
    return np.column_stack([np.ones(len(x)), (x - centre) / scale])


def _loss(guess: Values, y: Values, *, logistic: bool) -> float:
    if not logistic:
        return float(((guess - y) ** 2).mean()) if len(y) else np.inf
    p = np.clip(guess, 1e-6, 1 - 1e-6)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()) if len(y) else np.inf


def _linear(z: Values, y: Values, arm: NDArray[np.int64], arms: int, penalty: float) -> tuple[Values, Values]:
    return _solve(z, np.ones(len(y)), z * y[:, None], arm, arms, penalty)


def _logistic(z: Values, y: Values, arm: NDArray[np.int64], arms: int, penalty: float) -> tuple[Values, Values]:
    """Newton steps; each is the same solve with weights p (1 - p)."""
    start = np.zeros(z.shape[1])
    rate = np.clip(y.mean(), 1e-4, 1 - 1e-4)
    start[0] = np.log(rate / (1 - rate))
    beta, gamma = start, np.zeros((arms, z.shape[1]))
    for _ in range(_STEPS):
        linear = np.clip((z * (beta + gamma[arm])).sum(axis=1), -15, 15)
        p = 1 / (1 + np.exp(-linear))
        weight = np.maximum(p * (1 - p), 1e-5)
        fresh = _solve(z, weight, z * (weight * linear + y - p)[:, None], arm, arms, penalty / 4)
        moved = float(np.abs(fresh[0] - beta).max())
        beta, gamma = fresh
        if moved < 1e-6:
            break
    return beta, gamma


def _solve(z: Values, weight: Values, right: Values, arm: NDArray[np.int64], arms: int, penalty: float) -> tuple[Values, Values]:
    """Minimise the weighted squares with ``penalty`` on every gamma; rows sorted by arm; ``right`` is z times the weighted target."""
    d = z.shape[1]
    edges = np.searchsorted(arm, np.arange(arms + 1))
    gram, target = np.zeros((arms, d, d)), np.zeros((arms, d))
    for one in np.flatnonzero(np.diff(edges)).tolist():
        rows = slice(edges[one], edges[one + 1])
        gram[one] = (z[rows] * weight[rows, None]).T @ z[rows]
        target[one] = right[rows].sum(axis=0)
    inside = np.linalg.inv(gram + penalty * np.eye(d))
    through = gram @ inside
    left = (gram - through @ gram).sum(axis=0) + _SHARED * np.eye(d)
    beta = np.linalg.solve(left, (target - (through @ target[:, :, None])[:, :, 0]).sum(axis=0))
    gamma = (inside @ (target - gram @ beta)[:, :, None])[:, :, 0]
    return beta, gamma
