"""Demand on a regular grid: one row per item (and store), one column per period; what nobody knows is NaN, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError, unknown
from tradewind.params import OneOf, check

Floats = NDArray[np.float64]
STEPS = {"day": 7, "week": 52, "month": 12}  # and how many periods make a season
_UNIT = {"day": "D", "week": "D", "month": "M"}
CELLS = 60_000_000  # series x periods: half a gigabyte


@dataclass(frozen=True)
class Panel:
    """Demand [n series, T periods] in pieces. The last column is the last period that is over.

    ``promoted`` [n, T + ahead] is 1 where the item was, or is planned to be, promoted; ``value`` [n] is the price of a piece, minor
    units, 0 where unknown.
    """

    items: tuple[str, ...]
    start: date
    y: Floats
    step: str = "day"
    stores: tuple[str, ...] | None = None
    promoted: Floats | None = None
    value: Floats | None = None
    left_out: dict[str, int] = field(default_factory=dict)  # rows of the input by why they were left out

    def __post_init__(self) -> None:
        check("Panel", {"step": self.step}, {"step": OneOf(tuple(STEPS))})
        if self.y.ndim != 2 or len(self.items) != len(self.y) or self.y.shape[1] < 1:
            raise InputError(f"Panel: y must be [{len(self.items)} items, at least 1 period]; got {list(self.y.shape)}.")
        if (self.y < 0).any() or np.isinf(self.y).any():
            raise InputError("Panel: demand must be 0 or more, or NaN where nobody knows it. Returns are no demand: leave them out.")

    @property
    def season(self) -> int:
        """Periods after which a pattern returns: 7 days, 52 weeks, 12 months."""
        return STEPS[self.step]

    def dates(self, *, ahead: int = 0) -> NDArray[np.datetime64]:
        """The first day of every period, [T + ahead]."""
        return after(self.start, self.y.shape[1] + ahead, self.step)

    def until(self, periods: int) -> Panel:
        """The panel as it was known after its first ``periods``: no later demand, no later plan."""
        known = None if self.promoted is None else self.promoted[:, :periods]
        return replace(self, y=self.y[:, :periods], promoted=known)

    def rows(self, pick: NDArray[Any]) -> Panel:
        """Some of the series, by number or mask."""
        at = np.flatnonzero(pick) if pick.dtype == bool else pick
        return replace(
            self,
            items=tuple(self.items[i] for i in at),
            stores=None if self.stores is None else tuple(self.stores[i] for i in at),
            y=self.y[at],
            promoted=None if self.promoted is None else self.promoted[at],
            value=None if self.value is None else self.value[at],
        )

    def promotions(self, periods: int) -> Floats:
        """[n, periods] of the past and the plans; 0 where nothing is planned."""
        found = np.zeros((len(self.y), periods))
        if self.promoted is not None:
            width = min(periods, self.promoted.shape[1])
            found[:, :width] = self.promoted[:, :width]
        return found


def after(start: date, periods: int, step: str) -> NDArray[np.datetime64]:
    """First days of ``periods`` periods from ``start`` on."""
    first = np.datetime64(start.isoformat(), "D").astype(f"datetime64[{_UNIT[step]}]")
    return np.asarray((first + np.arange(periods) * (7 if step == "week" else 1)).astype("datetime64[D]"))


def period_of(days: NDArray[Any], start: date, step: str) -> NDArray[np.int64]:
    """The number of the period in which each day lies, counted from ``start``; negative before it."""
    told = np.asarray(days).astype(f"datetime64[{_UNIT[step]}]")
    passed = (told - np.datetime64(start.isoformat(), "D").astype(f"datetime64[{_UNIT[step]}]")).astype(np.int64)
    return np.asarray(passed // 7 if step == "week" else passed)


def regular(
    sales: pa.Table,
    *,
    start: date | None = None,
    end: date,
    step: str = "day",
    out_of_stock: pa.Table | None = None,
    value: bool = True,
) -> Panel:
    """Sales (item, day, quantity; perhaps store, value in minor units) as a panel that ends before the day ``end``.

    Rows of one item and period are added up. From the first sale on a period without a row is 0. Defined for what is odd:
    a negative quantity is a return and no demand, so it is left out and counted; a quantity that is null or NaN makes its period
    unknown; a period that is not over at ``end`` is left out. ``out_of_stock`` (item, start, end; perhaps store; ``end`` exclusive, null:
    still) makes the periods that it touches unknown.

    Raises
    ------
    InputError
        A column is missing, nothing is left, a quantity is infinite, or the grid would not fit into memory.
    """
    check("demand", {"step": step}, {"step": OneOf(tuple(STEPS))})
    _needs(sales, ("item", "day", "quantity"), "sales")
    days, amount = _days(sales["day"], "day"), sales["quantity"].cast(pa.float64()).to_numpy()
    if np.isinf(amount).any():
        raise InputError('demand: a quantity is infinite. Give finite numbers; where nobody knows the quantity leave "quantity" empty.')
    gone, negative = days >= np.datetime64(end.isoformat(), "D"), amount < 0
    first = start or (days[~negative & ~gone].min().item() if (~negative & ~gone).any() else None)
    if first is None or first >= end:
        raise InputError(f"demand: there is no sale before {end.isoformat()}. Collect purchases first, or give a later time.")
    begin = np.datetime64(first.isoformat(), "D").astype(f"datetime64[{_UNIT[step]}]").astype("datetime64[D]").item()
    periods = int(period_of(np.array([end], dtype="datetime64[D]"), begin, step)[0])
    if periods < 1:
        raise InputError(f"demand: no whole {step} lies between {begin.isoformat()} and {end.isoformat()}. Give a later time.")
    column = period_of(days, begin, step)
    inside = (column >= 0) & (column < periods)
    keep = inside & ~negative
    keys = _keys(sales)
    names, row = np.unique(keys[keep], return_inverse=True)
    if len(names) * periods > CELLS:
        raise InputError(
            f"demand: {len(names):,} series x {periods:,} periods do not fit into memory. Begin later, or count by week or month."
        )
    y = np.zeros((len(names), periods))
    np.add.at(y, (row, column[keep]), amount[keep])  # a NaN stays: the period is unknown
    opened = np.where((y > 0).any(axis=1), (y > 0).argmax(axis=1), periods - 1)
    y[np.arange(periods) < opened[:, None]] = np.nan
    items, stores = _named(names, stores="store" in sales.column_names)
    panel = Panel(
        items, begin, y, step, stores,
        value=_prices(sales, keep, row, amount, len(names)) if value and "value" in sales.column_names else None,
        left_out={"returns": int((negative & inside).sum()), "outside": int((~inside).sum())},
    )  # fmt: skip
    return panel if out_of_stock is None else masked(panel, out_of_stock)


def masked(panel: Panel, out_of_stock: pa.Table) -> Panel:
    """The panel with every period unknown that an interval (item, start, end; perhaps store) of ``out_of_stock`` touches."""
    _needs(out_of_stock, ("item", "start", "end"), "out_of_stock")
    y = panel.y.copy()
    for at, begin, end in _intervals(panel, out_of_stock):
        y[at, begin:end] = np.nan
    return replace(panel, y=y)


def with_promotions(panel: Panel, planned: pa.Table, *, ahead: int) -> Panel:
    """The panel with what was and what is planned to be promoted, up to ``ahead`` periods after its end."""
    _needs(planned, ("item", "start", "end"), "promotions")
    total = panel.y.shape[1] + ahead
    known = panel.promotions(total)
    for at, begin, end in _intervals(panel, planned, periods=total):
        known[at, begin:end] = 1.0
    return replace(panel, promoted=known)


def _intervals(panel: Panel, table: pa.Table, *, periods: int | None = None) -> list[tuple[NDArray[np.int64], int, int]]:
    places: dict[str, list[int]] = {}
    for number, item in enumerate(panel.items):
        places.setdefault(item, []).append(number)
    begins = period_of(_days(table["start"], "start"), panel.start, panel.step)
    last = after(panel.start, (periods or panel.y.shape[1]) + 1, panel.step)[-1]
    ends = _days(table["end"], "end", missing=last)
    stops = period_of(ends - np.timedelta64(1, "D"), panel.start, panel.step) + 1
    stores = table["store"].to_pylist() if "store" in table.column_names else [None] * table.num_rows
    found = []
    for item, store, begin, stop in zip(table["item"].to_pylist(), stores, begins, stops, strict=True):
        at = [i for i in places.get(item, []) if store is None or panel.stores is None or panel.stores[i] == store]
        if at and stop > max(begin, 0):
            found.append((np.array(at, dtype=np.int64), max(int(begin), 0), int(stop)))
    return found


def _needs(table: pa.Table, columns: Sequence[str], what: str) -> None:
    for name in columns:
        if name not in table.column_names:
            raise unknown(f"column of {what}", name, table.column_names)


def _days(column: pa.ChunkedArray, name: str, *, missing: np.datetime64 | None = None) -> NDArray[np.datetime64]:
    """Days UTC of dates or times; raises InputError for nulls unless ``missing`` says what they mean."""
    if column.null_count and missing is None:
        raise InputError(f'demand: {column.null_count} rows have no "{name}". Give every row a day.')
    try:
        days = column.cast(pa.timestamp("us")).to_numpy().astype("datetime64[D]") if len(column) else np.zeros(0, "datetime64[D]")
    except pa.ArrowInvalid as error:
        raise InputError(f'demand: "{name}" holds what is no day such as 2026-03-01: {error}.') from error
    return np.where(np.isnat(days), missing, days) if missing is not None else days


def _keys(sales: pa.Table) -> NDArray[np.str_]:
    items = sales["item"].to_pylist()
    if None in items:
        raise InputError('demand: a row of the sales has no "item".')
    if "store" not in sales.column_names:
        return np.array(items, dtype=np.str_)
    return np.array([f"{item}\t{store or ''}" for item, store in zip(items, sales["store"].to_pylist(), strict=True)], dtype=np.str_)


def _named(names: NDArray[np.str_], *, stores: bool) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    if not stores:
        return tuple(str(name) for name in names), None
    pairs = [str(name).rsplit("\t", 1) for name in names]
    return tuple(item for item, _ in pairs), tuple(store for _, store in pairs)


def _prices(sales: pa.Table, keep: NDArray[np.bool_], row: NDArray[np.int64], amount: Floats, count: int) -> Floats:
    paid = np.nan_to_num(sales["value"].cast(pa.float64()).to_numpy(zero_copy_only=False)[keep])
    money, pieces = np.bincount(row, paid, count), np.bincount(row, np.nan_to_num(amount[keep]), count)
    return np.divide(money, pieces, out=np.zeros(count), where=pieces > 0)
