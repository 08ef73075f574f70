"""Small logs for the tests of risk: made at random, or with one ring among honest people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind import schema

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


def row(name: str, kind: str, hours: float, customer: str | None, **more: Any) -> dict[str, Any]:
    """One event; device, ship_to and card go into its context."""
    told = {key: more.pop(key) for key in ("device", "ship_to", "card") if more.get(key) is not None}
    base = {"id": name, "kind": kind, "at": BEGAN + timedelta(hours=hours), "customer": customer, "source": "test"}
    return base | {"context": json.dumps(told) if told else None} | more


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of ``schema.EVENTS``."""
    return schema.conform(pa.Table.from_pylist(rows, schema=schema.EVENTS), schema.EVENTS)


def noise(count: int, *, seed: int, people: int = 12) -> pa.Table:
    """Orders of two lines, claims, refunds and views by few people with few things, so that everything is shared by somebody."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = str(rng.choice(["view", "coupon", "purchase", "refund"], p=[0.3, 0.25, 0.35, 0.1]))
        who = f"c{rng.integers(people)}" if rng.random() > 0.05 else None
        more: dict[str, Any] = {
            "device": f"d{rng.integers(8)}" if rng.random() > 0.1 else None,
            "offer": f"k{rng.integers(3)}" if kind != "view" else None,
        }
        if kind in ("purchase", "refund"):
            more |= {"ship_to": f"a{rng.integers(6)}", "card": f"k{rng.integers(9)}" if rng.random() > 0.1 else None}
            more |= {"order_id": f"o{number}", "value": int(rng.integers(1, 9000)), "discount": int(rng.integers(0, 500))}
        if rng.random() < 0.3:
            more["offer"] = None
        hours = float(np.floor(rng.uniform(0, 1000)))  # whole hours: many moments tie
        rows.append(row(f"e{number}", kind, hours, who, **more))
        if kind == "purchase" and rng.random() < 0.4:
            rows.append(row(f"e{number}b", kind, hours, who, **more))
    return table(rows)


def farm(*, seed: int = 0, members: int = 5, honest: int = 120) -> tuple[pa.Table, pa.Table, set[str]]:
    """Events and customers of a shop with one ring, a family that shares an address, and an office; and who is in the ring."""
    rng = np.random.default_rng(seed)
    rows, opened = [], {}
    for number in range(honest):
        who = f"h{number}"
        opened[who] = BEGAN - timedelta(days=float(rng.uniform(1, 400)))
        home = "a-family" if number < 4 else "a-office" if number < 60 and number % 2 else f"a{number}"
        for turn in range(3):
            hours, used = float(rng.uniform(0, 700)), "k0" if rng.random() < 0.15 else None
            told = {
                "device": f"d{number}",
                "ship_to": home,
                "card": f"c{number}",
                "order_id": f"{who}-{turn}",
                "value": 5000,
                "discount": 0,
            }
            rows.append(row(f"{who}-{turn}-p", "purchase", hours, who, offer=used, **told))
        if rng.random() < 0.2:
            rows.append(row(f"{who}-k", "coupon", float(rng.uniform(0, 160)), who, offer="k0", device=f"d{number}"))
    for number in range(members):
        who = f"r{number}"
        opened[who] = BEGAN - timedelta(hours=float(rng.uniform(1, 40)))
        for turn in range(2):
            told = {"device": f"rd{(number + turn) % 2}", "ship_to": "ra", "card": f"rc{number % 2}"}
            begun = 20.0 + 200 * turn + 0.1 * number
            rows.append(row(f"{who}-k{turn}", "coupon", begun, who, offer=f"k{turn}", device=told["device"]))
            bought = {"order_id": f"{who}-{turn}", "offer": f"k{turn}", "value": 4000, "discount": 1000, **told}
            rows.append(row(f"{who}-{turn}-p", "purchase", begun + 1, who, **bought))
    customers = pa.table({"customer": list(opened), "signed_up_at": pa.array(list(opened.values()), schema.TIME)})
    return table(rows), customers, {f"r{number}" for number in range(members)}
