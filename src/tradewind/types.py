"""The values that flow between rooms, one at a time. In bulk the same things are the Arrow tables of ``schema``.

All times are timezone-aware and UTC; all money is an integer of minor units (cents, fen) beside a currency.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from tradewind.errors import InputError

NOTHING = "nothing"  # the action that is always a candidate


def utc(value: datetime | str, *, what: str = "time") -> datetime:
    """Return an aware UTC time from an aware time or an ISO 8601 text; a bare date means midnight UTC.

    Raises
    ------
    InputError
        The text is no time, or the time has no zone (a time of day without a zone is never guessed).
    """
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(f'{what}: "{value}" is not an ISO 8601 time. Write for example 2026-03-01 or 2026-03-01T09:00:00Z.') from None
        value = parsed.replace(tzinfo=UTC) if len(value) == 10 else parsed
    if not isinstance(value, datetime):
        raise InputError(f"{what}: give a datetime with a zone or an ISO 8601 text such as 2026-03-01T09:00:00Z; got {value!r}.")
    if value.tzinfo is None:
        raise InputError(f"{what}: {value.isoformat()} has no time zone. Add one, for example +00:00 or Z.")
    return value.astimezone(UTC)


def micros(value: datetime) -> int:
    """Microseconds since 1970-01-01 UTC: how the ledger stores a time."""
    delta = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(value: int) -> datetime:
    """The inverse of :func:`micros`."""
    from datetime import timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: a row of ``schema.EVENTS``."""

    id: str
    at: datetime
    kind: str
    source: str
    customer: str | None = None
    session: str | None = None
    item: str | None = None
    quantity: float | None = None
    value: int | None = None
    discount: int | None = None
    currency: str | None = None
    order_id: str | None = None
    offer: str | None = None
    channel: str | None = None
    decision_id: str | None = None
    text: str | None = None
    rating: float | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was chosen, scored or suppressed: a stable code for programs, details for sentences.

    ``compose`` and ``measure`` turn codes into Chinese and English; nothing else writes prose for people.
    """

    code: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that the shop may give: ``terms`` are checked by ``decide/offers/<kind>.py``."""

    offer: str
    kind: str
    terms: Mapping[str, Any] = field(default_factory=dict)
    items: frozenset[str] | None = None  # None: the whole catalogue
    campaign: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    eligible: str | None = None
    audience: frozenset[str] | None = None  # None: everybody
    title: Mapping[str, str] = field(default_factory=dict)  # locale -> words


@dataclass(frozen=True, slots=True)
class Message:
    """A verified text for one decision, ready to hand off; ``parts`` are named by its format (subject, body, ...)."""

    message_id: str  # hash of decision, step and channel: the idempotency key
    decision_id: str
    plan_id: str
    customer: str
    channel: str
    locale: str
    parts: Mapping[str, str]
    components: tuple[str, ...]  # ids of what it was written from: what feedback learns on
    facts: str  # hash of the facts that it was checked against
    writer: str
    send_at: datetime
    expires_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON object: how the outbox stores a message. :meth:`from_json` is the inverse."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("parts", "headers"):
            values[name] = dict(values[name])
        for name in ("send_at", "expires_at"):
            values[name] = None if values[name] is None else values[name].isoformat()
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Read what :meth:`to_json` wrote; raises InputError for anything else."""
        try:
            values = json.loads(text)
            values["components"] = tuple(values["components"])
            values["send_at"] = utc(values["send_at"])
            values["expires_at"] = None if values["expires_at"] is None else utc(values["expires_at"])
            return cls(**values)
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise InputError(f"This is no stored message: {error}. Write it with Message.to_json().") from error


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message."""

    message_id: str
    state: str  # "accepted" | "failed" | "unknown" | "suppressed"
    at: datetime
    detail: str = ""
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval: what every report is made of. ``unit`` is printed; money is in minor units."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int | None = None
    unit: str = ""
    note: str = ""

    def covers(self, truth: float) -> bool:
        """Whether the interval holds ``truth``; False without an interval."""
        return self.low is not None and self.high is not None and self.low <= truth <= self.high


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report: sentences, a table of estimates or of rows, and plots as SVG text."""

    title: str
    text: tuple[str, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    plots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Named values with intervals. Rendering (text, Markdown, HTML, JSON) is ``measure/report.py``."""

    title: str
    at: datetime
    sections: Sequence[Section]
    simulated: bool = False  # printed wherever the report is shown
    meta: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Any = None  # pyarrow.Table of schema.OUTCOMES: what goes back to collect

    def __getitem__(self, name: str) -> Estimate:
        for section in self.sections:
            for estimate in section.estimates:
                if estimate.name == name:
                    return estimate
        raise InputError(f'The report "{self.title}" has no value "{name}".')


NO_MINOR = frozenset({"JPY", "KRW", "VND", "CLP", "ISK"})  # currencies whose smallest unit is the unit


def money(text: str, *, what: str = "amount") -> tuple[int, str]:
    """Read ``"2000 CNY"`` as minor units and currency: ``(200000, "CNY")``.

    Raises
    ------
    InputError
        The text is not an amount and an ISO 4217 code, is negative, or is finer than the currency's smallest unit.

    >>> money("19.90 GBP")
    (1990, 'GBP')
    """
    from decimal import Decimal, InvalidOperation

    parts = text.split()
    example = 'Write an amount and a currency code, for example "2000 CNY".'
    wrong = InputError(f'{what}: "{text}" is not money. {example}')
    if len(parts) != 2 or not (len(parts[1]) == 3 and parts[1].isascii() and parts[1].isupper()):
        raise wrong
    try:
        amount = Decimal(parts[0].replace(",", ""))
    except InvalidOperation:
        raise wrong from None
    minor = amount * (1 if parts[1] in NO_MINOR else 100)
    if not minor.is_finite():
        raise wrong
    if minor < 0:
        raise InputError(f'{what}: "{text}" is negative. {example}')
    if minor != minor.to_integral_value():
        raise InputError(f'{what}: "{text}" is finer than the smallest unit of {parts[1]}. Round it.')
    return int(minor), parts[1]
