"""Where a newcomer begins: `run`, `demo` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tradewind.commands.base import EXIT_STATE, AsOf, Json, Mapping, Seed, ShopUrl, opened_shop, progress_bar, say


def run(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a database URL.")],
    shop: ShopUrl = ".",
    mapping: Mapping = None,
    budget: Annotated[str, typer.Option("--budget", help='For example "2000 GBP".')] = "0",
    holdout: Annotated[float, typer.Option("--holdout", help="Share of customers who get nothing, to measure against.")] = 0.1,
    recommend: Annotated[str, typer.Option("--recommend", help="The recommender.")] = "fallback",
    as_of: AsOf = None,
    locale: Annotated[str | None, typer.Option("--locale", help="zh-CN or en for everybody.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """From a shop's raw files to a plan with checked texts: collect, learn, decide, compose. Sends nothing."""
    from tradewind.asked import readable, whole_run
    from tradewind.measure.report import to_json, to_text
    from tradewind.measure.words import plan_text
    from tradewind.plugins import names

    whole_run(budget_text=budget, holdout=holdout, recommend=recommend, known=names("learn"), locale=locale)
    readable(source, mapping)
    done: dict[str, Any] = {}
    with opened_shop(shop, create=True) as opened, progress_bar("run", quiet=as_json) as progress:
        collected = opened.collect(source, mapping=mapping, progress=progress)
        learned = opened.learn(recommend=recommend, as_of=as_of, seed=seed, progress=progress)
        plan = opened.decide(budget=budget, holdout=holdout, as_of=as_of, seed=seed, progress=progress)
        composed = opened.compose(plan, locale=locale, at=str(plan.meta["as_of"]), seed=seed)
        done = {
            "collect": collected.to_json(),
            "learn": json.loads(to_json(learned)),
            "decide": plan.summary(),
            "compose": composed.to_json(),
        }
        text = "\n\n".join([collected.to_text(), to_text(learned), plan_text(plan), composed.to_text()])
    say(done, text, as_json=as_json)


def demo(
    folder: Annotated[Path, typer.Argument(help="A new folder for the demo shop.")] = Path("demo"),
    size: Annotated[str, typer.Option("--size", help="tiny, small, medium or large.")] = "small",
    rounds: Annotated[int, typer.Option("--rounds", help="Plans, one after the other; each learns from those before.")] = 3,
    seed: Seed = 7,
    serve: Annotated[bool, typer.Option("--serve", help="Then serve the shop with its console (docs/console.md).")] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Where --serve listens.")] = 8080,
    as_json: Json = False,
) -> None:
    """The whole loop on a simulated shop, with a report to open."""
    from tradewind.commands.serve import listen, working
    from tradewind.demo import demo as play

    with progress_bar("demo", quiet=as_json) as progress:
        result = play(folder, size=size, rounds=rounds, seed=seed, progress=progress, say=(lambda _: None) if as_json else typer.echo)
    say(result, f"Open {result['report']}", as_json=as_json)
    if serve:
        url = str(folder / "shop")
        with opened_shop(url) as opened, working(url, wanted=True):
            listen(opened, host="127.0.0.1", port=port)


def doctor(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Check the machine and the shop, and say what to mend."""
    from tradewind.doctor import examine

    checks = examine(shop)
    say({"checks": [check.to_dict() for check in checks]}, "\n".join(check.to_text() for check in checks), as_json=as_json)
    if any(check.level == "FAIL" for check in checks):
        raise typer.Exit(EXIT_STATE)
