"""Work in the background: done once whatever dies, told in words, submitted by schedules, stopped gracefully."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tradewind.engine.jobs import Jobs
from tradewind.engine.ledger import Ledger, plans
from tradewind.engine.schedules import Schedules, following
from tradewind.errors import InputError, Locked, NotFound, StateError
from tradewind.serve import tasks
from tradewind.serve.tasks import TASKS, Run, checked
from tradewind.serve.worker import Worker
from tradewind.shop import Shop
from tradewind.simulate.world import World

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    folder = tmp_path_factory.mktemp("work")
    world = World.make("tiny", seed=3, start=START, days=40)
    world.write(folder / "export", dirt=0)
    with Shop.open(folder / "shop", now=Clock(world.end)) as shop:
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
    return folder / "shop", world.end


@pytest.fixture
def shop(stocked: tuple[Path, datetime], tmp_path: Path) -> Iterator[Shop]:
    shutil.copytree(stocked[0], tmp_path / "shop")
    with Shop.open(tmp_path / "shop", now=Clock(stocked[1])) as opened:
        yield opened


def submitted(shop: Shop, name: str, **args: Any) -> str:
    return Jobs(shop.home.ledger).submit(name, checked(shop, name, args), shop.now(), by="person:test")


def clock(shop: Shop) -> Clock:
    assert isinstance(shop.now, Clock)
    return shop.now


def test_the_loop_runs_in_the_background_and_a_killed_decision_is_made_once(shop: Shop) -> None:
    jobs, worker = Jobs(shop.home.ledger), Worker(shop)
    learning = submitted(shop, "learn", recommend="graph", seed=1)
    assert worker.once()
    done = jobs.status(learning)
    assert (done.state, done.made_by) == ("done", "person:test")
    assert done.result["title"]

    deciding = submitted(shop, "decide", budget="300 CNY", holdout=0.2, seed=1)
    killed = jobs.claim("the one that dies", shop.now(), 60)
    assert killed is not None
    first = TASKS["decide"](Run(shop, lambda _share, _step: None, killed.job_id), **killed.args)  # committed; then it dies
    clock(shop).at += timedelta(seconds=61)
    assert worker.once()
    again = jobs.status(deciding)
    assert (again.state, again.attempts) == ("done", 2)
    assert again.result["plan_id"] == first["plan_id"]
    with shop.home.ledger.read() as conn:
        assert conn.execute(select(func.count()).select_from(plans)).scalar() == 1
    with pytest.raises(StateError, match="no longer held"):
        jobs.finish(killed, shop.now())

    composing = submitted(shop, "compose", at=shop.plan().meta["as_of"])
    assert worker.once()
    assert jobs.status(composing).state == "done"
    assert not worker.once()


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("lern", {}, 'There is no job "lern". Did you mean "learn"'),
        ("learn", {"sise": "small"}, 'takes no "sise". Did you mean "size"'),
        ("learn", {"seed": "one"}, "must be a whole number; got 'one'"),
        ("learn", {"seed": True}, "must be a whole number; got True"),
        ("decide", {"offers": "coupon"}, "must be a list of texts or null; got 'coupon'"),
        ("collect", {}, 'needs "source"'),
        ("decide", {"as_of": "2099-01-01"}, "future"),
    ],
)
def test_wrong_arguments_are_refused_before_they_wait(shop: Shop, name: str, args: dict[str, Any], says: str) -> None:
    if "as_of" in args:  # the value is the task's to judge
        job_id = submitted(shop, name, **args)
        Worker(shop).once()
        status = Jobs(shop.home.ledger).status(job_id)
        assert status.state == "failed"
        assert says in status.result["error"]
        return
    with pytest.raises(InputError) as error:
        checked(shop, name, args)
    assert says in str(error.value)


def test_what_may_pass_is_tried_again_and_a_defect_is_not(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(_run: Run) -> dict[str, Any]:
        raise Locked("another loader")

    def broken(_run: Run) -> dict[str, Any]:
        return {"share": 1 / 0}

    monkeypatch.setattr(tasks, "TASKS", {})
    monkeypatch.setattr("tradewind.serve.worker.TASKS", {"held": held, "broken": broken})
    jobs = Jobs(shop.home.ledger)
    first, second = jobs.submit("held", {}, shop.now()), jobs.submit("broken", {}, shop.now())
    strange = jobs.submit("of a newer version", {}, shop.now())
    worker = Worker(shop)
    while worker.once():
        pass
    assert (jobs.status(first).state, jobs.status(first).attempts) == ("queued", 1)
    assert (jobs.status(second).state, jobs.status(second).result) == ("failed", {"error": "Defect: ZeroDivisionError: division by zero"})
    assert jobs.status(strange).state == "failed"


def test_told_to_stop_it_hands_its_job_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stop = threading.Event(), threading.Event()

    def endless(run: Run) -> dict[str, Any]:
        while True:
            run.progress(0.5, "half-way")
            begun.set()
            time.sleep(0.005)

    monkeypatch.setattr("tradewind.serve.worker.TASKS", {"endless": endless})
    jobs = Jobs(shop.home.ledger)
    job_id = jobs.submit("endless", {}, shop.now())
    worker = Worker(shop, beat=0.01)
    thread = threading.Thread(target=worker.run, args=(stop,), kwargs={"grace": 0.05})
    thread.start()
    assert begun.wait(20)
    while jobs.status(job_id).step is None:
        time.sleep(0.01)
    assert (jobs.status(job_id).state, jobs.status(job_id).progress, jobs.status(job_id).step) == ("running", 0.5, "half-way")
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    status = jobs.status(job_id)
    assert (status.state, status.attempts) == ("queued", 0)


def test_a_worker_that_was_away_too_long_lets_go(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, heard = Jobs(shop.home.ledger), list[str]()

    def slow(run: Run) -> dict[str, Any]:
        clock(shop).at += timedelta(minutes=5)
        other = jobs.claim("another", shop.now(), 60)
        assert other is not None
        jobs.finish(other, shop.now(), result="of the other")
        return {"of": "the first"}

    monkeypatch.setattr("tradewind.serve.worker.TASKS", {"slow": slow})
    job_id = jobs.submit("slow", {}, shop.now())
    assert Worker(shop, said=heard.append).once()
    assert jobs.status(job_id).result == "of the other"
    assert "no longer held" in heard[-1]


def test_two_jobs_of_one_name_never_run_together(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    for second, name in enumerate(("learn", "learn", "measure")):
        jobs.submit(name, {}, START - timedelta(seconds=10 - second))
    taken = [jobs.claim(f"w{n}", START, 60, apart=True) for n in range(3)]
    assert [job.name if job else None for job in taken] == ["learn", "measure", None]
    assert taken[0] is not None
    jobs.finish(taken[0], START)
    assert (job := jobs.claim("w3", START, 60, apart=True)) is not None
    assert job.name == "learn"


def test_a_job_that_waits_can_be_taken_back(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("learn", {}, START)
    jobs.cancel(job_id, START)
    assert jobs.claim("w", START, 60) is None
    with pytest.raises(StateError, match="cancelled"):
        jobs.cancel(job_id, START)
    with pytest.raises(NotFound):
        jobs.cancel("none", START)
    assert [row.state for row in jobs.all()] == ["cancelled"]


def test_a_schedule_submits_once_per_time_skips_what_is_not_done_and_makes_up_once(ledger: Ledger) -> None:
    schedules, jobs = Schedules(ledger), Jobs(ledger)
    schedules.put("nightly", "learn", {"seed": 1}, cron="30 3 * * *", zone="Asia/Shanghai", now=START)
    assert schedules.all()[0].next_at == datetime(2026, 1, 1, 19, 30, tzinfo=UTC)
    assert schedules.submit_due(START + timedelta(hours=19)) == []
    made = schedules.submit_due(START + timedelta(hours=20))
    assert len(made) == 1
    assert schedules.submit_due(START + timedelta(hours=20)) == []
    assert (jobs.status(made[0]).made_by, jobs.status(made[0]).args) == ("schedule:nightly", {"seed": 1})
    assert schedules.submit_due(START + 2 * DAY) == [], "the one before waits still"
    assert schedules.all()[0].skipped == 1
    job = jobs.claim("w", START + 2 * DAY, 60)
    assert job is not None
    jobs.finish(job, START + 2 * DAY)
    assert len(schedules.submit_due(START + 9 * DAY)) == 1, "a week without a worker is one job"
    assert schedules.all()[0].next_at > START + 9 * DAY
    schedules.put("nightly", "learn", {}, cron="30 3 * * *", zone="UTC", now=START, active=False)
    assert schedules.submit_due(START + 20 * DAY) == []
    schedules.remove("nightly")
    with pytest.raises(NotFound):
        schedules.remove("nightly")


@pytest.mark.parametrize(
    ("cron", "zone", "says"),
    [
        ("", "UTC", "no cron line"),
        ("61 * * * *", "UTC", "no cron line"),
        ("0 0 31 2 *", "UTC", "no cron line"),
        ("0 0 * * *", "Mars", "zone"),
    ],
)
def test_wrong_cron_lines(cron: str, zone: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        following(cron, zone, START)


def test_a_time_that_the_clocks_leave_out_comes_after_the_change() -> None:
    """Europe/Berlin, 2026-03-29: 2:30 does not exist."""
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert following("30 2 * * *", "Europe/Berlin", before) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert following("0 9 * * *", "Europe/Berlin", before) == datetime(2026, 3, 29, 7, 0, tzinfo=UTC)


def test_the_command_works_until_it_is_told_to_stop(shop: Shop) -> None:
    root = str(shop.home.root)
    command: Callable[..., subprocess.CompletedProcess[str]] = lambda *words: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "tradewind", *words, "--shop", root], capture_output=True, text=True, timeout=120, check=False
    )
    job_id = command("jobs", "submit", "compact").stdout.strip()
    working = subprocess.Popen([sys.executable, "-m", "tradewind", "work", "--shop", root], env={**os.environ}, stderr=subprocess.PIPE)
    try:
        jobs = Jobs(shop.home.ledger)
        for _ in range(600):
            if jobs.status(job_id).state == "done":
                break
            time.sleep(0.1)
        assert jobs.status(job_id).result == {"moved": 0}
        working.send_signal(signal.SIGTERM)
        assert working.wait(60) == 0
    finally:
        working.kill()
        working.communicate()
    orphan = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'tradewind', 'work', '--beside', '1', '--shop', {root!r}]).wait()"
    )
    assert subprocess.run([sys.executable, "-c", orphan], check=False, timeout=60).returncode == 0, (
        "its parent is not the one it was told of"
    )
    wrong = command("schedule", "set", "nightly", "learn", "--cron", "never")
    assert wrong.returncode == 2
    assert "no cron line" in wrong.stderr
    assert "next at" in command("schedule", "set", "nightly", "learn", "--cron", "30 3 * * *").stdout
    assert "nightly: learn" in command("schedule", "list").stdout
