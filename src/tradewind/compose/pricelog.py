"""The shop's memory of its own prices: what ``prices`` computes a reference from. ``prices.parquet`` in the shop's folder.

Each collect of a catalogue notes every item's list price: a new row where it changed, a later ``seen`` where it did not.
Before the first note, the lowest price asked on each day with a sale stands for the price of that day. A price that changed and
changed back between two collects is not seen unless somebody bought at it: collect as often as prices change.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradewind.compose.prices import GAP, MONTH, QUARTER, WEEK, History, Quote, Sale
from tradewind.engine.files import atomic_write
from tradewind.engine.lock import LoaderLock
from tradewind.schema import MONEY, TEXT, TIME, Kind
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NAME = "prices.parquet"
NOTES = pa.schema([("item", TEXT), ("price", MONEY), ("currency", TEXT), ("at", TIME), ("seen", TIME)])
KEPT = MONTH + MONTH + QUARTER + WEEK  # how far back sales are read: a reduction of two steps and its longest window


def note(home: Home, *, now: datetime) -> int:
    """Note today's list prices and return how many are new or changed. An item without a price is not noted: that is a gap.

    Raises
    ------
    Locked
        Another process is loading; the next collect notes what this one could not.
    """
    now = utc(now, what="now")
    items = home.tables.to_arrow(home.tables.get("items").select("item", "price", "currency"))
    items = items.filter(pc.greater(pc.fill_null(items["price"], 0), 0))
    with LoaderLock(home.root, home.ledger, what="note prices", wait_seconds=2.0):
        rows = _read(home).to_pylist()
        last = {row["item"]: row for row in rows}
        changed = 0
        for row in items.to_pylist():
            row["currency"] = row["currency"] or home.settings.currency
            known = last.get(row["item"])
            same = known is not None and (known["price"], known["currency"]) == (row["price"], row["currency"])
            if known is not None and same and now - known["seen"] <= GAP:
                known["seen"] = max(known["seen"], now)
            elif known is None or now > known["at"]:
                rows.append({**row, "at": now, "seen": now})
                changed += 1
        table = pa.Table.from_pylist(rows, schema=NOTES).sort_by([("item", "ascending"), ("at", "ascending")])
        drain = io.BytesIO()
        pq.write_table(table, drain)
        atomic_write(home.root / NAME, drain.getvalue())
    return changed


def histories(home: Home, items: Collection[str], *, now: datetime) -> dict[str, History]:
    """Return the price history of ``items`` as known at ``now``: notes in the currency of the last one, and sales in it."""
    notes = _read(home)
    notes = notes.filter(pc.and_(pc.is_in(notes["item"], pa.array(list(items), TEXT)), pc.less_equal(notes["at"], pa.scalar(now, TIME))))
    noted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in notes.to_pylist():
        noted[row["item"]].append(row)
    sold: dict[tuple[str, str | None], list[Sale]] = defaultdict(list)
    for item, currency, sale in _sales(home, items, now=now):
        sold[item, currency].append(sale)
    found: dict[str, History] = {}
    for item, rows in noted.items():
        currency = rows[-1]["currency"]
        sales = sold.get((item, currency), [])
        quotes = [Quote(row["at"], min(row["seen"], now), row["price"]) for row in rows if row["currency"] == currency]
        found[item] = History(currency, (*_days(sales, before=quotes[0].at), *quotes), tuple(sales))
    return found


def _days(sales: Collection[Sale], *, before: datetime) -> list[Quote]:
    """The lowest price asked on each day with a sale, for the time before the first note."""
    days: dict[date, Quote] = {}
    for sale in sales:
        if sale.at >= before:
            continue
        day = sale.at.date()
        known = days.get(day)
        days[day] = (
            Quote(sale.at, sale.at, sale.asked) if known is None else replace(known, seen=sale.at, amount=min(known.amount, sale.asked))
        )
    return list(days.values())


def _sales(home: Home, items: Collection[str], *, now: datetime) -> list[tuple[str, str | None, Sale]]:
    """Purchases per piece, rounded down: a reference that is a little too low never claims too much."""
    import ibis

    events = home.tables.events(as_of=now.astimezone(UTC))
    bought = events.filter((events.kind == Kind.PURCHASE.value) & events.item.notnull() & events.value.notnull() & (events.value > 0))
    start = ibis.literal((now - KEPT).astimezone(UTC)).cast("timestamp('UTC')")
    bought = bought.filter(bought.at >= start).select("at", "id", "item", "quantity", "value", "discount", "currency", "offer")
    rows = home.tables.to_arrow(bought)
    rows = rows.filter(pc.is_in(rows["item"], pa.array(list(items), TEXT))).sort_by([("at", "ascending"), ("id", "ascending")])
    found = []
    for row in rows.to_pylist():
        pieces = Decimal(1) if row["quantity"] is None else Decimal(repr(row["quantity"]))
        if pieces.is_finite() and pieces > 0:
            paid = int(row["value"] // pieces)
            asked = int((row["value"] + (row["discount"] or 0)) // pieces) if row["offer"] else paid
            if paid > 0:
                found.append((row["item"], row["currency"] or home.settings.currency, Sale(row["at"], paid, asked)))
    return found


def _read(home: Home) -> pa.Table:
    path = home.root / NAME
    return pq.read_table(path, schema=NOTES) if path.is_file() else NOTES.empty_table()
