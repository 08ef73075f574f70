"""Workers killed with SIGKILL, a thousand times and more, while they commit, compose and deliver; counted at the receiver.

Several workers race on PostgreSQL, one after the other works on SQLite. Most die at a step boundary: a write, a commit, or one of
``worker.STEPS``; a quarter dies at a random time. E-mail goes to a real mail server (aiosmtpd) and text messages and pushes to an HTTP
gateway, both on loopback; they refuse, hang up before and after taking a message, and keep silent. Pushes carry an idempotency key
that the gateway honours, and about which it can be asked. The clock stands still while workers run and is turned between, across the
change of the clocks in the United States. A judge of its own reads the receivers' log: nothing doubled, nothing silently lost, at most
one unknown message per kill, and not one breach of quiet hours (in the recipient's zone, or in all where it may be), caps, rate,
consent, expiry and budget.

    python bench/crash.py [--quick] [--kills 1100] [--ledger both]
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401 - what a worker imports is imported once, before the first fork
import ibis  # noqa: F401
import pyarrow as pa
from _crash_world import (
    CHANNEL_CAP,
    CHANNEL_DAYS,
    CHANNELS,
    COST,
    LAUNCH_CAP,
    LAUNCH_DAYS,
    SHOP_ZONES,
    SMS_BURST,
    SMS_PER_SECOND,
    START,
    TOTAL_CAP,
    TOTAL_DAYS,
    Clock,
    Receiver,
    World,
    address,
    drained,
    judge,
)
from _harness import Harness
from sqlalchemy import event, func, select, update
from sqlalchemy.engine import Engine

import tradewind.collect.ingest  # noqa: F401
from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.decide.commit import Short, commit
from tradewind.decide.plan import Plan
from tradewind.deliver import rules
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.channels.smtp import Server, Smtp
from tradewind.deliver.deliver import deliver
from tradewind.deliver.links import Links
from tradewind.deliver.rules import Cap, Rate, Rules
from tradewind.engine.home import Home
from tradewind.engine.ledger import outbox, plans
from tradewind.errors import Locked, Terminal, Transient
from tradewind.types import Message, Receipt, from_micros, micros

OPEN = ("planned", "ready", "leased", "handing_off")
WRITES = ("INSERT", "UPDATE", "DELETE")
BAD = ("doubled", "not_ended", "silently_lost", "keyed_lost", "unknown_by_kill_beyond_kills", "wrong_address", "quiet_breaches")
BAD += ("consent_breaches", "expiry_breaches", "early", "cap_breaches", "rate_breaches", "budget_breaches")
RULES = Rules(
    cap=CHANNEL_CAP,
    cap_days=CHANNEL_DAYS,
    caps=(Cap(TOTAL_CAP, TOTAL_DAYS), Cap(LAUNCH_CAP, LAUNCH_DAYS, category="launch")),
    zones=SHOP_ZONES,
    rates={"sms": Rate(SMS_PER_SECOND, SMS_BURST)},
    attempts=8,
    lease_seconds=120,
    batch=40,
    complaint_rate=1.0,
)


class Gateway(Channel):
    """A gateway over HTTP; ``idempotent`` when it honours the message id as a key."""

    def __init__(self, port: int, way: str, *, idempotent: bool) -> None:
        self.port, self.way, self.idempotent = port, way, idempotent

    @property
    def provider(self) -> str:
        return f"gateway {self.way}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        body = json.dumps({"id": message.message_id, "to": address, "body": message.parts["body"]})
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=0.4)
        try:
            try:
                conn.connect()
            except OSError as error:
                raise Transient(f"no connection ({type(error).__name__})") from None
            try:
                conn.request("POST", f"/{self.way}", body, {"Idempotency-Key": message.message_id})
                status = conn.getresponse().status
            except (OSError, http.client.HTTPException) as error:
                raise Uncertain(f"no answer ({type(error).__name__})") from None
        finally:
            conn.close()
        if status == 429:
            raise Transient("too many requests (429)")
        if status == 400:
            raise Terminal("refused for good (400)")
        if status != 202:
            raise Uncertain(f"the gateway failed ({status})")
        return accepted(message, at=at)


class Keyed(Gateway):
    """A gateway that can be asked whether it has a message."""

    def __init__(self, port: int, way: str) -> None:
        super().__init__(port, way, idempotent=True)

    def look_up(self, message_id: str) -> bool | None:
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=0.4)
        try:
            conn.request("GET", f"/{self.way}/{message_id}")
            return {200: True, 404: False}.get(conn.getresponse().status)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            conn.close()


@dataclass
class Job:
    """What a worker needs to begin its life."""

    url: str
    world: World
    clock: Clock
    mail: int
    gate: int

    def channels(self) -> dict[str, Channel]:
        smtp = Smtp(
            Server("127.0.0.1", self.mail, tls="none", timeout=2),
            sender="news@harbour.example",
            links=Links("https://harbour.example/t", b"k" * 32),
        )
        return {"email": smtp, "sms": Gateway(self.gate, "sms", idempotent=False), "push": Keyed(self.gate, "push")}


# -- a worker's life --------------------------------------------------------------------------------------------------


def live(job: Job, number: int, *, die_at: int | None, seed: int) -> None:
    """Commit a plan that nobody committed yet, write the texts of some messages, deliver what is due."""
    seen, chance = 0, random.Random(seed)

    def touch() -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", lambda _c, _k, sql, *_: touch() if sql.lstrip().startswith(WRITES) else None)
    event.listen(Engine, "commit", lambda _: touch())
    with Home.open(job.url) as home:
        plan(home, job, chance)
        compose(home, job)
        with suppress(Locked):
            deliver(home, channels=job.channels(), now=job.clock, owner=f"w{number}", step=lambda _name: touch())


def plan(home: Home, job: Job, chance: random.Random) -> None:
    """Commit one of the plans whose first message will be due soon; one that does not fit into the budget is given up."""
    with home.ledger.read() as conn:
        done = set(conn.execute(select(plans.c.plan_id)).scalars())
    soon = job.clock() + timedelta(hours=1)
    waiting = [name for name, rows in job.world.plans.items() if name not in done and min(row["send_at"] for row in rows) <= soon]
    if not waiting:
        return
    name = chance.choice(waiting)
    with suppress(Short):
        commit(planned(name, job.world), home, job.clock())


def planned(name: str, world: World) -> Plan:
    """A plan of the world as ``decide`` would make it."""
    table = [
        {
            **{field.name: None if field.nullable else _empty(field.type) for field in schema.PLAN},
            **{key: row[key] for key in ("decision_id", "customer", "offer", "channel", "send_at", "value")},
            "plan_id": name,
            "unit": row["customer"],
            "at": START,
            "variant": "treat",
            "action": "give",
            "mode": "policy",
            "reserved": COST,
        }
        for row in world.plans[name]
    ]
    offers = {row["offer"]: {"ends_at": None, "campaign": row["campaign"], "kind": "none", "terms": {}} for row in world.plans[name]}
    meta = {"plan_id": name, "as_of": START.isoformat(), "budget": world.budget, "budget_id": "crash", "currency": "EUR"}
    return Plan(pa.Table.from_pylist(table, schema=schema.PLAN), {**meta, "window_days": 28, "offers": offers, "stock": {}})


def _empty(kind: pa.DataType) -> Any:
    return [] if pa.types.is_list(kind) else "" if pa.types.is_string(kind) else START if pa.types.is_timestamp(kind) else 0


def compose(home: Home, job: Job) -> None:
    """Write the texts of planned messages, as ``compose`` stores them."""
    c = outbox.c
    with home.ledger.read() as conn:
        query = select(c.message_id, c.decision_id, c.plan_id, c.customer, c.channel, c.send_at)
        rows = conn.execute(query.where(c.state == "planned").limit(120)).all()
    for start in range(0, len(rows), 20):
        with home.ledger.write() as conn:
            for row in rows[start : start + 20]:
                text, ends = worded(row, job)
                change = update(outbox).where(c.message_id == row.message_id, c.state == "planned")
                conn.execute(change.values(state="ready", message=text, expires_at=micros(ends)))


def worded(row: Any, job: Job) -> tuple[str, datetime]:
    """The text of a message as the outbox stores it, and when it expires."""
    ends = next(each["expires_at"] for each in job.world.plans[row.plan_id] if each["decision_id"] == row.decision_id)
    zone = job.world.zones[row.customer]
    parts = {"subject": "Tea", "body": "Words.\nStop: {{unsubscribe_url}}"}
    text = Message(
        row.message_id, row.decision_id, row.plan_id, row.customer, row.channel, "en", parts, ("hook",), "f", "components",
        from_micros(row.send_at), ends, {"zone": zone} if zone else {},
    )  # fmt: skip
    return text.to_json(), ends


# -- the storm --------------------------------------------------------------------------------------------------------


def storm(job: Job, *, kills: int, workers: int, seed: int, progress: Callable[[int], None]) -> int:
    """Kill ``kills`` workers in rounds, then let what is left come to its end; returns how many really died by a kill."""
    chance, died, number = random.Random(seed), 0, 0
    pace = 90 * 60 * workers / max(kills, 1)  # minutes per round: the storm takes ninety hours of the world's time
    while died < kills:
        running: list[tuple[int, float | None]] = []
        for _ in range(workers):
            number += 1
            late = chance.random() < 0.25
            die_at = None if late else chance.randint(1, chance.choice((12, 50, 120)))
            running.append((born(job, number, die_at=die_at, seed=seed + number), chance.uniform(0.0, 0.15) if late else None))
        for pid, moment in running:
            if moment is not None:
                time.sleep(moment)
                os.kill(pid, signal.SIGKILL)
        died += sum(ended(pid) for pid, _ in running)
        drained()
        turn(job, chance, pace * chance.uniform(0.5, 1.5))
        progress(died)
    c = outbox.c
    with Home.open(job.url) as home:
        for _ in range(2_000):
            number += 1
            assert not ended(born(job, number, die_at=None, seed=seed + number)), "nobody kills any more"
            with home.ledger.read() as conn:
                left = conn.execute(select(func.count()).where(c.state.in_(OPEN))).scalar_one()
                next_at = conn.execute(select(func.min(c.next_at)).where(c.state == "ready")).scalar()
            starts = [micros(min(row["send_at"] for row in rows)) for rows in job.world.plans.values()]
            if not left and max(starts) <= job.clock.micros:
                break
            soon = min([at for at in (next_at, *starts) if at is not None and at > job.clock.micros], default=0)
            turn(job, chance, max((soon - job.clock.micros) / 60e6, 3))
    return died


def born(job: Job, number: int, *, die_at: int | None, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            live(job, number, die_at=die_at, seed=seed)
            code = 0
        except BaseException:  # noqa: BLE001 - this copy of the program ends here, whatever happened
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> bool:
    """Whether a worker died by a kill, once it is dead."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), f"a worker failed with {code}"
    return code == -signal.SIGKILL


def turn(job: Job, chance: random.Random, minutes: float) -> None:
    """Turn the clock; now and then somebody changes their mind."""
    job.clock.forward(minutes=minutes)
    with Home.open(job.url) as home:
        for _ in range(chance.choice((0, 0, 1))):
            customer, channel = chance.choice(sorted(job.world.zones)), chance.choice(CHANNELS)
            say(home, job, [customer], channel, granted=chance.random() < 0.4)
    job.clock.forward(seconds=1)


def say(home: Home, job: Job, names: list[str], channel: str, *, granted: bool) -> None:
    size, at = len(names), job.clock()
    columns = {"customer": names, "channel": [channel] * size, "granted": [granted] * size, "at": [at] * size, "source": ["bench"] * size}
    Consents(home).record(pa.table(columns, schema=schema.CONSENTS))
    for name in names:
        job.world.consents[name, channel].append((micros(at), granted))


def serve(log: str, clock: str, seed: int, pipe: Any) -> None:
    """The receivers, in a process of their own."""
    asyncio.run(Receiver(Path(log), Clock(Path(clock)), seed).serve(lambda mail, gate: pipe.send((mail, gate))))


def trial(url: str, folder: Path, *, kills: int, workers: int, seed: int, people: int, many: int) -> dict[str, Any]:
    """One storm over one ledger, and the verdict."""
    clock, log = Clock(folder / "clock"), folder / "shown.jsonl"
    world = World.make(people, many, seed=seed)
    mine, theirs = multiprocessing.Pipe()
    receivers = multiprocessing.get_context("fork").Process(target=serve, args=(str(log), str(folder / "clock"), seed, theirs), daemon=True)
    receivers.start()
    mail, gate = mine.recv()
    job = Job(url, world, clock, mail, gate)
    start = time.perf_counter()
    with Home.open(url) as home:
        rules.save(home, RULES)
        names = sorted(world.zones)
        for channel in CHANNELS:
            points = {"customer": names, "channel": [channel] * len(names), "address": [address(name, channel) for name in names]}
            Vault(home).put(pa.table(points, schema=schema.CONTACTS))
            say(home, job, names, channel, granted=True)
    clock.forward(seconds=1)
    died = storm(job, kills=kills, workers=workers, seed=seed, progress=lambda done: print(f"  {done} kills", end="\r", file=sys.stderr))
    receivers.terminate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    with Home.open(url) as home, home.ledger.read() as conn:
        c = outbox.c
        rows = [dict(row) for row in conn.execute(select(c.message_id, c.decision_id, c.channel, c.state, c.detail)).mappings()]
    for (channel, why), number in sorted(Counter((row["channel"], row["detail"]) for row in rows if row["state"] == "unknown").items()):
        print(f"  unknown, {channel}: {number} {why}")
    return {"kills": died, **judge(world, lines, rows, kills=died), "seconds": time.perf_counter() - start}


@contextmanager
def cluster() -> Iterator[str]:
    """A PostgreSQL of our own on a Unix socket; the URL of a fresh database. fsync is off: programs are killed, not the machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    programs = found[-1] if found else Path(shutil.which("initdb") or "/initdb").parent
    if not (programs / "initdb").exists():
        raise SystemExit("left out: PostgreSQL's server programs are not installed")
    base = Path(tempfile.mkdtemp(prefix="tw-crash-", dir="/tmp"))

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        if os.geteuid() == 0:  # the server refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        with (base / "log.txt").open("ab") as log:
            subprocess.run(command, cwd=base, stdout=log, stderr=log, check=True, timeout=120)

    if os.geteuid() == 0:
        shutil.chown(base, "postgres", "postgres")
    try:
        call("initdb", "-D", str(base / "data"), "-U", "tradewind", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        options = f"-k {base} -c listen_addresses= -c fsync=off"
        call("pg_ctl", "-D", str(base / "data"), "-w", "-l", str(base / "server.txt"), "start", "-o", options)
        try:
            yield f"postgresql://tradewind@/postgres?host={base}"
        finally:
            call("pg_ctl", "-D", str(base / "data"), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def database(given: str | None) -> Iterator[str]:
    """A fresh database on the given server, or on one of our own."""
    import psycopg

    with nullcontext(given) if given else cluster() as server:
        name = f"crash{secrets.token_hex(4)}"
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{name}"')
        yield server.replace("/postgres?", f"/{name}?")


def main() -> None:
    """One storm per ledger."""
    extra = {
        "--kills": {"type": int, "default": 1_100, "help": "workers to kill per ledger"},
        "--ledger": {"choices": ("both", "sqlite", "postgresql"), "default": "both"},
        "--server": {"help": "a PostgreSQL server to make a database on; without it one is started", "metavar": "URL"},
    }
    bench = Harness("crash", __doc__, extra=extra)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped, too
    kills = 16 if bench.quick else bench.arguments.kills
    size = {"people": min(max(60, kills // 2), 500), "many": min(max(20, kills // 8), 75)}  # work for all who are born
    failed = False
    for ledger, workers in (("sqlite", 1), ("postgresql", 3)):
        if bench.arguments.ledger not in ("both", ledger):
            continue
        with tempfile.TemporaryDirectory(prefix="tw-crash-") as name:
            folder = Path(name)
            if ledger == "sqlite":
                found = trial(str(folder / "shop"), folder, kills=kills, workers=1, seed=bench.arguments.seed, **size)
            else:
                with database(bench.arguments.server) as url:
                    home = f"{url}&root={folder / 'shop'}"
                    found = trial(home, folder, kills=kills, workers=workers, seed=bench.arguments.seed, **size)
        for what, value in found.items():
            target = ("==", 0) if what in BAD else (">=", min(kills, 1_000)) if what == "kills" else None
            bench.figure(f"{ledger}_{what}", value, target=target)
            failed |= what in BAD and value != 0
    bench.finish()
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
