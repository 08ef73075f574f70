"""Two groups compared: means, proportions, variance reduction and the check that the split is what was asked for.

Arrays in, :class:`~tradewind.types.Estimate` out. Every interval is two-sided at ``level``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError
from tradewind.types import Estimate

Floats = NDArray[np.float64]


def _clean(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{what} must be one-dimensional; got {array.ndim} dimensions.")
    if not np.isfinite(array).all():
        raise InputError(
            f"{what} holds {int((~np.isfinite(array)).sum())} values that are not finite. Clean them or leave them out, and say so."
        )
    return array


def mean_difference(treat: ArrayLike, control: ArrayLike, *, name: str = "difference", level: float = 0.95, unit: str = "") -> Estimate:
    """Difference of two means with Welch's interval (unequal variances, Satterthwaite's degrees of freedom).

    Assumes independent units and a sample mean that is close to normal; for money with a few huge orders that needs
    thousands of units. When not to use: units that influence each other, or peeking until it looks good.

    Source: B. L. Welch, "The generalization of Student's problem ...", Biometrika 34 (1947).

    >>> e = mean_difference([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    >>> round(e.value, 3), round(e.low, 3), round(e.high, 3)
    (2.5, -1.364, 6.364)
    """
    from scipy import stats

    a, b = _clean(treat, "treat"), _clean(control, "control")
    if min(a.size, b.size) < 2:
        raise InputError(f"{name}: needs at least two units in each group; got {a.size} and {b.size}.")
    va, vb = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    value, error = float(a.mean() - b.mean()), math.sqrt(va + vb)
    if error == 0.0:
        return Estimate(name, value, value, value, level, a.size + b.size, unit, "no variance in either group")
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return Estimate(name, value, value - half, value + half, level, a.size + b.size, unit)


def cuped(outcome: ArrayLike, covariates: ArrayLike) -> Floats:
    """Return ``outcome`` [n] with the part explained by pre-period ``covariates`` [n] or [n, k] taken out, mean unchanged.

    The covariates must have been fixed before assignment; then the difference of means stays unbiased (to first order)
    while its variance falls by the share explained. Columns without variance are ignored. The mean is taken over the
    pooled groups, so pass both groups together.

    Source: A. Deng, Y. Xu, R. Kohavi, T. Walker, "Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data", WSDM 2013.
    """
    y = _clean(outcome, "outcome")
    x = np.asarray(covariates, dtype=np.float64)
    x = x.reshape(y.size, -1)
    if not np.isfinite(x).all():
        raise InputError("covariates hold values that are not finite; fill them (0 for a customer without history) first.")
    x = x - x.mean(axis=0)
    x = x[:, x.std(axis=0) > 0]
    if x.shape[1] == 0 or y.size <= x.shape[1] + 1:
        return y
    theta, *_ = np.linalg.lstsq(x, y - y.mean(), rcond=None)
    adjusted: Floats = y - x @ theta
    return adjusted


def proportion(successes: int, n: int, *, name: str = "share", level: float = 0.95) -> Estimate:
    """A share with Wilson's score interval; ``n = 0`` gives the whole range 0 to 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    from scipy import stats

    if not 0 <= successes <= n:
        raise InputError(f"{name}: successes must lie between 0 and n; got {successes} of {n}.")
    if n == 0:
        return Estimate(name, math.nan, 0.0, 1.0, level, 0, "share", "no units")
    z = float(stats.norm.ppf(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(name, p, max(0.0, centre - half), min(1.0, centre + half), level, n, "share")


def proportion_difference(treat: Sequence[int], control: Sequence[int], *, name: str = "difference", level: float = 0.95) -> Estimate:
    """Difference of two shares, each given as ``(successes, n)``, with Newcombe's hybrid score interval.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), method 10.
    """
    a, b = proportion(*treat, name=name, level=level), proportion(*control, name=name, level=level)
    if a.n == 0 or b.n == 0:
        raise InputError(f"{name}: a group has no units ({treat[1]} and {control[1]}).")
    assert a.low is not None
    assert a.high is not None
    assert b.low is not None
    assert b.high is not None
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(name, value, low, high, level, treat[1] + control[1], "share")


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> float:
    """P-value of the chi-square test that ``counts`` came from ``shares`` (which are normalised; arms of share 0 are left out).

    Below .001 the split is broken and no difference of the arms may be believed.

    Source: A. Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.
    """
    from scipy import stats

    used = [(c, s) for c, s in zip(counts, shares, strict=True) if s > 0]
    if len(used) < 2 or sum(c for c, _ in used) == 0:
        raise InputError("sample_ratio: needs at least two arms with a positive share, and units in them.")
    total, weight = sum(c for c, _ in used), sum(s for _, s in used)
    return float(stats.chisquare([c for c, _ in used], [total * s / weight for _, s in used]).pvalue)
