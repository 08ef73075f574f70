"""Delivery receipts of gateways: the calls with which a provider says later what became of a message.

``[sms.receipts]`` (or ``[push.receipts]``) says where things stand in such a call. Each report names our message id, which
the mapping of the channel sent along. What is delivered is noted, what failed for good suppresses the number or token, what failed this
time is a soft bounce, and an opt-out withdraws consent. A status that is not listed changes nothing and is counted.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sqlalchemy import select

from tradewind.deliver import feedback
from tradewind.deliver.channels import _signing
from tradewind.deliver.channels._gateway import at
from tradewind.deliver.channels._settings import needed, secret
from tradewind.deliver.feedback_calls import Call, receive
from tradewind.engine.ledger import outbox
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

CLASSES: Mapping[str, str] = {"delivered": "delivered", "permanent": "hard", "transient": "soft", "optout": "optout"}
MOST = 1_000  # reports in one call


@dataclass(frozen=True)
class Reading:
    """Where things stand in a call: dotted paths of the list of ``reports`` (None: the call is one), and in each of id and status."""

    channel: str
    reports: str | None
    id: str
    status: str
    meaning: Mapping[str, str]  # status -> "delivered" | "hard" | "soft" | "optout"
    form: bool
    keys: tuple[bytes, ...] = field(repr=False)
    token_header: str | None = None  # a provider that does not sign sends a shared token in this header

    @classmethod
    def of(cls, home: Home, channel: str, environment: Mapping[str, str]) -> Reading:
        """From the table ``receipts`` of a channel in ``channels.toml``; raises InputError when there is none or it is wrong."""
        table = needed(home, channel).table("receipts")
        if table is None:
            raise InputError(f"The channel {channel} has no table [{channel}.receipts] in channels.toml, so receipts cannot be read.")
        meaning = {status: kind for name, kind in CLASSES.items() for status in table.get(name, list, [])}
        form = table.get("format", str, "json")
        header, words = (
            table.get("token_header", str, None),
            [secret(environment, name, where=table.where) for name in table.get("secret_env", list)],
        )
        keys = tuple(_signing.secret_of(word) if header is None else word.encode() for word in words)
        paths = table.get("reports", str, None), table.get("id", str), table.get("status", str)
        made = cls(channel, *paths, meaning, form == "form", keys, header)
        table.end()
        if form not in ("json", "form") or (form == "form" and made.reports is not None):
            raise InputError(f'{table.where}: format is "json", or "form" for one report per call.')
        if not keys:
            raise InputError(
                f"{table.where}: name at least one secret in secret_env. Unsigned receipts would let anybody suppress anybody."
            )
        return made

    def trust(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise InputError for a call without the shared token. Who repeats a call changes nothing, because reports count once."""
        given = next((value for name, value in headers.items() if name.lower() == (self.token_header or "").lower()), "")
        if len(body) > _signing.LARGEST or not any([hmac.compare_digest(given.encode(), key) for key in self.keys]):  # noqa: C419 - all, for time
            raise InputError("This call does not carry the agreed token, or is too large. Send the token in the agreed header.")

    def rows(self, body: bytes) -> list[tuple[str, str]]:
        """Message id and status of each report; raises InputError for a call that cannot be read."""
        try:
            whole = {name: values[0] for name, values in parse_qs(body.decode()).items()} if self.form else json.loads(body)
        except (ValueError, RecursionError):
            raise InputError(f"This receipt is no {'form' if self.form else 'JSON'}. Send it as [{self.channel}.receipts] says.") from None
        found = whole if self.reports is None else at(whole, self.reports)
        reports: list[Any] = found if isinstance(found, list) else [found]
        if len(reports) > MOST:
            raise InputError(f"This call holds {len(reports):,} receipts; at most {MOST:,} are taken. Send less at once.")
        rows = [(at(report, self.id), at(report, self.status)) for report in reports]
        return [(str(name), str(status)) for name, status in rows if isinstance(name, str) and isinstance(status, str | int)]


def take(
    home: Home, channel: str, headers: Mapping[str, str], body: bytes, *, environment: Mapping[str, str], now: datetime
) -> Call[Counter[str]]:
    """Take a provider's signed call and return how many reports of each kind were new; raises InputError when it is not genuine.

    Reports of messages that this shop did not send on this channel count as ``foreign``, statuses that are not listed as ``unlisted``.
    """
    reading = Reading.of(home, channel, environment)
    if reading.token_header is None:
        call = receive(home, channel, headers, body, keys=reading.keys, now=now, take=lambda data: _enter(home, reading, data, now))
    else:
        reading.trust(headers, body)
        call = Call("", repeated=False, result=_enter(home, reading, body, now))
    feedback.log(home, now=now)
    return call


def _enter(home: Home, reading: Reading, body: bytes, now: datetime) -> Counter[str]:
    found: Counter[str] = Counter()
    rows = reading.rows(body)
    c = outbox.c
    with home.ledger.read() as conn:
        query = select(c.message_id, c.decision_id, c.customer, c.channel)
        ours = query.where(c.message_id.in_([name for name, _ in rows]), c.channel == reading.channel, c.state.in_(feedback.LEFT))
        known = {row["message_id"]: dict(row) for row in conn.execute(ours).mappings()}
    for name, status in rows:
        if name not in known:
            found["foreign"] += 1
        elif status not in reading.meaning:
            found["unlisted"] += 1
        else:
            kind = reading.meaning[status]
            found[kind if feedback.take(home, kind, known[name], status=status, now=now).new else "repeated"] += 1
    return found
