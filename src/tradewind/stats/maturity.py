"""Rewards that take days to come: how much of what will follow a decision has followed by now, and what to do about it.

A decision of age t has shown the share F(t) of what will follow within the window. A reward that was seen is divided by F(age)
(inverse probability of being observed): unbiased when the delay does not depend on customer or action. F comes
from decisions whose whole window has passed.

Source: the importance weighting of delayed conversions, S. I. Ktena et al., RecSys 2019; D. Horvitz and D. Thompson 1952.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]
LEAST = 0.1  # younger decisions, of which less than this share is seen, would weigh more than ten times and are left out


@dataclass(frozen=True)
class Maturity:
    """``delays``: sorted delays of what followed mature decisions, in the unit of ``window`` (seconds, days)."""

    delays: Values
    window: float

    @classmethod
    def of(cls, delays: ArrayLike, *, window: float) -> Maturity:
        """Learn from the delays of rewards after decisions that are at least ``window`` old.

        Raises
        ------
        InputError
            There are fewer than 30 delays within the window, or one is negative.
        """
        found = np.sort(np.asarray(delays, dtype=np.float64))
        if not np.isfinite(found).all() or (found < 0).any():
            raise InputError("Maturity: a delay is negative or not a number; an outcome cannot come before its decision.")
        found = found[found <= window]
        if len(found) < 30:
            raise InputError(f"Maturity: needs 30 outcomes of decisions older than the window to know delays; got {len(found)}.")
        return cls(found, float(window))

    def seen(self, age: ArrayLike) -> Values:
        """F(age): the share of what will follow within the window that has followed by then, [n]."""
        return np.searchsorted(self.delays, np.asarray(age, dtype=np.float64), side="right") / len(self.delays)

    def reward(self, reward: ArrayLike, age: ArrayLike, *, least: float = LEAST) -> tuple[Values, NDArray[np.bool_]]:
        """Rewards [n] as they will be on average when the window is over, and which decisions are old enough to be used.

        Leaving out by age is sound as long as the policy did not change in between.
        """
        share = self.seen(age)
        usable = share >= least
        return np.where(usable, np.asarray(reward, dtype=np.float64) / np.maximum(share, least), 0.0), usable
