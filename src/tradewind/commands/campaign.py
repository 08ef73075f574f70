"""`tradewind campaign`: plan a file, approve it, apply it, watch it, pause and finish it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tradewind.commands.base import EXIT_STATE, AsOf, Json, ShopUrl, opened_shop, say, write

app = typer.Typer(no_args_is_help=True, help="Campaigns from files: plan, approve, apply, watch, pause, finish (docs/campaigns.md).")

File = Annotated[Path, typer.Argument(help="The campaign's TOML file.")]
Name = Annotated[str, typer.Argument(help="The campaign's name.")]
By = Annotated[str, typer.Option("--by", envvar="TRADEWIND_BY", help="Who acts; it goes into the audit log.", metavar="NAME")]
Why = Annotated[str, typer.Option("--why", help="For the audit log.")]


@app.command()
def brief(
    text: Annotated[str, typer.Argument(help="Who, what for, how much, until when, and what never; - reads it from a pipe.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the draft to this file.", metavar="FILE")] = None,
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Let the language model of [chat] fill in a campaign's file from plain words. A draft: look at it, then plan it."""
    with opened_shop(shop) as opened:
        found = opened.read_brief(sys.stdin.read() if text == "-" else text)
    if out is not None:
        write(out, found.to_toml())
    notes = [f"still wrong: {fault.where}: {fault.what}" for fault in found.faults]
    notes += [f"a number of the brief that nothing uses: {number}" for number in found.unused]
    say(found.to_json(), "\n".join([found.to_toml(), *notes]), as_json=as_json)


@app.command()
def plan(file: File, shop: ShopUrl = ".", by: By = "unnamed", as_of: AsOf = None, as_json: Json = False) -> None:
    """Show what the file would do now: audience, messages, cost, who is left out and why, and what changes. Commits nothing."""
    with opened_shop(shop) as opened:
        shown = opened.campaigns.plan(file, by=by, as_of=as_of)
    say(shown.to_dict(), str(shown), as_json=as_json)


@app.command()
def approve(name: Name, by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Approve what the plan of the newest version showed."""
    with opened_shop(shop) as opened:
        _say(opened.campaigns.approve(name, by=by), as_json=as_json)


@app.command("apply")
def apply_(file: File, by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Do what was shown and approved; refused when the file or the data changed since."""
    with opened_shop(shop) as opened:
        _say(opened.campaigns.apply(file, by=by), as_json=as_json)


@app.command()
def pause(name: Name, by: By, shop: ShopUrl = ".", why: Why = "", as_json: Json = False) -> None:
    """Decide nothing and hand nothing off until it is resumed."""
    with opened_shop(shop) as opened:
        _say(opened.campaigns.pause(name, by=by, why=why), as_json=as_json)


@app.command()
def resume(name: Name, by: By, shop: ShopUrl = ".", why: Why = "", as_json: Json = False) -> None:
    """Let a paused campaign run again."""
    with opened_shop(shop) as opened:
        _say(opened.campaigns.resume(name, by=by, why=why), as_json=as_json)


@app.command()
def finish(name: Name, by: By, shop: ShopUrl = ".", why: Why = "", as_json: Json = False) -> None:
    """End it: messages that were not handed off are taken back, and the budget that they held is free."""
    with opened_shop(shop) as opened:
        _say(opened.campaigns.finish(name, by=by, why=why), as_json=as_json)


@app.command()
def tick(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """What a scheduler runs every few minutes: triggers, guard-rails, and campaigns whose window ended."""
    with opened_shop(shop) as opened:
        rows = opened.campaigns.tick()
    lines = []
    for row in rows:
        lines.append(f"{row['campaign']}: {row['fired']} fired, {row['decided']} decided, {row['messages']} messages; {row['state']}")
        lines += [f"  {row['late']} events came too late to be heard"] if row["late"] else []
        lines += [f"  {row[key]}" for key in ("why", "error") if key in row]
    say({"campaigns": rows}, "\n".join(lines) or "No campaign runs.", as_json=as_json)
    if any("error" in row for row in rows):
        raise typer.Exit(EXIT_STATE)


@app.command("list")
def list_(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Every version of every campaign."""
    with opened_shop(shop) as opened:
        found = opened.campaigns.all()
    lines = [
        f"{one.campaign:<24} version {one.version:<3} {one.state:<9} {one.updated_at:%Y-%m-%d %H:%M}  {one.spec['goal']}" for one in found
    ]
    say(
        {"campaigns": [one.to_dict() for one in found]},
        "\n".join(lines) or "No campaign yet: tradewind campaign plan FILE.",
        as_json=as_json,
    )


@app.command()
def show(name: Name, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Its state, plans, firings, budget and guard-rails."""
    with opened_shop(shop) as opened:
        found = opened.campaigns.show(name)
    say(found, "\n".join(_shown(found)), as_json=as_json)


@app.command()
def why(name: Name, customer: Annotated[str, typer.Argument(help="Whose membership.")], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Why this customer is in the audience, or not: the value of every part of the expression."""
    with opened_shop(shop) as opened:
        found = opened.campaigns.why(name, customer)
    say(asdict(found), str(found), as_json=as_json)


@app.command()
def history(name: Name, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Who moved it when."""
    with opened_shop(shop) as opened:
        rows = opened.campaigns.history(name)
    lines = [f"{row['at'][:19]}  {row['by']:<20} {row['action']:<20} version {row.get('version')}  {row.get('why', '')}" for row in rows]
    say({"history": rows}, "\n".join(lines), as_json=as_json)


def _say(one: Any, *, as_json: bool) -> None:
    say(one.to_dict(), f"Campaign {one.campaign}, version {one.version}: {one.state}.", as_json=as_json)


def _shown(found: dict[str, Any]) -> list[str]:
    lines = [
        f"Campaign {found['campaign']}, version {found['version']}: {found['state']} since {found['updated_at'][:16]}. "
        + found["spec"]["goal"]
    ]
    if found["active"] != found["version"]:
        lines.append(f"  version {found['active']} is the one that is applied")
    if (money := found["budget"]) is not None:
        lines.append(f"  budget {money['amount']} minor units of {money['currency']}: {money['reserved']} held, {money['spent']} spent")
    lines += [f"  firings {state}: {number:,}" for state, number in sorted(found["firings"].items())]
    lines += [f"  plan {plan}" for plan in found["plans"]]
    for one in found["guard"]:
        value = "not known yet" if one["value"] is None else f"{one['value']:,.6g}"
        lines.append(f"  {one['name']}: {value} of {one['limit']:,.6g}{' EXCEEDED' if one['exceeded'] else ''}  {one['note']}")
    return lines
