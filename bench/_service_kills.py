"""Kill -9 while the service takes events, decides, and swaps its model; then look for every acknowledged thing."""

from __future__ import annotations

import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any

from _harness import Harness
from _service_load import Service
from sqlalchemy import select, update

from tradewind.engine.books_serve import decisions
from tradewind.engine.ledger import inbox, models, reservations
from tradewind.engine.parquet import scan
from tradewind.shop import Shop


def storm(bench: Harness, path: Path, world: dict[str, Any], *, kills: int) -> None:
    """Start, load from four threads, kill at a random moment, look; ``kills`` times."""
    rng = random.Random(bench.arguments.seed)
    second_version(path)
    totals = {"events": 0, "decisions": 0, "recommended": 0, "swaps": 0, "lost": 0, "doubled": 0, "failed": 0}
    for turn in range(kills):
        service = Service.start(path)
        service.ask("POST", "/v1/recommend", {"customer": "c000000"})
        service.ask("POST", "/v1/decide", {"customer": "c000000"})
        killed = Event()
        with ThreadPoolExecutor(4) as pool:
            work = [
                pool.submit(events, service, turn, killed, world),
                pool.submit(decide, service, turn, killed, world),
                pool.submit(recommend, service, killed, world),
                pool.submit(swap, path, killed),
            ]
            time.sleep(rng.uniform(1.0, 6.0))
            killed.set()
            service.kill()
        sent, decided, (answered, failed), swaps = (one.result() for one in work)
        lost, doubled = checked(path, sent, decided)
        for name, count in zip(totals, (len(sent), len(decided), answered, swaps, lost, doubled, failed), strict=True):
            totals[name] += count
    for name, count in totals.items():
        bench.figure(f"kills_{name}", count, target=("==", 0) if name in ("lost", "doubled", "failed") else None)
    bench.figure("kills", kills)


def events(service: Service, turn: int, killed: Event, world: dict[str, Any]) -> list[str]:
    """Send small batches; the ids that were acknowledged. Every third batch is sent twice."""
    rng, done = random.Random(turn), []
    number = 0
    while not killed.is_set():
        ids = [f"kill{turn}-{time.time_ns()}-{number + place}" for place in range(rng.randint(1, 20))]
        number += len(ids)
        rows = [
            {
                "id": name,
                "at": "2026-03-01T09:00:00Z",
                "kind": "view",
                "customer": f"c{rng.randrange(world['customers']):06d}",
                "item": "i000001",
            }
            for name in ids
        ]
        for _ in range(1 + (number % 3 == 0)):
            if asked(service, "/v1/events", rows)[0] == 200:
                done += ids
    return list(dict.fromkeys(done))


def decide(service: Service, turn: int, killed: Event, world: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask for decisions; the answers."""
    rng, done = random.Random(turn), []
    while not killed.is_set():
        status, told = asked(
            service, "/v1/decide", {"customer": f"c{rng.randrange(world['customers']):06d}", "visit": f"v{time.time_ns()}"}
        )
        if status == 200:
            done.append(told)
    return done


def recommend(service: Service, killed: Event, world: dict[str, Any]) -> tuple[int, int]:
    """Ask for items while models are swapped: how many were answered, how many failed before the kill."""
    rng, done, failed = random.Random(1), 0, 0
    while not killed.is_set():
        status, _ = asked(service, "/v1/recommend", {"customer": f"c{rng.randrange(world['customers']):06d}"})
        done += status == 200
        failed += status != 200 and not killed.is_set()
    return done, failed


def asked(service: Service, path: str, body: Any) -> tuple[int, Any]:
    """Status 0 for a connection that broke."""
    try:
        return service.ask("POST", path, body, timeout=30.0)
    except (OSError, HTTPException):
        return 0, None


def second_version(path: Path) -> None:
    """A copy of the recommender under another version, so that there is something to swap."""
    with Shop.open(path) as shop, shop.home.ledger.write() as conn:
        rows = conn.execute(select(models).where(models.c.name == "recommend")).mappings().all()
        if len(rows) == 1:
            row = dict(rows[0])
            other = str(row["path"]) + "-again"
            shutil.copytree(shop.home.root / str(row["path"]), shop.home.root / other, dirs_exist_ok=True)
            conn.execute(models.insert().values({**row, "version": f"{row['version'][:16]}-again", "path": other, "active": False}))


def swap(path: Path, killed: Event) -> int:
    """Make the other version active, again and again."""
    swaps = 0
    with Shop.open(path) as shop:
        while not killed.wait(1.5):
            with shop.home.ledger.write() as conn:
                conn.execute(update(models).where(models.c.name == "recommend").values(active=~models.c.active))
            swaps += 1
    return swaps


def checked(path: Path, sent: list[str], decided: list[dict[str, Any]]) -> tuple[int, int]:
    """How many acknowledged things are not there, and how many are there twice."""
    with Shop.open(path) as shop:
        with shop.home.ledger.read() as conn:
            waiting = set(conn.execute(select(inbox.c.id)).scalars())
            kept = set(conn.execute(select(decisions.c.decision_id)).scalars())
            held = {one.decision_id: one.amount for one in conn.execute(select(reservations.c.decision_id, reservations.c.amount))}
        con = shop.home.log.connect()
        try:
            rows = con.execute(
                f"SELECT id, count(*) FROM ({scan(shop.home.log.files('events'), 'id')}) WHERE starts_with(id, 'kill') GROUP BY 1"
            )
            there = dict(rows.fetchall())
        finally:
            con.close()
    lost = sum(name not in waiting and name not in there for name in sent)
    lost += sum(one["decision_id"] not in kept or held.get(one["decision_id"], 0) != one["reserved"] for one in decided)
    doubled = sum(count > 1 for count in there.values())
    return lost, doubled
