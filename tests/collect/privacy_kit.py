"""A small shop in which one person has left traces everywhere, and ways to look at it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select, text

import tradewind as tw
from tradewind import plugins, schema
from tradewind.collect.vault import Vault
from tradewind.demo import Clock, play
from tradewind.engine import audit
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.learn.registry import publish
from tradewind.learn.sequences import sequences
from tradewind.simulate.world import World
from tradewind.types import Event

END = datetime(2026, 2, 19, tzinfo=UTC)
LATER = END + timedelta(days=60)
EMAIL = "ann.o'hara@mail.example"  # a quote, so that every spelling is another one
PLACES = (
    "data/events", "data/customers", "data/outcomes", "data/quarantine", "ledger outbox", "ledger consents", "ledger vault_keys",
    "ledger inbox", "ledger audit", "ledger strange", "ledger loads", "models/recommend", "plans/", "outbox/", "reports/", "ledger.db",
)  # fmt: skip


def build(folder: Path) -> str:
    """A shop with a plan that was delivered and measured; returns the person who will be forgotten: somebody who got a message."""
    world = World.make(24, seed=5, start=date(2026, 2, 1), days=18)
    world.write(folder / "export")
    clock = Clock(world.end)
    with tw.Shop.open(folder / "shop", now=clock) as shop:
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        fit(shop, world.end)
        play(shop, world, clock, seed=1)
        person = victim(shop.home)
        trace(shop, person, clock.at)
    return person


def fit(shop: tw.Shop, at: datetime) -> None:
    """Models that keep rows of customers."""
    log = sequences(shop.home.tables, as_of=at)
    for name in ("user_knn", "session_knn", "graph"):
        model = plugins.load("learn", name, what="model")()
        model.fit(log, as_of=at)
        publish(shop.home, "recommend", model.save, as_of=at, card={}, now=at)


def victim(home: Home) -> str:
    """Somebody who was sent a message and bought something."""
    c = books.outbox.c
    with home.ledger.read() as conn:
        told = list(conn.execute(select(c.customer).where(c.state == "accepted").order_by(c.customer)).scalars())
    events = home.tables.to_arrow(home.tables.events())
    bought = set(events.filter(pc.equal(events["kind"], "purchase"))["customer"].to_pylist())
    return next(str(name) for name in told if name in bought)


def trace(shop: tw.Shop, person: str, at: datetime) -> None:
    """Leave the person's id and address where they do not belong."""
    home = shop.home
    Vault(home).put(pa.table({"customer": [person], "channel": ["email"], "address": [EMAIL]}, schema=schema.CONTACTS))
    other = next(name for name in home.tables.to_arrow(home.tables.get("customers"))["customer"].to_pylist() if name != person)
    words = [
        Event("rude", at, "review", "test", customer=other, text=f"write to {EMAIL.upper()}, or ask {person}!"),
        Event("mine", at, "search", "test", customer=person, text="something rare", context=json.dumps({"who": person})),
    ]
    home.log.append(words, now=at)
    home.log.compact(now=at)
    home.log.append([Event("waits", at, "view", "test", customer=person)], now=at)
    bad = home.root.parent / "bad"
    bad.mkdir()
    (bad / "bad.csv").write_text(f"id,when,who,note\nx1,never,{person},{EMAIL}\n", encoding="utf-8")
    columns = 'at = "when"\ncustomer = "who"\ntext = "note"\nkind = { column = "who", map = {}, default = "view" }\n'
    source = '[[source]]\nname = "bad"\nfiles = "*.csv"\ninto = "events"\nid = "id"\n'
    mapping = f'currency = "CNY"\nzone = "UTC"\n{source}[source.columns]\n{columns}'
    (bad / "mapping.toml").write_text(mapping, encoding="utf-8")
    report = shop.collect(bad, mapping=bad / "mapping.toml")
    assert report.rows_quarantined == 1
    (home.root / "reports").mkdir()
    (home.root / "reports" / "why.html").write_text(f"<p>{person} ({EMAIL}) got a coupon", encoding="utf-8")
    (home.root / "outbox").mkdir(exist_ok=True)
    line = {"message_id": "0" * 32, "customer": person, "address": EMAIL, "parts": {"body": "Dear Ann"}}
    (home.root / "outbox" / "old.jsonl").write_text(
        json.dumps(line) + "\n" + json.dumps({**line, "customer": other, "address": "x"}) + "\n"
    )
    with home.ledger.write() as conn:
        conn.execute(text("CREATE TABLE strange (id INTEGER PRIMARY KEY, note TEXT, who VARCHAR(255))"))
        conn.execute(
            text("INSERT INTO strange VALUES (1, :note, 'x'), (2, 'nothing', :who)"), {"note": f'{{"to": "{EMAIL}"}}', "who": person}
        )
        audit.note(conn, "person:eve", "customer.look", f"customer:{person}", {}, at=at)
        audit.note(conn, "person:eve", "campaign.pause", "campaign:spring", {}, at=at)


def copy(built: Path, target: Path) -> Path:
    """A shop of one's own."""
    shutil.copytree(built / "shop", target)
    return target


def sums(shop: tw.Shop) -> tuple[dict[str, Any], dict[str, float]]:
    """What the newest plan's report says: whole numbers, and estimates."""
    plan = shop.plan()
    report = shop.measure(plan, as_of=LATER)
    assert report.outcomes is not None
    whole: dict[str, Any] = {name: pc.sum(report.outcomes[name]).as_py() for name in ("margin", "cost", "orders", "clicked")}
    whole |= {"decisions": report.outcomes.num_rows, "summary": {k: v for k, v in plan.summary().items() if k != "plan_id"}}
    events = shop.home.tables.to_arrow(shop.home.tables.events())
    for kind in ("purchase", "refund"):
        lines = events.filter(pc.equal(events["kind"], kind))
        whole[kind] = (lines.num_rows, pc.sum(lines["value"]).as_py(), pc.count_distinct(lines["order_id"]).as_py())
    whole["sections"] = [(section.title, section.rows) for section in report.sections if section.title == "Where the money went"]
    return whole, {one.name: one.value for section in report.sections for one in section.estimates}
