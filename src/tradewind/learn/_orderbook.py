"""Orders as flat arrays: who bought when for how much, and what was known of each customer at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._btyd import Histories

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

Values = NDArray[np.float64]
WINDOWS = (30, 90, 180)  # days back
INPUTS = (
    "recency", "age", "orders", "spent", "mean", "last", "most", "gap", "gap_spread", "silence",
    *(f"{what}_{days}" for days in WINDOWS for what in ("orders", "spent")),
)  # fmt: skip


@dataclass(frozen=True)
class OrderBook:
    """The orders of N customers, one per customer and day, by customer and then by day.

    ``names`` object [N] sorted; ``who`` int64 [orders], index into names; ``day`` float64 [orders], whole days; ``value``
    float64 [orders], what the customer paid. The day of an order is before every cut that comes later than it.
    """

    names: NDArray[np.object_]
    who: NDArray[np.int64]
    day: Values
    value: Values

    @classmethod
    def from_arrays(cls, customers: Sequence[Any] | NDArray[Any], days: NDArray[Any], values: NDArray[Any]) -> OrderBook:
        """From one row per purchase; those of one customer and day are one order.

        Raises
        ------
        InputError
            The lengths differ, or a day or a value is not a number.
        """
        names, who = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
        day, value = np.floor(np.asarray(days, dtype=np.float64)), np.asarray(values, dtype=np.float64)
        if not len(who) == len(day) == len(value):
            raise InputError(
                f"OrderBook: got {len(who)} customers, {len(day)} days and {len(value)} values; give one of each per purchase."
            )
        if not (np.isfinite(day).all() and np.isfinite(value).all()):
            raise InputError("OrderBook: a day or a value is not a number. Leave such purchases out.")
        if not len(day):
            return cls(names.astype(object), who.astype(np.int64), day, value)
        first = day.min()
        key, place = np.unique(who * (day.max() - first + 1) + (day - first), return_inverse=True)
        width = day.max() - first + 1
        return cls(names.astype(object), (key // width).astype(np.int64), key % width + first, _sum(place, value))

    @classmethod
    def read(cls, tables: Tables, *, as_of: datetime) -> OrderBook:
        """From the event log: purchases before ``as_of``, in minor units of the shop's currency, refunds not taken off."""
        from tradewind.learn._grains import DAY, Moment, past

        events = past(tables, Moment(as_of))
        lines = events.filter((events.kind == "purchase") & (events.paid >= 0))
        daily = lines.mutate(day=lines.us // DAY).group_by(["customer", "day"]).aggregate(value=lines.paid.sum())
        rows = tables.to_arrow(daily)
        return cls.from_arrays(rows["customer"].to_pylist(), rows["day"].to_numpy(), rows["value"].to_numpy())

    def before(self, cut: float) -> OrderBook:
        """What was known at the beginning of day ``cut``: the orders before it, and only the customers who have one."""
        seen = self.day < cut
        known, who = np.unique(self.who[seen], return_inverse=True)
        return OrderBook(self.names[known], who.astype(np.int64), self.day[seen], self.value[seen])

    def after(self, cut: float, days: float, names: NDArray[np.object_]) -> tuple[Values, Values]:
        """Orders and value of the customers ``names`` (sorted) from day ``cut`` on, within ``days``; float64 [names] each."""
        within = (self.day >= cut) & (self.day < cut + days)
        place = np.searchsorted(names, self.names[self.who[within]]) if len(names) else np.empty(0, dtype=np.int64)
        known = place < len(names)
        known[known] = names[place[known]] == self.names[self.who[within]][known]
        at, value = place[known], self.value[within][known]
        return _sum(at, np.ones(len(at)), len(names)), _sum(at, value, len(names))

    def histories(self, now: float) -> Histories:
        """What BG/NBD and Gamma-Gamma need, in days, as of the beginning of day ``now``; the customers are ``names``."""
        first, last, count, spent, opening, _ = self._summary()
        repeats = count - 1
        worth = np.divide(spent - opening, repeats, out=np.zeros_like(spent), where=repeats > 0)
        return Histories(repeats, last - first, now - first, np.maximum(worth, 0.0))

    def features(self, now: float) -> Values:
        """``INPUTS`` of every customer as of the beginning of day ``now``, float64 [N, inputs]; NaN where there is none."""
        first, last, count, spent, _, ending = self._summary()
        n = len(self.names)
        most = np.zeros(n)
        np.maximum.at(most, self.who, self.value)
        gaps = np.diff(self.day)
        inner = self.who[1:] == self.who[:-1]
        number = np.bincount(self.who[1:][inner], minlength=n)
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.bincount(self.who[1:][inner], weights=gaps[inner], minlength=n) / number
            square = np.bincount(self.who[1:][inner], weights=gaps[inner] ** 2, minlength=n) / number
            spread = np.where(number > 1, np.sqrt(np.maximum(square - gap**2, 0.0)), np.nan)
            columns = [now - last, now - first, count, spent, spent / count, ending, most, gap, spread, (now - last) / gap]
        for days in WINDOWS:
            late = self.day >= now - days
            columns += [np.bincount(self.who[late], minlength=n), np.bincount(self.who[late], weights=self.value[late], minlength=n)]
        return np.column_stack(columns).astype(np.float64)

    def _summary(self) -> tuple[Values, ...]:
        """Day of the first and last order, their number, their sum, value of the first and of the last; float64 [N] each."""
        starts = np.searchsorted(self.who, np.arange(len(self.names)))
        ends = np.append(starts[1:], len(self.who)) - 1
        count = (ends - starts + 1).astype(float)
        spent = _sum(self.who, self.value, len(self.names))
        return self.day[starts], self.day[ends], count, spent, self.value[starts], self.value[ends]


def _sum(place: NDArray[np.int64], value: Values, size: int = 0) -> Values:
    return np.asarray(np.bincount(place, weights=value, minlength=size), dtype=np.float64)
