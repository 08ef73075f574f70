"""A randomised trial as arrays: who was in it, what each got, with which probability, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]
Arms = NDArray[np.int64]
FEWEST = 20  # customers of an arm below which nothing is learned from it


@dataclass(frozen=True)
class Trial:
    """One row per customer. Arm 0 is "nothing"; the others are 1 to ``arms``. Make it by :meth:`of`, which checks.

    ``x`` float64 [n, features], NaN where unknown; ``arm`` int64 [n]; ``y`` float64 [n]; ``propensity`` float64 [n, arms + 1], the
    probability that the randomisation gave each arm; ``binary`` says whether every outcome is 0 or 1.
    """

    x: Values
    arm: Arms
    y: Values
    propensity: Values
    binary: bool

    @classmethod
    def of(cls, x: ArrayLike, arm: ArrayLike, y: ArrayLike, propensity: ArrayLike | None) -> Trial:
        """The checked trial.

        Raises
        ------
        InputError
            Lengths differ; the propensity is missing, does not sum to 1, or is 0 for an arm that was given; an outcome is
            not finite; an arm has fewer than ``FEWEST`` customers; no feature varies.
        """
        if propensity is None:
            raise InputError(
                "trial: the propensities are missing. Pass the probability of every arm, [n, arms + 1]; if the arms were drawn with one "
                "probability for all, shares(arm) estimates it."
            )
        features, outcome, chance = (np.asarray(each, dtype=np.float64) for each in (x, y, propensity))
        given = np.asarray(arm)
        if features.ndim != 2 or outcome.ndim != 1 or given.shape != outcome.shape or len(features) != len(outcome):
            raise InputError(f"trial: x must be [n, features], arm and y [n]; got {features.shape}, {given.shape} and {outcome.shape}.")
        if not np.issubdtype(given.dtype, np.integer):
            raise InputError(f"trial: arm must hold whole numbers, 0 for nothing; got {given.dtype}.")
        _check_arms(given, chance)
        if not np.isfinite(outcome).all():
            raise InputError(
                f"trial: {int((~np.isfinite(outcome)).sum())} outcomes are not finite numbers. "
                "Leave out customers whose outcome is not known yet."
            )
        if np.isinf(features).any():
            raise InputError("trial: a feature is infinite. Use NaN where a value is not known.")
        known = np.where(np.isnan(features), -np.inf, features).max(axis=0) > np.where(np.isnan(features), np.inf, features).min(axis=0)
        if not known.any():
            raise InputError(f"trial: none of the {features.shape[1]} features varies, so customers cannot be told apart. Add features.")
        return cls(features, given.astype(np.int64), outcome, chance, bool(np.isin(outcome, (0.0, 1.0)).all()))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def arms(self) -> int:
        """Arms besides nothing."""
        return int(self.propensity.shape[1]) - 1

    def part(self, rows: NDArray[np.bool_]) -> Trial:
        """The customers of ``rows``."""
        return Trial(self.x[rows], self.arm[rows], self.y[rows], self.propensity[rows], self.binary)

    def folds(self, count: int, seed: int) -> Arms:
        """Fold of each customer, int64 [n]; every arm is dealt evenly over the folds."""
        rng = np.random.default_rng(seed)
        fold = np.empty(len(self), dtype=np.int64)
        for arm in range(self.arms + 1):
            rows = rng.permutation(np.flatnonzero(self.arm == arm))
            fold[rows] = np.arange(len(rows)) % count
        return fold


def shares(arm: ArrayLike) -> Values:
    """Propensities estimated by the shares of the arms, [n, arms + 1]: right when every customer had the same chances."""
    given = np.asarray(arm)
    count = np.bincount(given)
    return np.tile(count / len(given), (len(given), 1))


def _check_arms(arm: NDArray[np.integer], chance: Values) -> None:
    if chance.ndim != 2 or len(chance) != len(arm):
        raise InputError(
            f"trial: propensity must be [n, arms + 1], the probability of every arm; got {chance.shape} for {len(arm)} customers."
        )
    arms = chance.shape[1]
    if arms < 2:
        raise InputError("trial: there is one arm only; a comparison needs nothing (arm 0) and at least one arm.")
    if len(arm) and (arm.min() < 0 or arm.max() >= arms):
        raise InputError(f"trial: arms must be 0 to {arms - 1}, as many as propensity has columns; got {arm.min()} to {arm.max()}.")
    if not (chance >= 0).all() or not np.allclose(chance.sum(axis=1), 1, atol=1e-6):
        raise InputError("trial: the propensities of a customer must be probabilities that sum to 1.")
    if not (chance[np.arange(len(arm)), arm] > 0).all():
        raise InputError("trial: an arm was given whose propensity is 0; the propensities are not those of this trial.")
    count = np.bincount(arm, minlength=arms)
    if count[0] < FEWEST:
        raise InputError(f"trial: {count[0]} customers got nothing (arm 0); at least {FEWEST} are needed to compare with.")
    if count.min() < FEWEST:
        few = int(count.argmin())
        raise InputError(f"trial: arm {few} has {count[few]} customers; at least {FEWEST} are needed. Leave the arm out.")
