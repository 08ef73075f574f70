"""Rows that choose one column each under several limits: what a choice uses and is worth, and what rows choose at given prices.

Column 0 is "none" here: worth nothing, using nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

CHUNK = 2_048  # rows at once: the scores stay in the processor's cache


@dataclass(frozen=True)
class Problem:
    """Values (rows, columns), and limits whose use is ``fixed`` (limits, 1 + columns) per column or ``dense`` (rows, columns).

    ``limits`` is what these rows may use, ``whole`` the limits that all rows share (a scale for prices); ``constant`` is the value
    of rows that are settled and no longer here.
    """

    values: np.ndarray
    fixed: np.ndarray
    dense: Mapping[int, np.ndarray]
    limits: np.ndarray
    whole: np.ndarray
    constant: float = 0.0

    @property
    def rows(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray | slice, *, less: tuple[np.ndarray, float] | None = None) -> Problem:
        """The problem of some rows; ``less`` is what the others use and are worth."""
        used, worth = (0.0, 0.0) if less is None else less
        dense = {k: use[rows] for k, use in self.dense.items()}
        return replace(self, values=self.values[rows], dense=dense, limits=self.limits - used, constant=self.constant + worth)

    def sample(self, first: int, step: int) -> Problem:
        """Every ``step``-th row, with its part of the limits."""
        part = self.take(slice(first, None, step))
        limits = self.limits * part.rows / self.rows
        return replace(part, limits=limits, whole=limits)

    def use(self, k: int, rows: np.ndarray | slice) -> np.ndarray:
        """(rows, 1 + columns) or (1, 1 + columns): what each column uses of limit ``k``."""
        if k not in self.dense:
            return np.asarray(self.fixed[k][None, :])
        part = self.dense[k][rows]
        return np.concatenate([np.zeros((len(part), 1)), part], axis=1, dtype=np.float64)

    def scores(self, rows: np.ndarray | slice, prices: np.ndarray) -> np.ndarray:
        """(rows, 1 + columns), float64: value less the price of all that is used."""
        part = self.values[rows]
        score = np.empty((len(part), part.shape[1] + 1))
        score[:, 0] = 0.0
        np.subtract(part, (prices @ self.fixed)[1:], out=score[:, 1:])
        for k, use in self.dense.items():
            if prices[k]:
                score[:, 1:] -= np.multiply(use[rows], prices[k], dtype=np.float64)
        return score

    def priced(self, prices: np.ndarray) -> tuple[np.ndarray, float]:
        """The best column of every row (0 for none) and the dual bound at ``prices``."""
        choice, total = np.zeros(self.rows, dtype=np.int32), self.constant + float(prices @ self.limits)
        for start in range(0, self.rows, CHUNK):
            some = slice(start, start + CHUNK)
            score = self.scores(some, prices)
            at = score.argmax(axis=1)
            choice[some] = at
            total += float(score[np.arange(len(at)), at].sum())
        return choice, total

    def used(self, choice: np.ndarray) -> np.ndarray:
        """(limits,): what a choice uses in all."""
        total = self.fixed @ np.bincount(choice, minlength=self.fixed.shape[1])
        some = np.flatnonzero(choice)
        for k, use in self.dense.items():
            total[k] = use[some, choice[some] - 1].sum(dtype=np.float64)
        return np.asarray(total)

    def worth(self, choice: np.ndarray) -> float:
        """The value of a choice."""
        some = np.flatnonzero(choice)
        return self.constant + float(self.values[some, choice[some] - 1].sum(dtype=np.float64))


def of(matrix: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """The chosen entry of every row; a matrix of one row is meant for all."""
    return np.asarray(matrix[np.arange(len(choice)) if len(matrix) > 1 or len(choice) == 1 else 0, choice])
