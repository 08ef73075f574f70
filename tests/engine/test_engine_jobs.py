"""Jobs: done once, whatever dies; on both databases."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tradewind.engine.jobs import ATTEMPTS, Jobs
from tradewind.engine.ledger import Ledger
from tradewind.errors import InputError, NotFound, StateError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_job_runs_once_and_keeps_its_result(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("train", {"size": "small", "名": [1]}, NOW)
    assert jobs.status(job_id).state == "queued"
    job = jobs.claim("w1", NOW, 30)
    assert job is not None
    assert (job.job_id, job.name, job.args, job.attempt, job.fence) == (job_id, "train", {"size": "small", "名": [1]}, 1, 1)
    assert jobs.claim("w2", NOW, 30) is None
    jobs.heartbeat(job, NOW + SECOND, 30, progress=0.5)
    assert (jobs.status(job_id).state, jobs.status(job_id).progress) == ("running", 0.5)
    jobs.finish(job, NOW + 2 * SECOND, result={"ndcg": 0.3})
    status = jobs.status(job_id)
    assert (status.state, status.progress, status.result, status.attempts) == ("done", 1.0, {"ndcg": 0.3}, 1)
    assert jobs.claim("w2", NOW + timedelta(days=1), 30) is None


def test_the_longest_due_comes_first_and_none_before_its_time(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    jobs.submit("later", {}, NOW, at=NOW + 10 * SECOND)
    jobs.submit("now", {}, NOW)
    names = [job.name if job else None for job in (jobs.claim("w", NOW + seconds * SECOND, 30) for seconds in (0, 9, 10))]
    assert names == ["now", None, "later"]


def test_a_lease_that_ran_out_passes_on_and_the_old_fence_is_refused(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("send", {}, NOW)
    first = jobs.claim("w1", NOW, 10)
    assert first is not None
    jobs.heartbeat(first, NOW + 9 * SECOND, 10)
    assert jobs.claim("w2", NOW + 18 * SECOND, 10) is None, "the heartbeat renewed the lease"
    second = jobs.claim("w2", NOW + 19 * SECOND, 10)
    assert second is not None
    assert (second.job_id, second.attempt, second.fence) == (job_id, 2, 2)
    attempts: list[Callable[[], None]] = [
        lambda: jobs.heartbeat(first, NOW, 10),
        lambda: jobs.finish(first, NOW),
        lambda: jobs.fail(first, NOW, error="x"),
    ]
    for late in attempts:
        with pytest.raises(StateError, match="no longer held by w1"):
            late()
    jobs.finish(second, NOW + 20 * SECOND, result="second")
    assert jobs.status(job_id).result == "second"
    with pytest.raises(StateError, match="has ended"):
        jobs.finish(second, NOW + 21 * SECOND)


def test_failures_are_tried_again_later_and_later(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("fetch", {}, NOW)
    at, waits = NOW, []
    for attempt in range(1, ATTEMPTS + 1):
        job = jobs.claim("w", at, 10)
        assert job is not None
        assert job.attempt == attempt
        jobs.fail(job, at, error=f"time-out {attempt}")
        if attempt < ATTEMPTS:
            assert jobs.claim("w", at, 10) is None
            waits.append(next(seconds for seconds in range(1, 4_000) if _due(jobs, at + seconds * SECOND)))
            at += waits[-1] * SECOND
    assert waits == [5, 10, 20, 40]
    assert jobs.status(job_id).state == "failed"
    assert jobs.status(job_id).result == {"error": f"time-out {ATTEMPTS}"}
    assert jobs.claim("w", at + timedelta(days=9), 10) is None


def _due(jobs: Jobs, at: datetime) -> bool:
    from sqlalchemy import func, select

    from tradewind.engine.ledger import jobs as table
    from tradewind.types import micros

    with jobs.ledger.read() as conn:
        return bool(conn.execute(select(func.count()).where(table.c.state == "queued", table.c.next_at <= micros(at))).scalar())


def test_an_error_that_will_not_pass_is_not_tried_again(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("fetch", {}, NOW)
    job = jobs.claim("w", NOW, 10)
    assert job is not None
    jobs.fail(job, NOW, error="no such customer", retry=False)
    assert jobs.status(job_id).state == "failed"
    assert jobs.claim("w", NOW + timedelta(days=1), 10) is None


def test_a_job_that_kills_its_worker_is_given_up(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("poison", {}, NOW)
    good = jobs.submit("good", {}, NOW + timedelta(hours=1))
    for attempt in range(ATTEMPTS):
        job = jobs.claim("w", NOW + attempt * 11 * SECOND, 10)
        assert job is not None
        assert job.job_id == job_id
    job = jobs.claim("w", NOW + timedelta(hours=2), 10)
    assert job is not None
    assert job.job_id == good, "the next job is not held up"
    assert jobs.status(job_id).state == "failed"
    assert jobs.status(job_id).result == {"error": "the worker died"}


def test_racing_workers_share_the_jobs_without_overlap(ledger: Ledger) -> None:
    jobs = Jobs(ledger)
    expected = sorted(jobs.submit("work", {"n": n}, NOW) for n in range(30))
    barrier, taken = threading.Barrier(3), [[], [], []]  # type: tuple[threading.Barrier, list[list[str]]]

    def work(mine: list[str]) -> None:
        barrier.wait()
        while (job := jobs.claim(threading.current_thread().name, NOW, 60)) is not None:
            mine.append(job.job_id)
            jobs.finish(job, NOW)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for mine in taken for key in mine) == expected


WORKER = """
import sys, time
from datetime import UTC, datetime
from tradewind.engine.jobs import Jobs
from tradewind.engine.ledger import Ledger
job = Jobs(Ledger.open(sys.argv[1])).claim("doomed", datetime(2026, 1, 1, tzinfo=UTC), 10)
print(job.job_id, flush=True)
time.sleep(600)
"""


def test_the_job_of_a_killed_worker_is_taken_over(ledger: Ledger, ledger_url: str) -> None:
    jobs = Jobs(ledger)
    job_id = jobs.submit("train", {}, NOW)
    with subprocess.Popen([sys.executable, "-c", WORKER, ledger_url], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == job_id
        worker.kill()
    assert jobs.claim("heir", NOW + 9 * SECOND, 10) is None
    heir = jobs.claim("heir", NOW + 10 * SECOND, 10)
    assert heir is not None
    assert (heir.job_id, heir.attempt) == (job_id, 2)
    jobs.finish(heir, NOW + 11 * SECOND)
    assert jobs.status(job_id).state == "done"


@pytest.mark.parametrize(
    "call", [lambda jobs: jobs.submit("x", {"a": object()}, NOW), lambda jobs: jobs.submit("x", {"a": float("nan")}, NOW)]
)
def test_arguments_must_be_json(ledger: Ledger, call: Callable[[Jobs], str]) -> None:
    with pytest.raises(InputError, match='arguments of job "x" are no JSON'):
        call(Jobs(ledger))


def test_wrong_calls_are_explained(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match='no job "nope"'):
        Jobs(ledger).status("nope")
    with pytest.raises(InputError, match="lease_seconds must be positive"):
        Jobs(ledger).claim("w", NOW, 0)
