"""Decisions: what one customer gets now - on a slot of a page, as a message, for an ad request - or nothing; with the whole trace."""

from __future__ import annotations

import secrets
from datetime import datetime
from math import floor
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tradewind.collect.consent import Consents
from tradewind.decide.live import Decision
from tradewind.learn.serving import Request
from tradewind.requested import SHORTLIST
from tradewind.schema import Channel
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.decisions import read
from tradewind.serve.engines import Deciding
from tradewind.serve.hot import Hot, hot
from tradewind.serve.problems import described
from tradewind.serve.state import Held, Serving
from tradewind.types import NOTHING

router = APIRouter(tags=["decide"], responses=described(401, 403, 404, 409, 429))
OWN = Channel.INAPP.value  # the shop's own pages


class AskDecision(BaseModel):
    """One customer and one occasion."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customer: str = Field(min_length=1, max_length=255)
    occasion: Literal["slot", "message", "ad"] = Field(
        default="slot",
        description="A slot on the shop's own page, a message on a channel with consent, or what a showing is worth",
    )
    visit: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Names the occasion: the same one gets the same decision. Made up when left out.",
    )
    channels: list[Literal["email", "sms", "push", "inapp"]] | None = Field(
        default=None, description="For a message: those that could carry it; all when left out"
    )
    context: dict[str, str | float | int | bool | None] = Field(
        default_factory=dict, description="Columns of the profile that are different now, such as carts_30d"
    )
    trace: bool = Field(default=True, description="Whether candidates, odds and reasons are in the answer; they are logged anyway")


class Candidate(BaseModel):
    """One action that was possible: offer|item|channel, or nothing."""

    action: str
    propensity: float
    value: float = Field(description="Expected margin beyond nothing, minor units")
    sd: float
    cost: float
    score: float
    reasons: list[dict[str, Any]]


class Trace(BaseModel):
    """Everything that the decision was drawn from, as it is logged."""

    candidates: list[Candidate]
    suppressed: dict[str, str] = Field(description="What was not possible, and the code of why")
    drawn: str = Field(description="What was drawn; the holdout gets nothing all the same")
    price: float = Field(description="Of one unit of the budget")
    policy: str
    model: str
    features: str = Field(description="Hash of the profile that was seen")
    seed: int


class Decided(BaseModel):
    """What happens. It is in the ledger, with its odds and what it holds of budget and stock."""

    decision_id: str = Field(description="Send it with the events that follow")
    plan_id: str = Field(description="The plan whose prices it was decided at, or that holds it")
    customer: str
    visit: str | None = None
    at: datetime
    variant: Literal["treat", "holdout"]
    mode: str = Field(description="policy; or override: the budget, the stock or a limit was used up")
    action: str
    offer: str | None
    item: str | None
    channel: str | None
    send_at: datetime | None
    propensity: float
    value: float
    cost: float
    reserved: int
    bid: int | None = Field(default=None, description="For an ad request: the most that showing it may cost, minor units")
    trace: Trace | None = None


@router.post("/v1/decide", response_model=Decided)
async def decide(told: AskDecision, held: Held, _caller: Annotated[Caller, needs("decide")]) -> Response:
    """Decide, log and hold; then answer. The same visit is answered with the same decision, whatever happened since."""
    parts = hot(held)
    engine = await parts.engines.deciding()
    visit = told.visit or secrets.token_urlsafe(12)
    now = held.shop.now()
    listed = await _shortlist(parts, told.customer, now)
    drawn = await parts.engines.decide(lambda: _drawn(held, engine, told, visit, now, listed))
    row = await parts.keeper.put(drawn)
    parts.meter.decision("holdout" if row["variant"] == "holdout" else row["mode"])
    bid = _bid(row) if told.occasion == "ad" else None
    return _answer({**row, "plan_id": engine.plan_id, "visit": visit, "bid": bid}, trace=told.trace)


@router.get("/v1/decisions/{decision_id}", response_model=Decided)
async def decision(decision_id: str, held: Held, _caller: Annotated[Caller, needs("read")]) -> Response:
    """A decision as it was logged, with its trace."""
    return _answer(await run_in_threadpool(read, held.shop.home, decision_id), trace=True)


async def _shortlist(parts: Hot, customer: str, now: datetime) -> list[dict[str, Any]] | None:
    """What the recommender says now, of who did something since its histories were read; otherwise the plan's list stands."""
    if not (seen := parts.engines.recent.of(customer, None)):
        return None
    model = await parts.engines.recommending()
    found = model.answer(customer, seen, (), k=SHORTLIST, request=Request(as_of=now), again=False)
    columns = zip(found.items, found.scores.tolist(), found.sources, strict=True)
    return [{"item": item, "score": score, "source": source} for item, score, source in columns]


def _drawn(held: Serving, engine: Deciding, told: AskDecision, visit: str, now: datetime, listed: list[dict[str, Any]] | None) -> Decision:
    """In the thread of the door: what is allowed now, then the draw."""
    wanted = [OWN] if told.occasion != "message" else told.channels or [one.value for one in Channel]
    consents = Consents(held.shop.home)
    with held.shop.home.ledger.read() as conn:
        channels = [name for name in wanted if consents.allowed(conn, told.customer, name)[0]]
    found = engine.door.draw(
        told.customer,
        context=told.context or None,
        channels=channels,
        visit=f"{told.occasion} {visit}",
        now=now,
        shortlist=listed,
        newcomer=True,
    )
    _ = found.features  # for the log: worked out here, not while others wait for the ledger
    return found


def _bid(row: dict[str, Any]) -> int:
    """What a showing may cost before it earns less than the money would elsewhere: value / price - cost (docs/allocation.md)."""
    if row["action"] == NOTHING or row["variant"] == "holdout":
        return 0
    return max(0, floor(float(row["value"]) / float(row["price"]) - float(row["cost"])))


def _answer(row: dict[str, Any], *, trace: bool) -> Response:
    acts = row["variant"] != "holdout"
    names = ("decision_id", "plan_id", "customer", "visit", "at", "variant", "mode", "propensity", "value", "cost", "reserved", "bid")
    body = {name: row.get(name) for name in names} | {name: row[name] if acts else None for name in ("offer", "item", "channel", "send_at")}
    body["action"] = row["action"] if acts else NOTHING
    if trace:
        columns = ("candidates", "propensities", "values", "sds", "costs", "scores", "reasons")
        listed = zip(*(row[name] for name in columns), strict=True)
        keys = ("action", "propensity", "value", "sd", "cost", "score")
        body["trace"] = {
            "candidates": [dict(zip(keys, one[:-1], strict=True)) | {"reasons": orjson.loads(one[-1])} for one in listed],
            "suppressed": orjson.loads(row["suppressed"]),
            "drawn": row["action"],
            **{name: row[name] for name in ("price", "policy", "model", "features", "seed")},
        }
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
