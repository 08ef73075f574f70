"""`reviews`: what they praise and blame, in their own words, and what is new."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tradewind.commands.base import AsOf, Json, ShopUrl, opened_shop, say


def reviews(
    shop: ShopUrl = ".",
    item: Annotated[list[str] | None, typer.Option("--item", help="Only this item's. Repeatable.")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """What reviews say: aspects with intervals and evidence, trends, and what is new this week."""
    from tradewind.measure.report import to_json, to_text

    with opened_shop(shop) as opened:
        found = opened.reviews(items=item or None, as_of=as_of)
    say(json.loads(to_json(found)), to_text(found), as_json=as_json)
