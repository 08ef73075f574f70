"""A small simulated shop after one turn of the loop, and its service asked without a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from tradewind.demo import Clock, play
from tradewind.engine.ledger import metadata
from tradewind.serve.access import Access
from tradewind.serve.service import service
from tradewind.shop import Shop
from tradewind.simulate.world import World

RULES = """
[[rules]]
name = "large"
rule = 'review if amount > 20000'
reason = { zh = "x", en = "A large order." }
owner = "li"
mode = "acting"
"""


class Managed:
    """A shop, its clock, and a client with the key of an admin."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.shop = Shop.open(folder, create=False, now=clock)
        self.access = Access(self.shop.home, now=clock)
        self.app = service(self.shop, console=False)
        self.client = TestClient(self.app, headers={"authorization": f"Bearer {self.access.new_key('tests', 'admin')}"})

    def get(self, path: str, status: int = 200, **asked: Any) -> Any:
        return self._done(self.client.get(f"/v1/{path}", params=asked or None), status)

    def post(self, path: str, told: Any = None, status: int = 200) -> Any:
        return self._done(self.client.post(f"/v1/{path}", json=told), status)

    def pages(self, path: str, *, limit: int, **asked: Any) -> list[Any]:
        """All rows of a paged answer, read page by page."""
        rows: list[Any] = []
        page = self.get(path, limit=limit, **asked)
        while True:
            assert len(page["rows"]) <= limit
            rows += page["rows"]
            if page["next"] is None:
                return rows
            assert page["rows"]
            page = self.get(path, limit=limit, after=page["next"], **asked)

    def dump(self) -> dict[str, list[str]]:
        """Every row of every table of the ledger, and every file with its size and time."""
        with self.shop.home.ledger.read() as conn:
            rows = {name: sorted(map(repr, conn.execute(select(table)).all())) for name, table in metadata.tables.items()}
        files = [path for path in self.folder.rglob("*") if path.is_file() and "ledger.db" not in path.name]
        return rows | {"files": sorted(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)}

    def copy(self, folder: Path) -> Managed:
        """The same shop somewhere else, to be changed."""
        shutil.copytree(self.folder, folder)
        return Managed(folder, Clock(self.clock.at))

    def close(self) -> None:
        self.client.close()
        self.shop.close()

    @staticmethod
    def _done(answer: Any, status: int) -> Any:
        assert answer.status_code == status, answer.text
        return None if status == 204 else answer.json()


def make(folder: Path) -> Managed:
    """Collect, learn, decide, compose, deliver, answer, measure: once, for 160 customers."""
    world = World.make(160, seed=5, start=date(2026, 1, 5), days=45)
    world.write(folder / "export", dirt=0.01)
    clock = Clock(world.end)
    with Shop.open(folder / "shop", now=clock) as shop:
        shop.home.save_settings(replace(shop.home.settings, name="Harbour", url="https://harbour.example", simulated=True))
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        shop.learn(as_of=world.end, recommend="popular")
        shop.demand.learn(horizon=14, as_of=world.end)
        play(shop, world, clock, seed=1)
    (folder / "shop" / "risk.toml").write_text(RULES, encoding="utf-8")
    return Managed(folder / "shop", clock)
