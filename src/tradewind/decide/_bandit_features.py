"""Contexts as features of the live bandit: standardised columns, and beside them bends and products of columns.

Two maps compete (:mod:`tradewind.decide._bandit_learner`): ``plain`` is the intercept and the columns; ``bent`` adds, per column,
the distances to three knots (a linear combination of them is a piecewise linear curve) and products of two squashed columns, a
random ``MOST`` of these where there are more. All of it is closed form; nothing is tuned to a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KNOTS = (-0.67, 0.0, 0.67)  # quartiles of a standard normal column
MOST = 32  # bends, and products, at most
_FAR = 6.0  # standard deviations; what lies beyond counts as this


@dataclass(frozen=True)
class Scaling:
    """What standardises the columns (``center``, ``scale``: (columns)) and the bent features (``shift``, ``spread``: (features))."""

    center: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    spread: np.ndarray


class Features:
    """Maps of contexts with ``columns`` numbers; which products exist depends on ``seed`` only.

    ``plain`` = 1 + columns is the width of the plain map, ``bent`` that of the bent one, which starts with the plain features.
    """

    def __init__(self, columns: int, *, seed: int) -> None:
        rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, 1]))
        bends = [(column, knot) for column in range(columns) for knot in KNOTS]
        pairs = [(first, second) for first in range(columns) for second in range(first)]
        bends, pairs = ([every[i] for i in sorted(rng.permutation(len(every))[:MOST].tolist())] for every in (bends, pairs))
        self._columns = np.array([column for column, _ in bends], dtype=np.intp)
        self._knots = np.array([knot for _, knot in bends])
        self._first = np.array([first for first, _ in pairs], dtype=np.intp)
        self._second = np.array([second for _, second in pairs], dtype=np.intp)
        self._taken = np.concatenate([self._columns, self._first, self._second])
        self.plain = 1 + columns
        self.bent = self.plain + len(bends) + len(pairs)
        ones = np.ones(self.bent - self.plain)
        self.scaling = Scaling(np.zeros(columns), np.ones(columns), 0 * ones, ones)
        # The parts of one context's features, written anew by every call of one().
        self._one = np.ones(self.bent)
        cut = self.plain + len(bends)
        self._parts = self._one[: self.plain], self._one[1 : self.plain], self._one[self.plain : cut], self._one[cut:]
        work, at, to = np.empty(len(self._taken)), len(bends), len(bends) + len(pairs)
        self._work = work, work[:at], work[at:], work[at:to], work[to:]

    def fit(self, contexts: np.ndarray) -> None:
        """Take the standardisation from ``contexts`` (rows, columns); a constant column is measured in its own size."""
        center, spread = contexts.mean(axis=0), contexts.std(axis=0)
        size = np.where(center != 0, np.abs(center), 1.0)
        scale = np.where(spread > 1e-9 * size, spread, size)
        bends = self._bends(self._standard(contexts, center, scale))
        deviation = bends.std(axis=0)
        self.scaling = Scaling(center, scale, bends.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0))

    def many(self, contexts: np.ndarray) -> np.ndarray:
        """Standardised bent features (rows, width) of contexts (rows, columns)."""
        found = self.raw(contexts, bent=True)
        found[:, self.plain :] = (found[:, self.plain :] - self.scaling.shift) / self.scaling.spread
        return found

    def raw(self, contexts: np.ndarray, *, bent: bool) -> np.ndarray:
        """:meth:`one` for every row of ``contexts``."""
        z = self._standard(contexts, self.scaling.center, self.scaling.scale)
        return np.concatenate([np.ones((len(z), 1)), z, *([self._bends(z)] if bent else [])], axis=1)

    def one(self, context: np.ndarray, *, bent: bool) -> np.ndarray:
        """Features (width) of one context, its bends not yet standardised (:meth:`folded`); the next call writes into the same array."""
        plain, z, bends, products = self._parts
        np.subtract(context, self.scaling.center, z)
        np.divide(z, self.scaling.scale, z)
        if z.dot(z) > _FAR**2:
            np.clip(z, -_FAR, _FAR, out=z)
        if not bent:
            return plain
        taken, distances, squashed, first, second = self._work
        z.take(self._taken, out=taken, mode="clip")
        np.subtract(distances, self._knots, distances)
        np.abs(distances, bends)
        np.multiply(squashed, 2.0, squashed)
        np.tanh(squashed, squashed)
        np.multiply(first, second, products)
        return self._one

    def folded(self, weights: np.ndarray) -> np.ndarray:
        """Weights (..., width) on standardised features as weights on those of :meth:`one`."""
        if weights.shape[-1] == self.plain:
            return weights
        found = weights.copy()
        found[..., self.plain :] /= self.scaling.spread
        found[..., 0] -= found[..., self.plain :] @ self.scaling.shift
        return found

    def _standard(self, contexts: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip((contexts - center) / scale, -_FAR, _FAR))

    def _bends(self, z: np.ndarray) -> np.ndarray:
        squashed = np.tanh(2.0 * z)
        return np.concatenate([np.abs(z[:, self._columns] - self._knots), squashed[:, self._first] * squashed[:, self._second]], axis=1)
