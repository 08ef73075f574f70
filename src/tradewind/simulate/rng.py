"""Randomness that can be regenerated in any order: counter-based streams named by what they are for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# What a stream is for: the first number of its path.
CATALOGUE, PEOPLE, ORGANIC, BROWSE, ANSWER, MAILING, DIRT, COPY = range(8)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def stream(seed: int, *path: int) -> np.random.Generator:
    """Return the generator of ``seed`` and ``path``: the same for ever, and independent of every other path.

    Philox (Salmon et al., SC 2011) keyed through numpy's SeedSequence; all numbers must be >= 0.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *path])))


def uniforms(seed: int, *keys: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return one uniform in [0, 1) per row, a pure function of ``seed`` and the integer keys (splitmix64).

    A contact's luck must not change because another customer was contacted too; a sequential stream would do that.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.atleast_1d(np.asarray(seed, dtype=np.int64)).astype(np.uint64) + _GOLDEN)
        for key in keys:
            state = _mix((state ^ np.asarray(key, dtype=np.int64).astype(np.uint64)) * _GOLDEN + _GOLDEN)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX1
    value = (value ^ (value >> np.uint64(27))) * _MIX2
    return value ^ (value >> np.uint64(31))


class Choice:
    """Draws a column per row from many discrete laws at once: one search over all rows, row r living in [r, r + 1)."""

    def __init__(self, shares: NDArray[np.float64]) -> None:
        cdf = np.cumsum(shares, axis=1)
        cdf /= np.maximum(cdf[:, -1:], 1e-300)
        cdf[:, -1] = 1.0
        self.width = cdf.shape[1]
        self.flat = (cdf + np.arange(len(cdf))[:, None]).ravel()

    def pick(self, rows: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return one column per entry of ``rows``, drawn by the uniforms ``u``."""
        found = np.searchsorted(self.flat, rows + u, side="right") - rows * self.width
        return np.asarray(np.clip(found, 0, self.width - 1))
