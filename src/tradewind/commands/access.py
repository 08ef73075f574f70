"""`tradewind keys` and `tradewind people`: who may use the service."""

from __future__ import annotations

import secrets
import sys
from datetime import timedelta
from getpass import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.serve.access import Access
    from tradewind.shop import Shop

keys = typer.Typer(help="Keys with which programs use the service (docs/service.md).", no_args_is_help=True)
people = typer.Typer(help="People who may log in to the console (docs/console.md).", no_args_is_help=True)

Role = Annotated[str, typer.Option("--role", help="site, backend, monitor, viewer, marketer, operator, privacy or admin.")]
BY = "person:command line"


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Role = "site",
    shop: ShopUrl = ".",
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="Until it expires; never when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once: the shop keeps only its hash."""
    with opened_shop(shop) as opened:
        until = None if days is None else opened.now() + timedelta(days=days)
        made = access(opened).new_key(name, role, expires_at=until, by=BY)
    say({"key": made}, made, as_json=as_json)


@keys.command("list")
def list_keys(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Every key without its secret."""
    with opened_shop(shop) as opened:
        rows = access(opened).all_keys()
    lines = [
        f"{row['key_id']}  {row['role']:<9} {row['name']}"
        + (
            f", revoked {row['revoked_at']:%Y-%m-%d}"
            if row["revoked_at"]
            else f", until {row['expires_at']:%Y-%m-%d}"
            if row["expires_at"]
            else ""
        )
        for row in rows
    ]
    say(rows, "\n".join(lines) or "There is no key. Make one: tradewind keys add NAME --role ROLE", as_json=as_json)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID")], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Refuse a key from now on; a running service does within seconds."""
    with opened_shop(shop) as opened:
        access(opened).revoke(key_id, by=BY)
    say({"revoked": key_id}, f"Key {key_id} is revoked.", as_json=as_json)


@people.command("add")
def add_person(
    name: Annotated[str, typer.Argument()],
    role: Role = "marketer",
    shop: ShopUrl = ".",
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it, instead of asking for one.")] = False,
    as_json: Json = False,
) -> None:
    """Let a person in, or give them another password and role. The password is asked for, or read from a pipe."""
    with opened_shop(shop) as opened:
        password = secrets.token_urlsafe(15) if generate else _asked()
        access(opened).add_user(name, password, role, by=BY)
    told = {"name": name, "role": role} | ({"password": password} if generate else {})
    say(told, f"{name} may log in as {role}." + (f" Password: {password}" if generate else ""), as_json=as_json)


@people.command("list")
def list_people(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Everybody who may log in."""
    with opened_shop(shop) as opened:
        rows = access(opened).people()
    lines = [f"{row['name']}  {row['role']}" + (f", not since {row['disabled_at']:%Y-%m-%d}" if row["disabled_at"] else "") for row in rows]
    say(rows, "\n".join(lines) or "Nobody may log in. Let somebody in: tradewind people add NAME --role ROLE", as_json=as_json)


@people.command("remove")
def remove_person(name: Annotated[str, typer.Argument()], shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Let a person in no more; their sessions end."""
    with opened_shop(shop) as opened:
        access(opened).disable_user(name, by=BY)
    say({"disabled": name}, f"{name} may no longer log in.", as_json=as_json)


def access(shop: Shop) -> Access:
    """Who may use the service of a shop; says what to install where its libraries are missing."""
    try:
        from tradewind.serve.access import Access
    except ImportError as error:
        raise InputError('The service needs some libraries: pip install "tradewind[serve]"') from error
    return Access(shop.home, now=shop.now)


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass("Password: ")
    if first != getpass("Again: "):
        raise InputError("The two passwords differ. Type the same one twice.")
    return first
