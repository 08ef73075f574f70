"""What a worker can do: one function per job name, each a step of the loop that may be killed and begun again.

A job's arguments are the function's keywords, as JSON. Its result is JSON: what a person reads in the history.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from tradewind import asked
from tradewind.errors import InputError, did_you_mean, unknown

if TYPE_CHECKING:
    from tradewind.shop import Shop
    from tradewind.types import Report

Strings = list[str]


@dataclass(frozen=True, slots=True)
class Run:
    """What a task gets: the shop, where to say how far it is (0 to 1, and what it is at), and the id of its job."""

    shop: Shop
    progress: Callable[[float, str], None]
    job_id: str


def collect(run: Run, *, source: str, mapping: str | None = None) -> dict[str, Any]:
    """Take files, a folder or a database URL into the shop."""
    return dict(run.shop.collect(source, mapping=None if mapping is None else Path(mapping), progress=run.progress).to_json())


def compact(run: Run) -> dict[str, Any]:
    """Move events that came over HTTP into the files that learning reads."""
    return {"moved": run.shop.home.log.compact(now=run.shop.now())}


def learn(
    run: Run,
    *,
    recommend: str = "fallback",
    size: str | None = None,
    as_of: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    evaluate: bool = False,
) -> dict[str, Any]:
    """Fit the models anew; a running service takes them up by itself."""
    return told(
        run.shop.learn(recommend=recommend, size=size, as_of=as_of, epochs=epochs, seed=seed, evaluate=evaluate, progress=run.progress)
    )


def demand(run: Run, *, as_of: str | None = None, horizon: int = 28, seed: int = 0) -> dict[str, Any]:
    """Learn the demand of every item."""
    made = run.shop.demand.learn(horizon=horizon, as_of=as_of, seed=seed)
    return {"version": made.version}


def decide(
    run: Run,
    *,
    offers: Strings | None = None,
    channels: Strings | None = None,
    budget: str = "0",
    holdout: float = 0.1,
    window_days: int = 14,
    as_of: str | None = None,
    seed: int = 0,
    policy: str | None = None,
) -> dict[str, Any]:
    """Make and commit a plan; begun again after a kill it is the same one."""
    plan = run.shop.decide(
        offers=offers, channels=channels, budget=budget, holdout=holdout, window_days=window_days, as_of=as_of, seed=seed,
        policy=policy, key=f"job {run.job_id}", progress=run.progress,
    )  # fmt: skip
    return dict(plan.summary())


def compose(
    run: Run,
    *,
    plan: str | None = None,
    locale: str | None = None,
    at: str | None = None,
    seed: int = 0,
    writer: str = "components",
) -> dict[str, Any]:
    """Write and check the messages of a plan, the newest when none is named."""
    return dict(run.shop.compose(run.shop.plan(plan), locale=locale, at=at, seed=seed, writer=writer).to_json())


def deliver(run: Run, *, plan: str | None = None, dry_run: bool = True, to: str = "file") -> dict[str, Any]:
    """Hand off what is ready and due; nothing leaves unless ``dry_run`` is false."""
    return dict(run.shop.deliver(run.shop.plan(plan), dry_run=dry_run, to=to, progress=run.progress).to_json())


def measure(run: Run, *, plan: str | None = None, as_of: str | None = None) -> dict[str, Any]:
    """What a plan earned; its outcomes go back into the shop, where learning finds them."""
    report = run.shop.measure(run.shop.plan(plan), as_of=as_of)
    if report.outcomes is not None:
        run.shop.collect(report.outcomes)
    return told(report)


def tick(run: Run) -> dict[str, Any]:
    """Let campaigns hear their triggers, decide, look at their limits, and end."""
    return {"campaigns": run.shop.campaigns.tick()}


TASKS: Mapping[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (collect, compact, learn, demand, decide, compose, deliver, measure, tick)
}


def checked(shop: Shop, name: str, args: Mapping[str, Any], *, scheduled: bool = False) -> dict[str, Any]:
    """The arguments of a job as they are queued: names and types right. Where the cut of data is left open it is fixed
    now, so that a second try does the same; a ``scheduled`` job finds its own each time.

    Raises
    ------
    InputError
        There is no such job, an argument that it does not take or lacks, or one of the wrong type.
    """
    if name not in TASKS:
        raise unknown("job", name, TASKS)
    takes = {key: value for key, value in inspect.signature(TASKS[name]).parameters.items() if key != "run"}
    for key in args:
        if key not in takes:
            raise InputError(f'Job "{name}" takes no "{key}".{did_you_mean(key, takes)} It takes: {", ".join(takes) or "nothing"}.')
    if lacking := sorted(key for key, value in takes.items() if value.default is inspect.Parameter.empty and key not in args):
        raise InputError(f'Job "{name}" needs "{lacking[0]}".')
    kinds = get_type_hints(TASKS[name], localns={"Run": Run})
    for key, value in args.items():
        if not _fits(value, kinds[key]):
            raise InputError(f'Job "{name}": "{key}" must be {_called(kinds[key])}; got {value!r}.')
    if not scheduled and name in ("learn", "decide") and args.get("as_of") is None:
        moment: datetime = asked.cut(shop.home, None, now=shop.now())
        return {**args, "as_of": moment.isoformat()}
    return dict(args)


def told(report: Report) -> dict[str, Any]:
    """A report as a job's result: its title and its estimates."""
    estimates = [one for section in report.sections for one in section.estimates]
    values = [{"name": one.name, "value": one.value, "low": one.low, "high": one.high, "unit": one.unit} for one in estimates]
    return {"title": report.title, "at": report.at.isoformat(), "simulated": report.simulated, "estimates": values}


def _kinds(kind: Any) -> tuple[Any, ...]:
    return tuple(get_args(kind)) if type(None) in get_args(kind) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    for one in _kinds(kind):
        if one == Strings:
            if isinstance(value, list) and all(isinstance(each, str) for each in value):
                return True
        elif one is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return True
        elif isinstance(value, one) and not (one is int and isinstance(value, bool)):
            return True
    return False


def _called(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return " or ".join("a list of texts" if one == Strings else names[one] for one in _kinds(kind))
