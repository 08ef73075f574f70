"""Honest dirt: faults of real exports, added beside the true rows so that perfect cleaning gives exactly the true log."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind import schema
from tradewind.schema import Kind

KINDS = ("duplicate", "missing_item", "impossible_time", "unknown_item", "mixed_currency")
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC))


def spoil(events: pa.Table, share: float, draw: np.random.Generator) -> tuple[pa.Table, dict[str, int]]:
    """Return ``events`` with ``share`` times their number of faulty rows more, and how many of each of ``KINDS``.

    The faults are copies of views and carts: exact duplicates keep their id, the others get a new one.
    """
    each = round(share * events.num_rows / len(KINDS))
    pool = np.flatnonzero(pc.is_in(events["kind"], pa.array([Kind.VIEW.value, Kind.CART.value])).to_numpy(zero_copy_only=False))
    each = min(each, len(pool) // len(KINDS))
    if not each:
        return events, dict.fromkeys(KINDS, 0)
    chosen = draw.choice(pool, each * len(KINDS), replace=False)
    parts = [events]
    for number, kind in enumerate(KINDS):
        rows = events.take(np.sort(chosen[number * each : (number + 1) * each]))
        parts.append(rows if kind == "duplicate" else _fault(rows, kind))
    return pa.concat_tables(parts), dict.fromkeys(KINDS, each)


def _fault(rows: pa.Table, kind: str) -> pa.Table:
    count = rows.num_rows
    changes: dict[str, pa.Array] = {"id": pc.binary_join_element_wise(rows["id"], pa.scalar(kind[0]), "-")}
    if kind == "missing_item":
        changes["item"] = pa.nulls(count, pa.string())
    elif kind == "impossible_time":
        changes["at"] = pa.array([_TIMES[number % 2] for number in range(count)], schema.TIME)
    elif kind == "unknown_item":
        changes["item"] = pa.array([f"X{number:05d}" for number in range(count)])
    else:
        changes["currency"] = pa.array(["USD"] * count)
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), schema.EVENTS.field(name), values)
    return rows
