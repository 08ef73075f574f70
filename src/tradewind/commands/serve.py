"""`tradewind serve`: what a shop answers over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.commands.base import ShopUrl, opened_shop
from tradewind.commands.consent import Base
from tradewind.errors import InputError


def serve(
    public: Annotated[
        bool, typer.Option("--public", help="The pages for customers: unsubscribe, preferences, double opt-in, links.")
    ] = False,
    shop: ShopUrl = ".",
    base: Base = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; put a proxy with a certificate in front.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535)] = 8080,
    keep_ip: Annotated[bool, typer.Option("--keep-ip", help="Keep a keyed hash of the visitor's address with a consent.")] = False,
) -> None:
    """Serve the public pages of a shop until it is stopped."""
    if not public:
        raise InputError("serve: say what to serve. There is --public: the pages for customers (docs/consent.md).")
    try:
        import uvicorn

        from tradewind.serve.public import app, base_of
    except ImportError as error:
        raise InputError('Serving needs two libraries: pip install "tradewind[serve]"') from error
    with opened_shop(shop) as opened:
        pages = app(opened, base=base_of(opened.home, base), keep_ip=keep_ip)
        # The address of a page holds its token: no access log. Which proxies may name the visitor is for uvicorn's environment to say.
        uvicorn.run(pages, host=host, port=port, access_log=False, server_header=False)
