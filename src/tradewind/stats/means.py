"""Means, shares and ratios of two arms compared from their sufficient statistics: delta method, CUPED and strata in one form.

In each arm the vector of column means ``m`` has a covariance ``C``; with strata both are weighted sums over strata. A metric is
a smooth function of ``m``: a mean, or a mean over a mean, minus theta times its covariates. Its variance is ``g' C g`` with the
gradient ``g`` at the arm's own means. So one code serves plain, ratio, adjusted and stratified metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats.moments import Moments, pooled
from tradewind.types import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns make a metric: ``top`` over ``bottom`` (None: per unit), and covariates of the same form."""

    top: int
    bottom: int | None = None
    covariates: tuple[tuple[int, int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """A metric in one arm: its adjusted ``mean``, the ``variance`` of that mean, and Satterthwaite's pieces."""

    n: int
    mean: float
    variance: float
    pieces: float  # sum over strata of variance^2 / (n - 1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms of one metric: difference, standard error, degrees of freedom, two-sided p-value."""

    treat: Arm
    control: Arm
    explained: float  # share of the variance of the difference that covariates and strata took out

    @property
    def n(self) -> int:
        """Units in both arms."""
        return self.treat.n + self.control.n

    @property
    def value(self) -> float:
        """Mean of the treated minus mean of the control."""
        return self.treat.mean - self.control.mean

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(max(0.0, self.treat.variance + self.control.variance))

    @property
    def freedom(self) -> float:
        """Welch's and Satterthwaite's degrees of freedom; infinite without variance."""
        pieces = self.treat.pieces + self.control.pieces
        return math.inf if pieces == 0 else (self.treat.variance + self.control.variance) ** 2 / pieces

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference; 1 where nothing varies and nothing differs."""
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        from scipy import stats

        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def estimate(self, name: str, *, level: float = 0.95, unit: str = "", note: str = "") -> Estimate:
        """The difference with Welch's interval."""
        half = quantile(level, self.freedom) * self.error
        return Estimate(name, self.value, self.value - half, self.value + half, level, self.n, unit, note)


def quantile(level: float, freedom: float) -> float:
    """The two-sided quantile of Student's t, or of the normal distribution where the degrees of freedom are infinite."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + level / 2, freedom) if math.isfinite(freedom) else stats.norm.ppf(0.5 + level / 2))


def compare(treat: Sequence[Moments], control: Sequence[Moments], shape: Shape) -> Comparison:
    """Compare a metric between two arms, each given as one ``Moments`` per stratum, in the same order of strata.

    Covariates must have been fixed before assignment. Their coefficients come from the pooled arms (within strata, each weighted
    by its size), each ratio linearised at the pooled means. Strata are weighted by their pooled sizes (post-stratification).

    Assumes independent units and many of them in each arm and stratum. When not to use: units that influence each other; skewed money
    with few units (:func:`tradewind.stats.skewed.difference`); looking again and again (:mod:`tradewind.stats.sequential`).

    Sources: Welch 1947; A. Deng et al., WSDM 2013 (CUPED); A. Deng, U. Knoblich, J. Lu, "Applying the delta method in
    metric analytics", KDD 2018; L. W. Miratrix, J. S. Sekhon, B. Yu, JRSS B 75 (2013) (post-stratification).

    Raises
    ------
    InputError
        An arm has fewer than two units in a stratum, or the mean of a denominator is 0.
    """
    if len(treat) != len(control) or not treat:
        raise InputError(f"compare: give both arms the same strata; got {len(treat)} and {len(control)}.")
    small = min(part.n for part in (*treat, *control))
    if small < 2:
        raise InputError(f"compare: needs at least two units in each arm and stratum; the smallest has {small}. Merge strata.")
    parts = [a + b for a, b in zip(treat, control, strict=True)]
    total = pooled(parts)
    weights = np.array([part.n / total.n for part in parts])
    within = sum(weight * part.cov for weight, part in zip(weights, parts, strict=True)) if len(parts) > 1 else total.cov
    theta = _coefficients(total.mean, within, shape)
    arms = [_arm(side, weights, shape, theta, total.mean) for side in (treat, control)]
    plain = [_arm([pooled(side)], np.ones(1), Shape(shape.top, shape.bottom), np.zeros(0), total.mean) for side in (treat, control)]
    before, after = (sum(arm.variance for arm in pair) for pair in (plain, arms))
    return Comparison(arms[0], arms[1], 1 - after / before if before > 0 else 0.0)


def adjusted(whole: Moments, shape: Shape) -> tuple[float, float, float]:
    """A metric in one group: its mean, its standard deviation per unit, and the share of the variance that covariates leave."""
    main = _gradient(whole.mean, shape.top, shape.bottom)
    theta = _coefficients(whole.mean, whole.cov, shape)
    rest = main - sum(
        (c * _gradient(whole.mean, top, bottom) for c, (top, bottom) in zip(theta, shape.covariates, strict=True)), np.zeros(1)
    )
    before, after = (max(0.0, float(g @ whole.cov @ g)) for g in (main, rest))
    return _value(whole.mean, shape.top, shape.bottom), math.sqrt(before), after / before if before else 1.0


def _gradient(mean: Floats, top: int, bottom: int | None) -> Floats:
    gradient = np.zeros(len(mean))
    if bottom is None:
        gradient[top] = 1.0
        return gradient
    if mean[bottom] == 0:
        raise InputError(
            "compare: the denominator of a ratio is 0 in every unit of an arm. Choose another denominator, or a longer window."
        )
    gradient[top] += 1.0 / mean[bottom]
    gradient[bottom] -= mean[top] / mean[bottom] ** 2
    return gradient


def _value(mean: Floats, top: int, bottom: int | None) -> float:
    return float(mean[top] if bottom is None else mean[top] / mean[bottom])


def _coefficients(mean: Floats, cov: Floats, shape: Shape) -> Floats:
    """Least squares of the linearised metric on its linearised covariates; covariates without variance get 0."""
    if not shape.covariates:
        return np.zeros(0)
    main = _gradient(mean, shape.top, shape.bottom)
    sides = np.array([_gradient(mean, top, bottom) for top, bottom in shape.covariates])
    theta: Floats = np.linalg.lstsq(sides @ cov @ sides.T, sides @ cov @ main, rcond=1e-12)[0]
    return theta


def _arm(parts: Sequence[Moments], weights: Floats, shape: Shape, theta: Floats, pooled_mean: Floats) -> Arm:
    mean = np.asarray(sum(weight * part.mean for weight, part in zip(weights, parts, strict=True)))
    gradient = _gradient(mean, shape.top, shape.bottom)
    value = _value(mean, shape.top, shape.bottom)
    for coefficient, (top, bottom) in zip(theta, shape.covariates, strict=True):
        value -= coefficient * (_value(mean, top, bottom) - _value(pooled_mean, top, bottom))
        gradient = gradient - coefficient * _gradient(mean, top, bottom)
    pieces = [weight**2 * float(gradient @ part.cov @ gradient) / part.n for weight, part in zip(weights, parts, strict=True)]
    spread = sum(piece**2 / (part.n - 1) for piece, part in zip(pieces, parts, strict=True))
    return Arm(sum(part.n for part in parts), float(value), float(max(0.0, sum(pieces))), float(spread))


def relative(found: Comparison, name: str, *, level: float = 0.95, method: str = "log") -> Estimate:
    """The difference as a share of the control's mean.

    ``method``: "log" (interval of the logarithm of the ratio, right where both means are positive), "delta" (symmetric, linearised) or
    "fieller" (exact for normal means, honest where the control's mean is near 0; without an interval where that is not bounded).

    Raises
    ------
    InputError
        No such method; the control's mean is 0; or "log" with a mean that is not positive.
    """
    a, b = found.treat, found.control
    if b.mean == 0:
        raise InputError(f"{name}: the control's mean is 0, so nothing is relative to it. Read the absolute difference.")
    value, n = a.mean / b.mean - 1, found.n
    if method == "fieller":
        from tradewind.stats.fieller import ratio

        bound = ratio(a.mean, b.mean, a.variance, b.variance, 0.0, level=level, freedom=found.freedom)
        low, high = (None, None) if bound is None else (bound[0] - 1, bound[1] - 1)
        return Estimate(name, value, low, high, level, n, "share")
    if method == "delta":
        variance = a.variance / b.mean**2 + b.variance * a.mean**2 / b.mean**4
        half = quantile(level, found.freedom) * math.sqrt(variance)
        return Estimate(name, value, value - half, value + half, level, n, "share")
    if method != "log":
        raise InputError(f'{name}: method must be "log", "delta" or "fieller"; got {method!r}.')
    if a.mean <= 0 or b.mean <= 0:
        raise InputError(f'{name}: a mean is not positive, so it has no logarithm. Use method="fieller".')
    one, other = a.variance / a.mean**2, b.variance / b.mean**2
    pieces = a.pieces / a.mean**4 + b.pieces / b.mean**4
    half = quantile(level, (one + other) ** 2 / pieces if pieces else math.inf) * math.sqrt(one + other)
    return Estimate(name, value, (1 + value) * math.exp(-half) - 1, (1 + value) * math.exp(half) - 1, level, n, "share")
