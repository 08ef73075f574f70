"""Arms of a bandit compared by the probabilities with which they were given, in the order in which they were given.

A bandit stops giving an arm that had bad luck, so an arm's plain mean is too low, and its Welch interval means nothing. Weighing
each outcome by the inverse of its logged probability removes the bias; damping those weights keeps the interval normal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats.means import quantile
from tradewind.stats.policy_value import scores
from tradewind.types import Estimate

Values = NDArray[np.float64]


def contrast(
    outcome: Values, arm: NDArray[np.int64], propensity: Values, *, one: int, other: int, name: str = "difference", level: float = 0.95
) -> Estimate:
    """Mean outcome of arm ``one`` minus that of arm ``other``, had everybody got it; rows [n] in the order of the decisions.

    ``propensity`` [n, arms] are the probabilities at the moment of each decision. Each row's score is doubly robust with the mean that
    the arm had before it, and its weight is ``sqrt(p_one p_other / (p_one + p_other))``: known before the outcome, 1 where the
    arms are even, small where one was hardly ever given.

    Assumes that outcomes depend on the arm alone, not on the time (weights vary with time): for a season, compare within it.

    Source: V. Hadad, D. A. Hirshberg, R. Zhan, S. Wager, S. Athey, "Confidence intervals for policy evaluation in adaptive
    experiments", PNAS 118 (2021), with constant-allocation-like weights for a contrast.

    Raises
    ------
    InputError
        Fewer than two rows, shapes that differ, or a given arm without a positive propensity.
    """
    if len(outcome) < 2:
        raise InputError(f"{name}: needs at least two decisions; got {len(outcome)}.")
    scored = scores(outcome, arm, propensity, predicted=before(outcome, arm, propensity.shape[1]))
    p, q = propensity[:, one], propensity[:, other]
    both = (p > 0) & (q > 0)
    if not both.any():
        raise InputError(f"{name}: no decision could have given either arm, so the log cannot compare them.")
    weight = np.where(both, np.sqrt(p * q / np.where(both, p + q, 1.0)), 0.0)
    each = scored[:, one] - scored[:, other]
    value = float(weight @ each / weight.sum())
    error = math.sqrt(float((weight**2) @ (each - value) ** 2)) / float(weight.sum())
    half = quantile(level, math.inf) * error
    left = int((~both).sum())
    note = f"{left} decisions that could not give both arms have no weight" if left else ""
    return Estimate(name, value, value - half, value + half, level, len(outcome), "", note)


def before(outcome: Values, arm: NDArray[np.int64], arms: int) -> Values:
    """Mean outcome of each arm over the rows before each row, [n, arms]; 0 before the arm's first outcome."""
    given = np.eye(arms)[arm]
    count = np.cumsum(given, axis=0) - given
    total = np.cumsum(given * outcome[:, None], axis=0) - given * outcome[:, None]
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)
