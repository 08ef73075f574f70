"""Quantiles of a skewed metric (the median order, the slowest tenth) compared between arms, without assuming any distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tradewind.errors import InputError
from tradewind.types import Estimate


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which order statistics (1 = smallest) hold a quantile's interval, and whether the sample is large enough to have them."""

    low: int
    high: int
    enough: bool


def ranks(n: int, share: float, *, level: float = 0.95) -> Ranks:
    """Ranks of the order statistics between which the quantile lies with probability at least ``level``, for any distribution.

    The number of units below a quantile is binomial, so the ranks do not depend on the data, and a table engine can be asked for
    them. Where the sample is too small for the tail asked for, the outermost unit is used and ``enough`` is False.

    Source: H. A. David, H. N. Nagaraja, "Order Statistics", 3rd ed., section 7.1.

    >>> ranks(100, 0.5)
    Ranks(low=40, high=61, enough=True)
    """
    from scipy import stats

    if n < 1 or not 0 < share < 1:
        raise InputError(f"quantile: needs at least one unit and a share between 0 and 1; got n={n!r}, share={share!r}.")
    tail = (1 - level) / 2
    low = int(stats.binom.ppf(tail, n, share))  # P(count < low) <= tail
    high = int(stats.binom.ppf(1 - tail, n, share)) + 1
    return Ranks(max(1, low), min(n, high), low >= 1 and high <= n)


def difference(
    treat: tuple[float, float, float], control: tuple[float, float, float], name: str, *, n: int, level: float = 0.95, enough: bool = True
) -> Estimate:
    """Difference of two quantiles, each given as ``(value, low, high)`` at ``level``, by the square-and-add method (MOVER).

    Right for large samples of any distribution, generous where values tie. ``enough`` False says so in the note.

    Source: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008).
    """
    (a, a_low, a_high), (b, b_low, b_high) = treat, control
    value = a - b
    low = value - math.hypot(a - a_low, b_high - b)
    high = value + math.hypot(a_high - a, b - b_low)
    note = "" if enough else "too few units for this tail: the interval is too narrow"
    return Estimate(name, value, low, high, level, n, "", note)
