"""Kill -9 at any moment of a whole run, of learning and of delivering; run again; and nothing tells that it happened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select

from tradewind.collect.quarantine import quarantine_rows
from tradewind.collect.vault import Vault
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.simulate.world import World

WORKER = Path(__file__).with_name("house_worker.py")


def storm(work: str, shop: Path, export: Path, *, kills: int, seed: int = 1, how: str = "step", span: float = 1) -> dict[str, int]:
    """Let the storm over a shop; what is left at the end ran to its end."""
    job = {"work": work, "shop": str(shop), "export": str(export), "kills": kills, "seed": seed, "how": how, "span": span}
    done = subprocess.run([sys.executable, str(WORKER), json.dumps(job)], capture_output=True, text=True, check=False, timeout=290)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny export, an empty shop (its salt is drawn once), and what one undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("kill")
    World.make(16, seed=11, start=date(2026, 1, 5), days=21).write(folder / "export", dirt=0.03)
    Home.open(folder / "empty").close()
    shutil.copytree(folder / "empty", folder / "run" / "shop")
    (folder / "run" / "span").write_text(str(storm("run", folder / "run" / "shop", folder / "export", kills=0)["steps"]))
    return folder


@pytest.fixture
def shop(base: Path, tmp_path: Path) -> Iterator[Path]:
    """Where a disturbed copy lives: the last part of its path is the same, because it names the shop."""
    yield tmp_path / "shop"
    shutil.rmtree(tmp_path / "shop", ignore_errors=True)


def rows(home: Home, table: Table, *columns: str) -> Counter[tuple[Any, ...]]:
    """The multiset of a ledger table's rows in the columns that no clock writes."""
    with home.ledger.read() as connection:
        return Counter(tuple(row) for row in connection.execute(select(*(table.c[name] for name in columns))))


def state(folder: Path) -> dict[str, Any]:
    """All that a run leaves, without the times at which it happened to run."""
    with Home.open(folder, create=False) as home:
        events = home.tables.to_arrow(home.tables.get("events").order_by("id")).to_pylist()
        held = quarantine_rows(home, all_rows=True).drop_columns(["at"]).to_pylist()
        people = sorted({row[0] for row in rows(home, books.contacts, "customer", "channel")})
        vault = Vault(home)
        return {
            "events": events,
            "quarantine": held,
            "tables": {name: home.tables.to_arrow(home.tables.get(name)).to_pylist() for name in ("items", "customers", "offers")},
            "contacts": [(person, vault.address(person, "email")) for person in people],
            "consents": rows(home, books.consents, "customer", "channel", "granted", "at", "source"),
            "loads": rows(home, books.loads, "load_id", "state"),
            "models": rows(home, books.models, "name", "version", "active"),
            "plans": rows(home, books.plans, "plan_id", "path", "sha256"),
            "budgets": rows(home, books.budgets, "budget", "currency", "amount", "reserved", "spent"),
            "reservations": rows(home, books.reservations, "decision_id", "amount", "state"),
            "outbox": rows(home, books.outbox, "message_id", "decision_id", "customer", "channel", "state", "send_at", "message"),
            "plan files": {path.name: path.read_bytes() for path in sorted((folder / "plans").iterdir())},
            "model folders": leaves(folder / "models"),
            "settings": (folder / "tradewind.toml").read_text(),
            "left over": sorted(path.name for path in (folder / "data").glob(".staging/*")),
        }


def leaves(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"
    }


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        assert found[name] == value, f"{name} differ from those of an undisturbed run"


def killed_run(base: Path, shop: Path, *, kills: int, seed: int, how: str = "step", span: float | None = None) -> None:
    shutil.copytree(base / "empty", shop)
    steps = int((base / "run" / "span").read_text())
    done = storm("run", shop, base / "export", kills=kills, seed=seed, how=how, span=steps if span is None else span)
    assert done["died"] > 0, "no kill hit: the test says nothing"
    wanted = state(base / "run" / "shop")
    assert wanted["events"]
    assert wanted["quarantine"]
    assert sum(wanted["outbox"].values()) > 3
    assert_same(state(shop), wanted)


def test_a_killed_run_ends_as_if_nothing_had_happened(base: Path, shop: Path) -> None:
    killed_run(base, shop, kills=3, seed=4)


@pytest.mark.slow
def test_a_run_killed_at_many_steps(base: Path, shop: Path) -> None:
    killed_run(base, shop, kills=4, seed=100)


@pytest.mark.slow
def test_a_run_killed_at_random_times(base: Path, shop: Path) -> None:
    killed_run(base, shop, kills=4, seed=1, how="time", span=4.0)


def killed_learning(base: Path, shop: Path, *, kills: int, seed: int) -> None:
    """Learn anew (another seed than the run's), undisturbed in one copy and killed in another."""
    calm = shop.with_name("calm")
    for folder in (calm, shop):
        shutil.copytree(base / "run" / "shop", folder)
    steps = storm("learn", calm, base / "export", kills=0)["steps"]
    assert storm("learn", shop, base / "export", kills=kills, seed=seed, span=steps)["died"] > 0
    with Home.open(shop) as home:
        active = rows(home, books.models, "name", "active")
    assert active[("recommend", True)] == 1
    assert_same(state(shop), state(calm))
    drafts = [path for path in (shop / "models").rglob("*") if path.name.startswith(".draft")]
    assert not drafts


def test_a_killed_learn_leaves_one_active_model_and_no_drafts(base: Path, shop: Path) -> None:
    killed_learning(base, shop, kills=5, seed=2)


@pytest.mark.slow
def test_learning_killed_at_many_steps(base: Path, shop: Path) -> None:
    killed_learning(base, shop, kills=8, seed=1)


def lines(shop: Path) -> Counter[str]:
    texts = [path.read_text(encoding="utf-8") for path in (shop / "outbox").glob("*.jsonl")]
    return Counter(json.loads(line)["message_id"] for text in texts for line in text.splitlines())


def killed_delivery(base: Path, shop: Path, *, kills: int, seed: int) -> None:
    calm = shop.with_name("calm")
    for folder in (calm, shop):
        shutil.copytree(base / "run" / "shop", folder)
    steps = storm("deliver", calm, base / "export", kills=0)["steps"]
    assert storm("deliver", shop, base / "export", kills=kills, seed=seed, span=steps)["died"] > 0
    found, wanted = lines(shop), lines(calm)
    assert wanted
    assert found == wanted, "every message is in the file exactly once"
    assert set(found.values()) == {1}
    for folder in (calm, shop):
        with Home.open(folder) as home:
            accepted = {key[0] for key in rows(home, books.outbox, "message_id", "state") if key[1] == "accepted"}
            sent = home.tables.events()
            waiting = rows(home, books.inbox, "id")
            ids = Counter(home.tables.to_arrow(sent.select("id"))["id"].to_pylist())
        assert accepted == set(wanted)
        assert max((ids + Counter({key[0]: count for key, count in waiting.items()})).values()) == 1, "no event twice"


def test_a_killed_delivery_sends_each_message_once(base: Path, shop: Path) -> None:
    killed_delivery(base, shop, kills=6, seed=3)


@pytest.mark.slow
def test_a_delivery_killed_at_many_steps(base: Path, shop: Path) -> None:
    killed_delivery(base, shop, kills=30, seed=1)
