"""What the tests of compose share: a shop with a bilingual catalogue, offers, customers, and a committed plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.compose.facts import Facts, Proof, Storefront, gather
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Request, decide
from tradewind.decide.read import read_offers
from tradewind.engine.home import Home
from tradewind.types import Offer

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
NOW = AS_OF + timedelta(minutes=5)
URL = "https://harbour.example/p/{item}"
STORE = Storefront("Harbour", "CNY", URL)
CHANNELS = ("email", "push", "sms", "inapp")


def item(name: str = "mug-1", **changes: Any) -> dict[str, Any]:
    """A row of ``schema.ITEMS``."""
    row: dict[str, Any] = dict.fromkeys(schema.ITEMS.names)
    return row | {
        "item": name,
        "title_zh": "白瓷马克杯",
        "title_en": "White Stoneware Mug",
        "category": "Home > Kitchen",
        "brand": "Loft",
        "price": 12950,
        "cost": 5000,
        "currency": "CNY",
        "stock": 30,
        "attributes": json.dumps({"material": "stoneware", "material_zh": "白瓷", "category_zh": "家居 > 厨房"}),
        **changes,
    }


def coupon(
    name: str = "ten", *, items: Sequence[str] | None = None, ends: datetime | None = AS_OF + timedelta(days=7), **terms: Any
) -> Offer:
    """A coupon; ten percent off everything unless ``terms`` say otherwise."""
    return Offer(name, "coupon", terms or {"percent": 10}, items=None if items is None else frozenset(items), ends_at=ends)


def facts(
    row: dict[str, Any] | None, offer: Offer | None = None, *, locale: str = "en", at: datetime = NOW, proof: Proof | None = None
) -> Facts:
    """Facts as ``compose`` gathers them."""
    zone = "Asia/Shanghai" if locale == "zh-CN" else "Europe/London"
    return gather(row, offer=offer, store=STORE, locale=locale, zone=zone, at=at, proof=proof)


def load(home: Home, tables: dict[str, pa.Table], *, name: str = "load") -> None:
    """Put reference tables into a shop."""
    con = home.log.connect()
    staging = home.log.begin(name, source=name, now=AS_OF)
    assert staging is not None
    with staging:
        for table, rows in tables.items():
            con.register("rows_in", rows)
            staging.replace(table, con, "SELECT * FROM rows_in")
            con.unregister("rows_in")
        staging.commit({}, now=AS_OF)
    con.close()


def consented(home: Home, customers: Sequence[str], *, granted: bool, at: datetime) -> None:
    """Give or withdraw consent on every channel."""
    entries = [
        {"customer": name, "channel": channel, "granted": granted, "at": at, "source": "test"} for name in customers for channel in CHANNELS
    ]
    Consents(home).record(pa.Table.from_pylist(entries, schema=schema.CONSENTS))


def rows(table: str, *values: dict[str, Any]) -> pa.Table:
    """Rows of a table of ``schema``."""
    return pa.Table.from_pylist(list(values), schema=schema.TABLES[table])


def shop(home: Home, *, customers: int = 40, items: Sequence[dict[str, Any]] | None = None, offers: Sequence[Offer] | None = None) -> None:
    """Fill a shop: every second customer reads Chinese."""
    home.save_settings(type(home.settings)(name="Harbour", salt=home.settings.salt, currency="CNY", zone="Asia/Shanghai"))
    people = [
        {"customer": f"c{n:04d}", "locale": ("zh-CN", "en-GB")[n % 2], "zone": ("Asia/Shanghai", "Europe/London")[n % 2]}
        for n in range(customers)
    ]
    chosen = (coupon(), Offer("pick", "product")) if offers is None else offers
    consented(home, [person["customer"] for person in people], granted=True, at=AS_OF - timedelta(days=1))
    load(
        home,
        {
            "items": rows("items", *(items or [item("mug-1"), item("mug-2", title_zh=None, title_en=None, title="PLAIN WHITE MUG")])),
            "customers": rows("customers", *people),
            "offers": rows(
                "offers", *({"offer": o.offer, "kind": o.kind, "terms": json.dumps(dict(o.terms)), "ends_at": o.ends_at} for o in chosen)
            ),
            "offer_items": rows("offer_items", *({"offer": o.offer, "item": i} for o in chosen for i in sorted(o.items or ()))),
        },
    )


def plan_of(home: Home, *, channels: Sequence[str] = CHANNELS, reasons: str = "[]", commit: bool = True, seed: int = 3) -> Plan:
    """Decide about everybody, each customer reachable on one channel, and commit."""
    tables = home.tables
    items = tables.to_arrow(tables.get("items"))
    names = sorted(tables.to_arrow(tables.get("customers"))["customer"].to_pylist())
    goods = items["item"].to_pylist()
    profiles = pa.table(
        {
            "customer": names,
            "stage": ["active"] * len(names),
            "frequency": [3] * len(names),
            "tenure_days": [200.0] * len(names),
            "recency_days": [20.0] * len(names),
            "aov": [9000.0] * len(names),
            "orders_30d": [1] * len(names),
            "zone": ["Europe/London"] * len(names),
            "best_hour": pa.array([9] * len(names), pa.int8()),
            "hour_confidence": [1.0] * len(names),
            "messages_30d": [0] * len(names),
        }
    )
    shortlist = pa.table(
        {
            "customer": [name for name in names for _ in goods],
            "item": goods * len(names),
            "score": [float((n // 2 + k) % 2) for n in range(len(names)) for k in range(len(goods))],
            "source": ["graph"] * len(names) * len(goods),
            "reasons": [reasons] * len(names) * len(goods),
        }
    )
    plan = decide(
        Request(
            as_of=AS_OF,
            profiles=profiles,
            offers=read_offers(tables),
            items=items,
            allowed=pa.table({"customer": names, "channel": [channels[n % len(channels)] for n in range(len(names))]}),
            channels=dict.fromkeys(channels, 1),
            budget=10**7,
            currency="CNY",
            salt="0123456789abcdef",
            seed=seed,
            shortlist=shortlist,
            holdout=0.1,
        )
    )
    if commit:
        plan.commit(home, AS_OF)
    return plan
