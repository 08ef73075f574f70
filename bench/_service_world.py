"""The shop that bench/service.py serves: items, customers, a month of events, offers, a recommender and a plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind import plugins, schema
from tradewind.learn.base import Recommender
from tradewind.learn.registry import publish
from tradewind.learn.sequences import sequences
from tradewind.shop import Shop

START = datetime(2026, 2, 1, tzinfo=UTC)
NOW = START + timedelta(days=28)
KINDS = ("view", "cart", "purchase")
OFFERS = (
    ("product", {}),
    ("coupon", {"percent": 10}),
    ("free_shipping", {"shipping": 800, "threshold": 5_000}),
    ("points", {"points": 100, "worth": 1}),
    ("ad", {"impression": 1}),
)


def make(folder: Path, *, items: int, customers: int, events: int, offers: int, recommend: str, seed: int, plan: bool = True) -> Shop:
    """The shop in ``folder``; what is there already is not made again. Its data end at NOW, its clock is the real one."""
    shop = Shop.open(folder)
    made = folder / "made"
    done = set(made.read_text().split()) if made.exists() else set()

    def step(name: str, work: Callable[[], object]) -> None:
        if name not in done:
            work()
            done.add(name)
            made.write_text(" ".join(sorted(done)))

    rng = np.random.default_rng(seed)
    step("settings", lambda: shop.home.save_settings(replace(shop.home.settings, name="bench", currency="CNY", simulated=True)))
    step("items", lambda: shop.collect(catalogue(items, rng)))
    step("events", lambda: shop.collect(log(items, customers, events, rng)))
    step(f"recommend-{recommend}", lambda: learn(shop, recommend))
    if plan:
        step("consents", lambda: shop.collect(consents(customers)))
        step("offers", lambda: shop.collect(promises(offers)))
        step("plan", lambda: shop.decide(channels=["inapp"], budget=f"{customers} CNY", as_of=NOW))
    return shop


def consents(customers: int) -> pa.Table:
    """Everybody may be shown something on the shop's own pages."""
    told: dict[str, list[Any]] = {"customer": [f"c{number:06d}" for number in range(customers)], "channel": ["inapp"] * customers}
    told |= {"granted": [True] * customers, "at": [START] * customers, "source": ["bench"] * customers}
    return pa.table(told, schema=schema.CONSENTS)


def promises(offers: int) -> pa.Table:
    """Offers of five kinds."""
    terms = [OFFERS[number % len(OFFERS)] for number in range(offers)]
    told = {"offer": [f"o{number:03d}" for number in range(offers)], "kind": [kind for kind, _ in terms]}
    return schema.conform(pa.table(told | {"terms": [json.dumps(each) for _, each in terms]}), schema.OFFERS)


def learn(shop: Shop, name: str) -> None:
    """The recommender alone: what else `tradewind learn` fits does not answer requests."""
    model: Recommender = plugins.load("learn", name, what="recommender")()
    model.fit(sequences(shop.home.tables, as_of=NOW), as_of=NOW)
    publish(shop.home, "recommend", model.save, as_of=NOW, card={"recommend": name}, now=NOW)


def catalogue(items: int, rng: np.random.Generator) -> pa.Table:
    """Items of 200 categories and 500 brands, a twentieth of them sold out."""
    price = rng.integers(500, 50_000, items)
    told = {
        "item": [f"i{number:06d}" for number in range(items)],
        "title": [f"Item {number}" for number in range(items)],
        "category": [f"category {number % 200}" for number in range(items)],
        "brand": [f"brand {number % 500}" for number in range(items)],
        "price": price,
        "cost": price * 6 // 10,
        "currency": ["CNY"] * items,
        "stock": np.where(rng.random(items) < 0.05, 0, rng.integers(100, 10_000, items)),
    }
    return schema.conform(pa.table(told), schema.ITEMS)


def log(items: int, customers: int, events: int, rng: np.random.Generator) -> pa.Table:
    """Sessions within one of 2,000 tastes each; every customer has some events, popularity has a long tail."""
    who = np.concatenate((np.arange(customers), rng.integers(customers, size=max(0, events - customers))))
    taste = (who * 7 + rng.integers(3, size=len(who))) % 2_000
    rank = np.minimum((rng.pareto(0.8, len(who)) * 3).astype(np.int64), max(1, items // 2_000) - 1)
    what = (taste + 2_000 * rank) % items
    at = np.sort(rng.integers(0, int((NOW - START).total_seconds()) * 1_000_000, len(who)))
    kind = rng.choice(KINDS, len(who), p=(0.8, 0.12, 0.08))
    order = rng.permutation(len(who))
    names, ids = np.array([f"c{number:06d}" for number in range(customers)]), np.array([f"i{number:06d}" for number in range(items)])
    value = np.where(kind == "purchase", 1_000, None)
    told = {
        "id": [f"past{number}" for number in range(len(who))],
        "at": pa.array(at + int(START.timestamp()) * 1_000_000, schema.TIME),
        "customer": names[who[order]],
        "kind": kind,
        "item": ids[what[order]],
        "value": pa.array(value.tolist(), pa.int64()),
        "currency": ["CNY"] * len(who),
        "source": ["bench"] * len(who),
    }
    return schema.conform(pa.table(told), schema.EVENTS)
