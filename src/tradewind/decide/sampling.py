"""From posterior values to propensities, and from propensities to the one choice: all from the log and the seed.

Posterior sampling draws ``DRAWS`` times from a normal posterior per candidate (mean ``value``, deviation ``sd``) and
takes the best score ``value - price * cost`` each time. The draws of two candidates of one customer share a part
(``correlation``, logged with the plan), because what we do not know about messages in general concerns all of them.
One draw matrix, derived from the seed, serves every customer. The share of draws that a candidate wins is mixed with
the floor, so the propensity is exactly the probability of the draw, not an estimate of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 64
_CHUNK = 4_096  # customers at once: the arrays of a chunk stay in the processor's cache


@dataclass(frozen=True)
class Choices:
    """Candidates of many customers, except "nothing"; arrays of shape (customers, slots). An empty slot is not ``valid``."""

    values: np.ndarray
    sds: np.ndarray
    costs: np.ndarray
    valid: np.ndarray
    bonus: np.ndarray | None = None  # (customers): what an exposure floor adds to every action
    toll: np.ndarray | None = None  # (customers, slots): what an action pays for the limits that it uses

    def rows(self, which: np.ndarray | slice) -> Choices:
        """The choices of some customers."""
        bonus, toll = (None if array is None else array[which] for array in (self.bonus, self.toll))
        return Choices(self.values[which], self.sds[which], self.costs[which], self.valid[which], bonus, toll)

    def scores(self, price: float) -> np.ndarray:
        """value - price * cost, less the toll, plus the bonus; (customers, slots)."""
        plain = self.values - price * self.costs
        if self.toll is not None:
            plain = plain - self.toll
        return plain if self.bonus is None else plain + self.bonus[:, None]


def draw_matrix(seed: int, slots: int, *, correlation: float) -> np.ndarray:
    """Standard normal draws of shape (DRAWS, slots) with ``correlation`` (0-1) between slots, in antithetic pairs."""
    rng = np.random.Generator(np.random.Philox(key=seed % 2**64))
    raw = rng.standard_normal((DRAWS // 2, slots + 1))
    half = np.sqrt(correlation) * raw[:, :1] + np.sqrt(1 - correlation) * raw[:, 1:]
    return np.concatenate([half, -half])


def wins(choices: Choices, draws: np.ndarray, *, price: float) -> tuple[np.ndarray, np.ndarray]:
    """In which share of the draws each candidate wins: (customers, slots + 1), "nothing" first; and what was won.

    The second answer (customers) is the mean over draws of the winner's value minus its cost, before the floor.
    """
    n, slots = choices.values.shape
    shares = np.zeros((n, slots + 1))
    won = np.zeros(n)
    for start in range(0, n, _CHUNK):
        part = choices.rows(slice(start, start + _CHUNK))
        best = np.zeros((part.values.shape[0], draws.shape[0]))
        who = np.zeros(best.shape, dtype=np.int8)
        base = np.where(part.valid, part.scores(price), -np.inf)
        for slot in range(slots):
            score = base[:, slot, None] + part.sds[:, slot, None] * draws[None, :, slot]
            better = score > best  # on a tie the earlier slot stays, "nothing" before all
            np.copyto(best, score, where=better)
            who[better] = slot + 1
        for slot in range(slots + 1):
            shares[start : start + _CHUNK, slot] = (who == slot).mean(axis=1)
        spent = (shares[start : start + _CHUNK, 1:] * part.costs).sum(axis=1)
        won[start : start + _CHUNK] = best.mean(axis=1) + (price - 1.0) * spent
        if part.bonus is not None:
            won[start : start + _CHUNK] -= part.bonus * shares[start : start + _CHUNK, 1:].sum(axis=1)
        if part.toll is not None:
            won[start : start + _CHUNK] += (part.toll * shares[start : start + _CHUNK, 1:]).sum(axis=1)
    return shares, won


def propensities(shares: np.ndarray, valid: np.ndarray, *, floor: float) -> np.ndarray:
    """Mix winning shares with the floor: every candidate (and "nothing") gets at least ``floor``; rows sum to one.

    Parameters
    ----------
    shares, valid
        (customers, slots + 1) from :func:`wins`, and bool (customers, slots). Empty slots get 0.
    """
    open_ = np.concatenate([np.ones((len(valid), 1), dtype=bool), valid], axis=1)
    count = open_.sum(axis=1, keepdims=True)
    mixed = np.where(open_, floor + (1.0 - floor * count) * shares, 0.0)
    mixed[:, 0] = np.where(count[:, 0] == 1, 1.0, mixed[:, 0])
    return mixed


def pick(chances: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The column that ``uniform`` (one number in [0, 1) per row) falls on when the row's chances are laid end to end."""
    edges = np.cumsum(chances, axis=1)
    last = chances.shape[1] - 1 - np.argmax(chances[:, ::-1] > 0, axis=1)  # rounding may leave the last edge below one
    return np.asarray(np.minimum((uniform[:, None] >= edges).sum(axis=1), last))
