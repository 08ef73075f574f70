"""Does a log speak for a policy? The diagnostics of importance weights, and what they must show before a number is given.

The effective sample size as drawn flatters: where the heavy weights are rare, most logs hold none of them, look well
supported and are wrong. What all propensities together foresee, n / E[w^2], is not fooled, and is what counts where it is known.

Source: A. Owen, "Monte Carlo theory, methods and examples" (2013), chapter 9.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Needs:
    """What a log must offer before a number is given; measured by bench/offpolicy.py (docs/offpolicy.md says how)."""

    effective: float = 50.0  # effective sample size: (sum w)^2 / sum w^2, and what the propensities foresee
    uncovered: float = 0.01  # largest share of the policy's mass on what the log could not choose
    weight_z: float = 4.0  # the mean weight must be 1 within so many standard errors


@dataclass(frozen=True)
class Support:
    """How well a log speaks for a policy: the mean weight should be 1; ``uncovered`` is None where it is not known."""

    n: int
    effective: float
    largest: float
    mean: float
    mean_error: float
    uncovered: float | None
    foreseen: float | None = None  # n / E[w^2] by all propensities: not fooled when the heavy weights were, by luck, not drawn

    def faults(self, needs: Needs) -> tuple[str, ...]:
        """Why no number may be given, in sentences; empty when one may."""
        found = []
        if self.uncovered is not None and self.uncovered > needs.uncovered:
            found.append(f"the log could never choose what makes up {self.uncovered:.1%} of the policy (at most {needs.uncovered:.1%})")
        if (size := min(self.effective, np.inf if self.foreseen is None else self.foreseen)) < needs.effective:
            found.append(f"the effective sample size is {size:,.0f} of {self.n:,} ({needs.effective:,.0f} needed)")
        if abs(self.mean - 1) > needs.weight_z * self.mean_error + 1e-9:
            found.append(
                f"the mean weight is {self.mean:.3f} and should be 1 (within {needs.weight_z:g} x {self.mean_error:.3f}): "
                "the logged propensities are not those of the log, or the policy does what the log never does"
            )
        return tuple(found)

    def __str__(self) -> str:
        lost = "" if self.uncovered is None else f", {self.uncovered:.2%} of the policy without support"
        size = f"effective sample size {self.effective:,.0f}" + ("" if self.foreseen is None else f" (foreseen {self.foreseen:,.0f})")
        return f"{size} of {self.n:,}, largest weight {self.largest:,.1f}, mean {self.mean:.3f}{lost}"


def foreseen_of(pi: Values, chance: Values) -> tuple[float, float]:
    """The policy's mass on what the log could not choose, and the effective sample size that its propensities foresee."""
    there = chance > 0
    square = (np.divide(pi**2, chance, out=np.zeros(pi.shape), where=there)).sum(axis=1).mean()
    return float((pi * ~there).sum(axis=1).mean()), float(len(pi) / square) if square > 0 else 0.0


def support_of(w: Values, uncovered: float | None, foreseen: float | None = None) -> Support:
    """The diagnostics of weights [n]; what is not known of other arms is None."""
    n, square = len(w), float((w**2).sum())
    effective = float(w.sum() ** 2 / square) if square > 0 else 0.0
    return Support(n, effective, float(w.max()), float(w.mean()), float(w.std(ddof=1)) / n**0.5, uncovered, foreseen)
