"""One lesson: what a batch of logged decisions says about the surfaces of the value model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tradewind.decide.hashing import digest
from tradewind.decide.linear import Surface, gram
from tradewind.decide.logs import Logged

_CHUNK = 1_024
GROUPS = 10
MOST = 16.0
_FEWEST = 20  # decisions below which a fold cannot predict another


@dataclass(frozen=True)
class Lesson:
    """Information for both heads (precision and vector, divided by the noise), the base line and the noise variance."""

    value: tuple[np.ndarray, np.ndarray]
    cost: tuple[np.ndarray, np.ndarray]
    base: np.ndarray
    noise: float
    redeemed: int  # treated decisions with a discount: rows of the cost head


def lesson(logged: Logged, z: np.ndarray, value: Surface, base: np.ndarray, *, folds: int) -> Lesson:
    """The lesson of ``logged`` given what is known (``value``, ``base``); z is (n, p) with an intercept.

    The nuisance (base line and effects) that a decision is corrected by is fitted on the other folds only; folds are
    hashes of the unit, so that a household is never on both sides.
    """
    if not len(logged.y):
        empty = np.zeros_like(value.information), np.zeros_like(value.vector)
        return Lesson(empty, empty, base, 0.0, 0)
    theta, _ = value.solve()
    fold = np.array([int(digest(name)[:8], 16) % folds for name in logged.unit])
    bases, thetas = _nuisance(logged, z, value, theta, base, fold, folds)
    taken_row = np.full(len(logged.y), -1)
    taken_row[logged.owner[logged.taken]] = np.flatnonzero(logged.taken)
    surface = np.empty((len(z), logged.actions.shape[1]))  # effect of each attribute on each customer
    for one in range(folds):
        surface[fold == one] = z[fold == one] @ thetas[one].T
    effect = np.einsum("rq,rq->r", logged.actions, surface[logged.owner])
    predicted = np.einsum("np,np->n", bases[fold], z)
    acted = taken_row >= 0
    predicted[acted] += (effect + logged.prior)[taken_row[acted]]
    residual = logged.y - predicted
    weight = _weights(np.einsum("np,np->n", bases[fold], z), residual)
    information, vector, score = _information(logged, z, effect, residual, weight)
    noise = _dispersion(information, score, floor=1e-6)
    cost_part, redeemed = _cost(logged, z, taken_row, value.names.index("discount"))
    return Lesson((information / noise, vector / noise), cost_part, bases.mean(axis=0), noise, redeemed)


def _nuisance(
    logged: Logged, z: np.ndarray, value: Surface, theta: np.ndarray, base: np.ndarray, fold: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Base line (folds, p) and effects (folds, q, p), each fitted without its own fold, starting from what is known."""
    n, p = z.shape
    q = logged.actions.shape[1]
    bases, thetas = np.repeat(base[None], folds, axis=0), np.repeat(theta[None], folds, axis=0)
    extended = np.zeros((n, q + 1))
    extended[:, 0] = 1.0
    extended[logged.owner[logged.taken], 1:] = logged.actions[logged.taken]
    target = logged.y - z @ base
    owner = logged.owner[logged.taken]
    target[owner] -= np.einsum("rq,rq->r", logged.actions[logged.taken], z[owner] @ theta.T) + logged.prior[logged.taken]
    spread = max(float(np.std(logged.y)), 1.0)
    rough = max(float(np.var(target)), 1e-6)
    deviation = np.concatenate([[10 * spread], np.full(p - 1, spread), value.deviations()])
    grams, vectors = [], []
    for one in range(folds):
        total, vector = np.zeros((deviation.size, deviation.size)), np.zeros(deviation.size)
        for rows in _parts(np.flatnonzero(fold == one)):
            total += gram(extended[rows, :, None] * extended[rows, None, :], z[rows])
            vector += np.einsum("n,nq,np->qp", target[rows], extended[rows], z[rows], optimize=True).ravel()
        grams.append(total)
        vectors.append(vector)
    for one in range(folds):
        if n - int((fold == one).sum()) < _FEWEST:
            continue  # too few to learn from: the nuisance stays what is known
        others = sum(g for k, g in enumerate(grams) if k != one) / rough
        right = sum(v for k, v in enumerate(vectors) if k != one) / rough
        scaled = np.eye(deviation.size) + deviation[:, None] * others * deviation[None, :]
        change = (deviation * np.linalg.solve(scaled, deviation * right)).reshape(q + 1, p)
        bases[one] += change[0]
        thetas[one] += change[1:]
    return bases, thetas


def _weights(base: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """How much each decision tells, mean 1: the inverse of the noise that goes with a margin as high as expected; float64 (n).

    Who buys much by habit varies much, whatever is sent. The noise is the mean square of the residuals in ten groups by expected
    margin, and no decision counts more than ``MOST`` times another.
    """
    order = np.argsort(base, kind="stable")
    group = np.empty(len(base), dtype=np.int64)
    group[order] = np.arange(len(base)) * GROUPS // max(len(base), 1)
    count = np.bincount(group, minlength=GROUPS)
    noise = np.bincount(group, weights=residual**2, minlength=GROUPS) / np.maximum(count, 1)
    noise = np.maximum(noise, noise.max() / MOST)
    weight = 1.0 / np.maximum(noise[group], 1e-9)
    return np.asarray(weight / weight.mean())


def _dispersion(information: np.ndarray, score: np.ndarray, *, floor: float) -> float:
    """The noise variance that makes the information agree with the observed variance of the score (a sandwich, in one number).

    A plain mean of squared residuals would be too small where noise is larger among those who are treated more evenly.
    """
    ridge = 1e-6 * max(float(np.trace(information)) / len(information), 1e-12) * np.eye(len(information))
    solved = np.linalg.solve(information + ridge, np.concatenate([score, information], axis=1))
    freedom = float(np.trace(solved[:, len(information) :]))
    return max(float(np.trace(solved[:, : len(information)])) / max(freedom, 1e-9), floor)


def _information(
    logged: Logged, z: np.ndarray, effect: np.ndarray, residual: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generalised least squares of the pseudo-outcomes: sums of Phi' V Phi and Phi' V (G - prior), V = diag(e) - e e'.

    The third answer is the sum of squares of what the residuals add to the vector, decision by decision.
    """
    p, q = z.shape[1], logged.actions.shape[1]
    information, vector, score = np.zeros((q * p, q * p)), np.zeros(q * p), np.zeros((q * p, q * p))
    for rows in _parts(np.flatnonzero(np.diff(logged.starts) > 0)):
        first, last = int(logged.starts[rows[0]]), int(logged.starts[rows[-1] + 1])
        actions, chance = logged.actions[first:last], logged.chance[first:last]
        starts = logged.starts[rows] - first
        inside = np.repeat(np.arange(len(rows)), logged.starts[rows + 1] - logged.starts[rows])
        mean = np.add.reduceat(chance[:, None] * actions, starts, axis=0)
        square = np.add.reduceat(chance[:, None, None] * actions[:, :, None] * actions[:, None, :], starts, axis=0)
        w = weight[rows]
        information += gram(w[:, None, None] * (square - mean[:, :, None] * mean[:, None, :]), z[rows])
        expected = np.add.reduceat(chance * effect[first:last], starts)
        taken = logged.taken[first:last].astype(np.float64)
        surprise = np.add.reduceat(((taken - chance) * residual[rows][inside])[:, None] * actions, starts, axis=0)
        known = np.add.reduceat((chance * (effect[first:last] - expected[inside]))[:, None] * actions, starts, axis=0)
        vector += ((w[:, None] * (surprise + known)).T @ z[rows]).ravel()
        surprise *= w[:, None]
        score += gram(surprise[:, :, None] * surprise[:, None, :], z[rows])
    return information, vector, score


def _cost(logged: Logged, z: np.ndarray, taken_row: np.ndarray, discount: int) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """Cost of "nothing" is zero, so treated rows with a discount speak for themselves: a plain regression around the prior."""
    p, q = z.shape[1], logged.actions.shape[1]
    information, vector = np.zeros((q * p, q * p)), np.zeros(q * p)
    candidate = taken_row[taken_row >= 0]
    decision = np.flatnonzero(taken_row >= 0)
    discounted = logged.actions[candidate, discount] > 0
    candidate, decision = candidate[discounted], decision[discounted]
    if not len(candidate):
        return (information, vector), 0
    target = logged.cost[decision] - logged.prior_cost[candidate]
    noise = max(float(np.mean(target**2)), 1e-6)
    for part in _parts(np.arange(len(candidate))):
        actions, seen = logged.actions[candidate[part]], z[decision[part]]
        information += gram(actions[:, :, None] * actions[:, None, :], seen)
        vector += ((actions * target[part, None]).T @ seen).ravel()
    return (information / noise, vector / noise), len(candidate)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
