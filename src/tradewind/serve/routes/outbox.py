"""The queue of messages, for an operator: what waits, what failed and why, replay, resolve, stop and resume."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name, Word, signed

router = APIRouter(tags=["outbox"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Operator = Annotated[Caller, needs("operate")]
State = Literal["planned", "withheld", "ready", "leased", "handing_off", "accepted", "failed", "unknown", "suppressed"]
Channel = Literal["email", "sms", "push", "inapp"]


class Queued(BaseModel):
    """How many messages are in a state on a channel."""

    state: str
    channel: str
    messages: int


class MessageLine(BaseModel):
    """A message in the queue, without its text and without an address."""

    message_id: str
    decision_id: str
    plan_id: str
    customer: str
    channel: str
    state: State
    send_at: datetime | None
    expires_at: datetime | None
    next_at: datetime | None = Field(description="When it is tried next; null: not by itself.")
    attempts: int
    detail: str | None = Field(description="Why it is where it is.")
    provider_id: str | None
    updated_at: datetime | None


class Step(BaseModel):
    """Something that happened to a message."""

    at: datetime
    state: str
    detail: str | None
    actor: str


class MessageWhole(MessageLine):
    """A message with its text and its history, the newest step last."""

    locale: str | None
    parts: dict[str, str]
    steps: list[Step]


class Replay(BaseModel):
    """Which failed messages to try again: by id, or those of a plan or channel whose reason begins with `why`."""

    messages: list[Word] | None = Field(default=None, max_length=500)
    plan: Word | None = None
    channel: Channel | None = None
    why: str | None = Field(default=None, max_length=500)
    not_sent: bool = Field(default=False, description="The unknown ones among `messages` were found not to have been sent.")


class Replayed(BaseModel):
    """How many messages are ready again, or suppressed."""

    messages: int


class Resolve(BaseModel):
    """What the provider said about a message of unknown fate."""

    accepted: bool
    provider_id: Word | None = None


class Stop(BaseModel):
    """Why nothing shall leave on the channel."""

    why: str = Field(min_length=1, max_length=500)


class Gate(BaseModel):
    """A stopped channel, or a provider that failed of late: its breaker is open until a moment."""

    gate: str
    stopped: str | None
    misses: int = Field(description="Failures in a row.")
    open_until: datetime | None = Field(description="Nothing is handed to the provider before; null while it is closed.")


@router.get("/v1/outbox")
def counts(held: Held, _caller: Reader) -> list[Queued]:
    """How many messages are in which state on which channel."""
    return [Queued(**row) for row in held.shop.outbox.counts()]


@router.get("/v1/outbox/messages")
def messages(
    held: Held,
    _caller: Reader,
    state: Annotated[list[State] | None, Query(description="Failed and unknown ones when left out: what waits for an operator.")] = None,
    channel: Channel | None = None,
    plan: views.Asked = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[MessageLine]:
    """Messages by state, channel and time."""
    states = tuple(dict.fromkeys(state)) if state else ("failed", "unknown")
    found = held.shop.outbox.messages(states=states, channel=channel, plan_id=plan, limit=limit + 1, after=after)
    rows = [_line(row) for row in found[:limit]]
    return views.Page(rows=rows, next=rows[-1].message_id if len(found) > limit else None)


@router.get("/v1/outbox/messages/{message_id}")
def message(message_id: Name, held: Held, _caller: Reader) -> MessageWhole:
    """One message, its text, and what happened to it."""
    found = held.shop.outbox.show(message_id)
    written = found.message or {"locale": None, "parts": {}}
    steps = [Step(at=step["at"], state=step["state"], detail=step["detail"], actor=step["actor"]) for step in found.steps]
    return MessageWhole(**_line(found.row).model_dump(), locale=written["locale"], parts=written["parts"], steps=steps)


@router.post("/v1/outbox/replay")
def replay(told: Replay, held: Held, caller: Operator) -> Replayed:
    """Make failed messages ready again; consents, caps and expiry are looked at anew when they are handed off."""
    desk, by = held.shop.outbox, signed(caller)
    if told.messages:
        return Replayed(messages=desk.replay(*told.messages, by=by, not_sent=told.not_sent))
    return Replayed(messages=desk.replay_failed(by=by, channel=told.channel, plan_id=told.plan, why=told.why))


@router.post("/v1/outbox/messages/{message_id}/resolve", status_code=204)
def resolve(message_id: Name, told: Resolve, held: Held, caller: Operator) -> None:
    """Enter what the provider said about an unknown message: it has it, or it has not."""
    held.shop.outbox.resolve(message_id, accepted=told.accepted, by=signed(caller), provider_id=told.provider_id)


@router.post("/v1/plans/{plan_id}/cancel")
def cancel(plan_id: Name, held: Held, caller: Operator) -> Replayed:
    """Suppress every message of a plan that is not with a provider yet; what they held of the budget is free."""
    with held.use() as shop:
        return Replayed(messages=shop.outbox.cancel(shop.plan(plan_id).plan_id, by=signed(caller)))


@router.get("/v1/outbox/gates")
def gates(held: Held, _caller: Reader) -> list[Gate]:
    """Channels that were stopped, and providers whose breaker is open or that failed of late."""
    return [
        Gate(gate=row["gate"], stopped=row["stopped"], misses=row["misses"], open_until=row["open_until"] if row["opened"] else None)
        for row in held.shop.outbox.gates()
    ]


@router.post("/v1/channels/{channel}/stop", status_code=204)
def stop(channel: Channel, told: Stop, held: Held, caller: Operator) -> None:
    """Let nothing leave on a channel until it is resumed."""
    held.shop.outbox.stop(channel, by=signed(caller), why=told.why)


@router.post("/v1/channels/{channel}/resume", status_code=204)
def resume(channel: Channel, held: Held, caller: Operator) -> None:
    """Let a stopped channel run again; complaints and bounces until now are not held against it any more."""
    held.shop.outbox.resume(channel, by=signed(caller))


def _line(row: dict[str, object]) -> MessageLine:
    return MessageLine.model_validate({name: row[name] for name in MessageLine.model_fields})
