"""Work in the background: what ran, what runs and how far it is, what comes when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.engine import audit
from tradewind.engine.jobs import Jobs, Status
from tradewind.engine.schedules import Schedules
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.submit import submit
from tradewind.serve.tasks import checked
from tradewind.serve.views import Name, Submitted

router = APIRouter(tags=["jobs"], responses=described(401, 403))
Reader = Annotated[Caller, needs("read")]
Operator = Annotated[Caller, needs("operate")]
JobName = Literal["collect", "compact", "learn", "demand", "decide", "compose", "deliver", "measure", "tick"]
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Job(BaseModel):
    """A job: what it is, how far, and what became of it."""

    job_id: str
    name: str
    state: State
    progress: float = Field(description="0 to 1")
    step: str | None = Field(description="What a running job is at.")
    attempts: int
    made_by: str | None
    created_at: datetime | None
    updated_at: datetime
    next_at: datetime = Field(description="When a queued job may begin.")
    error: str | None = Field(description="Of the last failed attempt.")


class JobWhole(Job):
    """A job with its arguments and its result, whose shape is its task's."""

    args: dict[str, Any]
    result: Any = None


class NewJob(BaseModel):
    """A task and its arguments (docs/service.md)."""

    name: JobName
    args: dict[str, Any] = Field(default_factory=dict)


class Planned(BaseModel):
    """What comes back when."""

    job: JobName
    args: dict[str, Any] = Field(default_factory=dict)
    cron: str = Field(max_length=100, description='Minute hour day month weekday, such as "30 3 * * *".')
    zone: str | None = Field(None, max_length=64, description="IANA time zone; the shop's own when left out.")
    active: bool = True


class Schedule(BaseModel):
    """A schedule and when it comes next."""

    schedule: str
    job: str
    args: dict[str, Any]
    cron: str
    zone: str
    active: bool
    next_at: datetime
    last_job: str | None
    last_at: datetime | None
    skipped: int = Field(description="Times that came while the job before was not done.")


@router.get("/v1/jobs")
def jobs(
    held: Held,
    _caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    name: Annotated[JobName | None, Query()] = None,
    state: Annotated[State | None, Query()] = None,
) -> list[Job]:
    """The jobs that changed last, newest first."""
    return [Job(**_plain(one)) for one in Jobs(held.shop.home.ledger).all(limit=limit, name=name, state=state)]


@router.get("/v1/jobs/{job_id}", responses=described(404))
def job(job_id: Name, held: Held, _caller: Reader) -> JobWhole:
    """One job with its arguments and its result."""
    found = Jobs(held.shop.home.ledger).status(job_id)
    return JobWhole(**_plain(found), args=dict(found.args), result=found.result)


@router.post("/v1/jobs", status_code=202, responses=described(404, 409))
def new_job(told: NewJob, held: Held, caller: Operator) -> Submitted:
    """Queue a job; a worker does it."""
    with held.use() as shop:
        args = checked(shop, told.name, told.args)
    return submit(held, told.name, args, by=caller)


@router.post("/v1/jobs/{job_id}/cancel", status_code=204, responses=described(404, 409))
def cancel_job(job_id: Name, held: Held, caller: Operator) -> None:
    """Take a job back that did not begin."""
    ledger, now = held.shop.home.ledger, held.shop.now()
    Jobs(ledger).cancel(job_id, now)
    with ledger.write() as conn:
        audit.note(conn, caller.actor, "job.cancel", f"job:{job_id}", at=now)


@router.get("/v1/schedules")
def schedules(held: Held, _caller: Reader) -> list[Schedule]:
    """Every schedule by name."""
    return [Schedule(**asdict(one)) for one in Schedules(held.shop.home.ledger).all()]


@router.put("/v1/schedules/{name}", responses=described(404))
def set_schedule(name: Name, told: Planned, held: Held, caller: Operator) -> Schedule:
    """Make a schedule, or change it."""
    ledger, now = held.shop.home.ledger, held.shop.now()
    with held.use() as shop:
        args = checked(shop, told.job, told.args, scheduled=True)
    zone = told.zone or held.shop.home.settings.zone
    made = Schedules(ledger).put(name, told.job, args, cron=told.cron, zone=zone, now=now, active=told.active)
    with ledger.write() as conn:
        detail = {"job": told.job, "cron": told.cron, "active": told.active}
        audit.note(conn, caller.actor, "schedule.set", f"schedule:{name}", detail, at=now)
    return Schedule(**asdict(made))


@router.delete("/v1/schedules/{name}", status_code=204, responses=described(404))
def remove_schedule(name: Name, held: Held, caller: Operator) -> None:
    """Forget a schedule; jobs that it submitted stay."""
    ledger, now = held.shop.home.ledger, held.shop.now()
    Schedules(ledger).remove(name)
    with ledger.write() as conn:
        audit.note(conn, caller.actor, "schedule.remove", f"schedule:{name}", at=now)


def _plain(one: Status) -> dict[str, Any]:
    failed = one.result.get("error") if isinstance(one.result, dict) and one.state in ("failed", "queued") else None
    names = ("job_id", "name", "state", "progress", "step", "attempts", "made_by", "created_at", "updated_at", "next_at")
    return {name: getattr(one, name) for name in names} | {"error": failed}
