"""The command `feedback`: take bounces and complaints from a mailbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say


def feedback(
    read: Annotated[Path, typer.Option("--read", help="A Maildir, an mbox file, or one mail.", metavar="PATH")],
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Read returned mail: suppress dead addresses, withdraw consent of who complained, and enter both into the log."""
    from tradewind.deliver.feedback import Feedback

    with opened_shop(shop) as opened:
        done = Feedback.of(opened.home).read(read, now=opened.now())
    say(done.to_json(), done.to_text(), as_json=as_json)
