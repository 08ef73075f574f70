"""What a policy would have earned, from a trial whose propensities are known: IPS and DR, and differences at equal spend.

A policy is a matrix of probabilities [n, arms + 1]; column 0 is "nothing". Every estimate is a mean over customers of one score per
customer, so that two policies on the same log are compared pair by pair; the interval is that of a skewed mean (``stats/skewed.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats import skewed
from tradewind.types import Estimate

Values = NDArray[np.float64]


def scores(outcome: Values, arm: NDArray[np.int64], propensity: Values, predicted: Values | None = None) -> Values:
    """Unbiased scores of what each arm would have brought each customer, float64 [n, arms + 1].

    ``predicted`` [n, arms + 1] holds predictions made without the customer's own outcome (cross-fitted) and gives the
    doubly robust score; without it, inverse propensity weighting.

        score(i, a) = predicted(i, a) + 1{arm_i = a} * (outcome_i - predicted(i, a)) / propensity(i, a)

    Source: M. Dudik, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011.

    Raises
    ------
    InputError
        Shapes differ, an arm does not exist, or the propensity of an arm that was given is not above 0.
    """
    if propensity.ndim != 2 or len({len(outcome), len(arm), len(propensity)}) != 1:
        raise InputError(
            f"scores: outcome and arm must be [n] and propensity [n, arms + 1]; got {outcome.shape}, {arm.shape} and {propensity.shape}."
        )
    if len(arm) and (arm.min() < 0 or arm.max() >= propensity.shape[1]):
        raise InputError(f"scores: arms are numbered 0 to {propensity.shape[1] - 1}, 0 being nothing; got {arm.min()} to {arm.max()}.")
    rows = np.arange(len(arm))
    chance = propensity[rows, arm]
    if not (chance > 0).all():
        raise InputError(f"scores: {int((~(chance > 0)).sum())} given arms have no propensity above 0. Log every choice's probability.")
    found = np.zeros(propensity.shape) if predicted is None else np.array(predicted, dtype=np.float64)
    if found.shape != propensity.shape:
        raise InputError(f"scores: predicted must be of the shape of propensity, {propensity.shape}; got {found.shape}.")
    found[rows, arm] += (outcome - found[rows, arm]) / chance
    return found


def value(policy: Values, scored: Values, *, name: str = "value", level: float = 0.95) -> Estimate:
    """Mean outcome per customer under ``policy`` [n, arms + 1] or [1, arms + 1], with its two-sided interval at ``level``."""
    return _mean((policy * scored).sum(axis=1), name, level)


def gain(policy: Values, base: Values, scored: Values, *, name: str = "gain", level: float = 0.95) -> Estimate:
    """Value of ``policy`` minus value of ``base`` on the same customers: the paired interval."""
    return _mean(((policy - base) * scored).sum(axis=1), name, level)


def gain_at_equal_spend(
    policy: Values, base: Values, scored: Values, spent: Values, *, slope: float, name: str = "gain", level: float = 0.95
) -> Estimate:
    """As :func:`gain`, corrected for what is left of a difference in spend.

    Parameters
    ----------
    spent
        Scores of the cost of each arm, [n, arms + 1], as :func:`scores` makes them from the logged cost.
    slope
        Outcome per unit of cost that ``base`` would buy with a little more money. The two spend the same on average over
        trials; on this one they differ by noise, and the slope turns that difference into outcome (first order).
    """
    return _mean(((policy - base) * (scored - slope * spent)).sum(axis=1), name, level)


def _mean(each: Values, name: str, level: float) -> Estimate:
    n = len(each)
    if n < 2:
        raise InputError(f"{name}: needs at least two customers; got {n}.")
    middle = float(each.mean())
    return Estimate(name, middle, *skewed.around(middle, each - middle, level), level, n)
