"""Errors over HTTP: one shape (RFC 9457, ``application/problem+json``) for everything that goes wrong, and what to do next in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tradewind.errors import InputError, Locked, NotFound, StateError, Terminal, TradewindError, Transient

MEDIA = "application/problem+json"
STATUS: tuple[tuple[type[TradewindError], int], ...] = (
    (NotFound, 404),
    (InputError, 422),
    (Locked, 503),
    (StateError, 409),
    (Transient, 503),
    (Terminal, 502),
)
TITLES = {
    400: "Bad request",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Wrong method",
    409: "Not in this state",
    413: "Too large",
    422: "Invalid input",
    429: "Too many requests",
    500: "A defect of Tradewind",
    502: "Refused elsewhere",
    503: "Busy",
}


class Fault(BaseModel):
    """One value that was wrong, and where."""

    where: str = Field(description="Path of the value, such as body.events.0.at")
    what: str


class Problem(BaseModel):
    """What went wrong and what to do next (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"description": "What went wrong and what to do next (RFC 9457)."})

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What was wrong, what is allowed, what to do next.")
    error: str = Field(description="Name of the error, for programs: InputError, NotFound, StateError, Locked, ...")
    faults: list[Fault] = Field(default_factory=list, description="For values that do not fit the description.")


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: these statuses, each with a problem."""
    return {status: {"model": Problem, "content": {MEDIA: {}}, "description": TITLES[status]} for status in statuses}


def only(description: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI description with problems as what they are sent as: FastAPI puts their model under the media type of the route, too."""
    for methods in description["paths"].values():
        for operation in methods.values():
            for one in operation["responses"].values():
                if MEDIA in one.get("content", {}):
                    one["content"] = {MEDIA: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return description


def answer(
    status: int, detail: str, *, error: str = "", faults: list[dict[str, str]] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem as a response."""
    body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    body |= {"error": error or TITLES.get(status, "Error"), "faults": faults or []}
    return Response(orjson.dumps(body), status, dict(headers or {}), MEDIA)


def status_of(error: TradewindError) -> int:
    """The HTTP status of an error that Tradewind raised on purpose."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def install(app: FastAPI) -> None:
    """Answer every error in the one shape."""

    @app.exception_handler(TradewindError)
    async def _deliberate(_request: Request, error: Exception) -> Response:
        assert isinstance(error, TradewindError)
        status = status_of(error)
        headers = {"retry-after": "1"} if status == 503 else {}
        return answer(status, str(error), error=type(error).__name__, headers=headers)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [{"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]} for one in error.errors()[:20]]
        first = f"{faults[0]['where']}: {faults[0]['what']}" if faults else "the request does not fit the description"
        return answer(422, f"{first}. The description of every request is at /openapi.json.", error="InputError", faults=faults)

    @app.exception_handler(DataError)
    async def _unstorable(_request: Request, _error: Exception) -> Response:
        return answer(
            422, "A value does not fit the ledger: a text has no NUL bytes, a whole number no more than 64 bits.", error="InputError"
        )

    @app.exception_handler(Exception)
    async def _defect(_request: Request, _error: Exception) -> Response:
        return answer(500, "This is a defect of Tradewind, not of your request. The log of the service has the trace.", error="Defect")
