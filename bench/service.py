"""The HTTP service under load: recommend, decide with its trace, ingest; service and load generator on the same two cores.

A generated shop (100,000 items, 100,000 customers, a million events, 200 offers) is collected, learned from and decided for; then the
real service (uvicorn, one process, one thread of numerical libraries) answers wrk. Every request carries a key and names a customer
drawn anew. "echo" is the same framework, server and load with a route that gives back what it got: what is left is ours.

* recommend: GET, the 20 best items for a customer, 16 connections.
* decide: POST, drawn among 200 offers, logged with its propensities and held in the ledger before the answer, whole trace in the answer,
  2 connections.
* single: POST of one event, 64 connections, answered after the disk has it. batch: 100 events a request, 16 connections. Afterwards
  the events in the ledger and the log are counted: not fewer than were acknowledged, not more than were sent.

    OMP_NUM_THREADS=1 python bench/service.py [--quick] [--path FOLDER] [--only PART ...] [--recommend graph] [--soak MINUTES] [--kills N]

``--path`` keeps the shop there and uses it again. ``--soak`` mixes all loads for so many minutes and prints how memory grew after the
first fifth. ``--kills`` kills the service (-9) so many times during ingest, decide and swaps of the model, and checks every
acknowledged event and decision (bench/_service_kills.py).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from pathlib import Path
from typing import Any

import _service_world
from _harness import Harness
from _service_kills import storm
from _service_load import Service, load, wrk_there
from sqlalchemy import func, select

from tradewind.engine.ledger import inbox, manifest
from tradewind.engine.log import EventLog
from tradewind.shop import Shop

PARTS = ("echo", "recommend", "decide", "single", "batch")
CONNECTIONS = {"echo": 16, "recommend": 16, "decide": 2, "single": 64, "batch": 16}
BATCH = 100


def main() -> None:
    bench = Harness(
        "service",
        __doc__,
        extra={
            "--only": {"nargs": "+", "choices": PARTS, "default": list(PARTS)},
            "--recommend": {"default": "fallback", "help": "the recommender"},
            "--seconds": {"type": float, "default": 15.0, "help": "of each load"},
            "--soak": {"type": float, "default": 0.0, "help": "minutes of mixed load"},
            "--kills": {"type": int, "default": 0},
            "--items": {"type": int, "default": 100_000},
            "--customers": {"type": int, "default": 100_000},
            "--offers": {"type": int, "default": 200},
        },
    )
    if not wrk_there():
        print("left out: wrk is not installed (Debian package wrk)")
        return
    arguments = bench.arguments
    size = (1_000, 500) if bench.quick else (arguments.items, arguments.customers)
    seconds = 2.0 if bench.quick else arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.path or Path(folder) / "shop"
        start = time.perf_counter()
        shop = _service_world.make(
            path,
            items=size[0],
            customers=size[1],
            events=10 * size[1],
            offers=arguments.offers,
            recommend=arguments.recommend,
            seed=arguments.seed,
            plan=bool(arguments.kills or arguments.soak or "decide" in arguments.only),
        )
        shop.close()
        bench.figure("recommender", arguments.recommend)
        bench.figure("made_s", time.perf_counter() - start)
        world = {"items": size[0], "customers": size[1], "batch": BATCH}
        busy(bench)
        if "echo" in arguments.only and not (arguments.soak or arguments.kills):
            echo(bench, seconds, world)
        if arguments.kills:
            storm(bench, path, world, kills=arguments.kills)
        elif arguments.soak:
            soak(bench, path, world, minutes=arguments.soak)
        else:
            measured(bench, path, world, seconds)
    bench.finish()


def busy(bench: Harness) -> None:
    """How free the cores are: the share of two seconds of pure computing that this process got."""
    start, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < 2.0:
        pass
    bench.figure("share_of_a_core_had", (time.process_time() - used) / (time.perf_counter() - start))


def echo(bench: Harness, seconds: float, world: dict[str, Any]) -> None:
    service = Service.start(None)
    try:
        shown(bench, "echo", load(service, "echo", seconds=seconds, connections=CONNECTIONS["echo"], world=world))
    finally:
        service.stop()


def shown(bench: Harness, name: str, found: dict[str, float], **targets: tuple[str, float]) -> None:
    """The figures of one load."""
    for figure, key in (("per_s", "rate"), ("p50_ms", "p50"), ("p99_ms", "p99"), ("most_ms", "most"), ("cpu_ms_a_request", "cpu_ms")):
        bench.figure(f"{name}_{figure}", found[key], target=targets.get(key))
    bench.figure(f"{name}_bad", int(found["bad"]), target=("==", 0))


def measured(bench: Harness, path: Path, world: dict[str, Any], seconds: float) -> None:
    """Every part after the other on one process of the service."""
    service = Service.start(path)
    try:
        wanted = bench.arguments.only
        warm(bench, service, wanted)
        if "recommend" in wanted:
            run(bench, service, "recommend", seconds, world, rate=(">=", 800.0), p99=("<=", 20.0))
        if "decide" in wanted:
            run(bench, service, "decide", seconds, world, p99=("<=", 30.0))
        if "single" in wanted:
            ingest(bench, service, path, "single", seconds, world, each=1, least=5_000.0)
        if "batch" in wanted:
            ingest(bench, service, path, "batch", seconds, world, each=BATCH, least=60_000.0)
        bench.figure("service_mib", service.memory())
    finally:
        service.stop()


def warm(bench: Harness, service: Service, wanted: list[str]) -> None:
    """The first request of each kind loads what answers it."""
    for name, body in (("recommend", {"customer": "c000000"}), ("decide", {"customer": "c000000"})):
        if name in wanted:
            start = time.perf_counter()
            status, told = service.ask("POST", f"/v1/{name}", body)
            if status != 200:
                raise SystemExit(f"{name} answered {status}: {told}")
            bench.figure(f"{name}_loaded_s", time.perf_counter() - start)


def run(
    bench: Harness, service: Service, name: str, seconds: float, world: dict[str, Any], **targets: tuple[str, float]
) -> dict[str, float]:
    load(service, name, seconds=2.0, connections=CONNECTIONS[name], world=world)  # warm
    found = load(service, name, seconds=seconds, connections=CONNECTIONS[name], world=world)
    shown(bench, name, found, **targets)
    return found


def ingest(
    bench: Harness, service: Service, path: Path, name: str, seconds: float, world: dict[str, Any], *, each: int, least: float
) -> None:
    """Events a second, and whether they are all there once."""
    before = stored(path)
    found = load(service, name, seconds=seconds, connections=CONNECTIONS[name], world=world)
    shown(bench, name, found)
    bench.figure(f"{name}_events_per_s", found["rate"] * each, target=(">=", least))
    time.sleep(1.0)
    there, acknowledged = stored(path) - before, int(found["requests"] - found["bad"]) * each
    in_flight = CONNECTIONS[name] * each
    bench.figure(f"{name}_acknowledged_and_lost", max(0, acknowledged - there), target=("==", 0))
    bench.figure(f"{name}_stored_and_never_sent", max(0, there - acknowledged - in_flight), target=("==", 0))


def stored(path: Path) -> int:
    """Events in the inbox and in the log: different ids."""
    with Shop.open(path) as shop:
        log: EventLog = shop.home.log
        con = log.connect()
        try:
            with log.ledger.read() as conn:  # one state of both
                waiting = int(conn.execute(select(func.count()).select_from(inbox)).scalar_one())
                files = [
                    str(log.root / name) for name in conn.execute(select(manifest.c.path).where(manifest.c.name == "events")).scalars()
                ]
            return waiting + int(con.execute("SELECT count(DISTINCT id) FROM read_parquet(?)", [files]).fetchall()[0][0])
        finally:
            con.close()


def soak(bench: Harness, path: Path, world: dict[str, Any], *, minutes: float) -> None:
    """All loads in turns; memory at the end of each turn."""
    service = Service.start(path)
    held: list[float] = []
    bad = done = 0
    try:
        warm(bench, service, list(PARTS))
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            for name in ("recommend", "single", "decide", "batch"):
                found = load(service, name, seconds=3.0, connections=4, world=world)
                bad, done = bad + int(found["bad"]), done + int(found["requests"])
            held.append(service.memory())
    finally:
        service.stop()
    first = held[len(held) // 5 :]
    bench.figure("soak_requests", done)
    bench.figure("soak_bad", bad, target=("==", 0))
    bench.figure("soak_mib_after_a_fifth", first[0])
    bench.figure("soak_mib_at_the_end", held[-1])
    bench.figure("soak_growth", held[-1] / first[0] - 1)


if __name__ == "__main__":
    main()
