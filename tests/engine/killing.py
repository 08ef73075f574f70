"""A program that works on a shop and is killed: at random times, or at every step in turn.

``python killing.py random URL SEED ROUNDS`` forks one worker a round and sends it SIGKILL after a random time; what a
worker was told is durable it writes to ``acknowledged`` first. ``python killing.py steps URL`` lets a worker kill
itself at its first step that touches the disk or the ledger, the next one at its second, until one gets through.
It prints how many workers died. Forking one warm program is what makes hundreds of kills affordable.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tradewind.engine.home import Home
from tradewind.types import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCHES, SIZE = 12, 20
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}


def ids(batch: int) -> list[str]:
    """The ids of a batch: half of them are also in the batch before, so that ways overlap."""
    return [f"e{batch * SIZE // 2 + number}" for number in range(SIZE)]


def append(home: Home, batch: int) -> None:
    at = NOW + timedelta(hours=batch * 5)
    home.log.append([Event(key, at, "view", "stream") for key in ids(batch)], now=NOW)


def load(home: Home, batch: int) -> None:
    staging = home.log.begin(f"load{batch}", source="test", now=NOW)
    if staging is None:
        return
    with staging, duckdb.connect(config={"threads": 1}) as con:
        values = ", ".join(f"('{key}')" for key in ids(batch))
        moment = f"TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_hours({batch * 7})"
        staging.add_events(con, f"""SELECT id, {moment} AS "at", 'view' AS kind, 'load' AS source FROM (VALUES {values}) AS t(id)""")
        staging.replace("items", con, f"SELECT 'i{batch}' AS item")
        staging.commit({"batch": batch}, now=NOW)


def work_at_random(url: str, seed: int, acknowledged: int) -> None:
    rng = random.Random(seed)
    with Home.open(url) as home:
        while True:
            batch, way = rng.randrange(BATCHES), rng.choice(("append", "load", "compact"))
            if way == "compact":
                home.log.compact(now=NOW)
                continue
            (append if way == "append" else load)(home, batch)
            os.write(acknowledged, f"{way} {batch}\n".encode())


def work_once(url: str) -> None:
    with Home.open(url) as home:
        append(home, 0)
        load(home, 1)
        home.log.compact(now=NOW)
        load(home, 2)
        append(home, 3)
        home.log.compact(now=NOW)


def die_at(step: int) -> None:
    """Count what touches the disk or the ledger, and kill this process at number ``step``."""
    seen = 0

    def touch() -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda name, _: touch() if name in TOUCHES else None)
    for name in ("before_cursor_execute", "after_cursor_execute"):
        event.listen(Engine, name, lambda *_: touch())
    event.listen(Engine, "commit", lambda _: touch())


def child(work: Callable[..., None], *arguments: object) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*arguments)
        status = 0
    finally:  # whatever happened, this copy of the program ends here
        if status:
            traceback.print_exc()
        os._exit(status)


def crashing(url: str, step: int) -> None:
    die_at(step)
    work_once(url)


def folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["root"][0]) if "://" in url else Path(url)


def main() -> None:
    mode, url = sys.argv[1:3]
    died = 0
    if mode == "random":
        seed, rounds = int(sys.argv[3]), int(sys.argv[4])
        rng = random.Random(seed)
        handle = os.open(folder(url).with_name("acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in range(rounds):
            pid = child(work_at_random, url, seed * 1_000 + number, handle)
            time.sleep(rng.uniform(0.01, 0.25))
            os.kill(pid, signal.SIGKILL)
            died += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    else:
        status = -signal.SIGKILL
        while status == -signal.SIGKILL:
            pid = child(crashing, url, died + 1)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            died += status == -signal.SIGKILL
        assert status == 0, f"the worker ended with {status}"
    print(died)


if __name__ == "__main__":
    main()
