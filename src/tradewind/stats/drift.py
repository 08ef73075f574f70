"""Has a distribution moved? The population stability index, judged against what chance alone gives at these sample sizes.

    PSI = sum over bins of (q - p) * ln(q / p),   p of the reference, q of now, each with half a count added to every bin

With equal distributions, PSI / (1/n + 1/m) is about chi-square with bins - 1 degrees of freedom. So a value is "moved" only when it
exceeds that quantile; and it "matters" only above ``MATTERS``, the rule of thumb for a shift worth looking at.

Source: B. Yurdakul, "Statistical properties of population stability index", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]
Column = ArrayLike | Sequence[str | None]
MATTERS = 0.1
BINS = 10
LEAST = 20  # rows of the smaller sample in a bin, on average


@dataclass(frozen=True)
class Drift:
    """One column: its index, what chance alone reaches (at the level asked), bins and rows of both samples."""

    name: str
    psi: float
    chance: float
    bins: int
    n: int
    m: int

    @property
    def verdict(self) -> str:
        """ "stable", "moved" (certain, but small) or "shifted" (certain and large)."""
        return "stable" if self.psi <= self.chance else "shifted" if self.psi > MATTERS else "moved"


def psi(reference: Column, now: Column, *, name: str = "", level: float = 0.99, comparisons: int = 1) -> Drift:
    """The index of a column of numbers (NaN is a bin of its own) or of texts (None is a bin; rare ones are one bin).

    Bins are quantiles of ``reference``: ten, or fewer where they would hold under 20 rows of the smaller sample. ``comparisons``
    is how many columns are looked at together; the level is shared among them (Bonferroni).

    Raises
    ------
    InputError
        A sample has fewer than 40 rows.
    """
    from scipy import stats

    old, new = (_column(each) for each in (reference, now))
    n, m = len(old), len(new)
    if min(n, m) < 2 * LEAST:
        raise InputError(f"drift of {name or 'a column'}: needs {2 * LEAST} rows in both samples; got {n} and {m}.")
    most = min(BINS, min(n, m) // LEAST)
    first, second = _numbers(old, new, most) if old.dtype.kind == "f" else _texts(old, new, most)
    kept = first + second > 0
    bins = int(kept.sum())
    p, q = ((counts[kept] + 0.5) / (counts[kept] + 0.5).sum() for counts in (first, second))
    edge = float(stats.chi2.ppf(1 - (1 - level) / comparisons, max(bins - 1, 1))) * (1 / n + 1 / m)
    return Drift(name, float(((q - p) * np.log(q / p)).sum()), edge, bins, n, m)


def _column(values: Column) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    return np.array(["\x00missing" if value is None else str(value) for value in array.tolist()], dtype=object)


def _numbers(old: NDArray[Any], new: NDArray[Any], most: int) -> tuple[Values, Values]:
    known = old[~np.isnan(old)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, most + 1)[1:-1])) if len(known) else np.empty(0)

    def counts(values: NDArray[Any]) -> Values:
        missing = np.isnan(values)
        inside = np.bincount(np.searchsorted(edges, values[~missing], side="left"), minlength=len(edges) + 1)
        return np.append(inside, missing.sum()).astype(np.float64)

    return counts(old), counts(new)


def _texts(old: NDArray[Any], new: NDArray[Any], most: int) -> tuple[Values, Values]:
    names, sizes = np.unique(old.astype(str), return_counts=True)
    place = {name: number for number, name in enumerate(names[np.argsort(-sizes, kind="stable")][: most - 1].tolist())}

    def counts(values: NDArray[Any]) -> Values:
        return np.bincount([place.get(str(value), len(place)) for value in values], minlength=len(place) + 1).astype(np.float64)

    return counts(old), counts(new)
