"""The command line: one command per verb, and run, demo, explain, map, doctor.

Every command takes ``--json``: then standard output is one JSON object and nothing else, also when something fails
(``error`` and ``message``). Errors go to standard error and say what to do next; exit codes: 2 for input that you can mend,
3 for a shop that is not in the right state, 4 for what may pass when tried again (another process holds the shop, a server
does not answer), 1 for anything else.
"""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import typer

from tradewind.commands import (
    access,
    audit,
    campaign,
    collect,
    compose,
    consent,
    customers,
    decide,
    deliver,
    demand,
    evidence,
    experiment,
    explain,
    feedback,
    learn,
    measure,
    outbox,
    privacy,
    products,
    reviews,
    risk,
    serve,
    start,
    work,
)
from tradewind.commands.base import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OTHER, EXIT_STATE, EXIT_TRANSIENT
from tradewind.errors import InputError, Locked, StateError, TradewindError, Transient

app = typer.Typer(
    name="tradewind",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Decide for every customer of a shop what to offer, in which words, when and on which channel, within budget - "
    "and prove with a holdout what it earned.",
)

Usage: type[Exception] = typer.BadParameter.__mro__[2]  # Click's exception for a wrong command line; Typer brings a Click of its own

for command in (
    collect.collect,
    learn.learn,
    customers.customers,
    reviews.reviews,
    decide.decide,
    compose.compose,
    demand.demand,
    demand.order,
    deliver.deliver,
    feedback.feedback,
    feedback.audience,
    measure.measure,
    experiment.experiment,
    explain.explain,
    evidence.offpolicy,
    evidence.attribution,
    evidence.fairness,
    evidence.quality,
    privacy.export,
    privacy.erase,
    privacy.vault,
    privacy.backup,
    privacy.restore,
    audit.audit,
    serve.serve,
    serve.openapi,
    work.work,
    start.run,
    start.demo,
    start.doctor,
):
    app.command()(command)
app.command("map")(collect.draft)
app.add_typer(campaign.app, name="campaign")
app.add_typer(consent.app, name="consent")
app.add_typer(access.keys, name="keys")
app.add_typer(access.people, name="people")
app.add_typer(work.jobs, name="jobs")
app.add_typer(work.schedule, name="schedule")
app.add_typer(outbox.app, name="outbox")
app.add_typer(products.app, name="products")
app.add_typer(risk.app, name="risk")


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
