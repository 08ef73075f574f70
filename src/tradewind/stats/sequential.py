"""Intervals and p-values that stay valid however often one looks, and whenever one stops.

An asymptotic confidence sequence is wider than a fixed-horizon interval (by about 1.5 times at the sample size that it is tuned for) and in
return its promise holds at all looks together: the probability that it ever misses the truth is at most 1 - level, once the samples are
large enough for means to be normal (:data:`FEW` units in each arm is our convention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tradewind.errors import InputError
from tradewind.types import Estimate

TUNED = 5_000  # units in all at which the sequence is tightest
FEW = 100  # units of the smaller arm below which the sequence is not shown


def spread(tuned: float, level: float = 0.95) -> float:
    """The squared mixing scale rho^2 that makes the sequence tightest at ``tuned`` units (eq. 161, approximate)."""
    if tuned <= 0 or not 0 < level < 1:
        raise InputError(f"confidence sequence: tuned must be positive and level in (0, 1); got {tuned!r} and {level!r}.")
    a = -2 * math.log(1 - level)
    return (a + math.log(a + 1)) / tuned


def widening(n: int, *, tuned: float = TUNED, level: float = 0.95) -> float:
    """Half-width of the sequence in standard errors after ``n`` units (a fixed-horizon interval has 1.96).

    Source: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences", arXiv 2103.06476, eq. 9.
    """
    if n < 1:
        raise InputError(f"confidence sequence: n must be at least 1; got {n!r}.")
    grown = n * spread(tuned, level)
    return math.sqrt(2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / (1 - level)))


def confidence_sequence(
    value: float, error: float, n: int, name: str, *, tuned: float = TUNED, level: float = 0.95, unit: str = "", note: str = ""
) -> Estimate:
    """The interval of an estimate with standard error ``error`` from ``n`` units, valid at every look.

    When not to use: fewer than some hundred units, or an ``error`` that is not a standard error of independent units.
    """
    half = widening(n, tuned=tuned, level=level) * error
    return Estimate(name, value, value - half, value + half, level, n, unit, note)


def p_value(value: float, error: float, n: int, *, tuned: float = TUNED, level: float = 0.95) -> float:
    """The always-valid p-value: the smallest 1 - level at which the sequence (its scale kept as tuned for ``level``) leaves out 0."""
    if error == 0:
        return 1.0 if value == 0 else 0.0
    grown = n * spread(tuned, level)
    exponent = (value / error) ** 2 * grown / (2 * (grown + 1))
    return min(1.0, math.exp(min(0.0, 0.5 * math.log(grown + 1) - exponent)))


def sample_ratio(counts: Sequence[int], shares: Sequence[float], *, strength: float = 10_000.0) -> float:
    """Always-valid p-value that ``counts`` came from ``shares``; arms of share 0 are left out. ``strength``: weight of the prior, in units.

    The inverse Bayes factor of a Dirichlet prior around ``shares`` against ``shares`` themselves; under the asked split it
    falls below p with probability at most p, at any number of looks.

    Source: M. Lindon, A. Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.

    >>> sample_ratio([5000, 5000], [1, 1])
    1.0
    """
    used = [(count, share) for count, share in zip(counts, shares, strict=True) if share > 0]
    if len(used) < 2 or any(count < 0 for count, _ in used):
        raise InputError("sample_ratio: needs at least two arms with a positive share, and counts that are not negative.")
    whole = sum(share for _, share in used)
    log = math.lgamma(strength) - math.lgamma(strength + sum(count for count, _ in used))
    for count, share in used:
        prior = strength * share / whole
        log += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share / whole)
    return math.exp(min(0.0, -log))
