"""Simulated shops with one measured plan each, for bench/experiments.py: what the report says beside what is true."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from sqlalchemy import update

from tradewind.asked import CHANNEL_COSTS
from tradewind.demo import Clock
from tradewind.engine import ledger as books
from tradewind.measure.profit import Sample, sample
from tradewind.shop import Shop
from tradewind.simulate.respond import CONTACTS, respond
from tradewind.simulate.truth import margin_of, true_profit
from tradewind.simulate.world import World

START = date(2026, 1, 5)
WINDOW = 14
PLANS = 10  # of one learned shop
COST = {name: float(cost) for name, cost in CHANNEL_COSTS.items()}


@dataclass(frozen=True)
class Case:
    """A measured plan and the expected profit of each decision's message, 0 where none was sent; minor units."""

    sample: Sample
    truth: np.ndarray


def mailed(seed: int, customers: int) -> Case:
    """Everybody but a tenth gets one random item on one random channel at ten o'clock: no engine, no files, so many shops are cheap."""
    world = World.make(customers, seed=seed, start=START, days=60)
    rng = np.random.default_rng(seed)
    start, none = world.end, CONTACTS.empty_table()
    treated = rng.random(customers) >= 0.1
    who = np.flatnonzero(treated)
    items, channels = world.catalogue.ids(), tuple(COST)
    lot = rng.integers(0, len(channels), len(who))
    contacts = pa.table(
        {
            "decision_id": [f"d{at}" for at in who],
            "customer": [f"C{at:07d}" for at in who],
            "offer": ["item"] * len(who),
            "item": [items[at] for at in rng.integers(0, len(items), len(who))],
            "channel": [channels[at] for at in lot],
            "send_at": [start + timedelta(hours=10)] * len(who),
            "offer_kind": ["product"] * len(who),
            "terms": ["{}"] * len(who),
        }
    ).cast(CONTACTS)

    def earned(sent: pa.Table, at: datetime, days: int, lot: int) -> np.ndarray:
        found = margin_of(world, respond(world, sent, start=at, days=days, seed=lot, browse=False))
        values = np.zeros(customers)
        for name, margin in zip(found["customer"].to_pylist(), found["margin"].to_pylist(), strict=True):
            values[int(name[1:])] = margin
        return values

    before = earned(none, start - timedelta(days=28), 28, 10_000 + seed)
    margin = earned(contacts, start, WINDOW, seed)
    contact, truth = np.zeros(customers), np.zeros(customers)
    contact[who] = [COST[channels[at]] for at in lot]
    truth[who] = true_profit(world, contacts, start=start, days=WINDOW, costs=COST)["profit"].to_numpy()
    names, zeros = np.array([f"C{at:07d}" for at in range(customers)], dtype=object), np.zeros(customers)
    end = start + timedelta(days=WINDOW)
    everybody = np.ones(customers, dtype=bool)
    found = Sample(
        decision=names,
        customer=names,
        unit=names,
        treated=treated,
        acted=everybody,
        sent=treated,
        margin=margin,
        contact=contact,
        discount=zeros,
        revenue=zeros,
        orders=(margin != 0).astype(np.int64),
        clicked=~everybody,
        before=before[:, None],
        start=start,
        end=end,
        now=end,
        foreign=0,
    )
    return Case(found, truth)


def planned(seed: int, customers: int) -> Case:
    """A plan of the engine in a shop on disk. The messages go out at the plan's hours; writing and handing them off is left out.

    ``PLANS`` plans each begin from a copy of one collected and learned shop: the holdout (its salt), the policy's draws and the answers
    are their own.
    """
    world, learned = _learned(seed // PLANS, customers)
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(learned, Path(place) / "shop")
        clock = Clock(world.end)
        with Shop.open(Path(place) / "shop", now=clock) as shop:
            shop.home.settings = replace(shop.home.settings, salt=f"bench-{seed}")  # no shop would: another holdout
            plan = shop.decide(budget=f"{customers * 1.5:.2f} CNY", holdout=0.2, window_days=WINDOW, as_of=world.end, seed=seed)
            offers = plan.meta["offers"]
            names = ("decision_id", "customer", "offer", "item", "channel", "send_at", "variant", "action")
            sent = [row for row in plan.table.select(names).to_pylist() if row["variant"] == "treat" and row["send_at"] is not None]
            rows = [{**row, "offer_kind": offers[row["offer"]]["kind"], "terms": json.dumps(offers[row["offer"]]["terms"])} for row in sent]
            contacts = pa.Table.from_pylist([{name: row[name] for name in CONTACTS.names} for row in rows], schema=CONTACTS)
            with shop.home.ledger.write() as connection:
                connection.execute(update(books.outbox).where(books.outbox.c.plan_id == plan.plan_id).values(state="accepted"))
            answers = world.respond(contacts, start=world.end, days=WINDOW, seed=seed)
            clock.at = world.end + timedelta(days=WINDOW)
            shop.collect(answers)
            found = sample(shop.home, plan, as_of=clock.at)
            exact = true_profit(world, contacts, start=world.end, days=WINDOW, costs=COST)
    worth = dict(zip(exact["decision_id"].to_pylist(), exact["profit"].to_pylist(), strict=True))
    return Case(found, np.array([worth.get(name, 0.0) for name in found.decision]))


@lru_cache(maxsize=1)
def _learned(number: int, customers: int) -> tuple[World, Path]:
    """A world, and its shop after collect and learn."""
    world = World.make(customers, seed=number, start=START, days=90)
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    world.write(place / "export")
    with Shop.open(place / "shop", now=Clock(world.end)) as shop:
        shop.home.save_settings(replace(shop.home.settings, simulated=True))
        shop.collect(place / "export", mapping=place / "export" / "mapping.toml")
        shop.learn(recommend="popular", as_of=world.end)
    return world, place / "shop"
