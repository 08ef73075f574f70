"""The verb `measure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, Until, opened_shop, say, write
from tradewind.errors import InputError


def measure(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    as_of: Until = None,
    longer: Annotated[float, typer.Option("--longer", help="Look so many days beyond the window, too: were orders pulled forward?")] = 0,
    foresee: Annotated[float, typer.Option("--foresee", help="Foresee so many days after the window, by a surrogate index.")] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """What a plan earned against its holdout, how sure we are, and what to do next."""
    from tradewind.measure.report import to_html, to_json, to_text

    if longer and foresee:
        raise InputError("measure: --longer measures what followed, --foresee foresees it. Give one of them.")
    with opened_shop(shop) as opened:
        meant, door = opened.plan(plan), opened.experiments
        if longer:
            report = door.longer(meant, days=longer, as_of=as_of)
        else:
            report = door.foreseen(meant, days=foresee, as_of=as_of) if foresee else opened.measure(meant, as_of=as_of)
        if html is not None:
            write(html, to_html(report))
        opened.collect(report.outcomes)
    say(json.loads(to_json(report)), to_text(report), as_json=as_json)
