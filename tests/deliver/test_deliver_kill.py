"""Workers killed with SIGKILL at random moments: nothing doubled, nothing lost, and every doubt said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from deliver_kit import START, consent, message, people, queue, sent, states

from tradewind.deliver import rules
from tradewind.deliver.rules import Rules
from tradewind.engine.home import Home

STORM = Path(__file__).with_name("deliver_storm.py")


def storm(url: str, folder: Path, *, size: int, kills: int, idempotent: bool, workers: int = 1, window: int = 1, seed: int = 1) -> None:
    """Prepare a shop, let the storm over it, and check the promises."""
    names = [f"c{number}" for number in range(size)]
    with Home.open(url) as home:
        rules.save(home, Rules(lease_seconds=0.3, backoff_seconds=0.0, attempts=50, batch=20, window=window, breaker=1000, quiet=()))
        people(home, names)
        consent(home, names[::10], at=START, granted=False)
        ids = dict(zip(names, queue(home, [message(name, send_at=START) for name in names]), strict=True))
    folder.mkdir()
    options = {"url": url, "folder": str(folder), "idempotent": idempotent, "workers": workers, "kills": kills, "seed": seed}
    done = subprocess.run([sys.executable, str(STORM), json.dumps(options)], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    hits = int(done.stdout)
    with Home.open(url) as home:
        check(home, folder, ids, withdrawn=set(names[::10]), hits=hits, idempotent=idempotent, window=window)


def check(home: Home, folder: Path, ids: dict[str, str], *, withdrawn: set[str], hits: int, idempotent: bool, window: int) -> None:
    raw = Counter((folder / "raw").read_text().split())
    unsure = set((folder / "unsure").read_text().split()) if (folder / "unsure").exists() else set()
    found = states(home)
    assert set(found) == set(ids.values())
    by_state = {state: {name for name, now in found.items() if now == state} for state in set(found.values())}
    assert set(by_state) <= {"accepted", "failed", "unknown", "suppressed"}, "every message has ended"
    accepted, unknown = by_state["accepted"], by_state.get("unknown", set())
    assert by_state["suppressed"] == {ids[name] for name in withdrawn}, "consent holds"
    assert accepted <= set(raw) <= accepted | unknown, "what is accepted has left, what has left is accepted or in doubt"
    assert sorted(accepted) == sent(home, now=START + timedelta(days=400)), "one event for each accepted message"
    if idempotent:
        assert not unknown, "a provider that honours the key leaves no doubt"
    else:
        assert max(raw.values()) == 1, "nobody was sent a message twice"
        assert len(unknown - unsure) <= hits * window, "a kill leaves at most one window in doubt"
        assert unsure <= unknown
    assert len(accepted) > len(ids) * 0.5


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_short_storm_on_sqlite(tmp_path: Path, idempotent: bool) -> None:
    storm(str(tmp_path / "shop"), tmp_path / "provider", size=150, kills=12, idempotent=idempotent)


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_short_storm_on_postgresql_with_racing_workers(tmp_path: Path, postgres_url: str, idempotent: bool) -> None:
    url = f"{postgres_url}&root={tmp_path / 'shop'}"
    storm(url, tmp_path / "provider", size=150, kills=12, idempotent=idempotent, workers=3)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "window"), [(0, 1), (1, 8)])
def test_a_long_storm_on_sqlite(tmp_path: Path, seed: int, window: int) -> None:
    storm(str(tmp_path / "shop"), tmp_path / "provider", size=1500, kills=130, idempotent=seed % 2 == 1, window=window, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "window"), [(0, 1), (1, 8)])
def test_a_long_storm_on_postgresql(tmp_path: Path, postgres_url: str, seed: int, window: int) -> None:
    url = f"{postgres_url}&root={tmp_path / 'shop'}"
    storm(url, tmp_path / "provider", size=1500, kills=130, idempotent=seed % 2 == 1, workers=3, window=window, seed=seed)
