"""The verb `collect`, and `map`, which drafts the mapping that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import Json, Mapping, ShopUrl, opened_shop, progress_bar, say


def collect(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a database URL.")],
    shop: ShopUrl = ".",
    mapping: Mapping = None,
    as_json: Json = False,
) -> None:
    """Take a shop's files; keep what is clean, mend what can be, quarantine the rest with the reason."""
    from tradewind.asked import readable

    readable(source, mapping)
    with opened_shop(shop, create=True) as opened, progress_bar("collect", quiet=as_json) as progress:
        report = opened.collect(source, mapping=mapping, progress=progress)
    say(report.to_json(), report.to_text(), as_json=as_json)


def draft(source: Annotated[Path, typer.Argument(help="A file or a folder.")], as_json: Json = False) -> None:
    """Draft a mapping file from the data, and say what was assumed."""
    from tradewind.collect.mapping import draft_mapping

    text, assumptions = draft_mapping(source)
    if not as_json:
        for line in assumptions:
            typer.echo(f"assumed: {line}", err=True)
    say({"mapping": text, "assumptions": assumptions}, text, as_json=as_json)
