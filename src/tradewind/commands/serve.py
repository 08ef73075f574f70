"""`tradewind serve` and `tradewind openapi`: what a shop answers over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tradewind.commands.base import ShopUrl, opened_shop, write
from tradewind.commands.consent import Base
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.shop import Shop

_MISSING = 'Serving needs some libraries: pip install "tradewind[serve]"'


def serve(
    public: Annotated[
        bool, typer.Option("--public", help="Only the pages for customers: unsubscribe, preferences, double opt-in, links.")
    ] = False,
    shop: ShopUrl = ".",
    base: Base = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; put a proxy with a certificate in front.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535)] = 8080,
    keep_ip: Annotated[bool, typer.Option("--keep-ip", help="Keep a keyed hash of the visitor's address with a consent.")] = False,
    create: Annotated[bool, typer.Option("--create", help="Make the shop where there is none: its events may come over HTTP.")] = False,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Also do the shop's jobs; more workers: tradewind work.")] = True,
) -> None:
    """Serve the HTTP interface and the console of a shop until it is stopped; with --base the customers' pages as well."""
    with opened_shop(shop, create=create) as opened, working(shop, wanted=worker and not public):
        listen(opened, public=public, base=base, host=host, port=port, keep_ip=keep_ip)


@contextmanager
def working(shop: str, *, wanted: bool) -> Iterator[None]:
    """A worker beside the service, in a process of its own: work that takes long must not slow an answer."""
    if not wanted:
        yield
        return
    child = subprocess.Popen([sys.executable, "-m", "tradewind", "work", "--beside", str(os.getpid()), "--shop", shop])  # noqa: S603  no shell, our own command
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def listen(shop: Shop, *, public: bool = False, base: str | None = None, host: str, port: int, keep_ip: bool = False) -> None:
    """Answer until stopped; the first time somebody is let in, and the terminal says with which password."""
    try:
        import uvicorn

        from tradewind.serve.public import app, base_of
        from tradewind.serve.service import service
    except ImportError as error:
        raise InputError(_MISSING) from error
    # The address of a public page holds its token: no access log. Which proxies may name the visitor is for uvicorn's environment to say.
    if public:
        pages = app(shop, base=base_of(shop.home, base), keep_ip=keep_ip)
        uvicorn.run(pages, host=host, port=port, access_log=False, server_header=False)
        return
    first(shop, f"http://{host}:{port}/console/")
    uvicorn.run(service(shop, public=base), host=host, port=port, access_log=False, server_header=False)


def first(shop: Shop, address: str) -> None:
    """Let an admin in where nobody may log in yet, and say where the console is."""
    from tradewind.serve.access import Access

    access = Access(shop.home, now=shop.now)
    typer.echo(f"The console is at {address}", err=True)
    if not any(row["disabled_at"] is None for row in access.people()):
        password = secrets.token_urlsafe(12)
        access.add_user("admin", password, "admin", by="person:command line")
        typer.echo(
            f'Log in as "admin" with the password {password} (shown once; change it: tradewind people add admin --role admin)', err=True
        )


def openapi(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file instead of printing it.", metavar="FILE")] = None,
) -> None:
    """Print the OpenAPI description of the HTTP interface."""
    try:
        from tradewind.serve.service import description
    except ImportError as error:
        raise InputError(_MISSING) from error
    text = json.dumps(description(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        write(out, text)
