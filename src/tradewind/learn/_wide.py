"""Joins the grains of ``features`` to one row per customer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa

from tradewind.learn import features
from tradewind.learn._grains import Expr, Moment, Shelf, from_us, past, time_us
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
    rows = tables.to_arrow(expression(tables, events, shelf, moment))
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


def expression(tables: Tables, events: Expr, shelf: Shelf, moment: Moment) -> Expr:
    """One row per customer: all aggregates, the shop's totals, all derived features."""
    wide = None
    for name, grain in grains(tables, events, shelf, moment).items():
        summed = grain.group_by("customer").aggregate(**features.built(features.FEATURES[name], grain, moment))
        wide = summed if wide is None else wide.left_join(summed, "customer").drop("customer_right")
    wide = _with_customers(tables, wide, moment)
    counts = [name for grain in features.FEATURES.values() for name in grain if name not in NULLABLE]
    wide = wide.mutate(**{name: wide[name].coalesce(0) for name in counts})
    row = wide.cross_join(features.shop_totals(wide))
    return row.mutate(**features.built(features.DERIVED, row, moment))


def _with_customers(tables: Tables, wide: Expr, moment: Moment) -> Expr:
    """Adds who signed up before the moment (no time counts as before), and what the shop's table says of everybody."""
    people = tables.get("customers").select("customer", "household", "locale", "zone", "signed_up_at")
    signed = time_us(tables, people.signed_up_at)
    people = people.mutate(known=signed.isnull() | (signed < moment.us), signed_us=ibis.ifelse(signed < moment.us, signed, None))
    both = people.drop("signed_up_at").outer_join(wide, "customer")
    both = both.filter(both.known | both.customer_right.notnull())
    return both.mutate(customer=both.customer.coalesce(both.customer_right)).drop("customer_right", "known")


def grains(tables: Tables, events: Expr, shelf: Shelf, moment: Moment) -> dict[str, Expr]:
    """The tables that features aggregate, by name."""
    codes = tables.memory(shelf.table().select(["item", "shelf_category", "shelf_brand", "band"]))
    clock = features.clock(events)
    taste = features.taste(events, codes, moment)
    return {
        "activity": events,
        "clock": clock,
        "hours": features.hours(clock, moment),
        "orders": features.orders(events, moment),
        "taste": taste,
        "categories": features.by_code(taste, "shelf_category"),
        "brands": features.by_code(taste, "shelf_brand"),
        "messages": features.messages(events),
        "channels": features.channels(events, moment),
    }


def _names(names: NDArray[Any], codes: pa.ChunkedArray) -> pa.ChunkedArray:
    values = pa.array(names, pa.string())
    return pa.chunked_array([values.take(chunk.cast(pa.int64())) for chunk in codes.chunks], pa.string())
