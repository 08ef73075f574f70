"""How many messages a second one worker hands off, and in how much memory: to the file channel and to a loopback SMTP sink.

Every hand-off goes the whole way: lease, consent, suppression, expiry and cap in the transaction that marks it, the
provider, the outcome, and the ``sent`` event at the end. ``window`` is how many hand-offs to a provider without an
idempotency key are marked by one durable commit: after a kill, that many at most are unknown. The sink is a process of its
own that reads a message and answers; the bound beside it is ``smtplib`` alone sending the same texts to the same sink.

``--queued 10000 1000000`` measures growth instead: how fast the next 4,000 messages leave, one customer each, when so many wait.
With ``--path FOLDER`` the queues stay there and are used again; ``--fill`` only makes them (ten million: 13 GB).
``--only tick`` measures the tick of a campaign whose trigger fired for two hundred customers, in shops of 25,000 and 250,000.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import smtplib
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _harness import Harness, alone

PREPARE = """
import sys, time, hashlib
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver import rules
from tradewind.deliver.rules import Rules
from tradewind.engine.home import Home
from tradewind.engine.ledger import insert_new, outbox
from tradewind.types import Message, micros

root, size, window, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
at = datetime(2026, 3, 1, tzinfo=UTC)
home = Home.open(root)
if kind != "unsigned":
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    path = Path(root) / "dkim.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (Path(root) / "channels.toml").write_text('[smtp.dkim]\\ndomain = "harbour.example"\\nselector = "s1"\\nkey = "dkim.pem"\\n')
names = [f"c{n:07d}" for n in range(size)]
start = time.perf_counter()
points = {"customer": names, "channel": ["email"] * size, "address": [f"{n}@mail.example" for n in names]}
Vault(home).put(pa.table(points, schema=schema.CONTACTS))
vaulted = time.perf_counter() - start
columns = {"customer": names, "channel": ["email"] * size, "granted": [True] * size, "at": [at] * size, "source": ["bench"] * size}
Consents(home).record(pa.table(columns, schema=schema.CONSENTS))
rules.save(home, Rules(window=window, quiet=()))
words, link = "Words of a usual length. ", "{{unsubscribe_url}}"
parts = {"subject": "Three new teas for you", "body": words * 20 + link, "html": f'<p>{words * 30}<a href="{link}">stop</a></p>'}
def row(name):
    message_id = hashlib.sha256(name.encode()).hexdigest()
    message = Message(message_id, message_id, "bench", name, "email", "en", parts, ("hook-1",), "f" * 64, "components", at)
    who = {"message_id": message_id, "decision_id": message_id, "plan_id": "bench", "customer": name, "channel": "email"}
    times = {"send_at": micros(at), "expires_at": None, "next_at": micros(at), "updated_at": micros(at)}
    return {**who, **times, "state": "ready", "message": message.to_json(), "attempts": 0, "fence": 0}
for first in range(0, size, 10_000):
    with home.ledger.write() as conn:
        insert_new(conn, outbox, [row(name) for name in names[first : first + 10_000]])
home.close()
result = {"vault_per_second": size / vaulted}
"""

DELIVER = """
import os, sys, time
from datetime import UTC, datetime
from tradewind.deliver.deliver import channel, deliver
from tradewind.engine.home import Home

home = Home.open(sys.argv[1])
sender = channel(home, sys.argv[2], environment=os.environ)
start, cpu = time.perf_counter(), time.process_time()
done = deliver(home, "bench", channels=sender, now=lambda: datetime.now(UTC))
sender.close()
taken = time.perf_counter() - start
assert done.counts == {"accepted": int(sys.argv[3])}, done.to_text()
result = {"rate": done.counts["accepted"] / taken, "cpu_ms": 1000 * (time.process_time() - cpu) / done.counts["accepted"]}
home.close()
"""

# Rows come from SQL: what is measured is the queue, not its making. The ids come in no order, as hashes do; rows lie in the order in which
# they came, as those of a real ledger. While it is filled nothing is forced to disk, and the indexes are built at the end.
QUEUE = """
import sqlite3, sys, time
from datetime import UTC, datetime
from tradewind.deliver import rules
from tradewind.deliver.rules import Rules
from tradewind.engine.home import Home
from tradewind.types import Message, micros
root, size = sys.argv[1], int(sys.argv[2])
at = datetime(2026, 3, 1, tzinfo=UTC)
home = Home.open(root)
rules.save(home, Rules(quiet=()))
home.close()
parts = {"subject": "Three new teas for you", "body": "Words of a usual length. " * 12}
one = Message("I" * 64, "I" * 64, "bench", "NAME", "email", "en", parts, ("hook-1",), "f" * 64, "components", at).to_json()
numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :size) "
key = "printf('%08x%056x', (i * 2654435761) % 4294967296, i)"
values = {"size": size, "at": micros(at), "one": one}
start = time.perf_counter()
with sqlite3.connect(root + "/ledger.db", isolation_level=None) as conn:
    for pragma in ("journal_mode=DELETE", "journal_mode=OFF", "synchronous=OFF", "cache_size=-2000000", "locking_mode=EXCLUSIVE"):
        conn.execute("PRAGMA " + pragma)
    made_by = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'outbox' AND sql IS NOT NULL"
    indexes = conn.execute(made_by).fetchall()
    conn.execute("BEGIN")
    for name, _ in indexes:
        conn.execute(f"DROP INDEX {name}")
    conn.execute(numbers + "INSERT INTO consents SELECT printf('c%08d', i), 'email', :at, 1, 'bench' FROM n", values)
    conn.execute(
        "INSERT INTO outbox (message_id, decision_id, plan_id, customer, channel, state, send_at, message, attempts, next_at, fence, "
        "updated_at) "
        + numbers + f"SELECT {key}, {key}, 'bench', printf('c%08d', i), 'email', 'ready', :at, "
        f"replace(replace(:one, '{'I' * 64}', {key}), 'NAME', printf('c%08d', i)), 0, :at, 0, :at FROM n", values
    )
    for _, made in indexes:
        conn.execute(made)
    conn.execute("COMMIT")
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA journal_mode=WAL")
conn.close()
result = {"filled": size / (time.perf_counter() - start)}
"""
NEXT = """
import sys, time
from datetime import UTC, datetime
from tradewind.deliver.deliver import deliver
from tradewind.deliver.channels.file import File
from tradewind.engine.home import Home
home = Home.open(sys.argv[1])
start, cpu = time.perf_counter(), time.process_time()
with File(home.root / "outbox") as sender:
    done = deliver(home, "bench", channels={"email": sender}, now=lambda: datetime.now(UTC), limit=int(sys.argv[2]))
taken, cpu = time.perf_counter() - start, time.process_time() - cpu
assert done.counts == {"accepted": int(sys.argv[2])}, done.to_text()
result = {"rate": done.counts["accepted"] / taken, "cpu_ms": 1000 * cpu / done.counts["accepted"]}
home.close()
"""

# A shop in which carts are left; one tick decides for their owners. The time that ``whole`` takes is that of profiles and
# shortlists for everybody, which is what a tick made before it read a sample of the others.
TICK = """
import sys, time
from dataclasses import replace
from datetime import timedelta
import pyarrow as pa
from _features_world import AS_OF, END, store
import tradewind as tw
from tradewind import plugins, schema
from tradewind.decide import campaign_tick
from tradewind.learn.registry import publish
from tradewind.learn.sequences import sequences
from tradewind.types import Event
root, customers, whole, carts = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "whole", 200
class Clock:
    at = END
    def __call__(self):
        return self.at
clock = Clock()
shop = tw.Shop.open(root, now=clock)
home = shop.home
home.save_settings(replace(home.settings, currency="EUR", margin=0.4))
store(home, events=4 * customers, customers=customers, items=2_000, seed=7)
shop.collect(pa.Table.from_pylist([{"offer": "pick", "kind": "product", "terms": "{}"}], schema=schema.OFFERS))
who = [f"c{n:06d}" for n in range(carts)]
rows = {"customer": who, "channel": ["email"] * carts, "granted": [True] * carts, "at": [END] * carts, "source": ["bench"] * carts}
shop.collect(pa.table(rows, schema=schema.CONSENTS))
model = plugins.load("learn", "popular", what="model")()
model.fit(sequences(home.tables, as_of=AS_OF), as_of=AS_OF)
publish(home, "recommend", model.save, as_of=AS_OF, card={}, now=END)
told = {
    "name": "cart", "goal": "Bring carts back", "budget": "1000 EUR", "offers": ["product"], "channels": ["email"],
    "trigger": {"kind": "abandoned_cart", "grace_minutes": 0},
    "from": (END - timedelta(days=1)).isoformat(), "until": (END + timedelta(days=20)).isoformat(),
}
shop.campaigns.plan(told)
shop.campaigns.approve("cart", by="bench")
shop.campaigns.apply(told, by="bench")
shop.campaigns.tick()  # the first one hears the whole past
minute = timedelta(minutes=1)
left = [Event(f"k{one}", END + minute, "cart", "bench", customer=one, item="i00001", value=100) for one in who]
home.log.append(left, now=END + 2 * minute)
clock.at = END + timedelta(hours=2)
if whole:
    campaign_tick.around = lambda *_, **__: None
start, cpu = time.perf_counter(), time.process_time()
(row,) = shop.campaigns.tick()
taken, cpu = time.perf_counter() - start, time.process_time() - cpu
assert row.get("decided", 0) >= carts, row  # a few more were left in the last minutes of the log
result = {"seconds": taken, "cpu": cpu, "messages": row["messages"]}
"""


class Sink(asyncio.Protocol):
    """The least that is SMTP: it takes every message and keeps only the count."""

    taken = 0

    def connection_made(self, transport: Any) -> None:
        self.out, self.rest, self.text = transport, b"", False
        self.out.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self.rest += data
        answers = []
        while True:
            end = b"\r\n.\r\n" if self.text else b"\r\n"
            line, found, rest = self.rest.partition(end)
            if not found:
                break
            self.rest = rest
            verb = line[:4].upper()
            if self.text:
                self.text = False
                Sink.taken += 1
                answers.append(b"250 taken\r\n")
            elif verb == b"DATA":
                self.text = True
                answers.append(b"354 go on\r\n")
            else:
                answers.append({b"EHLO": b"250-sink\r\n250 PIPELINING\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
        self.out.write(b"".join(answers))
        if answers[-1:] == [b"221 bye\r\n"]:
            self.out.close()


def serve(pipe: Connection) -> None:
    """Run the sink until the process is ended; tell its port first."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def bound(port: int, size: int) -> float:
    """Messages a second of smtplib alone, one connection, a text of the same length."""
    text = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: x\r\n\r\n" + re.sub(rb"(.{70})", rb"\1\r\n", b"w" * 2_600) + b"\r\n"
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        start = time.perf_counter()
        for _ in range(size):
            smtp.sendmail("a@b.example", ["c@d.example"], text)
        return size / (time.perf_counter() - start)


def synced(path: Path) -> float:
    """Forced writes a second of this disk: what a hand-off that must be known before it happens cannot beat."""
    count = 200
    with path.open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
        return count / (time.perf_counter() - start)


def growth(bench: Harness, sizes: list[int]) -> None:
    """The same hand-offs from queues of different lengths; those under ``--path`` are kept and used again."""
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="tw-queue-") as folder:
            root = str((bench.arguments.path or Path(folder)) / f"queue-{size}")
            if not Path(root).exists():
                filled = alone(QUEUE, root, str(size))
                bench.figure(f"queued_{size}_filled_per_second", filled["filled"])
            if bench.arguments.fill:
                continue
            count = min(size, 4_000)
            found = alone(NEXT, root, str(count))
            bench.figure(f"queued_{size}_mib_of_ledger", (Path(root) / "ledger.db").stat().st_size / 2**20)
            bench.figure(f"queued_{size}_per_second", found["rate"], target=(">=", 1_000))
            bench.figure(f"queued_{size}_cpu_ms_per_message", found["cpu_ms"])
            bench.figure(f"queued_{size}_peak_mib", found["peak_mib"], target=("<=", 200))


def ticks(bench: Harness) -> None:
    """One tick of a campaign in which two hundred carts were left, of shops of different sizes; each in a process of its own."""
    for customers in (25_000,) if bench.quick else (25_000, 250_000):
        for way in ("whole", "sample"):
            with tempfile.TemporaryDirectory(prefix="tw-tick-") as folder:
                found = alone(
                    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})" + TICK, f"{folder}/shop", str(customers), way
                )
            bench.figure(f"tick_{customers}_{way}_seconds", found["seconds"])
            bench.figure(f"tick_{customers}_{way}_cpu_seconds", found["cpu"])
            bench.figure(f"tick_{customers}_{way}_messages", found["messages"])


def main() -> None:
    """Measure every way of handing off in a process of its own."""
    extra: dict[str, dict[str, Any]] = {
        "--queued": {"type": int, "nargs": "*", "help": "measure growth at these lengths of the queue"},
        "--only": {"choices": ["tick"], "help": "measure the tick of a campaign with a trigger instead"},
        "--fill": {"action": "store_true", "help": "only make the queues, under --path, for a later run"},
    }
    bench = Harness("deliver", __doc__, extra=extra)
    if bench.arguments.only == "tick":
        ticks(bench)
        bench.finish()
        return
    if bench.arguments.queued is not None:
        growth(bench, [2_000, 8_000] if bench.quick else bench.arguments.queued or [10_000, 100_000, 1_000_000, 10_000_000])
        bench.finish()
        return
    size = 1_000 if bench.quick else 20_000
    mine, theirs = multiprocessing.Pipe()
    sink = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    sink.start()
    port = mine.recv()
    os.environ |= {
        "TRADEWIND_SMTP": f"smtp+plain://127.0.0.1:{port}",
        "TRADEWIND_SENDER": "news@harbour.example",
        "TRADEWIND_LINKS": "https://harbour.example/t",
    }
    bench.figure("messages", size)
    bench.figure("bound_smtplib_per_second", bound(port, size))
    with tempfile.TemporaryDirectory() as folder:
        bench.figure("bound_synced_writes_per_second", synced(Path(folder) / "synced"))
        # One at a time every message waits for the disk: the first write says that it leaves, the second what came of it.
        ways = (
            ("file", "file", "unsigned", 1, size),
            ("smtp_rsa_window_32", "smtp", "rsa", 32, size),
            ("smtp_ed25519_window_32", "smtp", "ed25519", 32, size),
            ("smtp_unsigned_window_32", "smtp", "unsigned", 32, size),
            ("smtp_rsa_window_1", "smtp", "rsa", 1, size // 20),
        )
        for label, channel, signed, window, count in ways:
            root = str(Path(folder) / label)
            prepared = alone(PREPARE, root, str(count), str(window), signed)
            if label == "file":
                bench.figure("vault_put_per_second", prepared["vault_per_second"])
            found = alone(DELIVER, root, channel, str(count))
            bench.figure(f"{label}_per_second", found["rate"], target=None if label == "smtp_rsa_window_1" else (">=", 1_000))
            bench.figure(f"{label}_cpu_ms_per_message", found["cpu_ms"])
            bench.figure(f"{label}_peak_mib", found["peak_mib"], target=("<=", 200))
            bench.figure(f"{label}_unknown_per_kill_at_most", 0 if channel == "file" else window)
    sink.terminate()
    bench.finish()


if __name__ == "__main__":
    main()
