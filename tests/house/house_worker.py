"""A whole run, a learn or a delivery that is killed again and again, and then runs to its end: a process of its own, because it forks.

``python house_worker.py '{"work": "run", "shop": ..., "export": ..., "kills": 5, "seed": 1, "how": "step"}'`` prints one JSON object:
how many workers died, and the number of steps of the last one, which was left alone. A *step* changes the shop's folder, or is a
write or a commit in its ledger: ``"step"`` kills at a random one of them, ``"time"`` after a random time. Forking one warm
program is what makes many kills affordable.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# Warm: what a run imports is imported once, before the first fork. Nothing here starts a thread.
import duckdb  # noqa: F401
import ibis  # noqa: F401
from sqlalchemy import event
from sqlalchemy.engine import Engine

import tradewind.collect.ingest
import tradewind.compose.compose
import tradewind.decide.policy
import tradewind.deliver.deliver
import tradewind.learn.fallback
import tradewind.learn.profiles  # noqa: F401
from tradewind.cli import app
from tradewind.shop import Shop

AS_OF = "2026-01-26T00:00:00Z"
NOW = datetime(2026, 1, 26, 1, tzinfo=UTC)
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}
WRITES = ("INSERT", "UPDATE", "DELETE")


def run(job: dict[str, Any]) -> None:
    """The command ``tradewind run``, as a user types it."""
    what = ["run", job["export"], "--shop", job["shop"], "--as-of", AS_OF, "--seed", "3"]
    app([*what, "--budget", "100 CNY", "--holdout", "0.2", "--json"], standalone_mode=False)


def learn(job: dict[str, Any]) -> None:
    with Shop.open(job["shop"], create=False, now=lambda: NOW) as shop:
        shop.learn(as_of=AS_OF, seed=5)


def deliver(job: dict[str, Any]) -> None:
    """``deliver --send --to file``, hour by hour until nothing is left that becomes due."""
    clock = NOW
    with Shop.open(job["shop"], create=False, now=lambda: clock) as shop:
        plan = shop.plan()
        for _ in range(60):
            done = shop.deliver(plan, dry_run=False, to="file")
            if "ready" not in done.states:
                break
            clock += timedelta(hours=1)


WORK: dict[str, Callable[[dict[str, Any]], None]] = {"run": run, "learn": learn, "deliver": deliver}


def child(job: dict[str, Any], *, die_at: int | None, steps: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        seen = watch(job["shop"], die_at)
        WORK[job["work"]](job)
        steps.write_text(str(seen()))
        status = 0
    except BaseException:  # noqa: BLE001 - this copy of the program ends here, whatever happened
        traceback.print_exc()
    finally:
        os._exit(status)


def watch(root: str, die_at: int | None) -> Callable[[], int]:
    """Count the steps, and kill this process at number ``die_at``."""
    seen = 0

    def touch() -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in TOUCHES and str(arguments[0]).startswith(root) and not (name == "open" and str(arguments[1]).startswith("r")):
            touch()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", lambda _c, _k, sql, *_: touch() if sql.lstrip().startswith(WRITES) else None)
    event.listen(Engine, "commit", lambda _: touch())
    return lambda: seen


def main() -> None:
    job = json.loads(sys.argv[1])
    rng = random.Random(job["seed"])
    steps = Path(job["shop"]).with_name("steps")
    died = 0
    for _ in range(job["kills"]):
        by_step = job["how"] == "step"
        pid = child(job, die_at=rng.randint(1, job["span"]) if by_step else None, steps=steps)
        if not by_step:
            time.sleep(rng.uniform(0, job["span"]))
            os.kill(pid, signal.SIGKILL)
        died += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    status = os.waitstatus_to_exitcode(os.waitpid(child(job, die_at=None, steps=steps), 0)[1])
    assert status == 0, f"the run that nobody killed ended with {status}"
    print(json.dumps({"died": died, "steps": int(steps.read_text())}))


if __name__ == "__main__":
    main()
