"""A choice per row that breaks limits, mended: the least valuable moves away from what is exceeded, then what is left is used.

Column 0 is "none": worth nothing, using nothing. So a repair always ends, and it ends with no limit broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

_ROUNDS = 30
_CHUNK = 2_048


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
        for start in range(0, self.rows, _CHUNK):
            some = slice(start, start + _CHUNK)
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


def repair(problem: Problem, choice: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Move rows off every limit that is exceeded, least loss per unit first; limits before it in order are not touched again.

    Only what settled rows use can stay exceeded.
    """
    choice = choice.copy()
    for k, limit in enumerate(problem.limits):
        while (excess := problem.used(choice)[k] - limit) > 0:
            using = problem.fixed[k][choice] if k not in problem.dense else _of(problem.use(k, slice(None)), choice)
            rows = np.flatnonzero(using > 0)
            if not len(rows):
                break
            to, loss, relief = _ways_out(problem, choice, rows, k, prices)
            order = np.argsort(loss / relief, kind="stable")
            enough = int(np.searchsorted(np.cumsum(relief[order]), excess)) + 1
            moved = order[:enough]
            choice[rows[moved]] = to[moved]
    return choice


def _ways_out(
    problem: Problem, choice: np.ndarray, rows: np.ndarray, k: int, prices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row the cheapest column that uses less of ``k`` and not more of any limit before it: column, loss, relief."""
    to, loss, relief = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        some, now = rows[part], choice[rows[part]]
        score = problem.scores(some, prices)
        use = problem.use(k, some)
        less = _of(use, now)[:, None] - use
        bad = less <= 0
        for before in range(k):
            other = problem.use(before, some)
            bad |= other > _of(other, now)[:, None]
        lost = np.maximum(_of(score, now)[:, None] - score, 0.0)
        ratio = np.where(bad, np.inf, lost / np.where(bad, 1.0, less))
        to[part] = ratio.argmin(axis=1)
        loss[part], relief[part] = _of(lost, to[part]), _of(less, to[part])
    return to, loss, relief


def fill(problem: Problem, choice: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Use what is left: rows move to a more valuable column that fits, least loss at the prices first."""
    choice, rows = choice.copy(), np.arange(problem.rows)
    for _ in range(_ROUNDS):
        left = problem.limits - problem.used(choice)
        to, loss, extra = _ways_up(problem, choice, rows, left, prices)
        found = to >= 0
        rows, to, loss, extra = rows[found], to[found], loss[found], extra[found]
        if not len(rows):
            break
        order = np.argsort(loss, kind="stable")
        rows, to, loss, extra = rows[order], to[order], loss[order], extra[order]
        # The first always fits by itself; of the others as many as fit together with all before them.
        fits = (np.cumsum(np.maximum(extra, 0.0), axis=0) <= left).all(axis=1)
        moved = max(int(fits.argmin()) if not fits.all() else len(fits), 1)
        tried = choice.copy()
        tried[rows[:moved]] = to[:moved]
        if (problem.used(tried) > np.maximum(problem.limits, problem.used(choice))).any():
            break  # in the last bit of a sum
        choice = tried
    return choice


def _ways_up(problem: Problem, choice: np.ndarray, rows: np.ndarray, left: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each row the best-scored column of more value that fits what is left (-1 when there is none), its loss and its extra use."""
    to, loss, extra = np.full(len(rows), -1, dtype=np.int32), np.zeros(len(rows)), np.zeros((len(rows), len(left)))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        some, now = rows[part], choice[rows[part]]
        score, value = problem.scores(some, prices), problem.scores(some, np.zeros(len(prices)))
        good = value > _of(value, now)[:, None]
        more = []
        for k, rest in enumerate(left):
            use = problem.use(k, some)
            more.append(use - _of(use, now)[:, None])
            good &= more[-1] <= max(rest, 0.0)
        ranked = np.where(good, score, -np.inf)
        at = ranked.argmax(axis=1)
        to[part] = np.where(good.any(axis=1), at, -1)
        loss[part] = _of(score, now) - _of(score, at)
        extra[part] = np.stack([_of(each, at) for each in more], axis=1) if more else 0.0
    return to, loss, extra


def _of(matrix: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """The chosen entry of every row; a matrix of one row is meant for all."""
    return np.asarray(matrix[np.arange(len(choice)) if len(matrix) > 1 or len(choice) == 1 else 0, choice])
