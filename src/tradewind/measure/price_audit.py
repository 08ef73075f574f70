"""Who paid more for the same thing at the same time, and why: the check that no list price depends on the person.

Purchases of one item that lie within an hour of each other are compared, neighbour by neighbour. Where two people paid different
unit prices, either the list price was the same and an offer explains the difference, or the list price changed for everybody in
between; anything else is a fault (PIPL, art. 24 (1); Directive 2011/83/EU, art. 6 (1) (ea)).

The unit price of a line is ``value / quantity``, its list price ``(value + discount) / quantity``; a difference of one minor unit is
rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.compose.pricelog import histories
from tradewind.compose.prices import History
from tradewind.schema import Kind

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HOUR = timedelta(hours=1)
ROUNDING = 1.0  # minor units a piece
SHOWN = 20
_COLUMNS = ("id", "customer", "item", "at", "value", "discount", "quantity", "currency", "order_id", "offer", "decision_id")


@dataclass(frozen=True, slots=True)
class Line:
    """What one person paid for one piece; minor units."""

    customer: str
    at: datetime
    order_id: str | None
    paid: float
    asked: float
    offer: str | None
    decision_id: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people, one item, one time, two prices."""

    item: str
    currency: str
    first: Line
    second: Line
    why: str  # "offer" | "noted" | "changed" | "unnamed" | "unknown_offer" | "personal"
    text: str

    @property
    def fault(self) -> bool:
        """Whether nothing that holds for everybody explains the difference."""
        return self.why in FAULTS


@dataclass(frozen=True)
class Audited:
    """What :func:`audit_prices` found; the pairs with faults come first."""

    lines: int
    left_out: int  # purchases without an item, a price or a quantity
    compared: int
    pairs: tuple[Pair, ...]
    counts: Mapping[str, int]

    @property
    def faults(self) -> int:
        """How many pairs nothing explains."""
        return sum(count for why, count in self.counts.items() if why in FAULTS)

    def to_json(self) -> dict[str, Any]:
        """JSON values; times as ISO 8601."""
        numbers = {"lines": self.lines, "left_out": self.left_out, "compared": self.compared, "faults": self.faults}
        return numbers | {"counts": dict(self.counts), "pairs": [asdict(pair) for pair in self.pairs]}

    def to_text(self) -> str:
        """For people."""
        head = (
            f"{self.lines:,} purchases of priced items ({self.left_out:,} left out), {self.compared:,} pairs of people who bought the same "
            f"at the same time: {sum(self.counts.values()):,} paid different prices, {self.faults:,} without an explanation."
        )
        body = [f"  {count:,} x {MEANS[why]}" for why, count in sorted(self.counts.items())]
        shown = [f"  {'FAULT ' if pair.fault else ''}{pair.item} {pair.text}" for pair in self.pairs[:SHOWN]]
        more = [f"  ... and {len(self.pairs) - SHOWN:,} more (--json lists them)"] if len(self.pairs) > SHOWN else []
        return "\n".join([head, *body, *shown, *more])


MEANS = {
    "offer": "an offer of the shop explains it",
    "noted": "the list price changed in between, as the shop noted",
    "changed": "the list price changed in between: one price before, another after, for everybody",
    "unnamed": "a discount without an offer",
    "unknown_offer": "a discount by an offer that the shop does not have",
    "personal": "different list prices at the same time",
}
FAULTS = ("unnamed", "unknown_offer", "personal")


def audit_prices(home: Home, *, as_of: datetime, within: timedelta = HOUR, most: int = 1_000) -> Audited:
    """Compare the purchases before ``as_of``; at most ``most`` pairs are kept beside the counts."""
    tables = home.tables
    events = tables.events(as_of=as_of)
    bought = tables.to_arrow(events.filter(events.kind == str(Kind.PURCHASE)).select(*_COLUMNS))
    total = bought.num_rows
    bought = bought.filter(pc.and_(pc.is_valid(bought["item"]), pc.and_(pc.is_valid(bought["value"]), _positive(bought["quantity"]))))
    bought = bought.sort_by([("item", "ascending"), ("currency", "ascending"), ("at", "ascending"), ("id", "ascending")])
    offers = set(tables.to_arrow(tables.get("offers").select("offer"))["offer"].to_pylist())
    seen = _Seen(bought, offers, within)
    near = seen.neighbours()
    different = near[np.abs(seen.paid[near] - seen.paid[near - 1]) > ROUNDING]
    items = set(bought["item"].take(pa.array(different)).to_pylist())
    seen.noted = histories(home, items, now=as_of)
    pairs = [seen.pair(int(at)) for at in different]
    counts = Counter(pair.why for pair in pairs)
    kept = sorted(pairs, key=lambda pair: (not pair.fault, pair.item, pair.second.at))[:most]
    return Audited(bought.num_rows, total - bought.num_rows, len(near), tuple(kept), dict(counts))


class _Seen:
    """The lines in order of item, currency and time."""

    def __init__(self, bought: pa.Table, offers: set[str], within: timedelta) -> None:
        self.noted: Mapping[str, History] = {}
        self._rows, self._offers = bought, offers
        self._within = within // timedelta(microseconds=1)
        quantity = _numbers(bought["quantity"], 1.0)
        value, discount = _numbers(bought["value"], 0.0), _numbers(bought["discount"], 0.0)
        self.paid, self._asked = value / quantity, (value + discount) / quantity
        self._at = bought["at"].cast(pa.int64()).to_numpy()
        who = pc.coalesce(bought["customer"], bought["order_id"], bought["id"])
        keys = [bought["item"], pc.fill_null(bought["currency"], ""), who]
        self._item, self._currency, self._who = (_codes(key) for key in keys)

    def neighbours(self) -> np.ndarray:
        """Places of lines whose predecessor is the same item, bought by somebody else a short time before."""
        same = (np.diff(self._item) == 0) & (np.diff(self._currency) == 0)
        near = same & (np.diff(self._who) != 0) & (np.diff(self._at) <= self._within)
        return np.flatnonzero(near) + 1

    def pair(self, at: int) -> Pair:
        """The pair of a line and its predecessor, with what explains it."""
        item, currency = self._rows["item"][at].as_py(), self._rows["currency"][at].as_py() or ""
        first, second = self._line(at - 1), self._line(at)
        why, told = self._why(at, item, first, second)
        prices = (
            f"{first.customer} paid {first.paid:,.0f}, {second.customer} {second.paid:,.0f} (minor units of {currency or 'no currency'})"
        )
        return Pair(item, currency, first, second, why, f"at {second.at:%Y-%m-%d %H:%M}: {prices}; {told}")

    def _why(self, at: int, item: str, first: Line, second: Line) -> tuple[str, str]:
        if abs(first.asked - second.asked) > ROUNDING:
            if _listed(self.noted.get(item), first) and _listed(self.noted.get(item), second):
                return "noted", MEANS["noted"]
            return ("changed", MEANS["changed"]) if self._step(at) else ("personal", MEANS["personal"])
        given = [line for line in (first, second) if line.asked - line.paid > ROUNDING]
        if any(line.offer is None for line in given):
            return "unnamed", MEANS["unnamed"]
        if strange := sorted({str(line.offer) for line in given if line.offer not in self._offers}):
            return "unknown_offer", f"{MEANS['unknown_offer']}: {strange[0]}"
        return "offer", " and ".join(f"{line.customer} had {line.offer}" for line in given)

    def _step(self, at: int) -> bool:
        """Whether everybody near in time was asked one price before ``at`` and one from it on."""
        for places, price in ((self._around(at - 1, -1), self._asked[at - 1]), (self._around(at, 1), self._asked[at])):
            if any(abs(self._asked[place] - price) > ROUNDING for place in places):
                return False
        return True

    def _around(self, at: int, way: int) -> Iterator[int]:
        place = at
        while 0 <= place < len(self._at) and self._item[place] == self._item[at] and abs(self._at[place] - self._at[at]) <= self._within:
            if self._currency[place] == self._currency[at]:
                yield place
            place += way

    def _line(self, at: int) -> Line:
        row = {name: self._rows[name][at].as_py() for name in ("customer", "at", "order_id", "offer", "decision_id")}
        return Line(**(row | {"customer": row["customer"] or "somebody"}), paid=float(self.paid[at]), asked=float(self._asked[at]))


def _listed(history: History | None, line: Line) -> bool:
    """Whether the shop noted the price that a line was asked, as the list price of its time."""
    quotes = [] if history is None else [quote for quote in history.quotes if quote.at <= line.at]
    return bool(quotes) and abs(quotes[-1].amount - line.asked) <= ROUNDING


def _positive(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.fill_null(column, 1.0), 0.0)


def _numbers(column: pa.ChunkedArray, default: float) -> np.ndarray:
    return np.asarray(column.cast(pa.float64()).fill_null(default).to_numpy())


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.combine_chunks().dictionary_encode().indices.to_numpy())
