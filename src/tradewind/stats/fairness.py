"""Does one group get as much as everybody else? Means by group, and each group's ratio to all the others, with honest intervals.

The intervals of all ratios of one comparison hold together at the stated level (Bonferroni). The ratio of two uncertain means has
Fieller's interval; a group in which nothing at all was seen has 0, and at most what its size cannot exclude (3 / n of the largest value).

Source: M. Feldman et al., "Certifying and removing disparate impact", KDD 2015 (the four-fifths rule as a ratio); O. J. Dunn,
"Multiple comparisons among means", JASA 56 (1961).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from tradewind.errors import InputError
from tradewind.stats.fieller import ratio
from tradewind.types import Estimate

FEW = 30  # members below which a group is shown, but not judged


@dataclass(frozen=True)
class GroupShare:
    """One group: its mean, and that over the mean of all other groups; where ``ratio`` is None, ``why`` says why it cannot be said."""

    group: str
    mean: Estimate
    ratio: Estimate | None
    why: str = ""


def compare(values: ArrayLike, groups: Sequence[str], *, level: float = 0.95, comparisons: int | None = None) -> list[GroupShare]:
    """Compare ``values`` [n], 0 or more, between ``groups`` [n], in order of name.

    ``comparisons`` is how many ratios are looked at together; those of this call when left out.

    Raises
    ------
    InputError
        Lengths differ, a value is negative or not finite, or there is only one group.
    """
    x, names = np.asarray(values, dtype=np.float64), np.asarray(groups, dtype=str)
    if x.ndim != 1 or x.shape != names.shape:
        raise InputError(f"fairness: one value and one group for each customer; got {x.shape} and {names.shape}.")
    if not (np.isfinite(x) & (x >= 0)).all():
        raise InputError("fairness: values must be finite and 0 or more; a ratio of losses says nothing.")
    known = np.unique(names).tolist()
    if len(known) < 2:
        raise InputError(f"fairness: one group only ({', '.join(known) or 'none'}); nothing to compare with.")
    shared = 1 - (1 - level) / (comparisons or len(known))
    return [_against_the_rest(name, x[names == name], x[names != name], shared) for name in known]


def _against_the_rest(name: str, own: np.ndarray, rest: np.ndarray, level: float) -> GroupShare:
    reach = NormalDist().inv_cdf(0.5 + level / 2)
    error = float(own.std(ddof=1)) / len(own) ** 0.5 if len(own) > 1 else np.inf
    value = float(own.mean())
    mean = Estimate(name, value, max(0.0, value - reach * error), value + reach * error, level, len(own))
    if min(len(own), len(rest)) < FEW:
        return GroupShare(name, mean, None, f"fewer than {FEW} members, or fewer in all other groups")
    other = float(rest.mean())
    if other == 0:
        return GroupShare(name, mean, None, "all other groups get nothing")
    if value == 0:
        most = 3 / len(own) * float(rest.max()) / other
        return GroupShare(name, mean, Estimate(name, 0.0, 0.0, most, level, len(own)))
    bounds = ratio(value, other, error**2, float(rest.var(ddof=1)) / len(rest), 0.0, level=level)
    if bounds is None:
        return GroupShare(name, mean, None, "what the other groups get is too uncertain")
    return GroupShare(name, mean, Estimate(name, value / other, max(0.0, bounds[0]), bounds[1], level, len(own)))
