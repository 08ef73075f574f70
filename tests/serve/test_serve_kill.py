"""Kill -9 during ingest, decide and a swap of the model: what was answered is there, once. The long version is bench/service.py --kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

from hot_kit import NOW, PEOPLE, Clock, learn, made
from sqlalchemy import select, update

from tradewind.engine.books_serve import decisions
from tradewind.engine.ledger import inbox, models, reservations
from tradewind.serve.access import Access
from tradewind.shop import Shop

HOST = """
import sys
import uvicorn
from datetime import UTC, datetime
from tradewind.serve.service import service
from tradewind.shop import Shop
shop = Shop.open(sys.argv[1], now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
uvicorn.run(service(shop, console=False), port=int(sys.argv[2]), log_level="warning")
"""


class Started:
    """The service in a process of its own."""

    def __init__(self, folder: Path, key: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.key = key
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, "-c", HOST, str(folder), str(self.port)], env=environment)
        until = time.monotonic() + 150
        for path in ("/v1/recommend", "/v1/decide"):
            while self.ask(path, {"customer": PEOPLE[0]})[0] != 200:
                if time.monotonic() > until:
                    self.process.kill()
                    raise AssertionError(f"{path} did not answer")
                time.sleep(0.05)

    def ask(self, path: str, body: Any) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as found:
                return found.status, json.loads(found.read())
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, HTTPException):
            return 0, None


class Pressed:
    """Three threads that ask until the service is killed; what was acknowledged."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.decided: list[Any] = []
        self.failed: list[int] = []
        self.killed = Event()

    def events(self, service: Started, turn: int) -> None:
        for number in count():
            names = [f"kill{turn}-{number}-{place}" for place in range(5)]
            rows = [{"id": name, "at": "2026-03-01T00:01:00Z", "kind": "view", "customer": "c01"} for name in names]
            if self.killed.is_set():
                return
            if service.ask("/v1/events", rows)[0] == 200:
                self.sent += names
                service.ask("/v1/events", rows)  # again: changes nothing

    def decisions(self, service: Started, turn: int) -> None:
        for number in count():
            if self.killed.is_set():
                return
            status, told = service.ask("/v1/decide", {"customer": PEOPLE[number % 30], "visit": f"{turn}-{number}", "trace": False})
            if status == 200:
                self.decided.append(told)

    def looks(self, service: Started, _turn: int) -> None:
        while not self.killed.is_set():
            status, _ = service.ask("/v1/recommend", {"customer": PEOPLE[1]})
            if status != 200 and not self.killed.is_set():
                self.failed.append(status)


def test_what_was_acknowledged_survives_kills_once(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(made(), folder)
    with Shop.open(folder, now=Clock()) as shop:
        learn(shop.home, window=1)
        key = Access(shop.home, now=lambda: NOW).new_key("test", "admin")
    turns = [killed(folder, key, turn) for turn in range(2)]
    sent, decided = [name for one in turns for name in one.sent], [told for one in turns for told in one.decided]
    assert [one.failed for one in turns] == [[], []]  # models were swapped all the while
    assert len(sent) > 10
    assert len(decided) > 2
    with Shop.open(folder, now=Clock()) as shop:
        shop.home.log.compact(now=NOW)
        with shop.home.ledger.read() as conn:
            assert conn.execute(select(inbox.c.id)).first() is None
            kept = set(conn.execute(select(decisions.c.decision_id)).scalars())
            held = {one.decision_id: one.amount for one in conn.execute(select(reservations))}
        stored = shop.home.tables.to_arrow(shop.home.tables.get("events"))["id"].to_pylist()
        assert len(stored) == len(set(stored))
        assert set(sent) <= set(stored)
        assert {one["decision_id"] for one in decided} <= kept
        assert all(held.get(one["decision_id"], 0) == one["reserved"] for one in decided)


def killed(folder: Path, key: str, turn: int) -> Pressed:
    """Start the service, press it, swap its model twice, kill it."""
    service, pressed = Started(folder, key), Pressed()
    threads = [Thread(target=work, args=(service, turn)) for work in (pressed.events, pressed.decisions, pressed.looks)]
    for thread in threads:
        thread.start()
    with Shop.open(folder) as shop:
        for _ in range(2):  # versions take turns
            time.sleep(0.7)
            with shop.home.ledger.write() as conn:
                conn.execute(update(models).where(models.c.name == "recommend").values(active=~models.c.active))
    pressed.killed.set()
    service.process.send_signal(signal.SIGKILL)
    service.process.wait(30)
    for thread in threads:
        thread.join()
    return pressed
