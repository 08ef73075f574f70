"""A Bayesian linear surface over (action attributes) x (customer features), in closed form.

The effect of an action with attributes ``a`` (q) on a customer with features ``z`` (p, the first is 1) is
``a' Theta z``: every attribute has a main effect (first column of Theta) and its own interactions. The prior is normal
around zero; the variance of the interactions relative to the main effects (``hetero``) and of everything (``spread``)
are chosen by the evidence (empirical Bayes), so that without proof of differences between customers every customer
gets the mean effect of the arm. Data enter as information (a precision matrix and a vector), which adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

SPREADS = (1.0, 3.0, 10.0)  # the prior of the main effects only ever widens
HETEROS = (0.03, 0.1, 0.3, 1.0)
START = (1.0, 0.1)  # spread and hetero before any data
STRONGLY = 3.0  # log of the Bayes factor from which evidence is strong (Kass and Raftery 1995); below, the narrower prior stays

# Prior deviation of main effects in units of the head's money scale: an honest "could be a quarter of the base".
MAIN: Mapping[str, float] = {"contact": 0.25, "kind": 0.15, "channel": 0.1, "offer": 0.15, "discount": 1.0, "affinity": 0.15}
TRUST = 0.5  # deviation of what the prior effect of every action is multiplied by, around one


@dataclass(frozen=True)
class Surface:
    """Posterior over Theta. ``information`` (q*p, q*p) and ``vector`` (q*p) are already divided by the noise variance."""

    names: tuple[str, ...]
    features: int  # p
    unit: float  # minor units: the money scale of the prior
    information: np.ndarray
    vector: np.ndarray
    spread: float = START[0]
    hetero: float = START[1]
    trust: float = TRUST  # deviation of the main effect of "prior_margin", which is in minor units itself

    @classmethod
    def prior(cls, names: tuple[str, ...], features: int, unit: float, trust: float = TRUST) -> Surface:
        """A surface without data."""
        size = len(names) * features
        return cls(names, features, unit, np.zeros((size, size)), np.zeros(size), trust=trust)

    def extended(self, names: tuple[str, ...]) -> Surface:
        """The same posterior with more attributes at the end; those have only their prior."""
        assert names[: len(self.names)] == self.names
        size, old = len(names) * self.features, len(self.vector)
        information, vector = np.zeros((size, size)), np.zeros(size)
        information[:old, :old], vector[:old] = self.information, self.vector
        return replace(self, names=names, information=information, vector=vector)

    def decayed(self, keep: float) -> Surface:
        """Exponential forgetting: the data keep the share ``keep`` (0-1) of their weight, the prior all of its."""
        return replace(self, information=self.information * keep, vector=self.vector * keep)

    def learned(self, information: np.ndarray, vector: np.ndarray) -> Surface:
        """The surface after more data, with the prior's variances chosen anew by the evidence."""
        grown = replace(self, information=self.information + information, vector=self.vector + vector)
        choices = [max((replace(grown, spread=s, hetero=hetero) for s in SPREADS), key=Surface.evidence) for hetero in HETEROS]
        evidence = [one.evidence() for one in choices]
        return next(one for one, found in zip(choices, evidence, strict=True) if found >= max(evidence) - STRONGLY)

    def deviations(self) -> np.ndarray:
        """Prior standard deviations of Theta, flat (q*p)."""
        main = np.array([self.trust / self.unit if name == "prior_margin" else MAIN[name.partition("=")[0]] for name in self.names])
        share = np.full(self.features, self.hetero / np.sqrt(max(self.features - 1, 1)))
        share[0] = 1.0
        return np.asarray(self.spread * self.unit * (main[:, None] * share[None, :]).ravel())

    def evidence(self) -> float:
        """Log marginal likelihood of the data up to a constant that no choice of the prior changes."""
        deviation = self.deviations()
        scaled = np.eye(len(deviation)) + deviation[:, None] * self.information * deviation[None, :]
        root = np.linalg.cholesky(scaled)
        half = np.linalg.solve(root, deviation * self.vector)
        return float(0.5 * half @ half - np.log(np.diag(root)).sum())

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean of Theta (q, p) and its covariance (q*p, q*p)."""
        deviation = self.deviations()
        scaled = np.eye(len(deviation)) + deviation[:, None] * self.information * deviation[None, :]
        inverse = np.linalg.inv(scaled)
        covariance = deviation[:, None] * ((inverse + inverse.T) / 2) * deviation[None, :]
        return (covariance @ self.vector).reshape(len(self.names), self.features), covariance


def gram(matrices: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Sum over rows of ``kron(M_i, z_i z_i')``: matrices (n, q, q), z (n, p) -> (q*p, q*p)."""
    n, q, _ = matrices.shape
    p = z.shape[1]
    outer = (z[:, :, None] * z[:, None, :]).reshape(n, p * p)
    found = matrices.reshape(n, q * q).T @ outer
    return np.asarray(found.reshape(q, q, p, p).transpose(0, 2, 1, 3).reshape(q * p, q * p))
