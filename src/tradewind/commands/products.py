"""`products`: what titles and pictures say about items, what was entered twice, and what people confirm of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.types import Report

app = typer.Typer(no_args_is_help=True, help="Products: attributes from titles and pictures, duplicates, and what people confirm.")

Attribute = Annotated[str | None, typer.Option("--attribute", help="Only this one, for example colour.")]
Least = Annotated[float, typer.Option("--least", help="Only proposals of this confidence or more, 0 to 1.", min=0.0, max=1.0)]


@app.command()
def attributes(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Read titles and descriptions: attributes and categories that the catalogue does not state, to be confirmed."""
    with opened_shop(shop) as opened:
        _say(opened.products.attributes(), as_json=as_json)


@app.command()
def duplicates(
    shop: ShopUrl = ".",
    alike: Annotated[float | None, typer.Option("--alike", help="How alike titles must be, 0.3 to 1.")] = None,
    as_json: Json = False,
) -> None:
    """Items whose titles are nearly the same: duplicates, and variants with what tells them apart."""
    with opened_shop(shop) as opened:
        found = opened.products.duplicates() if alike is None else opened.products.duplicates(alike=alike)
    _say(found, as_json=as_json)


@app.command()
def images(
    shop: ShopUrl = ".",
    folder: Annotated[Path | None, typer.Option("--folder", help="Where the pictures lie; default: images in tradewind.toml.")] = None,
    as_json: Json = False,
) -> None:
    """Look at pictures: colours to be confirmed, pictures that are one, vectors for new items."""
    with opened_shop(shop) as opened:
        _say(opened.products.images(folder=folder), as_json=as_json)


@app.command()
def confirm(
    item: Annotated[str | None, typer.Argument(help="The item; without it the proposals that wait are listed.")] = None,
    value: Annotated[list[str] | None, typer.Option("--set", help="ATTRIBUTE=VALUE to decide. Repeatable.")] = None,
    attribute: Attribute = None,
    least: Least = 0.0,
    every: Annotated[bool, typer.Option("--all", help="Decide all that --attribute and --least select.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="They are wrong, or are no longer confirmed.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who answers for it. Kept in the audit log.")] = "",
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """List what waits, or confirm it: only then may a text claim it."""
    from tradewind.learn.product_desk import as_row

    if value and every:
        raise InputError("--set names single values and --all takes all that are selected: give one of the two.")
    if value and item is None:
        raise InputError("--set ATTRIBUTE=VALUE needs the item: tradewind products confirm ITEM --set colour=red --by NAME.")
    if every and attribute is None:
        raise InputError("--all needs --attribute: confirm one kind of statement at a time, and --least for the surest.")
    with opened_shop(shop) as opened:
        desk = opened.products
        waiting = desk.waiting(attribute=attribute, item=item, least=least)
        if not value and not every:
            rows = [as_row(each) for each in waiting]
            text = "\n".join(f"{r['item']}  {r['attribute']}={r['value']}  {r['confidence']:.2f}  {r['evidence']}" for r in rows[:200])
            say({"waiting": rows}, text or "Nothing waits for confirmation. Run: tradewind products attributes", as_json=as_json)
            return
        chosen = (
            [(each.item, each.attribute, each.value) for each in waiting] if every else [_pair(item or "", told) for told in value or ()]
        )
        done = desk.reject(chosen, by=by) if reject else desk.confirm(chosen, by=by)
    word = "rejected" if reject else "confirmed"
    say({word: done}, f"{done:,} {word}.", as_json=as_json)


def _pair(item: str, told: str) -> tuple[str, str, str]:
    attribute, found, value = told.partition("=")
    if not found or not attribute.strip() or not value.strip():
        raise InputError(f'--set takes ATTRIBUTE=VALUE, for example colour=red; got "{told}".')
    return item, attribute.strip(), value.strip()


def _say(report: Report, *, as_json: bool) -> None:
    from tradewind.measure.report import to_json, to_text

    say(json.loads(to_json(report)), to_text(report), as_json=as_json)
