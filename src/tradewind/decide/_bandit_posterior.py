"""A hierarchical Bayesian linear model in closed form: action <- attributes <- all.

The reward of action a in a context with features f is ``theta_a . f`` plus noise. Of the plain features (the first q) the prior mean
is the sum of what the action's attributes predict, ``theta_a ~ N(sum of beta_v, own)``, each ``beta_v ~ N(0, level)``, and one
attribute, "all", belongs to every action; the other coefficients have prior mean zero. Data enter per action as information
(a matrix and a vector), which adds up, so millions of updates lose nothing and need no inverse kept up to date. The blocks
are eliminated exactly (Schur complements of the mixed-model equations; Henderson 1975, Lindley and Smith 1972): an action
without data is known by its attributes, one with data by both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

# Draws are this much narrower than the posterior: the full width explores more than pays (docs/bandit.md), and the floor explores too.
WIDTH = 0.25
_GRID = {"main": (0.1, 0.3, 1.0), "slope": (0.1, 0.3, 1.0), "bend": (0.1, 0.3, 1.0), "own": (0.1, 0.5, 1.0)}


@dataclass(frozen=True)
class Prior:
    """Standard deviations in units of the rewards' own: of the intercepts, of all slopes together, of all bends together.

    ``own``: how much an action may differ from what its attributes predict, relative to the deviation of one attribute.
    """

    main: float = 0.3
    slope: float = 0.3
    bend: float = 0.3
    own: float = 0.5

    def variants(self, *, bent: bool) -> list[Prior]:
        """Itself, and one step up or down the grid of each number alone."""
        found = [self]
        for name, grid in _GRID.items():
            if bent or name != "bend":
                at = grid.index(getattr(self, name))
                found += [replace(self, **{name: grid[step]}) for step in (at - 1, at + 1) if 0 <= step < len(grid)]
        return found

    def moved(self, variants: list[Prior], log_evidence: np.ndarray) -> Prior:
        """Each number as in the variant of greatest evidence among those that change nothing else."""
        best: dict[str, float] = {}
        for name in _GRID:
            along = [at for at, other in enumerate(variants) if replace(other, **{name: getattr(self, name)}) == self]
            best[name] = getattr(variants[max(along, key=lambda at: float(log_evidence[at]))], name)
        return Prior(**best)

    def level(self, plain: int) -> np.ndarray:
        """Variances (plain) of one attribute's coefficients."""
        return np.concatenate([[self.main**2], np.full(plain - 1, self.slope**2 / max(plain - 1, 1))])

    def action(self, plain: int, width: int) -> np.ndarray:
        """Variances (width) of an action's coefficients around what its attributes predict."""
        bends = np.full(width - plain, self.bend**2 / max(width - plain, 1))
        return np.concatenate([self.own**2 * self.level(plain), bends])


@dataclass(frozen=True)
class Posterior:
    """Posteriors of several models at once, the first axis of everything.

    ``mean`` (models, actions, width); ``log_evidence`` (models), up to a constant that the prior does not change, nan unless asked
    for. ``precision`` (models, actions, width, width) is that of an action given its attributes, ``gain`` (models, actions, width,
    plain) what a change of the predicted coefficients changes, ``system`` the precision of the attributes' coefficients.
    """

    mean: np.ndarray
    log_evidence: np.ndarray
    precision: np.ndarray
    gain: np.ndarray
    system: np.ndarray
    members: np.ndarray

    def draw(self, model: int, rng: np.random.Generator, pairs: int) -> np.ndarray:
        """``pairs`` joint draws of all coefficients of one model, as differences from its mean: (pairs, actions, width)."""
        gain, members = self.gain[model], self.members
        beta = np.linalg.solve(np.linalg.cholesky(self.system[model]).T, rng.standard_normal((len(self.system[model]), pairs)))
        predicted = members @ beta.reshape(members.shape[1], -1)
        moved = np.matmul(gain, predicted.reshape(len(members), gain.shape[2], pairs))
        lower = np.linalg.cholesky(self.precision[model])
        own = np.linalg.solve(lower.transpose(0, 2, 1), rng.standard_normal((*gain.shape[:2], pairs)))
        return np.asarray(WIDTH * (moved + own).transpose(2, 0, 1))


def posterior(
    information: np.ndarray,
    vector: np.ndarray,
    members: np.ndarray,
    priors: Sequence[Prior],
    units: np.ndarray,
    *,
    plain: int,
    evidence: bool,
) -> Posterior:
    """Solve several models at once.

    Parameters
    ----------
    information, vector
        (models, actions, width, width) and (models, actions, width): sums of ``f f'`` and ``f reward``, divided by the noise variance.
        ``information`` is written over.
    members
        (actions, attributes): 1 where the action has the attribute; the column "all" is 1 everywhere.
    priors, units
        Per model the prior, and the rewards' standard deviation that it is measured in.
    plain
        How many of the features, the first, are known by the attributes.
    """
    models, actions, width = vector.shape
    each, first = np.arange(width), np.arange(plain)
    own = 1.0 / np.stack([unit**2 * prior.action(plain, width) for prior, unit in zip(priors, units, strict=True)])
    precision = information
    precision[:, :, each, each] += own[:, None]
    right = np.zeros((models, actions, width, 1 + plain))
    right[..., 0] = vector
    right[:, :, first, 1 + first] = own[:, None, :plain]
    solved = np.linalg.solve(precision, right)
    alone, gain = solved[..., 0], solved[..., 1:]
    # Eliminating an action leaves its information about what its attributes predict.
    left = -own[:, None, :plain, None] * gain[:, :, :plain]
    left[:, :, first, first] += own[:, None, :plain]
    count = members.shape[1]
    pairs = (members[:, :, None] * members[:, None, :]).reshape(actions, -1)
    system = (pairs.T @ left.reshape(models, actions, -1)).reshape(models, count, count, plain, plain)
    system = system.transpose(0, 1, 3, 2, 4).reshape(models, count * plain, -1)
    level = np.stack([np.tile(unit**2 * prior.level(plain), count) for prior, unit in zip(priors, units, strict=True)])
    every = np.arange(count * plain)
    system[:, every, every] += 1.0 / level
    known = (members.T @ (own[:, None, :plain] * alone[:, :, :plain])).reshape(models, -1, 1)
    beta = np.linalg.solve(system, known)
    mean = alone + np.matmul(gain, (members @ beta.reshape(models, count, plain))[..., None])[..., 0]
    likely = np.full(models, np.nan)
    if evidence:
        fit = (vector * alone).sum(axis=(1, 2)) + (known * beta).sum(axis=(1, 2))
        size = np.linalg.slogdet(precision)[1].sum(axis=1) + np.linalg.slogdet(system)[1]
        likely = 0.5 * (fit + actions * np.log(own).sum(axis=1) - np.log(level).sum(axis=1) - size)
    return Posterior(mean, likely, precision, gain, system, members)
