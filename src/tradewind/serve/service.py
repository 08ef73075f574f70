"""The service: everything that a shop's site, its backend and its console ask over HTTP. An ASGI app with an OpenAPI 3.1 description.

    uvicorn.run(service(shop))                                   # or: tradewind serve

Routes are one file per topic in ``serve/routes``; errors have one shape (``serve/problems.py``); who may do what is in
``serve/access.py``. The description is at ``/openapi.json``, and the console under ``/console/``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import Lifespan

import tradewind
from tradewind.serve import problems
from tradewind.serve.console import Console
from tradewind.serve.guard import Guard
from tradewind.serve.hot import hot, meter
from tradewind.serve.metrics import Metered
from tradewind.serve.routes import TOPICS
from tradewind.serve.state import Limits, Serving

if TYPE_CHECKING:
    from tradewind.shop import Shop

ABOUT = """Events in, decisions and recommendations out, and everything that the people behind them look at.

Send `Authorization: Bearer KEY`; `tradewind keys add NAME --role ROLE` makes a key. Times are ISO 8601 with a zone, money is an
integer of minor units (cents, fen) beside a currency. What goes wrong is told as `application/problem+json` (RFC 9457)."""

FIRST = ("decide", "events", "recommend")  # routes are tried one after the other, and these are asked most


def service(shop: Shop, *, console: bool = True, public: str | None = None, limits: Limits | None = None) -> FastAPI:
    """The app of a shop; ``public`` is the address of the customers' pages (docs/consent.md), if it shall answer them, too."""
    held = Serving(shop, limits or Limits())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(hot, held)
        yield
        held.close()

    app = _described(lifespan)
    app.state.serving = held
    app.add_middleware(Guard, body=held.limits.body)
    app.add_middleware(Metered, meter=meter(held))
    problems.install(app)
    _add_topics(app)
    if console:
        app.mount("/console", Console())
        app.add_route("/", lambda _request: RedirectResponse("/console/"), include_in_schema=False)
    if public is not None:
        from tradewind.serve.public import app as pages

        app.mount("/", pages(shop, base=public))
    return app


class _Described(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return problems.only(super().openapi())


def _described(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    return _Described(
        title="Tradewind",
        version=tradewind.__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page loads code from elsewhere
        redoc_url=None,
        generate_unique_id_function=_name,
        responses=problems.described(400, 413, 422, 429, 503),
    )


def _add_topics(app: FastAPI) -> None:
    for topic in sorted(TOPICS, key=lambda name: name not in FIRST):
        app.include_router(import_module(f"tradewind.serve.routes.{topic}").router)


def description() -> dict[str, Any]:
    """The OpenAPI description, without a shop."""
    app = _described()
    _add_topics(app)
    return app.openapi()


def _name(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"  # several topics approve, decide and tell why
