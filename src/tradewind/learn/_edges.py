"""Counting the edges of the directional item graph, for a whole log at once and event by event, to the same integers.

An edge a -> b weighs w(a) w(b) distance^-decay for every time that b came ``distance`` steps after a, and ``backward``
times that in the other direction. Every product is rounded to a whole number of 2^-20, so sums do not depend on their
order: counting one event after the other gives exactly what counting the whole log gives, and an event can be taken out again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._signal import Signal

UNIT = 1 << 20
SHARE = 1 << 10  # resolution of the forward : backward ratio
CHUNK = 1_000_000  # events counted at once: bounds memory

Edges = Any  # scipy.sparse.csr_array of int64, [I, I]


def distances(window: int, decay: float) -> NDArray[np.float64]:
    """Weight by distance 1..window, float64 [window], times the unit."""
    return np.arange(1, window + 1, dtype=np.float64) ** -decay * UNIT


def steps(weights: NDArray[np.float64], scale: Any) -> NDArray[np.int64]:
    """Products rounded to whole units, always even so that a tie can be halved."""
    whole: NDArray[np.int64] = (np.rint(weights * scale * 0.5) * 2).astype(np.int64)
    return whole


def count(found: Signal, *, items: int, window: int, decay: float) -> Edges:
    """Forward edges int64 [items, items] of a merged signal: how strongly each item was followed by each other.

    Items at the same moment (lines of one order) have no direction: half of their weight goes each way.
    """
    from scipy.sparse import csr_array

    total = csr_array((items, items), dtype=np.int64)
    ends = np.repeat(found.offsets[1:], found.lengths)
    scale = distances(window, decay)
    for start in range(0, len(found.item), CHUNK):
        total = total + _chunk(found, ends, scale, slice(start, min(start + CHUNK, len(found.item))), items)
    total.setdiag(0)
    total.eliminate_zeros()
    return total


def _chunk(found: Signal, ends: NDArray[np.int64], scale: NDArray[np.float64], part: slice, items: int) -> Edges:
    from scipy.sparse import csr_array

    here = np.arange(part.start, part.stop)
    later = here[:, None] + np.arange(1, len(scale) + 1)
    valid = later < ends[part, None]
    later = later[valid]
    left = np.repeat(here, valid.sum(axis=1))
    data = steps(found.weight[left] * found.weight[later], np.broadcast_to(scale, valid.shape)[valid])
    tied = found.at[left] == found.at[later]
    forward = np.where(tied, data // 2, data)
    total = _product(found.item[part], np.concatenate(([0], np.cumsum(valid.sum(axis=1)))), found.item[later], forward, items)
    if tied.any():
        mirror = csr_array((data[tied] // 2, (found.item[later[tied]], found.item[left[tied]])), shape=(items, items))
        total = total + mirror
    return csr_array(total)


def _product(rows: NDArray[np.int32], indptr: NDArray[np.int64], columns: NDArray[np.int32], data: NDArray[np.int64], items: int) -> Edges:
    """Sum the entries of each event into the row of its item, as one sparse product (no sort of all pairs)."""
    from scipy.sparse import csr_array

    by_event = csr_array((data, columns, indptr), shape=(len(rows), items))
    order = np.argsort(rows, kind="stable")
    group = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=items))))
    selector = csr_array((np.ones(len(rows), np.int64), order, group), shape=(items, len(rows)))
    return selector @ by_event
