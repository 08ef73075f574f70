"""The command `experiment`: compare the arms of a table, or say before a start what could be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.commands.base import Json, say, write
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.measure.trial import Metric, Trial

List = list[str] | None


def experiment(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file, one row per unit, or several per unit with --unit.")],
    arm: Annotated[str | None, typer.Option("--arm", help="The column that names the arm.")] = None,
    control: Annotated[str | None, typer.Option("--control", help="The arm to compare with.")] = None,
    metric: Annotated[List, typer.Option("--metric", help="A column (its mean), or COLUMN@0.9 (its quantile). Repeat it.")] = None,
    ratio: Annotated[List, typer.Option("--ratio", help="TOP/BOTTOM, for example orders/sessions. Repeat it.")] = None,
    lower: Annotated[List, typer.Option("--lower-is-better", help="A metric of which less is better. Repeat it.")] = None,
    guard: Annotated[List, typer.Option("--guard", help="METRIC=0.02: it may lose 2 % of the control's mean, not more.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Who was assigned; without it every row is a unit.")] = None,
    once: Annotated[bool, typer.Option("--once", help="A unit has one row: drop copies, leave out units with more.")] = False,
    covariate: Annotated[List, typer.Option("--covariate", help="Known before the start: COLUMN or A/B; less noise (CUPED).")] = None,
    stratum: Annotated[List, typer.Option("--stratum", help="A group known before the start, compared within. Repeat it.")] = None,
    share: Annotated[List, typer.Option("--share", help="ARM=0.5: what was asked for; all alike when left out.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="The column that says when the unit was assigned.")] = None,
    outcome_at: Annotated[str | None, typer.Option("--outcome-at", help="The column that says when the row's outcome happened.")] = None,
    currency: Annotated[str | None, typer.Option("--currency", help="The column of the currency; the commonest is kept.")] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="A column of households or addresses that may share arms.")] = None,
    propensity: Annotated[str | None, typer.Option("--propensity", help="The logged probability of the arm given: a bandit's log.")] = None,
    planned: Annotated[int, typer.Option("--planned", help="Units planned in two arms: where always-valid intervals are tightest.")] = 5000,
    power: Annotated[bool, typer.Option("--power", help="Before a start: what could FILE's units show? No arm is needed.")] = False,
    effect: Annotated[float | None, typer.Option("--effect", help="With --power: units needed for this share of the mean.")] = None,
    held: Annotated[float, typer.Option("--holdout", help="With --power: share of the units in the control.")] = 0.5,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the report as Markdown.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the arms of an experiment: who won, how sure we are, and what was left out."""
    from tradewind.measure.files import on_file
    from tradewind.measure.report import to_html, to_json, to_markdown, to_text
    from tradewind.measure.trial import Trial

    asked = Trial(
        arm or "",
        control or "",
        _metrics([*(metric or []), *(ratio or [])], lower or [], guard or []),
        unit=unit,
        covariates=tuple(covariate or ()),
        strata=tuple(stratum or ()),
        shares=_numbers("--share", share or []),
        once=once,
        at=at,
        outcome_at=outcome_at,
        currency=currency,
        cluster=cluster,
        propensity=propensity,
        tuned=planned,
    ).checked()
    with on_file(file) as opened:
        found = opened.power(asked, holdout=held, effect=effect) if power else opened.experiment(_armed(asked))
    for path, form in ((html, to_html), (markdown, to_markdown)):
        if path is not None:
            write(path, form(found))
    say(json.loads(to_json(found)), to_text(found), as_json=as_json)


def _armed(trial: Trial) -> Trial:
    for name, value in (("--arm", trial.arm), ("--control", trial.control)):
        if not value:
            raise InputError(f"experiment: {name} is missing. Say which column names the arm, and which arm is the control.")
    return trial


def _metrics(texts: list[str], lower: list[str], guard: list[str]) -> tuple[Metric, ...]:
    from tradewind.errors import unknown
    from tradewind.measure.trial import Metric

    limits = _numbers("--guard", guard)
    found = {metric.name: metric for metric in map(Metric.read, dict.fromkeys([*texts, *limits]))}
    for name in lower:
        if name not in found:
            raise unknown("metric", name, found)
    return tuple(replace(metric, lower_is_better=name in lower, guard=limits.get(name)) for name, metric in found.items())


def _numbers(flag: str, texts: list[str]) -> dict[str, float]:
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise InputError(f'experiment: {flag} takes NAME=NUMBER, for example {flag} control=0.5; got "{text}".')
    return found
