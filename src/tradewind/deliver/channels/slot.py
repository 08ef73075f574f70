"""A place in the shop's app or on its pages that asks for what to show: messages wait in the ledger until they are pulled.

Handing a message off makes it available; :meth:`Slot.pull` gives the most worthwhile one that may be shown at that moment. Consent, expiry
and facts are looked at again in every pull: a withdrawn customer gets nothing, and a text whose facts have changed is written anew
from today's or not shown. A pull that is repeated under its id gets the same message and is one impression.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, func, literal, select, update

from tradewind.collect.consent import reason
from tradewind.deliver.channels._facts import Now
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.links import Links, links_base
from tradewind.engine.books_channels import pulls
from tradewind.engine.ledger import insert_new, outbox
from tradewind.errors import InputError
from tradewind.schema import Channel as Name
from tradewind.schema import Kind
from tradewind.types import Event, Message, Receipt, from_micros, micros, utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

INAPP = Name.INAPP.value
WAITING = "slot"  # the provider's id of a message that waits here
MOST = 20  # messages of one customer that a pull looks at
PAGE = 5_000  # events per append
c, p = outbox.c, pulls.c


@dataclass(frozen=True, slots=True)
class Shown:
    """What a pull gave: the message, and whether this pull showed it before."""

    message: Message
    repeated: bool


class Slot(Channel):
    """Keeps messages of the channel ``inapp`` for the shop's own surfaces. A message may name its slot in ``headers["slot"]``."""

    carries = (INAPP,)
    idempotent = True  # the ledger holds each message once
    addressed = False

    def __init__(self, home: Home, *, links: Links | None = None) -> None:
        self._home = home
        self._now = Now(home)
        self._links = links

    def __repr__(self) -> str:
        return f"Slot({str(self._home.root)!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:  # noqa: ARG003 - it needs no settings
        """The shop's own slot; links are tracked when ``[links]`` in ``channels.toml`` says so."""
        base = links_base(home)
        return cls(home, links=Links.of(home, base) if base else None)

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:  # noqa: ARG002 - it is pulled, not sent
        """Make a message available; the queue's own row is where it waits."""
        return accepted(message, at=at, provider_id=WAITING)

    def pull(self, customer: str, slot: str, *, now: datetime, pull_id: str) -> Shown | None:
        """The message to show to ``customer`` in ``slot`` now, or None; it counts as shown once per ``pull_id``.

        Of several the one worth most, then the oldest; one that was shown in this slot comes after those that were not. ``pull_id``:
        any text of 8 to 255 characters that the surface makes up per view and repeats when it asks again.

        Raises
        ------
        InputError
            ``slot`` or ``pull_id`` is not allowed.
        """
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", slot):
            raise InputError(f'A slot has a name of 1 to 64 letters, digits, "_", "-", "."; got "{slot}".')
        if not 8 <= len(pull_id) <= 255:
            raise InputError(f"A pull id has 8 to 255 characters; got {len(pull_id)}. Make one up per view, for example a UUID.")
        at, key = micros(now), hashlib.sha256(json.dumps([customer, slot, pull_id]).encode()).hexdigest()
        with self._home.ledger.read() as conn:
            if conn.execute(select(reason(literal(customer), literal(INAPP)))).scalar_one():
                return None
            known = conn.execute(select(p.message_id).where(p.pull_id == key)).scalar()
            waiting = _waiting(conn, customer, slot, at, only=known)
        for stored in waiting:
            message = self._fresh(stored, now)
            if message is None or message.headers.get("slot", slot) != slot:
                continue
            shown = self._links.fill(message, at=now) if self._links else message
            if known is not None:
                return Shown(shown, repeated=True)
            row = {"pull_id": key, "customer": customer, "slot": slot, "message_id": message.message_id, "at": at, "logged": False}
            with self._home.ledger.write() as conn:
                if conn.execute(select(reason(literal(customer), literal(INAPP)))).scalar_one():
                    return None  # withdrawn in between
                first = insert_new(conn, pulls, [row]) == 1
                given = conn.execute(select(p.message_id).where(p.pull_id == key)).scalar_one()
            if first or given == message.message_id:
                return Shown(shown, repeated=not first)
            return self.pull(customer, slot, now=now, pull_id=pull_id)  # the same pull at the same time took another one
        return None

    def log(self, *, now: datetime) -> int:
        """Enter the impressions into the event log and return how many; a killed run that is repeated enters none twice."""
        query = select(pulls, c.decision_id, c.message).join_from(pulls, outbox, p.message_id == c.message_id)
        query, total = query.where(p.logged.is_(False)).order_by(p.pull_id).limit(PAGE), 0
        while True:
            with self._home.ledger.read() as conn:
                rows = conn.execute(query).mappings().all()
            if not rows:
                return total
            self._home.log.append((_event(dict(row)) for row in rows), now=now)
            with self._home.ledger.write() as conn:
                conn.execute(update(pulls).where(p.pull_id.in_([row["pull_id"] for row in rows])).values(logged=True))
            total += len(rows)

    def _fresh(self, stored: str, now: datetime) -> Message | None:
        """The message as it may be said now; None when it may not."""
        message = Message.from_json(stored)
        until = message.headers.get("fresh_until")
        if message.headers.get("catalogue", self._now.mark()) == self._now.mark() and (until is None or now < utc(until)):
            return message
        if "seed" not in message.headers:
            return None  # it was not composed here, so nobody can say what it rests on
        again = self._now.again(message, at=now).message
        return again if again is None or again.expires_at is None or now < again.expires_at else None


def _waiting(conn: Connection, customer: str, slot: str, at: int, *, only: str | None) -> list[str]:
    """The stored messages that a customer may get, best first."""
    times = select(func.count()).where(p.message_id == c.message_id, p.customer == customer, p.slot == slot).scalar_subquery()
    query = (
        select(c.message)
        .where(c.customer == customer, c.channel == INAPP, c.state == "accepted", c.provider_id == WAITING, c.send_at <= at)
        .where(c.message.is_not(None), (c.expires_at.is_(None)) | (c.expires_at > at))
        .order_by(times, c.worth.desc().nulls_last(), c.send_at, c.message_id)
        .limit(MOST)
    )
    return list(conn.execute(query if only is None else query.where(c.message_id == only)).scalars())


def _event(row: Mapping[str, object]) -> Event:
    about = Message.from_json(str(row["message"])).headers
    return Event(
        id=f"shown-{row['pull_id']}",
        at=from_micros(int(str(row["at"]))),
        kind=Kind.OPEN.value,
        source="slot",
        customer=str(row["customer"]),
        item=about.get("item"),
        offer=about.get("offer"),
        channel=INAPP,
        decision_id=str(row["decision_id"]),
        context=json.dumps({"slot": row["slot"], "message": row["message_id"], "verdict": "shown"}),
    )


PLUGIN = Slot
