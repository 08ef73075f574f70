"""Sufficient statistics of several columns in one group: enough for every mean, ratio and adjusted mean, and they add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """``n`` units, their ``mean`` [k] and their sample covariance ``cov`` [k, k] (divided by n - 1; zeros for one unit)."""

    n: int
    mean: Floats
    cov: Floats

    @classmethod
    def of(cls, columns: ArrayLike) -> Moments:
        """The moments of ``columns`` [n] or [n, k].

        Raises
        ------
        InputError
            A value is not finite, or there is no row.
        """
        values = np.asarray(columns, dtype=np.float64)
        values = values.reshape(len(values), -1)
        if not len(values) or not np.isfinite(values).all():
            raise InputError(
                f"Moments: got {len(values)} rows with {int((~np.isfinite(values)).sum())} values that are not finite; "
                "pass at least one row of finite values."
            )
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred / max(1, len(values) - 1))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both groups together.

        Source: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.
        """
        n = self.n + other.n
        apart = other.mean - self.mean
        scatter = (self.n - 1) * self.cov + (other.n - 1) * other.cov + np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), scatter / max(1, n - 1))


def pooled(parts: Iterable[Moments]) -> Moments:
    """The moments of all groups together; raises InputError without any."""
    total: Moments | None = None
    for part in parts:
        total = part if total is None else total + part
    if total is None:
        raise InputError("pooled: needs at least one group.")
    return total
