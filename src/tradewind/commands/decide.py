"""The verb `decide`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import AsOf, Json, Seed, ShopUrl, opened_shop, progress_bar, say
from tradewind.errors import InputError


def decide(
    shop: ShopUrl = ".",
    budget: Annotated[str, typer.Option("--budget", help='Money for discounts and contacts, for example "2000 CNY".')] = "0",
    holdout: Annotated[float, typer.Option("--holdout", help="Share of customers who get nothing, to measure against.")] = 0.1,
    offer: Annotated[list[str] | None, typer.Option("--offer", help="Kinds or ids of offers; all when left out. Repeatable.")] = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Channels; all when left out. Repeatable.")] = None,
    window_days: Annotated[int, typer.Option("--window-days", help="Days in which outcomes count.")] = 14,
    as_of: AsOf = None,
    curve: Annotated[list[str] | None, typer.Option("--curve", help="Only say what this budget would cost and earn. Repeatable.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="With --curve: draw it into this file.")] = None,
    limits: Annotated[Path | None, typer.Option("--limits", help="More limits than the budget (TOML; docs/decide.md).")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="Decide with this version of --policies again.")] = None,
    policies: Annotated[bool, typer.Option("--policies", help="Only list the versions.")] = False,
    rollback: Annotated[str | None, typer.Option("--rollback", help="Only make a version's models active.", metavar="VERSION")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only what the newest plan decides for this one, live.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Choose for every customer an offer and a channel, or nothing, within budget; log every choice with its propensity."""
    from tradewind.decide.caps import text
    from tradewind.measure.words import plan_text

    if png is not None and not curve:
        raise InputError('--png draws the curve of --curve. Add for example --curve "500 CNY" --curve "2000 CNY".')
    if curve and (limits or policy):
        raise InputError("--curve knows no --limits and no --policy yet: it is the budget alone that changes. Leave them out.")
    if policies or rollback or customer:
        from tradewind.requested import shown

        with opened_shop(shop) as opened:
            say(*shown(opened.policies, opened.live, rollback=rollback, customer=customer), as_json=as_json)
        return
    if curve:
        with opened_shop(shop) as opened:
            found = opened.curve(
                curve, offers=offer or None, channels=channel or None, holdout=holdout, window_days=window_days, as_of=as_of, seed=seed
            )
        if png is not None:
            found.save(png)
        say({"curve": found.rows(), "currency": found.currency}, str(found), as_json=as_json)
        return
    with opened_shop(shop) as opened, progress_bar("decide", quiet=as_json) as progress:
        plan = opened.decide(
            offers=offer or None,
            channels=channel or None,
            budget=budget,
            holdout=holdout,
            window_days=window_days,
            as_of=as_of,
            seed=seed,
            limits=limits,
            policy=policy,
            progress=progress,
        )
    say(plan.summary(), "\n".join([plan_text(plan), *text(plan.meta)]), as_json=as_json)
