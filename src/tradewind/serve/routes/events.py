"""Events in: of our own shape, of Segment, of GA4. Answered when they are on disk; stored once by id, however often they are sent."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.hot import hot
from tradewind.serve.ingest import Taken
from tradewind.serve.problems import described
from tradewind.serve.state import Held, Serving

router = APIRouter(tags=["events"], responses=described(400, 401, 403, 429))
May = Annotated[Caller, needs("events")]
SHOWN = 100  # rows with faults in an answer


class Event(BaseModel):
    """One thing that happened. What is not listed here is refused; keys of ``context`` that name or reach a person are left out."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, max_length=255, description="Unique for ever; a hash of the content when left out.")
    at: AwareDatetime
    kind: str = Field(description="view, search, cart, purchase, ... or the name that Segment or GA4 give it")
    customer: str | None = Field(default=None, max_length=255)
    session: str | None = Field(default=None, max_length=255)
    item: str | None = None
    quantity: float | None = Field(default=None, gt=0)
    value: int | None = Field(default=None, ge=0, description="Of the whole line, minor units, what the customer paid")
    discount: int | None = Field(default=None, ge=0, description="Of the whole line, minor units, already taken off value")
    currency: str | None = Field(default=None, description="The shop's when left out")
    order_id: str | None = None
    offer: str | None = None
    channel: str | None = None
    decision_id: str | None = Field(default=None, description="Of the decision that this follows")
    text: str | None = Field(default=None, description="Search phrase, review body")
    rating: float | None = Field(default=None, ge=0)
    context: dict[str, Any] | None = None


class Why(BaseModel):
    """A rule that a row broke."""

    field: str
    rule: str
    reason: str


class Quarantined(BaseModel):
    """A row that was not stored."""

    row: int = Field(description="Its place in the request, from 0")
    id: str | None
    why: list[Why]


class Report(BaseModel):
    """What became of the rows of a request. Everything but ``quarantined`` is on disk."""

    stored: int = Field(description="For the first time")
    known: int = Field(description="Their id waits in the inbox already; nothing changed")
    quarantined: int = Field(description="Not stored: mend them and send them again")
    unused: int = Field(default=0, description="Of names that no table holds, such as scroll")
    people: int = Field(default=0, description="Calls that told of a customer: traits to the customers, contact points to the vault")
    rows: list[Quarantined] = Field(description=f"The first {SHOWN} of those, and why")


def _body(*shapes: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"oneOf": list(shapes)} if len(shapes) > 1 else shapes[0]}}
    return {"requestBody": {"required": True, "content": content}}


_ONE = Event.model_json_schema()
_MANY = {"type": "array", "items": _ONE, "minItems": 1}
_OBJECT = {"type": "object", "additionalProperties": True}
_OURS = _body(_ONE, {"type": "object", "properties": {"events": _MANY}, "required": ["events"], "additionalProperties": False}, _MANY)
_SEGMENT = _body({"type": "object", "properties": {"batch": {"type": "array", "items": _OBJECT}}, "additionalProperties": True})
_GA4 = _body({"type": "object", "properties": {"events": {"type": "array", "items": _OBJECT}}, "additionalProperties": True})


@router.post("/v1/events", response_model=Report, openapi_extra=_OURS)
async def events(request: Request, held: Held, caller: May) -> Response:
    """Store one event, a list of events, or ``{"events": [...]}``."""
    told = await _json(request)
    listed = told["events"] if isinstance(told, dict) and told.keys() == {"events"} else told
    rows = listed if isinstance(listed, list) else [listed]
    if not rows:
        raise HTTPException(422, "There is no event. Send one, a list of them, or an object with the list events.")
    return _answer(held, await hot(held).intake.take(rows, source=caller.name))


@router.post("/v1/segment", response_model=Report, openapi_extra=_SEGMENT)
async def segment(request: Request, held: Held, caller: May) -> Response:
    """Store a Segment call (track, page, identify), or a batch of them: ``{"batch": [...]}``."""
    told = await _json(request)
    calls = told["batch"] if isinstance(told, dict) and isinstance(told.get("batch"), list) else [told]
    return await _payloads(held, "segment", calls, caller)


@router.post("/v1/ga4", response_model=Report, openapi_extra=_GA4)
async def ga4(request: Request, held: Held, caller: May) -> Response:
    """Store a request of the Measurement Protocol of GA4: ``{"client_id": ..., "events": [...]}``."""
    return await _payloads(held, "ga4", [await _json(request)], caller)


async def _payloads(held: Serving, form: str, calls: list[Any], caller: Caller) -> Response:
    if not calls or not all(isinstance(call, dict) for call in calls):
        raise HTTPException(422, f"The calls of {form} must be JSON objects, at least one.")
    parts = hot(held)
    return _answer(held, await parts.payloads.take(form, calls, source=caller.name))


async def _json(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is no JSON: {error}.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The connection ended before the body did.") from None


def _answer(held: Serving, taken: Taken) -> Response:
    hot(held).meter.events(stored=taken.stored, known=taken.known, quarantined=len(taken.faults))
    told = [
        {"row": row, "id": name, "why": [{"field": one.field, "rule": one.rule, "reason": one.reason} for one in why]}
        for row, name, why in taken.faults[:SHOWN]
    ]
    body: dict[str, Any] = {"stored": taken.stored, "known": taken.known, "quarantined": len(taken.faults)}
    body |= {"unused": taken.unused, "people": taken.people, "rows": told}
    return Response(orjson.dumps(body), 200, media_type="application/json")
