"""What the tests of delivery share: a shop with consented customers, ready messages, and a clock that they turn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from aiosmtpd.controller import Controller
from sqlalchemy import select, update

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.compose.base import UNSUBSCRIBE
from tradewind.engine.home import Home
from tradewind.engine.ledger import insert_new, outbox
from tradewind.types import Message, micros

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
KEY = bytes(range(32))


class Listening(Controller):  # type: ignore[misc]
    """A mail server on a free port; ``port`` says which once it has started."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@dataclass
class Clock:
    """A clock that stands still until it is turned."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **step: float) -> None:
        self.at += timedelta(**step)


def people(home: Home, names: Sequence[str], *, channel: str = "email", granted: bool = True) -> None:
    """Customers with an address and a consent."""
    Vault(home).put(
        pa.table(
            {"customer": names, "channel": [channel] * len(names), "address": [f"{name}@mail.example" for name in names]},
            schema=schema.CONTACTS,
        )
    )
    consent(home, names, channel=channel, granted=granted, at=START - timedelta(days=1))


def consent(home: Home, names: Sequence[str], *, at: datetime, channel: str = "email", granted: bool = True) -> None:
    size = len(names)
    columns = {"customer": names, "channel": [channel] * size, "granted": [granted] * size, "at": [at] * size, "source": ["test"] * size}
    Consents(home).record(pa.table(columns, schema=schema.CONSENTS))


def message(customer: str, *, step: str = "1", channel: str = "email", plan_id: str = "plan-1", **values: object) -> Message:
    """A message whose id follows from who gets it and the step."""
    decision = hashlib.sha256(f"{plan_id}|{customer}|{step}".encode()).hexdigest()
    settings = {
        "parts": {
            "subject": f"Hello {step}",
            "preheader": "",
            "body": f"Words.\n.dot\nStop: {UNSUBSCRIBE}",
            "html": f'<a href="{UNSUBSCRIBE}">stop</a>',
        },
        "components": ("hook-1",),
        "facts": "f" * 64,
        "writer": "components",
        "send_at": START,
        "expires_at": None,
        "headers": {},
        **values,
    }
    name = hashlib.sha256(f"{decision}|{channel}".encode()).hexdigest()
    return Message(message_id=name, decision_id=decision, plan_id=plan_id, customer=customer, channel=channel, locale="en", **settings)  # type: ignore[arg-type]


def queue(home: Home, messages: Sequence[Message], *, state: str = "ready") -> list[str]:
    """Put messages into the outbox; returns their ids."""
    rows = [
        {
            "message_id": item.message_id,
            "decision_id": item.decision_id,
            "plan_id": item.plan_id,
            "customer": item.customer,
            "channel": item.channel,
            "state": state,
            "send_at": micros(item.send_at),
            "expires_at": None if item.expires_at is None else micros(item.expires_at),
            "message": item.to_json(),
            "attempts": 0,
            "next_at": micros(item.send_at),
            "fence": 0,
            "updated_at": micros(item.send_at),
        }
        for item in messages
    ]
    with home.ledger.write() as conn:
        insert_new(conn, outbox, rows)
    return [item.message_id for item in messages]


def states(home: Home) -> dict[str, str]:
    """Message id -> state."""
    with home.ledger.read() as conn:
        return {row[0]: row[1] for row in conn.execute(select(outbox.c.message_id, outbox.c.state))}


def row(home: Home, message_id: str) -> dict[str, object]:
    """One row of the outbox."""
    with home.ledger.read() as conn:
        return dict(conn.execute(select(outbox).where(outbox.c.message_id == message_id)).mappings().one())


def change(home: Home, message_id: str, **values: object) -> None:
    """Write into a row behind the queue's back."""
    with home.ledger.write() as conn:
        conn.execute(update(outbox).where(outbox.c.message_id == message_id).values(**values))


def sent(home: Home, *, now: datetime) -> list[str]:
    """Message ids of the ``sent`` events in the log, in order."""
    home.log.compact(now=now)
    table = home.tables.to_arrow(home.tables.events())
    return sorted(
        name.removeprefix("sent-") for name, kind in zip(table["id"].to_pylist(), table["kind"].to_pylist(), strict=True) if kind == "sent"
    )
