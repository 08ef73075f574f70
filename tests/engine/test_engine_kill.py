"""SIGKILL at any moment of an append, a load or a compaction: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import killing
import pytest

from tradewind.engine.home import Home


def run(*arguments: str) -> int:
    """Run the program and return how many of its workers were killed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, killing.__file__, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return int(done.stdout)


def killed_at_random(home_url: str, *, seed: int, rounds: int) -> None:
    Home.open(home_url).close()
    assert run("random", home_url, str(seed), str(rounds)) == rounds
    root = killing.folder(home_url)
    said = root.with_name("acknowledged").read_text().splitlines()
    acknowledged = {key for line in said for key in killing.ids(int(line.split()[1]))}
    with Home.open(home_url) as home:
        killing.check(home, acknowledged)
        for batch in range(killing.BATCHES):  # the same work again fills the gaps and doubles nothing
            killing.append(home, batch)
            killing.load(home, batch)
        everything = {key for batch in range(killing.BATCHES) for key in killing.ids(batch)}
        killing.check(home, everything)
        assert set(killing.stored(home)) == everything


def test_random_kills(tmp_path: Path) -> None:
    killed_at_random(str(tmp_path / "shop"), seed=1, rounds=5)


@pytest.mark.slow
def test_many_random_kills(home_url: str) -> None:
    killed_at_random(home_url, seed=2, rounds=120)


@pytest.mark.slow
def test_kills_at_counted_steps(tmp_path: Path) -> None:
    """Every fifth step that changes the folder or asks the ledger is the last one of some worker."""
    assert run("steps", str(tmp_path), "5") > 20
