"""`tradewind work`, `tradewind jobs` and `tradewind schedule`: what runs in the background, and when."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say
from tradewind.errors import InputError

if TYPE_CHECKING:
    from types import FrameType

    from tradewind.engine.jobs import Status
    from tradewind.shop import Shop

jobs = typer.Typer(help="Work in the background: queue it, watch it, take it back (docs/service.md).", no_args_is_help=True)
schedule = typer.Typer(help="Work that comes back at set times (docs/service.md).", no_args_is_help=True)

Arg = Annotated[list[str] | None, typer.Option("--arg", help="An argument of the job; the value is JSON or a text.", metavar="NAME=VALUE")]
BY = "person:command line"


def work(
    shop: ShopUrl = ".",
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, then end.")] = False,
    grace: Annotated[float, typer.Option("--grace", min=0, help="Seconds that a job has left when the worker is told to stop.")] = 30.0,
    beside: Annotated[int | None, typer.Option("--beside", help="End with this parent process, however it ends.", metavar="PID")] = None,
) -> None:
    """Do the shop's jobs, and submit what its schedules say, until stopped. Several workers share the work."""
    from tradewind.serve.worker import Worker

    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    with opened_shop(shop) as opened:
        worker = Worker(opened, said=lambda line: typer.echo(line, err=True))
        if once:
            while worker.once():
                pass
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, told)
        if beside is not None:
            threading.Thread(target=_watch, args=(beside, stop), daemon=True).start()
        worker.run(stop, grace=grace)


def _watch(parent: int, stop: threading.Event) -> None:
    """A process whose parent died belongs to another one."""
    while os.getppid() == parent and not stop.wait(1):
        pass
    stop.set()


@jobs.command("submit")
def submit(
    name: Annotated[str, typer.Argument(help="collect, compact, learn, demand, decide, compose, deliver, measure or tick.")],
    arg: Arg = None,
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Queue a job; a worker does it."""
    from tradewind.engine import audit
    from tradewind.engine import jobs as work

    with opened_shop(shop) as opened:
        args = _checked(opened, name, arg)
        with opened.home.ledger.write() as conn:
            job_id = work.submit(conn, name, args, opened.now(), by=BY)
            audit.note(conn, BY, "job.submit", f"job:{job_id}", {"name": name}, at=opened.now())
    say({"job_id": job_id}, job_id, as_json=as_json)


@jobs.command("list")
def list_jobs(shop: ShopUrl = ".", limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 20, as_json: Json = False) -> None:
    """The jobs that changed last."""
    from tradewind.engine.jobs import Jobs

    with opened_shop(shop) as opened:
        rows = Jobs(opened.home.ledger).all(limit=limit)
    say([_plain(row) for row in rows], "\n".join(_line(row) for row in rows) or "There was no job yet.", as_json=as_json)


@jobs.command("show")
def show(job_id: Annotated[str, typer.Argument(metavar="ID")], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """One job with its result or its error."""
    import json

    from tradewind.engine.jobs import Jobs

    with opened_shop(shop) as opened:
        row = Jobs(opened.home.ledger).status(job_id)
    say(_plain(row), f"{_line(row)}\n{json.dumps(row.result, ensure_ascii=False, indent=2)}", as_json=as_json)


@jobs.command("cancel")
def cancel(job_id: Annotated[str, typer.Argument(metavar="ID")], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Take a job back that did not begin."""
    from tradewind.engine.jobs import Jobs

    with opened_shop(shop) as opened:
        Jobs(opened.home.ledger).cancel(job_id, opened.now())
    say({"cancelled": job_id}, f"Job {job_id} is taken back.", as_json=as_json)


@schedule.command("set")
def put(
    name: Annotated[str, typer.Argument(help="What the schedule is called.")],
    job: Annotated[str, typer.Argument(help="The job that it submits.")],
    cron: Annotated[str, typer.Option("--cron", help='Minute hour day month weekday, such as "30 3 * * *".')],
    arg: Arg = None,
    zone: Annotated[str | None, typer.Option("--zone", help="IANA time zone; the shop's own when left out.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Keep it, but submit nothing.")] = False,
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Make a schedule, or change it. Nothing is scheduled unless somebody says so."""
    from tradewind.engine import audit
    from tradewind.engine.schedules import Schedules

    with opened_shop(shop) as opened:
        args = _checked(opened, job, arg, scheduled=True)
        zone = zone or opened.home.settings.zone
        made = Schedules(opened.home.ledger).put(name, job, args, cron=cron, zone=zone, now=opened.now(), active=not pause)
        with opened.home.ledger.write() as conn:
            audit.note(conn, BY, "schedule.set", f"schedule:{name}", {"job": job, "cron": cron, "active": not pause}, at=opened.now())
    say(
        asdict(made), f"{name}: {job}, next at {made.next_at:%Y-%m-%d %H:%M} UTC." if made.active else f"{name} is paused.", as_json=as_json
    )


@schedule.command("list")
def list_schedules(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Every schedule, and when it comes next."""
    from tradewind.engine.schedules import Schedules

    with opened_shop(shop) as opened:
        rows = Schedules(opened.home.ledger).all()
    lines = [
        f"{row.schedule}: {row.job}, {row.cron} ({row.zone}), " + (f"next {row.next_at:%Y-%m-%d %H:%M} UTC" if row.active else "paused")
        for row in rows
    ]
    empty = 'Nothing is scheduled. For example: tradewind schedule set nightly learn --cron "30 3 * * *"'
    say([asdict(row) for row in rows], "\n".join(lines) or empty, as_json=as_json)


@schedule.command("remove")
def remove(name: Annotated[str, typer.Argument()], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Forget a schedule."""
    from tradewind.engine import audit
    from tradewind.engine.schedules import Schedules

    with opened_shop(shop) as opened:
        Schedules(opened.home.ledger).remove(name)
        with opened.home.ledger.write() as conn:
            audit.note(conn, BY, "schedule.remove", f"schedule:{name}", at=opened.now())
    say({"removed": name}, f"{name} is forgotten.", as_json=as_json)


def _checked(shop: Shop, name: str, given: list[str] | None, *, scheduled: bool = False) -> dict[str, Any]:
    import json

    from tradewind.serve.tasks import checked

    args: dict[str, Any] = {}
    for one in given or ():
        key, mark, text = one.partition("=")
        if not mark:
            raise InputError(f'--arg {one}: write NAME=VALUE, for example --arg budget="2000 CNY".')
        try:
            args[key] = json.loads(text)
        except json.JSONDecodeError:
            args[key] = text
    return checked(shop, name, args, scheduled=scheduled)


def _plain(row: Status) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def _line(row: Status) -> str:
    state = f"{row.progress:.0%}, {row.step}" if row.state == "running" and row.step else row.state
    return f"{row.job_id}  {row.name:<8} {state:<10} {row.updated_at:%Y-%m-%d %H:%M}  {row.made_by or ''}"
