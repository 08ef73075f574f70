"""Many metrics at once: p-values adjusted so that the expected share of false discoveries stays bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tradewind.errors import InputError


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: those at most q are discoveries with a false discovery rate of at most q.

    Holds for independent and for positively dependent metrics.

    Source: Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995).

    >>> [round(value, 3) for value in benjamini_hochberg([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"benjamini_hochberg: p-values lie between 0 and 1; got {list(p)!r:.120}.")
    order = np.argsort(values)[::-1]
    scaled = values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return [float(value) for value in adjusted]
