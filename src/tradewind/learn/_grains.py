"""What features and sequences are computed from: the events before a moment, and the shelf of items with numbers.

Only integers are summed and compared here (microseconds, minor units, decay weights), never floats, so that a result
depends neither on the order of the rows nor on the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.schema import TIME, Channel
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

Expr = Any  # an Ibis table or column; Ibis ships no types that a checker can follow
Build = Callable[..., Expr]  # a feature: (table) or (table, now: Moment) -> column

HOUR = 3_600_000_000
DAY = 24 * HOUR
HALF_LIFE_DAYS = 90
FRESH = 2 * HALF_LIFE_DAYS * 1024  # decay weight of an event of this very day
FEW, MANY = 1e-3, 1e12  # quantities that make a unit price; NaN is none, since both engines hold it to be the greatest float
CODE_BITS = 20  # up to 1,048,576 categories or brands beside a weight in one integer


@cache
def _micros(backend: str) -> Any:
    def at(value):  # type: ignore[no-untyped-def]
        raise NotImplementedError  # a built-in of the engine; Ibis wants a body

    name = "unix_micros" if backend == "pyspark" else "epoch_us"
    return ibis.udf.scalar.builtin(at, name=name, signature=((ibis.expr.datatypes.timestamp,), ibis.expr.datatypes.int64))


def time_us(tables: Tables, at: Expr) -> Expr:
    """A time as int64 microseconds since 1970-01-01 UTC."""
    return _micros(tables.backend)(at)


def count_if(condition: Expr) -> Expr:
    """How many rows fulfil ``condition``; a condition that is unknown (null) counts as not fulfilled."""
    return ibis.ifelse(condition, 1, 0).sum()


def sum_if(condition: Expr, value: Expr) -> Expr:
    """Sum of an integer ``value`` over the rows that fulfil ``condition``; 0 without any."""
    return ibis.ifelse(condition, value, 0).sum()


def ratio(part: Expr, whole: Expr) -> Expr:
    """``part / whole`` of two integers as float64: one rounding, equal on every engine; null when ``whole`` is 0."""
    return part.cast("float64") / whole.nullif(0).cast("float64")


def pack(weight: Expr, code: Expr, bits: int) -> Expr:
    """Weight and code in one integer, so that a plain maximum finds the code with the greatest weight, ties included."""
    return weight * 2**bits + code


def code(packed: Expr, bits: int) -> Expr:
    """The code in a packed integer."""
    return packed % 2**bits


def weight(packed: Expr, bits: int) -> Expr:
    """The weight in a packed integer. The code goes first: engines divide in float64, which holds 53 bits."""
    return (packed - packed % 2**bits) // 2**bits


def decay(age_days: Expr) -> Expr:
    """Integer weight that halves every ``HALF_LIFE_DAYS``: ``FRESH`` today, in straight lines between the halvings.

    An exponential would differ between engines in its last bits; this differs from it by at most 6 % and never in a bit.
    """
    halvings = age_days // HALF_LIFE_DAYS
    rest = age_days - halvings * HALF_LIFE_DAYS
    power = ibis.cases(*((halvings == k, 1024 >> k) for k in range(11)), else_=0)
    return (2 * HALF_LIFE_DAYS - rest) * power


@dataclass(frozen=True)
class Moment:
    """The cut: nothing at or after ``as_of`` is visible. Times are compared as int64 microseconds."""

    as_of: datetime

    @property
    def us(self) -> int:
        return micros(self.as_of)

    def ago(self, days: int) -> int:
        return self.us - days * DAY


def built(functions: Mapping[str, Build], table: Expr, now: Moment) -> dict[str, Expr]:
    """The columns that ``functions`` make of ``table``; ``now`` goes to those that ask for it."""
    return {name: build(table, now) if "now" in signature(build).parameters else build(table) for name, build in functions.items()}


def past(tables: Tables, moment: Moment) -> Expr:
    """The recognised customers' events before the moment; ``us`` is their time in microseconds, ``paid`` the value or 0."""
    events = tables.events(as_of=moment.as_of)
    events = events.filter(events.customer.notnull())
    return events.mutate(us=time_us(tables, events.at), paid=events.value.coalesce(0))


@dataclass(frozen=True)
class Shelf:
    """Every item of the catalogue and of the past with its numbers: sorted names, category, brand and price band."""

    items: NDArray[np.object_]
    categories: NDArray[np.object_]
    brands: NDArray[np.object_]
    category: NDArray[np.int32]  # per item, -1: none
    brand: NDArray[np.int32]
    band: NDArray[np.int8]  # quintile of the price over the items that have one, -1: none

    @classmethod
    def build(cls, tables: Tables, events: Expr) -> Shelf:
        """An item without a catalogue price gets the mean unit price of its purchases so far."""
        lines = events.filter(events.item.notnull())
        bought = (lines.kind == "purchase") & (lines.quantity > FEW) & (lines.quantity < MANY) & lines.value.notnull()
        unit = (lines.paid + lines.discount.coalesce(0)).cast("float64") / ibis.ifelse(bought, lines.quantity, 1.0)
        seen = lines.mutate(bought=bought, unit=unit.floor().cast("int64")).group_by("item")
        seen = seen.aggregate(priced=lambda t: count_if(t.bought), spent=lambda t: sum_if(t.bought, t.unit))
        catalogue = tables.get("items").select("item", "category", "brand", "price")
        seen_rows, rows = tables.to_arrow(seen), tables.to_arrow(catalogue)
        names = pc.unique(pa.chunked_array([*rows["item"].chunks, *seen_rows["item"].chunks], pa.string())).sort()
        listed = rows.take(pc.fill_null(pc.index_in(names, value_set=rows["item"]), 0)) if rows.num_rows else None
        known = pc.is_in(names, value_set=rows["item"]).to_numpy(zero_copy_only=False)
        index = pc.index_in(names, value_set=seen_rows["item"]).fill_null(-1).to_numpy(zero_copy_only=False)
        price = _prices(listed, known, seen_rows, index)
        category, categories = _codes(listed, known, "category")
        brand, brands = _codes(listed, known, "brand")
        return cls(_objects(names), categories, brands, category, brand, quintiles(price))

    def table(self) -> pa.Table:
        """One row per item: item, code, shelf_category, shelf_brand, band; null stands for none."""

        def optional(codes: NDArray[Any]) -> pa.Array:
            return pa.array(codes.astype(np.int64), mask=codes < 0)

        return pa.table(
            {
                "item": pa.array(self.items, pa.string()),
                "code": pa.array(np.arange(len(self.items))),
                "shelf_category": optional(self.category),
                "shelf_brand": optional(self.brand),
                "band": optional(self.band),
            }
        )


def _prices(listed: pa.Table | None, known: NDArray[np.bool_], seen: pa.Table, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Catalogue price of each item, else the mean unit price in the log, else -1; int64 minor units."""
    priced = np.append(seen["priced"].to_numpy().astype(np.int64), 0)[index]
    spent = np.append(seen["spent"].to_numpy().astype(np.int64), 0)[index]
    price = np.where(priced > 0, spent // np.maximum(priced, 1), -1)
    if listed is None:
        return price
    of_list = listed["price"].fill_null(-1).to_numpy().astype(np.int64)
    return np.where(known & (of_list >= 0), of_list, price)


def _codes(listed: pa.Table | None, known: NDArray[np.bool_], column: str) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    if listed is None:
        return np.full(len(known), -1, np.int32), np.empty(0, dtype=object)
    values = pc.if_else(pa.array(known), listed[column].combine_chunks(), pa.scalar(None, pa.string()))
    names = pc.unique(values.drop_null()).sort()
    return pc.index_in(values, value_set=names).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32), _objects(names)


def _objects(names: pa.Array) -> NDArray[np.object_]:
    out = np.empty(len(names), dtype=object)
    out[:] = names.to_pylist()
    return out


def quintiles(price: NDArray[np.int64]) -> NDArray[np.int8]:
    """Band 0..4 of each price among the prices >= 0, int8; equal prices share a band; -1 where the price is below 0."""
    known = np.sort(price[price >= 0])
    rank = np.searchsorted(known, price, side="left")
    return np.where(price >= 0, 5 * rank // max(len(known), 1), -1).astype(np.int8)


def channel_code(channel: Expr) -> Expr:
    """Index of a channel in ``tuple(schema.Channel)``, -1 for any other."""
    return ibis.cases(*((channel == name.value, code) for code, name in enumerate(Channel)), else_=-1)


def from_us(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """int64 microseconds as timestamp[us, UTC]."""
    return column.cast(pa.int64()).cast(TIME)
