"""Erase a hundred people from a shop with models, messages, plans and a backup, and look for them in every byte.

A simulated shop with one delivered and measured plan; its log is made larger by days of other visitors, to see what an erasure costs
as the log grows. Counted are: what ``verify`` finds before and afterwards (id and address of each person, and by keyed hashes), in how many
bytes and values, also after an erasing process was killed at every step;
seconds for the hundred together and for one alone; whether a re-imported address stays suppressed; and the difference of
every sum that the plan's report states. Sums must be equal to the unit, estimates to a relative 1e-9 (the order of a sum differs).
Rotating the master key and backing up are timed on the same shop.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from _harness import Harness, clock, peak_mib
from sqlalchemy import select

import tradewind as tw
from tradewind import plugins, schema
from tradewind.collect import erase_clean
from tradewind.collect.vault import Vault
from tradewind.demo import Clock, play
from tradewind.engine import ledger as books
from tradewind.learn.registry import publish
from tradewind.learn.sequences import sequences
from tradewind.simulate.world import World

bench = Harness("erase", __doc__)
PEOPLE, ERASED, DAYS = (60, 5, 24) if bench.quick else (260, 100, 30)
VISITS = 5_000 if bench.quick else 500_000  # events of other visitors per step of growth
GROWTHS = 1 if bench.quick else 3


def build(folder: Path) -> tuple[tw.Shop, Clock]:
    world = World.make(PEOPLE, seed=bench.arguments.seed, start=date(2026, 1, 5), days=DAYS)
    world.write(folder / "export")
    now = Clock(world.end)
    shop = tw.Shop.open(folder / "shop", now=now)
    shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
    log = sequences(shop.home.tables, as_of=world.end)
    for name in ("user_knn", "session_knn", "graph"):
        model = plugins.load("learn", name, what="model")()
        model.fit(log, as_of=world.end)
        publish(shop.home, "recommend", model.save, as_of=world.end, card={}, now=world.end)
    play(shop, world, now, seed=1)
    return shop, now


def sums(shop: tw.Shop, at: datetime) -> tuple[dict[str, Any], dict[str, float]]:
    report = shop.measure(shop.plan(), as_of=at)
    assert report.outcomes is not None
    whole = {name: pc.sum(report.outcomes[name]).as_py() for name in ("margin", "cost", "orders", "clicked")}
    return whole | {"decisions": report.outcomes.num_rows}, {e.name: e.value for s in report.sections for e in s.estimates}


def grow(shop: tw.Shop, step: int, start: datetime) -> None:
    """Views of visitors whom nobody asks to forget, over the days of the log."""
    n = VISITS
    at = pa.array([start + timedelta(seconds=(i * DAYS * 86_400) // n) for i in range(n)], schema.TIME)
    columns = {
        "id": pa.array([f"g{step}-{i}" for i in range(n)]),
        "at": at,
        "customer": pa.array([f"v{i % 20_000}" for i in range(n)]),
        "kind": pa.array(["view"] * n),
        "item": pa.array([f"P{i % 100:05d}" for i in range(n)]),
        "source": pa.array(["bench"] * n),
    }
    shop.collect(schema.conform(pa.table(columns), schema.EVENTS))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tw-erase-") as scratch:
        folder = Path(scratch)
        shop, now = build(folder)
        later = now.at + timedelta(days=30)
        now.at = later
        home, vault = shop.home, Vault(shop.home)
        c = books.contacts.c
        with home.ledger.read() as conn:
            names = sorted(set(conn.execute(select(c.customer).where(c.channel == "email")).scalars()))
        people = names[:ERASED]
        addresses = {name: str(vault.address(name, "email")) for name in names}
        before = sums(shop, later)
        with clock() as took:
            saved = shop.privacy.backup(folder / "saved")
        bench.figure("backup, MB", saved.bytes / 1e6)
        bench.figure("backup, s", took["wall"])
        sample = people[:: max(1, len(people) // 5)]
        seen = [shop.privacy.verify(name, addresses=[addresses[name]]) for name in sample]
        bench.figure("findings before, per person (mean)", sum(len(one.findings) for one in seen) / len(seen))
        with clock() as took:
            done = shop.privacy.erase(people, backups=[folder / "saved"])
        bench.figure("people erased at once, with a backup", len(people))
        bench.figure("together with the backup, s", took["wall"])
        bench.figure("files written anew", done.files)
        found = look(shop, people, addresses, folder / "saved")
        bench.figure("findings afterwards", found, target=("==", 0))
        after = sums(shop, later)
        bench.figure("sums that differ", sum(after[0][name] != before[0][name] for name in before[0]), target=("==", 0))
        worst = max(abs(after[1][name] - value) / max(abs(value), 1e-12) for name, value in before[1].items())
        bench.figure("largest relative difference of an estimate", worst, target=("<=", 1e-9))
        returns(shop, people[0], addresses[people[0]])
        names = cut_off(shop, [name for name in names if name not in people])
        alone(shop, names, now)
        with clock() as took:
            rotated = shop.privacy.rotate()
        bench.figure("data keys rewrapped", rotated.customers)
        bench.figure("rotation, s", took["wall"])
        bench.figure("peak memory, MiB", peak_mib())
        shop.close()
    bench.finish()


def look(shop: tw.Shop, people: list[str], addresses: dict[str, str], saved: Path) -> int:
    """All ids and addresses in every byte of shop and backup, one person alone for the time it takes, then all by keyed hash."""
    with clock() as took:
        proof = shop.privacy.verify(people, addresses=[addresses[name] for name in people], paths=[saved])
    bench.figure("bytes searched", proof.bytes)
    bench.figure("values compared", proof.values)
    bench.figure("search for all of them, s", took["wall"])
    with clock() as took:
        one = shop.privacy.verify(people[0], addresses=[addresses[people[0]]], paths=[saved])
    bench.figure("search for one, s", took["wall"])
    with clock() as took:
        hashed = shop.privacy.verify(paths=[saved])
    bench.figure("search by keyed hashes, s", took["wall"])
    return sum(len(each.findings) for each in (proof, one, hashed))


def returns(shop: tw.Shop, person: str, address: str) -> None:
    """An old file brings the person, and a new account the address."""
    rows = {"customer": [person, "new-account"], "channel": ["email"] * 2, "address": [address] * 2}
    shop.collect(pa.table(rows, schema=schema.CONTACTS))
    old = {"id": ["old"], "at": [shop.now() - timedelta(days=40)], "customer": [person], "kind": ["view"], "source": ["old"]}
    shop.collect(schema.conform(pa.table(old), schema.EVENTS))
    back = len(shop.privacy.verify(person).findings)
    with shop.home.ledger.read() as conn:
        s = books.suppressions.c
        reasons = set(conn.execute(select(s.reason).where(s.address_hash == Vault(shop.home).hash(address))).scalars())
    bench.figure("findings after an old file was imported", back, target=("==", 0))
    bench.figure("re-imported address is suppressed", int("erased" in reasons), target=("==", 1))


STEPS = (
    ("collect.erase_journal", "append"),
    ("collect.erase_events", "stage"),
    ("collect.erase_plans", "rewrite"),
    ("collect.erase_ledger", "forget"),
    ("collect.erase_events", "swap"),
    ("collect.erase_events", "unlink"),
    ("collect.erase_plans", "tidy_old"),
    ("collect.erase_files", "forget"),
    ("learn.forget_models", "forget"),
    ("collect.erase_journal", "destroy"),
    ("collect.erase", "_say"),
    ("collect.erase", "clear_free_pages"),
)
KILLED = """
import importlib, os, signal, sys
from datetime import datetime
import tradewind as tw

folder, person, module, name, late, now = sys.argv[1:]
module = importlib.import_module("tradewind." + module)
real = getattr(module, name)

def cut(*arguments, **named):
    if late == "True":
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(module, name, cut)
with tw.Shop.open(folder, create=False, now=lambda: datetime.fromisoformat(now)) as shop:
    shop.privacy.erase(person)
"""


def cut_off(shop: tw.Shop, names: list[str]) -> list[str]:
    """Kill a process that erases before and after each of its steps, erase again, and look; returns who is left."""
    before, found, count = sums(shop, shop.now())[0], 0, 0
    for module, name in STEPS:
        for late in (False, True):
            person = names[count]
            address = Vault(shop.home).address(person, "email")
            arguments = [str(shop.home.root), person, module, name, str(late), shop.now().isoformat()]
            done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
            if done.returncode != -signal.SIGKILL:
                raise SystemExit(f"{module}.{name} was not killed:\n{done.stderr}")
            count += 1
            if name == "clear_free_pages":  # nothing knows the person any more: the rest needs no name
                erase_clean.clear_free_pages(shop.home)
            else:
                shop.privacy.erase(person)
            found += len(shop.privacy.verify(person, addresses=[str(address)]).findings)
    bench.figure("erasures killed and run again", count, target=("==", 2 * len(STEPS)))
    bench.figure("findings after them", found, target=("==", 0))
    bench.figure("sums that differ after them", int(sums(shop, shop.now())[0] != before), target=("==", 0))
    return names[count:]


def alone(shop: tw.Shop, names: list[str], now: Clock) -> None:
    """One person at a time, as the log grows."""
    for step in range(GROWTHS + 1):
        if step:
            grow(shop, step, now.at - timedelta(days=30 + 2 * DAYS))
        events = sum(1 for _ in shop.home.log.files("events"))
        rows = shop.home.tables.to_arrow(shop.home.tables.events().aggregate(n=lambda t: t.count()))["n"][0].as_py()
        with clock() as took:
            done = shop.privacy.erase(names[step])
        bench.figure(f"one person, {rows:,} events in {events} files, s", took["wall"])
        bench.figure(f"one person, {rows:,} events, CPU s", took["cpu"])
        bench.figure(f"one person, {rows:,} events, files anew", done.files)


if __name__ == "__main__":
    main()
