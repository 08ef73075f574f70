"""The command `explain`: one decision for three readers, and what would have been."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, opened_shop, say


def explain(
    customer: Annotated[str, typer.Argument(help="Whose decision.")],
    shop: ShopUrl = ".",
    plan: PlanId = None,
    reader: Annotated[str | None, typer.Option("--reader", help="customer, marketer or auditor; everything when left out.")] = None,
    locale: Annotated[str, typer.Option("--locale", help="en or zh-CN, for --reader and --what-if.")] = "en",
    what_if: Annotated[
        list[str] | None,
        typer.Option("--what-if", help="Also solve again with messages_30d=2, price=1.5 or without=email. Repeatable.", metavar="CHANGE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Why did this customer get this? From the logged decision, never invented afterwards."""
    from tradewind.decide.readers import words

    words(locale)
    with opened_shop(shop) as opened:
        chosen = opened.plan(plan)
        found = chosen.explain(customer)
        other = opened.what_if(chosen, customer, what_if) if what_if else None
    text = found.text(reader=reader, locale=locale) if reader else str(found)
    body = found.to_dict() | ({"text": text} if reader else {}) | ({"what_if": vars(other)} if other else {})
    say(body, text if other is None else f"{text}\n\n{other.text(locale)}", as_json=as_json)
