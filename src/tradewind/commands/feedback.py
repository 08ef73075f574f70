"""The command `feedback`: take bounces and complaints from a mailbox, and enter what channels have heard into the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say


def feedback(
    read: Annotated[Path | None, typer.Option("--read", help="A Maildir, an mbox file, or one mail.", metavar="PATH")] = None,
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Enter visits, impressions and receipts into the log; with --read, suppress dead addresses and withdraw consent of who complained."""
    from tradewind.deliver.channels.slot import Slot
    from tradewind.deliver.feedback import Feedback, log
    from tradewind.deliver.feedback_clicks import settle

    with opened_shop(shop) as opened:
        home, now = opened.home, opened.now()
        done = None if read is None else Feedback.of(home).read(read, now=now)
        entered = {"visits": settle(home, now=now), "impressions": Slot(home).log(now=now), "receipts": log(home, now=now)}
    lines = [] if done is None else [done.to_text()]
    lines.append("Entered: " + ", ".join(f"{number:,} {name}" for name, number in entered.items()))
    say({**(done.to_json() if done else {}), **entered}, "\n".join(lines), as_json=as_json)
