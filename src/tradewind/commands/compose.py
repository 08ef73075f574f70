"""The verb `compose`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, opened_shop, say
from tradewind.errors import InputError


def compose(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    locale: Annotated[str | None, typer.Option("--locale", help="zh-CN or en for everybody; each customer's own when left out.")] = None,
    writer: Annotated[str, typer.Option("--writer", help="components, chat, local or transformer (docs/writers.md).")] = "components",
    batch_out: Annotated[Path | None, typer.Option("--batch-out", help="Only write chat's open questions to this file.")] = None,
    batch_in: Annotated[Path | None, typer.Option("--batch-in", help="First read the answers to them from this file.")] = None,
    words: Annotated[str | None, typer.Option("--words", help="Only words: report, approvals, wishes; propose asks the model.")] = None,
    add: Annotated[Path | None, typer.Option("--add", help="Only enter the components of this file for approval.")] = None,
    approve: Annotated[str | None, typer.Option("--approve", help="Only approve this component.", metavar="ID")] = None,
    retire: Annotated[str | None, typer.Option("--retire", help="Only take this component out of use.", metavar="ID")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who answers for --add, --approve or --retire.", metavar="NAME")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Only write what customers preferred to this file (JSON lines).")] = None,
    style: Annotated[str, typer.Option("--style", help="Of --export: pairs, or labels (true and false).")] = "pairs",
    form: Annotated[str | None, typer.Option("--format", help="Only print texts: ad, coupon, social, landing, live ...")] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="Of --format live: how long the programme is.")] = 30,
    signals: Annotated[Path | None, typer.Option("--signals", help="Of --format live: what the room did (CSV).")] = None,
    as_json: Json = False,
) -> None:
    """Write the messages of a plan; every number in every text is checked against the facts."""
    from tradewind.compose.desk import act
    from tradewind.compose.pages import print_format
    from tradewind.measure.report import to_json, to_text

    if sum(map(bool, (form, batch_out, words == "report", (words not in (None, "report")) or add or approve or retire or export))) > 1:
        raise InputError("--format, --batch-out, --words report and changing words are separate tasks. Run them one by one.")
    with opened_shop(shop) as opened:
        if batch_in is not None:
            loaded = opened.load_batch(batch_in)
            typer.echo(f"{loaded.kept:,} answers kept; refused: {dict(loaded.refused) or 'none'}", err=True)
        if form is not None:
            done = print_format(opened.home, opened.plan(plan), form, locale=locale, now=opened.now(), minutes=minutes, signals=signals)
        elif words == "report":
            report = opened.copy_report()
            done = json.loads(to_json(report)), to_text(report)
        elif words or add or approve or retire or export:
            done = act(opened.words, show=words, add=add, approve=approve, retire=retire, by=by, export=export, style=style)
        elif batch_out is not None:
            number = opened.write_batch(opened.plan(plan), batch_out, locale=locale)
            done = {"questions": number, "path": str(batch_out)}, f"{number:,} questions in {batch_out}"
        else:
            composed = opened.compose(opened.plan(plan), locale=locale, writer=writer)
            done = composed.to_json(), composed.to_text()
    say(*done, as_json=as_json)
