"""Small logs with known structure, for the tests of the recommenders."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from tradewind.learn.sequences import Sequences
from tradewind.types import from_micros

HOUR = 3_600_000_000
END = from_micros(2000 * HOUR)
CUT = from_micros(700 * HOUR)


def log(*, customers: int = 60, items: int = 30, events: int = 1200, seed: int = 0) -> Sequences:
    """Customers walk along a ring of items (i, then i + 1 most of the time), in three categories, by mixed kinds of event."""
    rng = np.random.default_rng(seed)
    owner = np.sort(rng.integers(0, customers, events))
    step = rng.choice([1, 2, 5], events, p=[0.7, 0.2, 0.1])
    place = np.zeros(events, dtype=int)
    for n in range(events):
        fresh = n == 0 or owner[n] != owner[n - 1]
        place[n] = rng.integers(items) if fresh else (place[n - 1] + step[n]) % items
    at = np.sort(rng.integers(0, 1000, events))
    at = (at[np.argsort(np.argsort(rng.random(events)))] * HOUR)[np.argsort(owner, kind="stable")]
    for name in range(customers):
        at[owner == name] = np.sort(at[owner == name])
    kinds = rng.choice(["view", "cart", "purchase", "open", "refund"], events, p=[0.4, 0.1, 0.4, 0.05, 0.05])
    names = [f"i{code:02d}" for code in range(items)]
    return Sequences.from_arrays(
        [f"c{code:03d}" for code in owner],
        item=[None if kind == "open" else names[code] for kind, code in zip(kinds, place, strict=True)],
        at=at,
        kind=kinds.tolist(),
        categories={name: f"shelf {code % 3}" for code, name in enumerate(names)},
        items=names,
    )


def of(*rows: tuple[str, str | None, int], kind: str = "purchase", items: tuple[str, ...] = ()) -> Sequences:
    """Rows of (customer, item, hour)."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return Sequences.from_arrays(list(columns[0]), item=list(columns[1]), at=[hour * HOUR for hour in columns[2]], kind=kind, items=items)


def hour(number: int) -> datetime:
    return from_micros(number * HOUR)
