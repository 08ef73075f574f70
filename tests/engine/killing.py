"""A program that works on a shop and is killed: at random times, or at every step in turn.

``python killing.py random URL SEED ROUNDS`` forks one worker a round and sends it SIGKILL after a random time; what a
worker was told is durable it writes to ``acknowledged``. ``python killing.py steps FOLDER EVERY`` lets a worker kill
itself at its first step that changes the folder or asks the ledger, another one in a fresh shop EVERY steps later, until
one gets through; after each death it checks the shop, does the work again and checks again. Both print how many
workers died. Forking one warm program is what makes hundreds of kills affordable.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import pyarrow.parquet as pq
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from tradewind.engine.home import Home
from tradewind.engine.ledger import loads
from tradewind.types import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCHES, SIZE = 6, 20
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
        append(home, 2)
        home.log.compact(now=NOW)


def die_at(step: int, root: str) -> None:
    """Count what changes the shop's folder or asks its ledger, and kill this process at number ``step``."""
    seen = 0

    def touch() -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        if name in TOUCHES and str(arguments[0]).startswith(root):
            touch()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", lambda *_: touch())
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


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crashing(url: str, step: int) -> None:
    die_at(step, url)
    work_once(url)


def recovering(url: str) -> None:
    """What must hold after a death, and that the same work again makes the shop whole."""
    with Home.open(url) as home:
        check(home, set())
    work_once(url)
    everything = {key for batch in range(3) for key in ids(batch)}
    with Home.open(url) as home:
        check(home, everything)
        assert set(stored(home)) == everything


def stored(home: Home) -> list[str]:
    return sorted(
        key for path in home.log.files("events") for key in pq.read_table(path, columns=["id"], partitioning=None)["id"].to_pylist()
    )


def check(home: Home, acknowledged: set[str]) -> None:
    """What must hold after any kill, once the inbox is compacted."""
    assert not home.log.staging.exists() or not any(home.log.staging.iterdir()), "opening the shop left what a killed loader had staged"
    home.log.compact(now=NOW)
    found = stored(home)
    assert len(found) == len(set(found)), "an event was stored twice"
    assert acknowledged <= set(found), "an acknowledged event was lost"
    with home.ledger.read() as conn:
        finished = {
            int(load_id.removeprefix("load")) for load_id in conn.execute(select(loads.c.load_id).where(loads.c.state == "done")).scalars()
        }
    assert {key for batch in finished for key in ids(batch)} <= set(found), "a finished load is not whole"
    items = {item for path in home.log.files("items") for item in pq.read_table(path)["item"].to_pylist()}
    assert items == {f"i{batch}" for batch in finished}, "a load is visible in part"
    named = set(home.log.files("events")) | set(home.log.files("items"))
    assert set((home.root / "data").glob("[!.]*/**/*.parquet")) == named, "the manifest and the disk differ"


def folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["root"][0]) if "://" in url else Path(url)


def main() -> None:
    mode, url = sys.argv[1:3]
    died = 0
    with tempfile.TemporaryDirectory() as warm:  # what is imported now is not imported again by each worker
        work_once(warm)
    if mode == "random":
        seed, rounds = int(sys.argv[3]), int(sys.argv[4])
        rng = random.Random(seed)
        handle = os.open(folder(url).with_name("acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in range(rounds):
            pid = child(work_at_random, url, seed * 1_000 + number, handle)
            time.sleep(rng.uniform(0.01, 0.25))
            os.kill(pid, signal.SIGKILL)
            died += wait(pid) == -signal.SIGKILL
    else:
        every, status, step = int(sys.argv[3]), -signal.SIGKILL, 1
        Home.open(f"{url}/new").close()
        while status == -signal.SIGKILL:
            status = wait(child(crashing, shutil.copytree(f"{url}/new", f"{url}/{step}"), step))
            assert wait(child(recovering, f"{url}/{step}")) == 0, f"not recovered from a kill at step {step}"
            shutil.rmtree(f"{url}/{step}")
            died, step = died + (status == -signal.SIGKILL), step + every
        assert status == 0, f"the worker ended with {status}"
    print(died)


if __name__ == "__main__":
    main()
