"""Recommendations: the best allowed items for a customer, or for a visitor of whom only the session is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import text
from starlette.responses import Response

from tradewind.collect.consent_acts import USES
from tradewind.learn.serving import Request
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.hot import hot
from tradewind.serve.problems import described
from tradewind.serve.state import Held, Serving
from tradewind.types import Event

router = APIRouter(tags=["recommend"], responses=described(401, 403, 409, 429))
May = Annotated[Caller, needs("recommend")]
Who = Annotated[str | None, Field(max_length=255)]
MOST = 500
_SAID = text("SELECT channel, granted FROM consents WHERE customer = :customer ORDER BY at")


class Now(BaseModel):
    """Something that the visitor does right now and that was not sent as an event."""

    model_config = ConfigDict(extra="forbid")

    item: str = Field(max_length=255)
    kind: Literal["view", "search", "wish", "cart", "uncart", "checkout", "purchase"] = "view"
    at: AwareDatetime | None = Field(default=None, description="Now when left out")


class AskItems(BaseModel):
    """For whom, how many, and what must hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customer: Who = None
    session: Who = None
    k: int = Field(default=10, ge=1, le=MOST)
    events: list[Now] = Field(default_factory=list, max_length=200)
    region: str | None = Field(default=None, max_length=100)
    age: int | None = Field(default=None, ge=0, le=150, description="Years; without it no item with an age limit")
    per_brand: int | None = Field(default=None, ge=1, description="The most items of one brand")
    again: bool = Field(default=False, description="Whether what was bought may come back")
    reasons: bool = Field(default=False, description="Why each item is there")


class Reason(BaseModel):
    """A code for programs and its details."""

    code: str
    details: dict[str, Any]


class Item(BaseModel):
    """One item. Scores compare within one source."""

    item: str
    score: float
    source: str
    reasons: list[Reason] | None = None


class Recommended(BaseModel):
    """The items, best first. Fewer than asked only when nothing allowed is left."""

    items: list[Item]
    state: Literal["hot", "warm", "cold"]
    model: str = Field(description="Version of the recommender")
    personal: bool = Field(description="False for who switched personalisation off: nothing known of the customer was used")


@router.post("/v1/recommend", response_model=Recommended)
async def recommend(told: AskItems, held: Held, _caller: May) -> Response:
    """The best items now; an event that was acknowledged is in the next answer."""
    return await _answer(held, told)


@router.get("/v1/recommend", response_model=Recommended)
async def recommend_to(
    held: Held,
    _caller: May,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    session: Annotated[str | None, Query(max_length=255)] = None,
    k: Annotated[int, Query(ge=1, le=MOST)] = 10,
    reasons: Annotated[bool, Query()] = False,
) -> Response:
    """The same with what fits an address."""
    return await _answer(held, AskItems(customer=customer, session=session, k=k, reasons=reasons))


async def _answer(held: Serving, told: AskItems) -> Response:
    engines = hot(held).engines
    model = await engines.recommending()
    now = held.shop.now()
    personal = told.customer is None or not _off(held, told.customer)
    seen = engines.recent.of(told.customer, told.session) if personal else []
    events = _events(told, now) if personal else []
    request = Request(as_of=now, region=told.region, age=told.age, per_brand=told.per_brand, again=told.again)
    found = model.answer(told.customer if personal else None, seen, events, k=told.k, request=request, again=told.again)
    scores = found.scores.tolist()
    items: list[dict[str, Any]] = [
        {"item": item, "score": score, "source": source} for item, score, source in zip(found.items, scores, found.sources, strict=True)
    ]
    if told.reasons:
        for one, why in zip(items, found.reasons, strict=True):
            one["reasons"] = [{"code": reason.code, "details": dict(reason.details)} for reason in why]
    body = {"items": items, "state": found.state, "model": model.version.version, "personal": personal}
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _off(held: Serving, customer: str) -> bool:
    """As ``consent_acts.personal``, in a statement that is not made anew for every request."""
    with held.shop.home.ledger.read() as conn:
        said = {channel: bool(granted) for channel, granted in conn.execute(_SAID, {"customer": customer})}
    return not all(said.get(use, True) for use in USES)


def _events(told: AskItems, now: datetime) -> list[Event]:
    return [
        Event(f"now {number}", one.at or now + timedelta(microseconds=number), one.kind, "", item=one.item)
        for number, one in enumerate(told.events)
    ]
