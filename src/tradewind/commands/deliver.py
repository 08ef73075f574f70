"""The verb `deliver`."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.commands.base import Json, PlanId, ShopUrl, opened_shop, progress_bar, say


def deliver(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--send", help="Show what would be sent (default), or send it.")] = True,
    to: Annotated[str, typer.Option("--to", help="How to hand off when sending: a file of tradewind/deliver/channels.")] = "file",
    as_json: Json = False,
) -> None:
    """Hand the messages off, once, to those who consented. Sends only with --send."""
    with opened_shop(shop) as opened, progress_bar("deliver", quiet=as_json) as progress:
        delivered = opened.deliver(opened.plan(plan), dry_run=dry_run, to=to, progress=progress)
    say(delivered.to_json(), delivered.to_text(), as_json=as_json)
