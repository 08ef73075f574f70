"""What a storm of bounces leaves behind, how fast mails are signed, and how fast a gateway on loopback is fed.

The storm: 10,000 reports in an mbox, half of them forged (unsigned, signed by a stranger, cut), the others repetitions of reports on
100 messages that were sent. It is read twice. Right is: one row, one event and one suppressed address per message, whatever came how often.
The signer is compared with dkimpy on the same mail and key; the gateway is a process of its own that answers each request with a code.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from multiprocessing.connection import Connection

from _harness import Harness, alone

STORM = """
import random, sys, time
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from sqlalchemy import func, select
from tradewind import schema
from tradewind.collect.vault import Vault
from tradewind.deliver.feedback import Feedback
from tradewind.deliver.feedback_refs import Returns
from tradewind.engine.books_channels import feedback
from tradewind.engine.home import Home
from tradewind.engine.ledger import insert_new, outbox, suppressions

root, size, sent = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
at, rng = datetime(2026, 3, 1, tzinfo=UTC), random.Random(int(sys.argv[4]))
home = Home.open(root / "shop")
returns = Returns(Vault(home).key("returns"), "bounces@harbour.example")
stranger = Returns(bytes(32), "bounces@harbour.example")
ids = [f"{rng.getrandbits(256):064x}" for _ in range(sent)]
points = {"customer": ids, "channel": ["email"] * sent, "address": [f"{n[:8]}@mail.example" for n in ids]}
Vault(home).put(pa.table(points, schema=schema.CONTACTS))
with home.ledger.write() as conn:
    who = lambda n: {"message_id": n, "decision_id": n, "plan_id": "bench", "customer": n, "channel": "email", "state": "accepted"}
    insert_new(conn, outbox, [{**who(n), "send_at": 0, "attempts": 1, "next_at": 0, "fence": 1, "updated_at": 0} for n in ids])

def report(to, quoted):
    return (f"From MAILER-DAEMON Sun Mar  1 00:00:00 2026\\nFrom: MAILER-DAEMON@mx.example\\nTo: {to}\\nMIME-Version: 1.0\\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\\n\\n--b\\nContent-Type: text/plain\\n\\n'
            + "It could not be delivered.\\n" * 20 +
            "--b\\nContent-Type: message/delivery-status\\n\\nReporting-MTA: dns; mx.example\\n\\nAction: failed\\nStatus: 5.1.1\\n\\n"
            f"--b\\nContent-Type: text/rfc822-headers\\n\\nMessage-ID: {quoted}\\n\\n--b--\\n\\n")

forged = [
    lambda n: report("bounces@harbour.example", f"<{n}@harbour.example>"),
    lambda n: report(stranger.sender(n), stranger.message_id(n, domain="harbour.example")),
    lambda n: report(returns.sender(n)[:-30] + "@harbour.example", ""),
]
with (root / "storm").open("w") as file:
    for number in range(size):
        n = ids[number % sent]
        genuine = report(returns.sender(n), returns.message_id(n, domain="harbour.example"))
        file.write(genuine if rng.random() < 0.5 or number < sent else rng.choice(forged)(n))
start, turns = time.perf_counter(), []
for _ in range(2):
    turns.append(Feedback(home, returns).read(root / "storm", now=at))
taken = time.perf_counter() - start
with home.ledger.read() as conn:
    count = lambda table: conn.execute(select(func.count()).select_from(table)).scalar_one()
    rows, stops = count(feedback), count(suppressions)
home.log.compact(now=at)
events = home.tables.to_arrow(home.tables.events()).num_rows
result = {"mails": sum(t.mails for t in turns), "new": [sum(t.new.values()) for t in turns], "forged": [t.forged for t in turns],
          "rows": rows, "suppressed": stops, "events": events, "rate": 2 * size / taken}
home.close()
"""
SIGN = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
import dkim
from tradewind.deliver.channels import _mime
from tradewind.deliver.channels._dkim import Dkim

path = Path(sys.argv[1]) / "key.pem"
made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
path.chmod(0o600)
signer = Dkim.read(path, domain="harbour.example", selector="s1")
at = datetime(2026, 3, 1, tzinfo=UTC)
headers = [("From", "news@harbour.example"), ("To", "ann@mail.example"), ("Subject", "Three new teas"), ("Date", _mime.date(at)),
           ("Message-ID", "<a@harbour.example>"), ("List-Unsubscribe", "<https://harbour.example/t/u>"),
           ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
mail = _mime.mail(headers, text="Words of a usual length. " * 20, html="<p>" + "Words of a usual length. " * 60 + "</p>", key="k")
key = path.read_bytes()
names = [name.lower().encode() for name, _ in headers]
def rate(step, times):
    start = time.perf_counter()
    for _ in range(times):
        step()
    return times / (time.perf_counter() - start)
size = int(sys.argv[2])
signer.sign(mail, at=at)
ours = rate(lambda: signer.sign(mail, at=at), size)
how = {"include_headers": names, "canonicalize": (b"relaxed", b"relaxed")}
peer = rate(lambda: dkim.sign(mail, b"s1", b"harbour.example", key, **how), max(10, size // 20))
good = dkim.verify(signer.sign(mail, at=at), dnsfunc=lambda name, timeout=5: signer.record().encode())
result = {"ours": ours, "dkimpy": peer, "verified": int(good)}
"""
FEED = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from tradewind.deliver.deliver import channel
from tradewind.engine.home import Home
from tradewind.types import Message

home, size = Home.open(Path(sys.argv[1]) / "shop"), int(sys.argv[3])
(home.root / "channels.toml").write_text(
    f'[sms]\\nurl = "http://127.0.0.1:{sys.argv[2]}/v1"\\nprivate = true\\nidempotency_header = "Idempotency-Key"\\n'
    '[sms.body]\\nto = "{to}"\\ntext = "{body}"\\nref = "{message_id}"\\n[sms.answer]\\nid = "id"\\ncode = "code"\\nok = ["0"]\\n')
at = datetime(2026, 3, 1, tzinfo=UTC)
body = {"body": "Boots 20% off. Reply STOP to end."}
items = [Message(f"{n:064d}", f"{n:064d}", "bench", f"c{n}", "sms", "en", body, (), "", "bench", at) for n in range(size)]
with channel(home, "sms", environment={}) as sender:
    start = time.perf_counter()
    for item in items:
        assert sender.send(item, address="+442079460018", at=at).state == "accepted"
    result = {"rate": size / (time.perf_counter() - start)}
home.close()
"""


def gateway(pipe: Connection) -> None:
    """Answer every request with one code, over connections that are kept."""
    body = b'{"code": 0, "id": "sp-1"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def main() -> None:
    bench = Harness("channels", __doc__)
    size, sent = (1_000, 20) if bench.quick else (10_000, 100)
    with tempfile.TemporaryDirectory() as folder:
        storm = alone(STORM, folder, str(size), str(sent), str(bench.arguments.seed))
    print(f"storm of {size:,} reports on {sent} messages, read twice")
    bench.figure("storm: rows kept", storm["rows"], target=("==", sent))
    bench.figure("storm: events", storm["events"], target=("==", sent))
    bench.figure("storm: suppressed addresses", storm["suppressed"], target=("==", sent))
    bench.figure("storm: new in the second reading", storm["new"][1], target=("==", 0))
    bench.figure("storm: forged, first reading", storm["forged"][0])
    bench.figure("storm: mails a second", storm["rate"])
    bench.figure("storm: peak MiB", storm["peak_mib"], target=("<=", 250))
    with tempfile.TemporaryDirectory() as folder:
        signed = alone(SIGN, folder, "200" if bench.quick else "2000")
    bench.figure("dkim: dkimpy accepts our signature", signed["verified"], target=("==", 1))
    bench.figure("dkim: mails signed a second, RSA-2048", signed["ours"])
    bench.figure("dkim: the same by dkimpy", signed["dkimpy"])
    bench.figure("dkim: ratio", signed["ours"] / signed["dkimpy"], target=(">=", 5))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=gateway, args=(there,), daemon=True)
    process.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            fed = alone(FEED, folder, str(here.recv()), "500" if bench.quick else "10000")
    finally:
        process.terminate()
        process.join()
    bench.figure("gateway: messages handed over a second", fed["rate"], target=(">=", 1000))
    bench.figure("gateway: peak MiB", fed["peak_mib"], target=("<=", 250))
    bench.finish()


if __name__ == "__main__":
    main()
