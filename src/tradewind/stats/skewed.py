"""Means of skewed money, and differences of two: an interval that looks further where the tail is.

With few units in the smaller arm Welch's interval misses too often, and nearly always on one side: the arm that happened to get no
huge order has a small mean and a small variance at once. Hall's transformation takes the skewness of the statistic out.

Source: P. Hall, "On the removal of skewness by transformation", JRSS B 54 (1992); for two samples X.-H. Zhou, P. Dinh,
"Nonparametric confidence intervals for the one- and two-sample problems", Biostatistics 6 (2005).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError
from tradewind.stats.experiment import mean_difference
from tradewind.stats.means import quantile
from tradewind.types import Estimate


def difference(treat: ArrayLike, control: ArrayLike, *, name: str = "difference", level: float = 0.95, unit: str = "") -> Estimate:
    """Difference of means with Welch's interval corrected for skewness; Welch's own where nothing is skewed.

    The statistic T = (difference - truth) / error is mapped by ``g(T) = T + a T^2 / 3 + a^2 T^3 / 27 + a / 6``, where ``a`` is the
    skewness of the difference; g(T) is closer to normal than T, and g has an inverse everywhere.

    Assumes independent units with finite third moments. When not to use: a handful of units, or a single one that holds
    most of the money: then no interval from these data alone is right.

    Raises
    ------
    InputError
        An arm has fewer than two units, or a value is not finite.
    """
    plain = mean_difference(treat, control, name=name, level=level, unit=unit)
    a, b = np.asarray(treat, dtype=np.float64), np.asarray(control, dtype=np.float64)
    va, vb = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    error = math.sqrt(va + vb)
    if error == 0:
        return plain
    third = float(((a - a.mean()) ** 3).mean() / a.size**2 - ((b - b.mean()) ** 3).mean() / b.size**2)
    skew = third / error**3
    reach = quantile(level, (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1)))
    low, high = (plain.value - error * inverse(side, skew) for side in (reach, -reach))
    return Estimate(name, plain.value, low, high, level, a.size + b.size, unit, plain.note)


def around(value: float, each: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The interval of a ``value`` that has the influence ``each`` [n, mean 0] of independent units: heavy tails and skewness minded.

    The variance of a heavy tail is itself badly known: its own relative variance, (kurtosis - 1) / n, gives Student's degrees of
    freedom. Where the influence is skewed, value and variance err together, which Hall's transformation takes out.
    """
    n, spread = len(each), float(each.std(ddof=1))
    if spread == 0:
        return value, value
    square = float((each**2).mean())
    kurtosis, skewness = float((each**4).mean()) / square**2, float((each**3).mean()) / square**1.5
    reach = quantile(level, max(1.0, 2 * n / max(kurtosis - 1, 1e-9)))
    low, high = (value - spread / n**0.5 * inverse(side, skewness / n**0.5) for side in (reach, -reach))
    return low, high


def inverse(value: float, skew: float) -> float:
    """The inverse of Hall's transformation with skewness ``skew``.

    >>> inverse(1.96, 0.0)
    1.96
    """
    if not math.isfinite(skew):
        raise InputError(f"Hall's transformation: the skewness must be finite; got {skew!r}.")
    if abs(skew) < 1e-6:
        return value
    inner = 1 + skew * (value - skew / 6)
    return 3 * (math.copysign(abs(inner) ** (1 / 3), inner) - 1) / skew
