"""`tradewind consent`: what a customer agreed to, and to change it on her behalf."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say

app = typer.Typer(no_args_is_help=True, help="Consents: show, grant, withdraw, request by double opt-in, link (docs/consent.md).")

Customer = Annotated[str, typer.Argument(help="Whose.")]
Channel = Annotated[str, typer.Option("--channel", help="email, sms, push, inapp, ads; or a use of data: personalisation, analytics.")]
Source = Annotated[str, typer.Option("--source", help="Who recorded it and from where: a form, a call, a letter.")]
By = Annotated[str, typer.Option("--by", envvar="TRADEWIND_BY", help="Who acts; it goes into the audit log.", metavar="NAME")]
Locale = Annotated[str, typer.Option("--locale", help="The language of the words: zh-CN or en.")]
Law = Annotated[str | None, typer.Option("--jurisdiction", help="CN, EU, US or a country of theirs: its law must accept the basis.")]
Base = Annotated[
    str | None,
    typer.Option("--base", envvar="TRADEWIND_LINKS", help="Where the public pages are: https://shop.example/t.", metavar="URL"),
]


@app.command()
def show(customer: Customer, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Everything that a customer said, in order of time, and what counts now."""
    with opened_shop(shop) as opened:
        acts, choices = opened.consents.history(customer), opened.consents.choices(customer)
    lines = [
        f"{act.at:%Y-%m-%d %H:%M:%S}  {act.status:<9}  {act.channel:<15}  {act.basis}, {act.source}"
        + (f", text {act.text_version}" if act.text_version else "")
        + (f", {act.jurisdiction}" if act.jurisdiction else "")
        for act in acts
    ]
    now = ", ".join(f"{one.channel} {'on' if one.on else 'off'}{f' ({one.fixed})' if one.fixed else ''}" for one in choices)
    body = {"customer": customer, "history": [asdict(act) for act in acts], "now": [asdict(one) for one in choices]}
    say(body, "\n".join([*lines, f"Now: {now or 'nothing was said, or the customer was erased'}"]), as_json=as_json)


@app.command()
def grant(
    customer: Customer,
    channel: Channel,
    source: Source,
    shop: ShopUrl = ".",
    basis: Annotated[str, typer.Option("--basis", help="consent, double_opt_in, soft_opt_in, legitimate_interest, assumed.")] = "consent",
    locale: Annotated[str | None, typer.Option("--locale", help="The language of the words that were shown: zh-CN or en.")] = None,
    jurisdiction: Law = None,
    by: By = "unnamed",
    as_json: Json = False,
) -> None:
    """Record that a customer agreed."""
    with opened_shop(shop) as opened:
        new = opened.consents.grant(
            customer, channel, source=source, basis=basis, locale=locale, jurisdiction=jurisdiction, by=f"person:{by}"
        )
    say({"new": new}, "Recorded." if new else "Nothing had to be changed.", as_json=as_json)


@app.command()
def withdraw(customer: Customer, channel: Channel, source: Source, shop: ShopUrl = ".", by: By = "unnamed", as_json: Json = False) -> None:
    """Record that a customer withdrew; the channel "personalisation" switches personal decisions off."""
    with opened_shop(shop) as opened:
        new = opened.consents.withdraw(customer, channel, source=source, by=f"person:{by}")
    say({"new": new}, "Recorded." if new else "Nothing had to be changed.", as_json=as_json)


@app.command()
def request(
    customer: Customer,
    channel: Channel,
    locale: Locale,
    source: Source,
    shop: ShopUrl = ".",
    base: Base = None,
    jurisdiction: Law = None,
    as_json: Json = False,
) -> None:
    """Open a double opt-in and print the link that the owner of the address has to follow. Until then nothing is granted."""
    from tradewind.serve.public import base_of

    with opened_shop(shop) as opened:
        under = base_of(opened.home, base)
        asked = opened.consents.request(customer, channel, locale=locale, source=source, jurisdiction=jurisdiction)
    link = f"{under}/confirm/{asked.token}"
    body = {"request": asked.request_id, "link": link, "expires_at": asked.expires_at, "text": asked.text.body}
    say(body, f"{asked.text.body}\n{link}\nIt can be confirmed until {asked.expires_at:%Y-%m-%d %H:%M} UTC.", as_json=as_json)


@app.command()
def link(customer: Customer, channel: Channel, shop: ShopUrl = ".", base: Base = None, as_json: Json = False) -> None:
    """Print a customer's address of the preference centre, to be sent on this channel and to nobody else."""
    from tradewind.serve.public import base_of

    with opened_shop(shop) as opened:
        address = f"{base_of(opened.home, base)}/preferences/{opened.consents.preferences_token(customer, channel)}"
    say({"link": address}, address, as_json=as_json)
