"""Jobs that come back: a cron line in a time zone says when one is submitted. Rows of the ledger; any worker may look.

A time that comes while the job before it is not done is skipped and counted; times that passed while no worker ran become one job,
not many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from tradewind.engine import jobs as work
from tradewind.engine.books_work import schedules
from tradewind.engine.ledger import Ledger, jobs
from tradewind.errors import InputError, unknown
from tradewind.types import from_micros, micros

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """One row: ``cron`` has five fields (minute hour day month weekday) in ``zone``."""

    schedule: str
    job: str
    args: Mapping[str, Any]
    cron: str
    zone: str
    active: bool
    next_at: datetime
    last_job: str | None
    last_at: datetime | None
    skipped: int


class Schedules:
    """The schedules of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def put(self, name: str, job: str, args: Mapping[str, Any], *, cron: str, zone: str, now: datetime, active: bool = True) -> Schedule:
        """Make a schedule, or change one of that name.

        Raises
        ------
        InputError
            The name, the cron line or the zone is wrong.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f'"{name}" is no name of a schedule: small letters, digits, - and _, at most 64.')
        values = {
            "job": job,
            "args": json.dumps(dict(args), ensure_ascii=False, sort_keys=True),
            "cron": cron,
            "zone": zone,
            "active": active,
            "next_at": micros(following(cron, zone, now)),
        }
        with self.ledger.write() as conn:
            if not conn.execute(update(schedules).where(schedules.c.schedule == name).values(**values)).rowcount:
                conn.execute(insert(schedules).values(schedule=name, skipped=0, **values))
            return _schedule(conn.execute(select(schedules).where(schedules.c.schedule == name)).mappings().one())

    def remove(self, name: str) -> None:
        """Forget a schedule; jobs that it submitted stay. Raises NotFound."""
        with self.ledger.write() as conn:
            if not conn.execute(delete(schedules).where(schedules.c.schedule == name)).rowcount:
                raise unknown("schedule", name, conn.execute(select(schedules.c.schedule)).scalars().all())

    def all(self) -> list[Schedule]:
        """Every schedule by name."""
        with self.ledger.read() as conn:
            return [_schedule(row) for row in conn.execute(select(schedules).order_by(schedules.c.schedule)).mappings()]

    def submit_due(self, now: datetime) -> list[str]:
        """Submit a job for every schedule whose time has come; returns the ids. Safe to call from several workers."""
        at, made = micros(now), []
        due = select(schedules).where(schedules.c.active, schedules.c.next_at <= at).with_for_update(skip_locked=True)
        with self.ledger.read() as conn:  # the usual case asks for no lock
            if conn.execute(select(schedules.c.schedule).where(schedules.c.active, schedules.c.next_at <= at).limit(1)).first() is None:
                return []
        with self.ledger.write() as conn:
            for row in conn.execute(due).mappings().all():
                values: dict[str, Any] = {"next_at": micros(following(row["cron"], row["zone"], now))}
                if _busy(conn, row["last_job"]):
                    values["skipped"] = row["skipped"] + 1
                else:
                    job_id = work.submit(conn, row["job"], json.loads(row["args"]), now, by=f"schedule:{row['schedule']}")
                    values |= {"last_job": job_id, "last_at": at}
                    made.append(job_id)
                conn.execute(update(schedules).where(schedules.c.schedule == row["schedule"]).values(**values))
        return made


def following(cron: str, zone: str, now: datetime) -> datetime:
    """The next time after ``now`` that a cron line names, in UTC; at the change of clocks as Debian's cron does it.

    Raises
    ------
    InputError
        The line or the zone is wrong, or the line names no time that ever comes.
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise InputError('Schedules need a library: pip install "tradewind[serve]"') from error
    try:
        local = now.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f'"{zone}" is no IANA time zone. Write for example "Asia/Shanghai".') from error
    try:
        return next(CronSim(cron, local)).astimezone(UTC)
    except (CronSimError, StopIteration) as error:
        raise InputError(
            f'"{cron}" is no cron line that ever comes. Write minute hour day month weekday, such as "30 3 * * *" for every day at 3:30.'
        ) from error


def _busy(conn: Connection, job_id: str | None) -> bool:
    return job_id is not None and conn.execute(select(jobs.c.state).where(jobs.c.job_id == job_id)).scalar() in ("queued", "running")


def _schedule(row: RowMapping) -> Schedule:
    return Schedule(
        row["schedule"],
        row["job"],
        json.loads(row["args"]),
        row["cron"],
        row["zone"],
        bool(row["active"]),
        from_micros(row["next_at"]),
        row["last_job"],
        None if row["last_at"] is None else from_micros(row["last_at"]),
        row["skipped"],
    )
