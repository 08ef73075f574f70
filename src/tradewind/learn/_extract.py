"""From the tables to the arrays of ``Sequences``, batch by batch, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.learn._content_catalogue import catalogue
from tradewind.learn._grains import Expr, Moment, Shelf, channel_code, past
from tradewind.learn._run import batches
from tradewind.learn.sequences import EVENT_ARRAYS, KINDS, Sequences, lookup

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables


def extract(tables: Tables, *, as_of: datetime, last: int | None, kinds: Sequence[str] | None) -> Sequences:
    """The engine numbers every event from the end of its customer's history; each batch then goes straight to its place.

    So nothing is sorted twice, and beside the result only one batch is held here.
    """
    events = past(tables, Moment(as_of))
    shelf = Shelf.build(tables, events)
    if kinds is not None:
        events = events.filter(events.kind.isin(list(kinds)))
    people = tables.to_arrow(events.group_by("customer").aggregate(n=lambda t: t.count())).sort_by("customer")
    lengths = people["n"].to_numpy().astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths if last is None else np.minimum(lengths, last)))).astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {
        "item": np.full(offsets[-1], -1, np.int32),
        "kind": np.zeros(offsets[-1], np.int8),
        "at": np.zeros(offsets[-1], np.int64),
        "value": np.zeros(offsets[-1], np.int64),
        "channel": np.full(offsets[-1], -1, np.int8),
    }
    for batch in batches(tables, _numbered(tables, events, shelf, people, last)):
        columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
        place = offsets[columns["row"].astype(np.int64) + 1] - 1 - columns["back"].astype(np.int64)
        for name, target in arrays.items():
            target[place] = columns[name]
    item = arrays["item"]
    arrays |= {"band": lookup(shelf.band, item), "category": lookup(shelf.category, item)}
    customers = np.empty(people.num_rows, dtype=object)
    customers[:] = people["customer"].to_pylist()
    return Sequences(
        customers=customers,
        items=shelf.items,
        categories=shelf.categories,
        offsets=offsets,
        **{name: arrays[name] for name in EVENT_ARRAYS},
        catalogue=catalogue(tables),
    )


def _numbered(tables: Tables, events: Expr, shelf: Shelf, people: pa.Table, last: int | None) -> Expr:
    """One row per event: the customer's row, the place counted back from the latest event (0), and the numbers."""
    rows = tables.memory(pa.table({"customer": people["customer"], "row": np.arange(people.num_rows)}))
    codes = tables.memory(shelf.table().select(["item", "code"]))
    slim = events.select(
        "customer", "item", "id", "us", "paid",
        kind=ibis.cases(*((events.kind == name, code) for code, name in enumerate(KINDS)), else_=-1),
        channel=channel_code(events.channel),
    )  # fmt: skip
    joined = slim.join(rows, "customer").left_join(codes, "item")
    window = ibis.window(group_by=joined.row, order_by=[joined.us.desc(), joined.id.desc()])
    numbered = joined.select(
        "row", "kind", "channel", at=joined.us, value=joined.paid, item=joined.code.coalesce(-1), back=ibis.row_number().over(window)
    )
    return numbered if last is None else numbered.filter(numbered.back < last)
