"""A short run of ``bench/crash.py`` on each ledger, and the proof that its judge sees what it looks for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
CLEAN: tuple[str, ...] = (
    "doubled",
    "not_ended",
    "silently_lost",
    "keyed_lost",
    "unknown_by_kill_beyond_kills",
    "wrong_address",
    "quiet_breaches",
    "consent_breaches",
    "expiry_breaches",
    "early",
    "cap_breaches",
    "rate_breaches",
    "budget_breaches",
)


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("_crash_world", BENCH / "_crash_world.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look it up
    spec.loader.exec_module(module)
    return module


bench = _load()
START: datetime = bench.START


@pytest.mark.parametrize("ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_workers_that_are_killed_at_every_step_break_no_promise(ledger: str, request: pytest.FixtureRequest) -> None:
    command = [sys.executable, str(BENCH / "crash.py"), "--quick", "--ledger", ledger]
    if ledger == "postgresql":
        command += ["--server", request.getfixturevalue("postgres_server")]
    # Programs are killed, not the machine: memory is as good as a disk.
    folder = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env={**os.environ, **folder})
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert {name: figures[f"{ledger}_{name}"] for name in CLEAN} == dict.fromkeys(CLEAN, 0)
    assert figures[f"{ledger}_kills"] >= 16
    assert figures[f"{ledger}_accepted"] > 20


# -- the judge --------------------------------------------------------------------------------------------------------

NOON = START.replace(hour=18)  # 13:00 in New York


def found(
    *moments: datetime, channel: str = "email", state: str = "accepted", shown: list[dict[str, Any]] | None = None, **change: Any
) -> dict[str, int]:
    """The verdict on one customer in New York who was sent messages at these moments."""
    world = bench.World(zones={"c1": change.pop("zone", "America/New_York")}, budget=change.pop("budget", 10_000))
    world.consents["c1", channel] = [(0, True), *change.pop("consents", [])]
    lines, rows = [], []
    for number, at in enumerate(moments):
        decision = f"d{number}"
        one = {"customer": "c1", "campaign": "spring", "send_at": START, "expires_at": START + timedelta(days=30), **change}
        world.plans.setdefault("p", []).append({"decision_id": decision, "channel": channel, **one})
        to = "c1@mail.example" if channel == "email" else f"{channel}:c1"
        lines.append({"at": int(at.timestamp() * 1e6), "way": channel, "id": f"m{number}", "to": to})
        rows.append({"message_id": f"m{number}", "decision_id": decision, "channel": channel, "state": state, "detail": None})
    verdict: dict[str, int] = bench.judge(world, lines if shown is None else shown, rows, kills=0)
    return verdict


def breaches(verdict: dict[str, int]) -> dict[str, int]:
    return {name: verdict[name] for name in CLEAN if verdict[name]}


def test_the_judge_sees_every_breach() -> None:
    hour = timedelta(hours=1)
    assert breaches(found(NOON)) == {}
    assert breaches(found(NOON, NOON + hour, NOON + 2 * hour)) == {"cap_breaches": 1}
    assert breaches(found(*(NOON + 25 * number * hour for number in range(6)))) == {}
    assert breaches(found(NOON + 10 * hour)) == {"quiet_breaches": 1}
    assert breaches(found(datetime(2026, 3, 8, 11, 59, tzinfo=UTC))) == {"quiet_breaches": 1}, "one minute before eight, in summer time"
    assert breaches(found(datetime(2026, 3, 8, 12, 0, tzinfo=UTC))) == {}
    assert breaches(found(START + timedelta(hours=3), zone=None)) == {"quiet_breaches": 1}, "half past eleven in Kolkata"
    assert breaches(found(NOON, consents=[(int(NOON.timestamp() * 1e6) - 1, False)])) == {"consent_breaches": 1}
    assert breaches(found(NOON, expires_at=NOON)) == {"expiry_breaches": 1}
    assert breaches(found(NOON, send_at=NOON + hour)) == {"early": 1}
    assert breaches(found(NOON, budget=50)) == {"budget_breaches": 100}
    assert breaches(found(NOON, campaign="launch")) == {}
    assert breaches(found(NOON, NOON + 30 * hour, campaign="launch")) == {"cap_breaches": 1}
    assert breaches(found(NOON, state="ready")) == {"not_ended": 1, "silently_lost": 1}
    assert breaches(found(NOON, state="failed")) == {"silently_lost": 1}
    assert breaches(found(NOON, channel="push", state="unknown")) == {"keyed_lost": 1}


def test_the_judge_counts_at_the_receiver() -> None:
    twice = [{"at": int(NOON.timestamp() * 1e6), "way": "email", "id": "m0", "to": "c1@mail.example"}] * 2
    assert breaches(found(NOON, shown=twice)) == {"doubled": 1}
    assert breaches(found(NOON, shown=[])) == {"silently_lost": 1}
    assert breaches(found(NOON, shown=[{**twice[0], "to": "c2@mail.example"}])) == {"wrong_address": 1}
