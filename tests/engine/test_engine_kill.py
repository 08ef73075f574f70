"""SIGKILL at any moment of an append, a load or a compaction: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import killing
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from tradewind.engine.home import Home
from tradewind.engine.ledger import loads


def run(*arguments: str) -> int:
    """Run the program and return how many of its workers were killed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, killing.__file__, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return int(done.stdout)


def stored(home: Home) -> list[str]:
    return sorted(
        key for path in home.log.files("events") for key in pq.read_table(path, columns=["id"], partitioning=None)["id"].to_pylist()
    )


def check(home: Home, acknowledged: set[str]) -> None:
    """What must hold after any kill, once the inbox is compacted."""
    home.log.compact(now=killing.NOW)
    found = stored(home)
    assert len(found) == len(set(found)), "an event was stored twice"
    assert acknowledged <= set(found), "an acknowledged event was lost"
    with home.ledger.read() as conn:
        finished = {
            int(load_id.removeprefix("load")) for load_id in conn.execute(select(loads.c.load_id).where(loads.c.state == "done")).scalars()
        }
    assert {key for batch in finished for key in killing.ids(batch)} <= set(found), "a finished load is not whole"
    items = {item for path in home.log.files("items") for item in pq.read_table(path)["item"].to_pylist()}
    assert items == {f"i{batch}" for batch in finished}, "a load is visible in part"
    home.log.recover()
    on_disk = {path for path in (home.root / "data").glob("[!.]*/**/*.parquet") if path.parent.name != "items"}
    assert on_disk == set(home.log.files("events")), "the manifest and the disk differ"
    assert not home.log.staging.exists() or not any(home.log.staging.iterdir())


def killed_at_random(home_url: str, *, seed: int, rounds: int) -> None:
    Home.open(home_url).close()
    assert run("random", home_url, str(seed), str(rounds)) == rounds
    root = killing.folder(home_url)
    said = root.with_name("acknowledged").read_text().splitlines()
    acknowledged = {key for line in said for key in killing.ids(int(line.split()[1]))}
    with Home.open(home_url) as home:
        check(home, acknowledged)
        for batch in range(killing.BATCHES):  # the same work again fills the gaps and doubles nothing
            killing.append(home, batch)
            killing.load(home, batch)
        everything = {key for batch in range(killing.BATCHES) for key in killing.ids(batch)}
        check(home, everything)
        assert set(stored(home)) == everything


def test_random_kills(tmp_path: Path) -> None:
    killed_at_random(str(tmp_path / "shop"), seed=1, rounds=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_many_random_kills(home_url: str, seed: int) -> None:
    killed_at_random(home_url, seed=seed, rounds=120)


@pytest.mark.slow
def test_a_kill_at_every_step(home_url: str) -> None:
    """Each of the steps that touch the disk or the ledger is the last one of some worker."""
    assert run("steps", home_url) > 50
    with Home.open(home_url) as home:
        everything = {key for batch in range(4) for key in killing.ids(batch)}
        check(home, everything)
        assert set(stored(home)) == everything
