"""A generated log with everything that breaks engines: ties, nulls, unicode, edges of days, zones and years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind import schema
from tradewind.engine import parquet
from tradewind.engine.home import Home

AS_OF = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # the hour in which Europe changes its clocks
TICK = timedelta(microseconds=1)
EDGES = (
    AS_OF,
    AS_OF - TICK,
    AS_OF + TICK,
    AS_OF - timedelta(days=30),
    AS_OF - timedelta(days=30) - TICK,
    AS_OF - timedelta(days=90),
    AS_OF - timedelta(days=90) - TICK,
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2025, 10, 26, 1, 0, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 30, tzinfo=UTC),
    datetime(2023, 6, 1, tzinfo=UTC),
)
CUSTOMERS = ("c-1", "c-2", "客户三", "Ünal", "c 5 'quoted' \"twice\"", "🙂", None)
ITEMS = ("i1", "i2", "茶叶", "café", "cafe\u0301", "i-unlisted", None)
KINDS = (*schema.Kind, "purchase", "purchase", "view", "cart", "sent")


def event(number: int, at: datetime, *, kind: str = "view", customer: str | None = "c-1", **more: Any) -> dict[str, Any]:
    """One event as a row."""
    return {"id": f"e{number:06d}", "at": at, "kind": kind, "customer": customer, "source": "test", **more}


def random_events(seed: int, n: int) -> list[dict[str, Any]]:
    """``n`` events; half of them at the edges, many at equal times."""
    rng = np.random.default_rng(seed)

    def pick(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    rows = []
    for number in rng.permutation(n):
        at = pick(EDGES) if rng.random() < 0.5 else AS_OF - timedelta(minutes=int(rng.integers(-60 * 24 * 20, 60 * 24 * 400)))
        value = None if rng.random() < 0.2 else int(rng.integers(0, 10_000))
        who = pick(CUSTOMERS) if rng.random() < 0.7 else f"few {rng.integers(30)}"
        row = event(int(number), at, kind=str(pick(KINDS)), customer=who, item=pick(ITEMS), value=value)
        row["quantity"] = pick((None, 1.0, 2.0, 3.0, 0.5, 0.0))
        row["discount"] = pick((None, 0, 0, 99))
        row["order_id"] = pick((None, "o1", "o2", "o3"))
        row["currency"] = pick((None, "EUR", "EUR"))
        row["channel"] = pick((None, "email", "sms", "push", "carrier pigeon"))
        row["decision_id"] = pick((None, f"d{rng.integers(9)}"))
        rows.append(row)
    return rows


def items() -> list[dict[str, Any]]:
    return [
        {"item": "i1", "category": "Tea > Green", "brand": "b", "price": 500},
        {"item": "i2", "category": "Tea > Black", "brand": None, "price": 500},
        {"item": "茶叶", "category": "茶 > 绿茶", "brand": "品牌", "price": None},
        {"item": "café", "category": None, "brand": "b", "price": 90_000},
        {"item": "cafe\u0301", "category": "Tea > Green", "brand": "B", "price": 1},
        {"item": "never sold", "category": "Rest", "brand": "z", "price": 0},
    ]


def customers() -> list[dict[str, Any]]:
    def row(name: str, signed_up_at: datetime | None, zone: str | None = None) -> dict[str, Any]:
        return {"customer": name, "locale": "zh-CN", "zone": zone, "signed_up_at": signed_up_at, "household": None}

    return [
        row("c-1", datetime(2022, 1, 1, tzinfo=UTC), "Asia/Shanghai"),
        row("客户三", AS_OF, "America/New_York"),  # signs up in the future; known by events only
        row("quiet", None),
        row("quiet too", AS_OF - TICK),
        row("not yet", AS_OF),
    ]


def fill(home: Home, events: list[dict[str, Any]], *, more: dict[str, list[dict[str, Any]]] | None = None, load: str = "load") -> Home:
    """Store the rows, the items and customers above, and ``more`` tables as one load."""
    con = parquet.connect(home.root)
    staging = home.log.begin(load, source="test", now=AS_OF)
    assert staging is not None
    tables = {"events": events, "items": items(), "customers": customers(), **(more or {})}
    with staging:
        for name, rows in tables.items():
            table = schema.conform(pa.Table.from_pylist(rows, schema=_present(rows, schema.TABLES[name])), schema.TABLES[name])
            con.register(f"given_{name}", table)
            if name == "events":
                staging.add_events(con, "SELECT * FROM given_events")
            else:
                staging.replace(name, con, f"SELECT * FROM given_{name}")
        staging.commit({}, now=AS_OF)
    return home


def _present(rows: list[dict[str, Any]], full: pa.Schema) -> pa.Schema:
    names = {name for row in rows for name in row}
    return pa.schema([field for field in full if field.name in names or not field.nullable])
