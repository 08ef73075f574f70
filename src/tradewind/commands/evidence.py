"""The commands `offpolicy`, `attribution`, `fairness` and `quality`: evidence beside the report of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, Until, opened_shop, say, write

if TYPE_CHECKING:
    from tradewind.types import Report

Locale = Annotated[str, typer.Option("--locale", help="The language of text and page: en or zh-CN. JSON is English always.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page.")]


def show(report: Report, *, html: Path | None, locale: str, as_json: bool) -> None:
    """Print a report, and write its page."""
    from tradewind.measure.report import to_html, to_json, to_text

    if html is not None:
        write(html, to_html(report, locale=locale))
    say(json.loads(to_json(report)), to_text(report, locale=locale), as_json=as_json)


def offpolicy(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", help="Also a stored version (decide --policies). Repeatable.", metavar="VERSION")
    ] = None,
    as_of: Until = None,
    html: Html = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """What other ways of deciding would have earned on a plan's log, with intervals, or why the log cannot say."""
    with opened_shop(shop) as opened:
        report = opened.evidence.offpolicy(opened.plan(plan), against=against or (), as_of=as_of)
    show(report, html=html, locale=locale, as_json=as_json)


def attribution(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    as_of: Until = None,
    lookback_days: Annotated[float, typer.Option("--lookback-days", help="How old a touch may be.")] = 30,
    html: Html = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """Who stood on the way to purchases (description), and with --plan what the holdout says was caused."""
    with opened_shop(shop) as opened:
        chosen = None if plan is None else opened.plan(plan)
        report = opened.evidence.attribution(chosen, as_of=as_of, lookback_days=lookback_days)
    show(report, html=html, locale=locale, as_json=as_json)


def fairness(
    by: Annotated[list[str], typer.Option("--by", help="A declared attribute of customers, or locale or zone. Repeatable.")],
    shop: ShopUrl = ".",
    plan: PlanId = None,
    as_of: Until = None,
    html: Html = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """Exposure, offer value and outcome of a plan by declared groups, and whether the shop's gate lets it pass."""
    with opened_shop(shop) as opened:
        report = opened.evidence.fairness(opened.plan(plan), by, as_of=as_of)
    show(report, html=html, locale=locale, as_json=as_json)


def quality(
    shop: ShopUrl = ".",
    as_of: Until = None,
    days: Annotated[int, typer.Option("--days", help="How far back profiles and data are compared.")] = 28,
    html: Html = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """Quality of profiles, of the recommender in use and of the data: what they know, and what has moved."""
    with opened_shop(shop) as opened:
        report = opened.evidence.quality(as_of=as_of, days=days)
    show(report, html=html, locale=locale, as_json=as_json)
