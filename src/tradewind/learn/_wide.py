"""Joins the grains of ``features`` to one row per customer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa

from tradewind.learn import _derived, features
from tradewind.learn._grains import Expr, Moment, Shelf, built, from_us, past, time_us
from tradewind.learn._run import kept
from tradewind.schema import Channel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tradewind.engine.tables import Tables

# Aggregates that are null where a customer has no row of their grain; all others are 0 there.
NULLABLE = frozenset(
    ("first_us", "last_us", "last_message_us", "first_order_us", "last_order_us", "last_purchase_us", "currency",
     "category_top", "brand_top", "hour_top", "channel_top")
)  # fmt: skip


def profile_rows(tables: Tables, *, as_of: datetime) -> pa.Table:
    """Every aggregate and every derived feature of every customer, with names in place of codes."""
    moment = Moment(as_of)
    events = past(tables, moment)
    shelf = Shelf.build(tables, events)
    with ExitStack() as stack:
        rows = tables.to_arrow(_with_derived(_joined(tables, _grains(tables, events, shelf, moment, stack), moment, stack), moment))
    named = {
        "top_category": _names(shelf.categories, rows["category_code"]),
        "top_brand": _names(shelf.brands, rows["brand_code"]),
        "best_channel": _names(np.array([channel.value for channel in Channel], dtype=object), rows["channel_number"]),
        "first_at": from_us(rows["since_us"]),
        "last_at": from_us(rows["last_us"]),
        "last_message_at": from_us(rows["last_message_us"]),
    }
    for name, column in named.items():
        rows = rows.append_column(name, column)
    return rows


def _grains(tables: Tables, events: Expr, shelf: Shelf, moment: Moment, stack: ExitStack) -> Iterator[tuple[str, Expr]]:
    """The tables that features aggregate, with their names; what two of them share is kept, and let go with ``stack``.

    The events themselves are read again for each: a columnar scan of the few columns that a grain needs costs less time
    and far less memory than keeping them.
    """
    codes = tables.memory(shelf.table().select(["item", "shelf_category", "shelf_brand", "band"]))
    yield "activity", events
    yield "orders", features.orders(events, moment)
    yield "messages", features.messages(events)
    yield "channels", features.channels(events, moment)
    clock = stack.enter_context(kept(tables, features.clock(events)))
    yield "clock", clock
    yield "hours", features.hours(clock, moment)
    taste = stack.enter_context(kept(tables, features.taste(events, codes, moment)))
    yield "taste", taste
    yield "categories", features.by_code(taste, "shelf_category")
    yield "brands", features.by_code(taste, "shelf_brand")


def _joined(tables: Tables, grains: Iterator[tuple[str, Expr]], moment: Moment, stack: ExitStack) -> Expr:
    """One row per customer with the aggregates of all grains."""
    wide, names = None, ["customer"]
    for name, grain in grains:
        columns = built(features.FEATURES[name], grain, moment)
        key = "customer" if wide is None else f"of_{name}"
        summed = stack.enter_context(kept(tables, grain.group_by(grain.customer.name(key)).aggregate(**columns)))
        wide = summed if wide is None else wide.left_join(summed, [("customer", key)])
        names += columns
    assert wide is not None
    wide = _with_customers(tables, wide.select(names), moment)
    counts = [name for grain in features.FEATURES.values() for name in grain if name not in NULLABLE]
    return stack.enter_context(kept(tables, wide.mutate(**{name: wide[name].coalesce(0) for name in counts})))


def _with_derived(wide: Expr, moment: Moment) -> Expr:
    row = wide.cross_join(_derived.shop_totals(wide))
    return row.mutate(**built(_derived.DERIVED, row, moment))


def _with_customers(tables: Tables, wide: Expr, moment: Moment) -> Expr:
    """Adds who signed up before the moment (no time counts as before), and what the shop's table says of everybody."""
    people = tables.get("customers").select("customer", "household", "locale", "zone", "signed_up_at")
    signed = time_us(tables, people.signed_up_at)
    people = people.mutate(known=signed.isnull() | (signed < moment.us), signed_us=ibis.ifelse(signed < moment.us, signed, None))
    both = people.drop("signed_up_at").outer_join(wide, "customer")
    both = both.filter(both.known | both.customer_right.notnull())
    return both.mutate(customer=both.customer.coalesce(both.customer_right)).drop("customer_right", "known")


def _names(names: NDArray[Any], codes: pa.ChunkedArray) -> pa.ChunkedArray:
    values = pa.array(names, pa.string())
    return pa.chunked_array([values.take(chunk.cast(pa.int64())) for chunk in codes.chunks], pa.string())
