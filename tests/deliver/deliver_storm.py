"""Workers that deliver while they are killed at random: a process of its own, because it forks and kills.

``python deliver_storm.py '{"url": ..., "folder": ..., "idempotent": false, "workers": 1, "kills": 20, "seed": 1}'`` prints the
number of kills that hit a worker. The provider writes every raw send to ``folder/raw``, and every send that it answered
with "nobody knows" to ``folder/unsure``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.deliver import deliver
from tradewind.engine.home import Home
from tradewind.errors import Locked, Terminal, Transient
from tradewind.types import Message, Receipt

OPEN = {"ready", "leased", "handing_off"}


class Provider(Channel):
    """Keeps its book in a file, and fails now and then in every way that a provider can."""

    addressed = True

    def __init__(self, folder: Path, *, idempotent: bool, seed: int) -> None:
        self.idempotent = idempotent
        self.folder = folder
        self.random = random.Random(seed)

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        assert address == f"{message.customer}@mail.example"
        draw = self.random.random()
        if int(hashlib.sha256(message.message_id.encode()).hexdigest()[:4], 16) % 50 == 0:
            raise Terminal("no such mailbox")
        if draw < 0.05:
            raise Transient("busy")
        if draw < 0.06:
            self._write("unsure", message)
            raise Uncertain("cut before")
        time.sleep(self.random.random() * 0.001)
        self._write("raw", message)
        time.sleep(self.random.random() * 0.001)
        if draw < 0.07:
            self._write("unsure", message)
            raise Uncertain("cut after")
        return accepted(message, at=at)

    def _write(self, name: str, message: Message) -> None:
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{message.message_id}\n".encode())
        os.close(file)


def work(options: dict[str, Any], number: int) -> int:
    """One worker's life, if it is let live: 0 when nothing is left to do, 1 when something is."""
    with Home.open(options["url"]) as home:
        provider = Provider(Path(options["folder"]), idempotent=options["idempotent"], seed=options["seed"] * 1_000_003 + number)
        try:
            done = deliver(home, channels={"email": provider}, now=lambda: datetime.now(UTC), owner=f"w{number}")
        except Locked:
            return 1
        return int(bool(OPEN & set(done.states)))


def storm(options: dict[str, Any]) -> int:
    """Keep ``workers`` running, kill one of them ``kills`` times at random moments, then let them end."""
    chance, kills, number = random.Random(options["seed"]), 0, 0
    running: dict[int, int] = {}
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        while len(running) < options["workers"]:
            number += 1
            pid = os.fork()
            if pid == 0:
                code = 3
                try:
                    code = work(options, number)
                finally:
                    os._exit(code)
            running[pid] = number
        time.sleep(chance.uniform(0.0, options.get("pause", 0.12)))
        if kills < options["kills"]:
            victim = chance.choice(list(running))
            os.kill(victim, signal.SIGKILL)
            _, status = os.waitpid(victim, 0)
            del running[victim]
            kills += os.WIFSIGNALED(status)  # it may have ended by itself just before
            continue
        for pid in list(running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del running[pid]
                if os.WEXITSTATUS(status) == 0:
                    for other in running:
                        os.waitpid(other, 0)
                    return kills
                assert os.WEXITSTATUS(status) == 1, f"a worker failed with {status}"
    raise SystemExit("the storm did not end")


if __name__ == "__main__":
    print(storm(json.loads(sys.argv[1])))
