"""Work that somebody does once, whatever dies meanwhile: a lease table in the ledger.

A worker claims a job for some seconds and renews the lease by heartbeats. When it dies the lease runs out and
another worker claims the job with a higher fence; the first, should it wake up, is refused by its old fence. So a
job may start more than once but finishes once: its work must be idempotent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, insert, or_, select, update

from tradewind.engine.ledger import Ledger, insert_new, jobs, meta
from tradewind.errors import InputError, NotFound, StateError
from tradewind.types import from_micros, micros

ATTEMPTS = 5  # then a job has failed for good
FIRST_DELAY = timedelta(seconds=5)  # before the second attempt; doubles, up to
LAST_DELAY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Job:
    """A job in the hands of a worker. ``fence`` grows with every claim; ``attempt`` counts from 1."""

    job_id: str
    name: str
    args: Mapping[str, Any]
    owner: str
    fence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a job: ``state`` is "queued", "running", "done", "failed" or "cancelled"; ``progress`` is 0 to 1."""

    job_id: str
    name: str
    state: str
    attempts: int
    progress: float
    result: Any  # what the worker returned, or {"error": ...} of the last failed attempt
    args: Mapping[str, Any]
    made_by: str | None
    step: str | None
    created_at: datetime | None
    updated_at: datetime
    next_at: datetime  # when a queued job may begin


class Jobs:
    """The job table of a ledger. Times are passed in; workers on several machines need clocks that roughly agree."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def submit(self, name: str, args: Mapping[str, Any], now: datetime, *, at: datetime | None = None, by: str | None = None) -> str:
        """Queue a job to run at once or not before ``at``; returns its id. ``args`` must be JSON; ``by`` says who asked."""
        with self.ledger.write() as conn:
            return submit(conn, name, args, now, at=at, by=by)

    def claim(self, owner: str, now: datetime, lease_seconds: float, *, apart: bool = False) -> Job | None:
        """Take the job that is due longest, or one whose lease ran out; None when there is none.

        A job whose last allowed attempt died is marked failed and never handed out again. ``apart``: not beside a running
        job of the same name.
        """
        if not lease_seconds > 0:
            raise InputError(f"lease_seconds must be positive; got {lease_seconds}.")
        at = micros(now)
        queued = and_(jobs.c.state == "queued", jobs.c.next_at <= at)
        expired = and_(jobs.c.state == "running", jobs.c.lease_until <= at)
        # Two workers never wait for one row: on PostgreSQL they skip it, on SQLite one transaction writes at a time.
        due = select(jobs).where(or_(queued, expired)).order_by(jobs.c.next_at, jobs.c.job_id).limit(1).with_for_update(skip_locked=True)
        if apart:
            other = jobs.alias()
            alive = and_(other.c.name == jobs.c.name, other.c.state == "running", other.c.lease_until > at)
            due = due.where(~select(other.c.job_id).where(alive).exists())
        with self.ledger.write() as conn:
            if apart:  # one claims at a time, or two would see none running
                insert_new(conn, meta, [{"key": "claims", "value": ""}])
                conn.execute(select(meta.c.value).where(meta.c.key == "claims").with_for_update())
            while (row := conn.execute(due).mappings().first()) is not None:
                if row["attempts"] >= ATTEMPTS:
                    _set(conn, row["job_id"], state="failed", result=_error("the worker died"), lease_until=None, updated_at=at)
                    continue
                fence, attempt = row["fence"] + 1, row["attempts"] + 1
                until = at + int(lease_seconds * 1_000_000)
                _set(
                    conn,
                    row["job_id"],
                    state="running",
                    lease_owner=owner,
                    lease_until=until,
                    fence=fence,
                    attempts=attempt,
                    updated_at=at,
                )
                return Job(row["job_id"], row["name"], json.loads(row["args"]), owner, fence, attempt)
        return None

    def heartbeat(self, job: Job, now: datetime, lease_seconds: float, *, progress: float | None = None, step: str | None = None) -> None:
        """Renew the lease, and say how far the work is (0 to 1) and what it is at. Raises StateError when another worker has the job."""
        values: dict[str, Any] = {"lease_until": micros(now) + int(lease_seconds * 1_000_000), "updated_at": micros(now)}
        told = {"progress": None if progress is None else float(progress), "step": step}
        self._own(job, values | {name: value for name, value in told.items() if value is not None})

    def release(self, job: Job, now: datetime) -> None:
        """Give the job back undone, for the next worker at once; it does not count as an attempt."""
        self._own(
            job,
            {"state": "queued", "attempts": job.attempt - 1, "next_at": micros(now), "lease_until": None, "lease_owner": None,
             "updated_at": micros(now)},
        )  # fmt: skip

    def cancel(self, job_id: str, now: datetime) -> None:
        """Take a job back that did not begin. Raises NotFound, or StateError for one that began."""
        waits = and_(jobs.c.job_id == job_id, jobs.c.state == "queued")
        with self.ledger.write() as conn:
            if not conn.execute(update(jobs).where(waits).values(state="cancelled", updated_at=micros(now))).rowcount:
                state = conn.execute(select(jobs.c.state).where(jobs.c.job_id == job_id)).scalar()
                if state is None:
                    raise NotFound(f'There is no job "{job_id}".')
                raise StateError(f"The job is {state}: only one that waits can be taken back.")

    def finish(self, job: Job, now: datetime, *, result: Any = None) -> None:
        """Mark the job done; ``result`` must be JSON. Raises StateError when another worker has the job."""
        text = json.dumps(result, ensure_ascii=False, sort_keys=True)
        self._own(job, {"state": "done", "progress": 1.0, "result": text, "lease_until": None, "updated_at": micros(now)})

    def fail(self, job: Job, now: datetime, *, error: str, retry: bool = True) -> None:
        """Give the job back after an error: it runs again later, or has failed for good.

        The wait doubles from 5 seconds up to an hour; after 5 attempts, or with ``retry=False`` (an error that will not
        pass), the job has failed. Raises StateError when another worker has the job.
        """
        again = retry and job.attempt < ATTEMPTS
        delay = min(FIRST_DELAY * 2 ** (job.attempt - 1), LAST_DELAY)
        values = {"state": "queued" if again else "failed", "next_at": micros(now + delay), "lease_until": None, "lease_owner": None}
        self._own(job, values | {"result": _error(error), "updated_at": micros(now)})

    def status(self, job_id: str) -> Status:
        """What is known of a job. Raises NotFound for an unknown id."""
        with self.ledger.read() as conn:
            row = conn.execute(select(jobs).where(jobs.c.job_id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f'There is no job "{job_id}".')
        return _status(row)

    def all(self, *, limit: int = 100, name: str | None = None, state: str | None = None) -> list[Status]:
        """The jobs that changed last, newest first."""
        query = select(jobs).order_by(jobs.c.updated_at.desc(), jobs.c.job_id).limit(limit)
        query = query if name is None else query.where(jobs.c.name == name)
        query = query if state is None else query.where(jobs.c.state == state)
        with self.ledger.read() as conn:
            return [_status(row) for row in conn.execute(query).mappings()]

    def _own(self, job: Job, values: Mapping[str, Any]) -> None:
        """Change a job only while its fence is ours: a worker that was given up must not overwrite its successor."""
        mine = and_(jobs.c.job_id == job.job_id, jobs.c.fence == job.fence, jobs.c.state == "running")
        with self.ledger.write() as conn:
            if not conn.execute(update(jobs).where(mine).values(**values)).rowcount:
                raise StateError(
                    f'Job "{job.name}" ({job.job_id}) is no longer held by {job.owner}: its lease ran out and another worker took it, '
                    "or it has ended. Drop what you have."
                )


def submit(
    conn: Connection, name: str, args: Mapping[str, Any], now: datetime, *, at: datetime | None = None, by: str | None = None
) -> str:
    """:meth:`Jobs.submit` inside the caller's write transaction."""
    job_id = secrets.token_hex(16)
    try:
        text = json.dumps(dict(args), ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f'The arguments of job "{name}" are no JSON: {error}') from error
    row = {"job_id": job_id, "name": name, "args": text, "state": "queued", "attempts": 0, "next_at": micros(at or now)}
    conn.execute(insert(jobs).values(**row, fence=0, progress=0.0, updated_at=micros(now), created_at=micros(now), made_by=by))
    return job_id


def _status(row: RowMapping) -> Status:
    created = row["created_at"]
    return Status(
        row["job_id"],
        row["name"],
        row["state"],
        row["attempts"],
        row["progress"],
        json.loads(row["result"]) if row["result"] else None,
        json.loads(row["args"]),
        row["made_by"],
        row["step"],
        None if created is None else from_micros(created),
        from_micros(row["updated_at"]),
        from_micros(row["next_at"]),
    )


def _set(conn: Connection, job_id: str, **values: Any) -> None:
    conn.execute(update(jobs).where(jobs.c.job_id == job_id).values(**values))


def _error(text: str) -> str:
    return json.dumps({"error": text}, ensure_ascii=False)
