"""The commands `feedback` and `audience`: what comes back of channels, and audiences for advertising platforms."""

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
    with opened_shop(shop) as opened:
        heard = opened.channels.feedback(read)
    say(heard.to_json(), heard.to_text(), as_json=as_json)


def audience(
    name: Annotated[str, typer.Argument(help="The audience: the plan whose messages were delivered to ads.")],
    to: Annotated[Path, typer.Option("--to", help="A folder; the files get one of their own in it.", metavar="FOLDER")],
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Write who joined and who left an advertising audience since the last file, as hashes, with a manifest."""
    with opened_shop(shop) as opened:
        done = opened.channels.publish(name, to)
    counts = {"added": done.added, "removed": done.removed, "held": done.held, "left_out": dict(done.left_out)}
    said = f"{done.folder}: {done.added:,} to add, {done.removed:,} to remove, {done.held:,} held by the platform after the upload"
    say({"folder": str(done.folder), **counts}, said, as_json=as_json)
