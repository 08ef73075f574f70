"""The interval of a ratio of two estimates, both of them uncertain."""

from __future__ import annotations

import math


def ratio(
    top: float, bottom: float, var_top: float, var_bottom: float, covariance: float, *, level: float = 0.95, freedom: float = math.inf
) -> tuple[float, float] | None:
    """Fieller's interval of ``top / bottom``; None where ``bottom`` is not clearly different from 0 (then it is unbounded).

    All ``r`` with ``(top - r bottom)^2 <= t^2 (var_top - 2 r covariance + r^2 var_bottom)``.

    Source: E. C. Fieller, "Some problems in interval estimation", JRSS B 16 (1954).

    >>> low, high = ratio(4.0, 2.0, 0.04, 0.01, 0.0)
    >>> round(low, 3), round(high, 3)
    (1.738, 2.302)
    """
    from tradewind.stats.means import quantile

    t2 = quantile(level, freedom) ** 2
    a = bottom**2 - t2 * var_bottom
    if a <= 0:
        return None
    b = top * bottom - t2 * covariance
    c = top**2 - t2 * var_top
    root = math.sqrt(max(0.0, b * b - a * c))
    return float((b - root) / a), float((b + root) / a)
