"""The verb `measure`."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, Until, opened_shop
from tradewind.commands.evidence import Html, Locale, show
from tradewind.errors import InputError


def measure(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    as_of: Until = None,
    longer: Annotated[float, typer.Option("--longer", help="Look so many days beyond the window, too: were orders pulled forward?")] = 0,
    foresee: Annotated[float, typer.Option("--foresee", help="Foresee so many days after the window, by a surrogate index.")] = 0,
    html: Html = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """What a plan earned against its holdout, how sure we are, and what to do next."""
    if longer and foresee:
        raise InputError("measure: --longer measures what followed, --foresee foresees it. Give one of them.")
    with opened_shop(shop) as opened:
        meant, door = opened.plan(plan), opened.experiments
        if longer:
            report = door.longer(meant, days=longer, as_of=as_of)
        else:
            report = door.foreseen(meant, days=foresee, as_of=as_of) if foresee else opened.measure(meant, as_of=as_of)
        show(report, html=html, locale=locale, as_json=as_json)
        opened.collect(report.outcomes)
