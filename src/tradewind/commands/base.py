"""What commands share: their common options, the shop they open, how they show progress and print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.shop import Shop

ShopUrl = Annotated[
    str,
    typer.Option(
        "--shop", envvar="TRADEWIND_SHOP", help="The shop: a folder, postgresql://...?root=FOLDER or spark://FOLDER.", metavar="URL"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
PlanId = Annotated[str | None, typer.Option("--plan", help="Which plan; the newest when left out.", metavar="ID")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="Only what happened before this time counts (ISO 8601); default: just after the last event.", metavar="TIME"
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="Only what happened before this time counts (ISO 8601); default: the end of the window, or now.", metavar="TIME"
    ),
]
Mapping = Annotated[Path | None, typer.Option("--mapping", help="How the files' columns become Tradewind's (TOML); see tradewind map.")]
Seed = Annotated[int, typer.Option("--seed", help="Same log and same seed give the same decisions.")]

EXIT_INPUT, EXIT_STATE, EXIT_TRANSIENT, EXIT_OTHER, EXIT_INTERRUPTED = 2, 3, 4, 1, 130


@contextmanager
def opened_shop(url: str, *, create: bool = False) -> Iterator[Shop]:
    from tradewind.shop import Shop

    shop = Shop.open(url, create=create)
    try:
        yield shop
    finally:
        shop.close()


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error, only for people who look at a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _share, _what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=f"{label}: {what}" if what else label)


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror}. Give a file in a folder that exists and that you may write to."
        ) from error


def say(value: Any, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str) if as_json else text)


def marked(text: str, *, simulated: bool) -> str:
    """The text, headed by the sentence that says so where the shop is a simulated one."""
    from tradewind.measure.report import SIMULATED

    return f"{SIMULATED}\n{text}" if simulated else text
