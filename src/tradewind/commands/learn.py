"""The verb `learn`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tradewind.commands.base import AsOf, Json, Seed, ShopUrl, opened_shop, progress_bar, say


def learn(
    shop: ShopUrl = ".",
    recommend: Annotated[str, typer.Option("--recommend", help="The recommender: a file of tradewind/learn.")] = "fallback",
    size: Annotated[str | None, typer.Option("--size", help="For deep models: tiny, small, base, large.")] = None,
    as_of: AsOf = None,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Compare all recommenders on a global time split.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit models to the event log."""
    from tradewind.measure.report import to_json, to_text

    with opened_shop(shop) as opened, progress_bar("learn", quiet=as_json) as progress:
        learned = opened.learn(recommend=recommend, size=size, as_of=as_of, evaluate=evaluate, seed=seed, progress=progress)
    say(json.loads(to_json(learned)), to_text(learned), as_json=as_json)
