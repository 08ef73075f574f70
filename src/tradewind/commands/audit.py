"""`tradewind audit`: who did what, whether the log is whole, and who paid more for the same."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tradewind.commands.base import EXIT_STATE, AsOf, Json, ShopUrl, opened_shop, say
from tradewind.errors import InputError


def audit(
    shop: ShopUrl = ".",
    verify: Annotated[bool, typer.Option("--verify", help="Recompute the chain; exit code 3 names what was changed or removed.")] = False,
    expect: Annotated[
        str | None, typer.Option("--expect", help="With --verify: a head that you noted down earlier must be there.", metavar="HASH")
    ] = None,
    prices: Annotated[
        bool, typer.Option("--prices", help="Who paid more for the same at one time, and why; exit code 3 on faults.")
    ] = False,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this, such as customer:42 or campaign:spring.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only these, such as consent or campaign.pause.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many rows, newest first.", min=1)] = 50,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Show the audit log, verify it, or compare what people paid."""
    if verify + prices + bool(subject or action) > 1 or (expect and not verify):
        raise InputError("audit: --verify (with --expect), --prices, and --subject or --action are separate questions. Ask one at a time.")
    if prices:
        _prices(shop, as_of, as_json=as_json)
    elif verify:
        _verify(shop, expect, as_json=as_json)
    else:
        _show(shop, subject, action, limit, as_json=as_json)


def _show(shop: str, subject: str | None, action: str | None, limit: int, *, as_json: bool) -> None:
    from tradewind.compose.approval import Approvals
    from tradewind.engine.audit import entries

    with opened_shop(shop) as opened:
        Approvals(opened.home).connect()
        with opened.home.ledger.read() as conn:
            rows = entries(conn, subject=subject, action=action, limit=limit)
    text = "\n".join(
        f"{row.seq:>6}  {row.at:%Y-%m-%d %H:%M:%S}  {row.actor}  {row.action}  {row.subject}  "
        + ", ".join(f"{name} {value}" for name, value in row.detail.items())
        for row in rows
    )
    say({"rows": [asdict(row) for row in rows]}, text or "Nothing was logged.", as_json=as_json)


def _verify(shop: str, expect: str | None, *, as_json: bool) -> None:
    from tradewind.engine.audit import verify

    with opened_shop(shop) as opened, opened.home.ledger.read() as conn:
        found = verify(conn, expect=expect)
    faults = [f"BROKEN: {fault.text}." for fault in found.faults]
    whole = [] if faults else ["Every row is as it was written, and all are there. Note the head down somewhere else."]
    body = {"rows": found.rows, "head": found.head, "sound": found.sound, "faults": [asdict(fault) for fault in found.faults]}
    say(body, "\n".join([f"{found.rows:,} rows, head {found.head}", *faults, *whole]), as_json=as_json)
    if faults:
        raise typer.Exit(EXIT_STATE)


def _prices(shop: str, as_of: str | None, *, as_json: bool) -> None:
    from tradewind import asked
    from tradewind.measure.price_audit import audit_prices

    with opened_shop(shop) as opened:
        found = audit_prices(opened.home, as_of=asked.cut(opened.home, as_of, now=opened.now()))
    say(found.to_json(), found.to_text(), as_json=as_json)
    if found.faults:
        raise typer.Exit(EXIT_STATE)
