"""A choice per row that breaks limits, mended: the least valuable moves away from what is exceeded, then what is left is used.

A move to "none" is always open, so a repair always ends, and it ends with no limit broken.
"""

from __future__ import annotations

import numpy as np

from tradewind.stats._limits import CHUNK, Problem, of

_ROUNDS = 10
_NEAR = 30_000  # rows that are looked at first


def feasible(whole: Problem, choice: np.ndarray, prices: np.ndarray, open_: np.ndarray) -> np.ndarray:
    """``choice`` with no limit broken: mended among the ``open_`` rows nearest to a change, or among all where those do not suffice."""
    near = _nearest(whole, prices, open_)
    quick = choice.copy()
    quick[near] = 0
    part = whole.take(near, less=(whole.used(quick), whole.worth(quick)))
    quick[near] = fill(part, repair(part, choice[near], prices), prices)
    if (whole.used(quick) <= whole.limits).all():
        return quick
    return fill(whole, repair(whole, choice, prices), prices)


def _nearest(whole: Problem, prices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows whose two best scores differ least."""
    if len(rows) <= _NEAR:
        return rows
    margin = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        score = whole.scores(rows[start : start + CHUNK], prices)
        line, at = np.arange(len(score)), score.argmax(axis=1)
        best = score[line, at]
        score[line, at] = -np.inf
        margin[start : start + CHUNK] = best - score.max(axis=1)
    return np.asarray(np.sort(rows[np.argpartition(margin, _NEAR)[:_NEAR]]))


def repair(problem: Problem, choice: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Move rows off every limit that is exceeded, least loss per unit first; limits before it in order are not touched again.

    Only what settled rows use can stay exceeded.
    """
    choice = choice.copy()
    for k, limit in enumerate(problem.limits):
        while (excess := problem.used(choice)[k] - limit) > 0:
            using = problem.fixed[k][choice] if k not in problem.dense else of(problem.use(k, slice(None)), choice)
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
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        some, now = rows[part], choice[rows[part]]
        score = problem.scores(some, prices)
        use = problem.use(k, some)
        less = of(use, now)[:, None] - use
        bad = less <= 0
        for before in range(k):
            other = problem.use(before, some)
            bad |= other > of(other, now)[:, None]
        lost = np.maximum(of(score, now)[:, None] - score, 0.0)
        ratio = np.where(bad, np.inf, lost / np.where(bad, 1.0, less))
        to[part] = ratio.argmin(axis=1)
        loss[part], relief[part] = of(lost, to[part]), of(less, to[part])
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
        taken, rest = [], left.tolist()
        order = np.argsort(loss, kind="stable")[:_NEAR]
        for at, more in zip(order.tolist(), extra[order].tolist(), strict=True):
            if all(each <= has for each, has in zip(more, rest, strict=True)):
                rest = [has - each for each, has in zip(more, rest, strict=True)]
                taken.append(at)
        if not taken:
            break
        tried = choice.copy()
        tried[rows[taken]] = to[taken]
        if (problem.used(tried) > np.maximum(problem.limits, problem.used(choice))).any():
            break  # in the last bit of a sum
        choice = tried
    return choice


def _ways_up(problem: Problem, choice: np.ndarray, rows: np.ndarray, left: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each row the best-scored column of more value that fits what is left (-1 when there is none), its loss and its extra use."""
    to, loss, extra = np.full(len(rows), -1, dtype=np.int32), np.zeros(len(rows)), np.zeros((len(rows), len(left)))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        some, now = rows[part], choice[rows[part]]
        score, value = problem.scores(some, prices), problem.scores(some, np.zeros(len(prices)))
        good = value > of(value, now)[:, None]
        more = []
        for k, rest in enumerate(left):
            use = problem.use(k, some)
            more.append(use - of(use, now)[:, None])
            good &= more[-1] <= max(rest, 0.0)
        ranked = np.where(good, score, -np.inf)
        at = ranked.argmax(axis=1)
        to[part] = np.where(good.any(axis=1), at, -1)
        loss[part] = of(score, now) - of(score, at)
        extra[part] = np.stack([of(each, at) for each in more], axis=1) if more else 0.0
    return to, loss, extra
