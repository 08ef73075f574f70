"""Who is held out: a hash of a salt and the unit, so that the answer never changes and never depends on the data.

A unit (customer or household) falls into one of a million buckets; the first ``share`` of them are the holdout. A
larger share therefore contains every smaller one, and another salt gives an independent holdout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from tradewind.params import Number, check

BUCKETS = 1_000_000


def bucket(unit: str, *, salt: str) -> int:
    """The bucket of ``unit`` in 0..999,999: SHA-256 of salt and unit, modulo a million."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x1f{unit}".encode()).digest()[:8], "big") % BUCKETS


def in_holdout(unit: str, *, salt: str, share: float) -> bool:
    """Whether ``unit`` is held out when ``share`` (0-1, resolution 1e-6) of all units are.

    Raises
    ------
    InputError
        ``share`` is not a number from 0 to 1.
    """
    check("holdout", {"share": share}, {"share": Number(0, 1)})
    return bucket(unit, salt=salt) < round(share * BUCKETS)


def held_out(units: Iterable[str], *, salt: str, share: float) -> np.ndarray:
    """:func:`in_holdout` for many units; bool of one value per unit."""
    check("holdout", {"share": share}, {"share": Number(0, 1)})
    limit = round(share * BUCKETS)
    seen: dict[str, bool] = {}
    answers = []
    for unit in units:
        if unit not in seen:
            seen[unit] = bucket(unit, salt=salt) < limit
        answers.append(seen[unit])
    return np.array(answers, dtype=bool)
