"""The command line: one command per verb, and run, demo, explain, map, doctor.

Every command takes ``--json``: then standard output is one JSON object and nothing else, also when something fails
(``error`` and ``message``). Errors go to standard error and say what to do next; exit codes: 2 for input that you can mend,
3 for a shop that is not in the right state, 4 for what may pass when tried again (another process holds the shop, a server
does not answer), 1 for anything else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tradewind.errors import InputError, Locked, StateError, TradewindError, Transient

if TYPE_CHECKING:
    from tradewind.shop import Shop

app = typer.Typer(
    name="tradewind",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Decide for every customer of a shop what to offer, in which words, when and on which channel, within budget - "
    "and prove with a holdout what it earned.",
)

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

Usage: type[Exception] = typer.BadParameter.__mro__[2]  # Click's exception for a wrong command line; Typer brings a Click of its own

EXIT_INPUT, EXIT_STATE, EXIT_TRANSIENT, EXIT_OTHER, EXIT_INTERRUPTED = 2, 3, 4, 1, 130


@contextmanager
def _open(url: str, *, create: bool = False) -> Iterator[Shop]:
    from tradewind.shop import Shop

    shop = Shop.open(url, create=create)
    try:
        yield shop
    finally:
        shop.close()


@contextmanager
def _progress(label: str, *, quiet: bool) -> Iterator[Callable[[float, str], None]]:
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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror}. Give a file in a folder that exists and that you may write to."
        ) from error


def _say(value: Any, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str) if as_json else text)


@app.command()
def collect(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a database URL.")],
    shop: ShopUrl = ".",
    mapping: Mapping = None,
    as_json: Json = False,
) -> None:
    """Take a shop's files; keep what is clean, mend what can be, quarantine the rest with the reason."""
    from tradewind.asked import readable

    readable(source, mapping)
    with _open(shop, create=True) as opened, _progress("collect", quiet=as_json) as progress:
        report = opened.collect(source, mapping=mapping, progress=progress)
    _say(report.to_json(), report.to_text(), as_json=as_json)


@app.command("map")
def draft(source: Annotated[Path, typer.Argument(help="A file or a folder.")], as_json: Json = False) -> None:
    """Draft a mapping file from the data, and say what was assumed."""
    from tradewind.collect.mapping import draft_mapping

    text, assumptions = draft_mapping(source)
    if not as_json:
        for line in assumptions:
            typer.echo(f"assumed: {line}", err=True)
    _say({"mapping": text, "assumptions": assumptions}, text, as_json=as_json)


@app.command()
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

    with _open(shop) as opened, _progress("learn", quiet=as_json) as progress:
        learned = opened.learn(recommend=recommend, size=size, as_of=as_of, evaluate=evaluate, seed=seed, progress=progress)
    _say(json.loads(to_json(learned)), to_text(learned), as_json=as_json)


@app.command()
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

        with _open(shop) as opened:
            _say(*shown(opened.policies, opened.live, rollback=rollback, customer=customer), as_json=as_json)
        return
    if curve:
        with _open(shop) as opened:
            found = opened.curve(
                curve, offers=offer or None, channels=channel or None, holdout=holdout, window_days=window_days, as_of=as_of, seed=seed
            )
        if png is not None:
            found.save(png)
        _say({"curve": found.rows(), "currency": found.currency}, str(found), as_json=as_json)
        return
    with _open(shop) as opened, _progress("decide", quiet=as_json) as progress:
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
    _say(plan.summary(), "\n".join([plan_text(plan), *text(plan.meta)]), as_json=as_json)


@app.command()
def compose(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    locale: Annotated[str | None, typer.Option("--locale", help="zh-CN or en for everybody; each customer's own when left out.")] = None,
    writer: Annotated[str, typer.Option("--writer", help="components, chat, local or transformer (docs/writers.md).")] = "components",
    batch_out: Annotated[Path | None, typer.Option("--batch-out", help="Only write chat's open questions to this file.")] = None,
    batch_in: Annotated[Path | None, typer.Option("--batch-in", help="First read the answers to them from this file.")] = None,
    words: Annotated[str | None, typer.Option("--words", help="Only show words: report, approvals or wishes.")] = None,
    add: Annotated[Path | None, typer.Option("--add", help="Only enter the components of this file for approval.")] = None,
    approve: Annotated[str | None, typer.Option("--approve", help="Only approve this component.", metavar="ID")] = None,
    retire: Annotated[str | None, typer.Option("--retire", help="Only take this component out of use.", metavar="ID")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who answers for --add, --approve or --retire.", metavar="NAME")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Only write what customers preferred to this file (JSON lines).")] = None,
    style: Annotated[str, typer.Option("--style", help="Of --export: pairs, or labels (true and false).")] = "pairs",
    form: Annotated[str | None, typer.Option("--format", help="Only print texts: ad, coupon, social, landing, live ...")] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="Of --format live: how long the programme is.")] = 30,
    signals: Annotated[Path | None, typer.Option("--signals", help="Of --format live: what the room did (CSV).")] = None,
    as_json: Json = False,
) -> None:
    """Write the messages of a plan; every number in every text is checked against the facts."""
    from tradewind.compose.desk import act
    from tradewind.compose.pages import print_format
    from tradewind.measure.report import to_json, to_text

    if sum(map(bool, (form, batch_out, words == "report", (words not in (None, "report")) or add or approve or retire or export))) > 1:
        raise InputError("--format, --batch-out, --words report and changing words are separate tasks. Run them one by one.")
    with _open(shop) as opened:
        if batch_in is not None:
            loaded = opened.load_batch(batch_in)
            typer.echo(f"{loaded.kept:,} answers kept; refused: {dict(loaded.refused) or 'none'}", err=True)
        if form is not None:
            done = print_format(opened.home, opened.plan(plan), form, locale=locale, now=opened.now(), minutes=minutes, signals=signals)
        elif words == "report":
            report = opened.copy_report()
            done = json.loads(to_json(report)), to_text(report)
        elif words or add or approve or retire or export:
            done = act(opened.words, show=words, add=add, approve=approve, retire=retire, by=by, export=export, style=style)
        elif batch_out is not None:
            number = opened.write_batch(opened.plan(plan), batch_out, locale=locale)
            done = {"questions": number, "path": str(batch_out)}, f"{number:,} questions in {batch_out}"
        else:
            composed = opened.compose(opened.plan(plan), locale=locale, writer=writer)
            done = composed.to_json(), composed.to_text()
    _say(*done, as_json=as_json)


@app.command()
def deliver(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--send", help="Show what would be sent (default), or send it.")] = True,
    to: Annotated[str, typer.Option("--to", help="How to hand off when sending: a file of tradewind/deliver/channels.")] = "file",
    as_json: Json = False,
) -> None:
    """Hand the messages off, once, to those who consented. Sends only with --send."""
    with _open(shop) as opened, _progress("deliver", quiet=as_json) as progress:
        delivered = opened.deliver(opened.plan(plan), dry_run=dry_run, to=to, progress=progress)
    _say(delivered.to_json(), delivered.to_text(), as_json=as_json)


@app.command()
def measure(
    shop: ShopUrl = ".",
    plan: PlanId = None,
    as_of: Until = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """What a plan earned against its holdout, how sure we are, and what to do next."""
    from tradewind.measure.report import to_html, to_json, to_text

    with _open(shop) as opened:
        report = opened.measure(opened.plan(plan), as_of=as_of)
        if html is not None:
            _write(html, to_html(report))
        opened.collect(report.outcomes)
    _say(json.loads(to_json(report)), to_text(report), as_json=as_json)


@app.command()
def explain(
    customer: Annotated[str, typer.Argument(help="Whose decision.")], shop: ShopUrl = ".", plan: PlanId = None, as_json: Json = False
) -> None:
    """Why did this customer get this? From the logged decision, never invented afterwards."""
    with _open(shop) as opened:
        found = opened.plan(plan).explain(customer)
    _say(found.to_dict(), str(found), as_json=as_json)


@app.command()
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
    with _open(shop, create=True) as opened, _progress("run", quiet=as_json) as progress:
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
    _say(done, text, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="A new folder for the demo shop.")] = Path("demo"),
    size: Annotated[str, typer.Option("--size", help="tiny, small, medium or large.")] = "small",
    rounds: Annotated[int, typer.Option("--rounds", help="Plans, one after the other; each learns from those before.")] = 3,
    seed: Seed = 7,
    as_json: Json = False,
) -> None:
    """The whole loop on a simulated shop, with a report to open."""
    from tradewind.demo import demo as play

    with _progress("demo", quiet=as_json) as progress:
        result = play(folder, size=size, rounds=rounds, seed=seed, progress=progress, say=(lambda _: None) if as_json else typer.echo)
    _say(result, f"Open {result['report']}", as_json=as_json)


@app.command()
def doctor(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Check the machine and the shop, and say what to mend."""
    from tradewind.doctor import examine

    checks = examine(shop)
    _say({"checks": [check.to_dict() for check in checks]}, "\n".join(check.to_text() for check in checks), as_json=as_json)
    if any(check.level == "FAIL" for check in checks):
        raise typer.Exit(EXIT_STATE)


def exit_code(error: BaseException) -> int:
    """The exit code of an error: 2 input, 3 state, 4 transient, 1 the rest."""
    if isinstance(error, InputError | Usage):
        return EXIT_INPUT
    if isinstance(error, Transient | Locked):
        return EXIT_TRANSIENT
    return EXIT_STATE if isinstance(error, StateError) else EXIT_OTHER


def main() -> None:
    """Run the command line. What Tradewind raises on purpose, and what the machine refuses, is printed without a trace.

    With ``--json`` the last word is always one JSON object, also for a wrong option and for a defect of Tradewind itself
    (whose trace goes to standard error).
    """
    machine = "--json" in sys.argv
    try:
        code = app(standalone_mode=not machine)
    except (TradewindError, OSError) as error:
        _fail(error, str(error), machine=machine)
    except Usage as error:
        said = error.format_message()  # type: ignore[attr-defined]
        _fail(error, f"{said.rstrip('.')}. Run the command with --help to see what it takes.", machine=machine)
    except typer.Abort:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if machine:
            typer.echo(json.dumps({"error": "Defect", "message": f"{type(error).__name__}: {error}"}, ensure_ascii=False))
        raise
    raise SystemExit(code)


def _fail(error: Exception, message: str, *, machine: bool) -> NoReturn:
    name = "InputError" if isinstance(error, Usage) else type(error).__name__
    if machine:
        typer.echo(json.dumps({"error": name, "message": message}, ensure_ascii=False))
    typer.echo(f"{name}: {message}", err=True)
    raise SystemExit(exit_code(error)) from None


if __name__ == "__main__":
    main()
