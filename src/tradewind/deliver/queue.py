"""What an operator sees of the queue and does to it: list, look at one message and its history, replay, resolve, stop, resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select, tuple_

from tradewind import schema
from tradewind.deliver import gates
from tradewind.deliver.outbox import NEVER, cancel, replay, resolve
from tradewind.engine.books_deliver import history
from tradewind.engine.ledger import outbox
from tradewind.errors import InputError, NotFound, unknown
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

STATES = ("planned", "withheld", "ready", "leased", "handing_off", "accepted", "failed", "unknown", "suppressed")
DEAD = ("failed", "unknown")  # what waits for an operator
_TIMES = ("send_at", "expires_at", "next_at", "lease_until", "updated_at")
c, h = outbox.c, history.c
ORDER = (c.state, c.channel, c.next_at, c.message_id)


@dataclass(frozen=True)
class Told:
    """One message: its row (times as datetimes), what happened to it, and its text (None before ``compose``)."""

    row: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    message: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """All of it, as one object for machines."""
        return {"row": self.row, "steps": list(self.steps), "message": self.message}

    def to_text(self) -> str:
        """A history for people, the newest last; no address, and no text."""
        row = self.row
        head = f"{row['message_id']}  to {row['customer']} by {row['channel']}, plan {row['plan_id']}"
        lines = [head] + [
            f"  {step['at']:%Y-%m-%d %H:%M:%S}  {step['state']:<11}  {step['actor']}  {step['detail'] or ''}" for step in self.steps
        ]
        now = f"  now {row['state']}, {row['attempts']} tries" + (f", {row['detail']}" if row["detail"] else "")
        if row["state"] == "ready" and row["next_at"]:
            now += f", next at {row['next_at']:%Y-%m-%d %H:%M:%S}"
        return "\n".join([*lines, now + (f", at the provider {row['provider_id']}" if row["provider_id"] else "")])


class Queue:
    """The outbox of one shop, for an operator."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now

    def counts(self) -> list[dict[str, Any]]:
        """How many messages are in which state on which channel."""
        query = select(c.state, c.channel, func.count().label("messages")).group_by(c.state, c.channel).order_by(c.state, c.channel)
        with self._home.ledger.read() as conn:
            return [dict(row) for row in conn.execute(query).mappings()]

    def messages(
        self,
        *,
        states: tuple[str, ...] = DEAD,
        channel: str | None = None,
        plan_id: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """Messages in some states, without their texts, those that are next first; the default are the dead letters.

        ``after``: the id of a message; the list begins behind its place.

        Raises
        ------
        NotFound
            There is no such state, channel or message.
        """
        for state in states:
            if state not in STATES:
                raise unknown("state", state, STATES)
        names = [each.value for each in schema.Channel]
        if channel is not None and channel not in names:
            raise unknown("channel", channel, names)
        where = and_(c.state.in_(states), c.channel.in_([channel] if channel else names))
        if plan_id is not None:
            where = and_(where, c.plan_id == plan_id)
        if after is not None:
            place = self.show(after).row
            at = NEVER if place["next_at"] is None else micros(place["next_at"])
            where = and_(where, tuple_(*ORDER) > tuple_(place["state"], place["channel"], at, after))
        columns = [column for column in c if column.name != "message"]
        with self._home.ledger.read() as conn:
            rows = conn.execute(select(*columns).where(where).order_by(*ORDER).limit(limit)).mappings()
            return [_timed(dict(row)) for row in rows]

    def show(self, message_id: str) -> Told:
        """One message and what happened to it. Raises NotFound."""
        with self._home.ledger.read() as conn:
            row = conn.execute(select(outbox).where(c.message_id == message_id)).mappings().first()
            if row is None:
                raise NotFound(f'There is no message "{message_id}". List some: tradewind outbox list.')
            query = select(h.at, h.state, h.detail, h.actor).where(h.message_id == message_id).order_by(h.step, h.at)
            steps = [{**step, "at": from_micros(step["at"])} for step in conn.execute(query).mappings()]
        values = _timed(dict(row))
        text = values.pop("message")
        return Told(values, tuple(steps), json.loads(text) if text else None)

    def replay(self, *message_ids: str, by: str, not_sent: bool = False) -> int:
        """Make failed messages ready again, or unknown ones that were found ``not_sent``; returns how many.

        Raises like ``outbox.replay``, at the first that cannot be.
        """
        for name in message_ids:
            replay(self._home, name, now=self._now(), not_sent=not_sent, by=by)
        return len(message_ids)

    def replay_failed(
        self, *, by: str, channel: str | None = None, plan_id: str | None = None, why: str | None = None, limit: int = 10_000
    ) -> int:
        """Make failed messages of a channel or plan ready again, those whose reason begins with ``why``; returns how many.

        Raises
        ------
        InputError
            Nothing narrows it down: then say which plan or channel.
        """
        if channel is None and plan_id is None:
            raise InputError("replay: name the messages, or the plan or channel whose failed messages are to be tried again.")
        rows = self.messages(states=("failed",), channel=channel, plan_id=plan_id, limit=limit)
        return self.replay(*(row["message_id"] for row in rows if (row["detail"] or "").startswith(why or "")), by=by)

    def resolve(self, message_id: str, *, accepted: bool, by: str, provider_id: str | None = None) -> None:
        """Enter what the provider said about an unknown message. Raises like ``outbox.resolve``."""
        resolve(self._home, message_id, accepted=accepted, now=self._now(), provider_id=provider_id, by=by)

    def cancel(self, plan_id: str, *, by: str) -> int:
        """Suppress what of a plan is not with a provider yet; returns how many messages."""
        return cancel(self._home, plan_id, now=self._now(), by=by)

    def stop(self, channel: str, *, by: str, why: str) -> None:
        """Let nothing leave on a channel until it is resumed. Raises NotFound."""
        gates.stop(self._home, channel, why=why, now=self._now(), by=by)

    def resume(self, channel: str, *, by: str) -> None:
        """Let a channel run again. Raises NotFound."""
        gates.resume(self._home, channel, now=self._now(), by=by)

    def gates(self) -> list[dict[str, Any]]:
        """Channels that were stopped, and providers that failed of late."""
        return [{**row, "open_until": from_micros(row["open_until"])} for row in gates.shut(self._home)]


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: from_micros(row[name]) if row[name] and row[name] != NEVER else None for name in _TIMES}
