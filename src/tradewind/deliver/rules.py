"""The rules of hand-off that all workers of one shop share: they lie in the ledger, so that every worker obeys the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tradewind import schema
from tradewind.decide.law import laws
from tradewind.engine.ledger import meta, upsert
from tradewind.errors import InputError, did_you_mean, unknown
from tradewind.params import Number, OneOf, Rule, check

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
_KEY = "deliver.rules"
_LIMITS: dict[str, Rule] = {
    "cap": Number(1, 10_000, whole=True),
    "cap_days": Number(1 / 24, 366),
    "attempts": Number(1, 100, whole=True),
    "backoff_seconds": Number(0, 86_400),
    "backoff_most_seconds": Number(0, 30 * 86_400),
    "lease_seconds": Number(0.05, 86_400),
    "batch": Number(1, 10_000, whole=True),
    "window": Number(1, 1_000, whole=True),
    "breaker": Number(1, 1_000_000, whole=True),
    "breaker_seconds": Number(0, 86_400),
    "complaint_rate": Number(0, 1),
    "bounce_rate": Number(0, 1),
    "reputation_days": Number(1 / 24, 366),
    "reputation_least": Number(1, 10**9, whole=True),
    "seed": Number(0, 2**63 - 1, whole=True),
}


@dataclass(frozen=True)
class Cap:
    """At most ``most`` messages to a customer within any ``days``.

    ``per``: "customer" counts all together, "channel" or "category" each of them on its own. ``channel`` and ``category`` (the
    campaign of the offer) narrow what is counted and what is held back.
    """

    most: int
    days: float
    per: str = "customer"
    channel: str | None = None
    category: str | None = None

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        limits: dict[str, Rule] = {"most": Number(0, 10_000, whole=True), "days": Number(1 / 24, 366)}
        check("Cap", asdict(self), {**limits, "per": OneOf(("customer", "channel", "category"))})
        _channels("Cap", () if self.channel is None else (self.channel,))

    @property
    def window(self) -> int:
        """Microseconds."""
        return int(self.days * DAY)

    def scope(self, channel: str, category: str | None) -> str | None:
        """What a message is counted with; None when this cap does not look at it."""
        if self.channel not in (None, channel) or self.category not in (None, category):
            return None
        return {"customer": "", "channel": channel, "category": category or ""}[self.per]


@dataclass(frozen=True)
class Quiet:
    """Nothing is handed off from ``start`` to ``end`` ("22:00" to "08:00"), local time of the recipient.

    ``channels`` and ``countries`` (ISO 3166, two letters) narrow whom it protects; empty: all.
    """

    start: str
    end: str
    channels: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        for text in (self.start, self.end):
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
                raise InputError(f'Quiet: write the time of day as "22:00"; got {text!r}.')
        if self.start == self.end:
            raise InputError(f"Quiet: {self.start} to {self.end} is nothing or the whole day. Choose two times.")
        for country in self.countries:
            if not re.fullmatch(r"[A-Z]{2}", country):
                raise InputError(f'Quiet: a country has two capital letters, such as "CN"; got {country!r}.')
        _channels("Quiet", self.channels)

    @property
    def minutes(self) -> tuple[int, int]:
        """Start and end as minutes of the day."""
        start, end = ((int(text[:2]) * 60 + int(text[3:])) for text in (self.start, self.end))
        return start, end


@dataclass(frozen=True)
class Rate:
    """A token bucket: ``per_second`` messages on average, at most ``burst`` at once."""

    per_second: float
    burst: int = 1

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        check("Rate", asdict(self), {"per_second": Number(1e-6, 1e6), "burst": Number(1, 10**6, whole=True)})

    @property
    def step(self) -> int:
        """Microseconds that one message takes."""
        return max(1, round(SECOND / self.per_second))


def nights() -> tuple[Quiet, ...]:
    """The nights of a new shop: 22 to 8 for what may wake people, and on top what the law profiles (``decide/laws.toml``) say."""
    found = [Quiet("22:00", "08:00", channels=("email", "sms", "push"))]
    for law in laws().values():
        for channel in ("email", "sms", "push"):
            hours = law.hours(channel)
            if hours is not None and (hours.start > 8 or hours.end < 22):
                found.append(Quiet(f"{hours.end:02}:00", f"{hours.start:02}:00", channels=(channel,), countries=tuple(sorted(law.regions))))
    return tuple(found)


@dataclass(frozen=True)
class Rules:
    """How messages of a shop are handed off.

    At most ``cap`` messages per customer and channel reach a provider within any ``cap_days``; ``caps`` are further ones. ``quiet``
    holds in every zone where the recipient may be: the own one, else those of the country, else ``zones`` (empty: the shop's).
    A message is tried ``attempts`` times, ``backoff_seconds`` apart and doubling up to ``backoff_most_seconds``, less a jitter of
    up to half. ``window`` messages at once are marked as being handed to a provider without an idempotency key: after a kill, that
    many at most are unknown. ``rates`` names providers or channels. ``breaker`` transient failures in a row close a provider for
    ``breaker_seconds``, twice as long after every probe that fails. A channel is stopped until an operator resumes it when of
    ``reputation_least`` messages or more in ``reputation_days`` the share ``complaint_rate`` complained or ``bounce_rate`` bounced.
    """

    cap: int = 4
    cap_days: float = 7.0
    caps: tuple[Cap, ...] = ()
    quiet: tuple[Quiet, ...] = field(default_factory=nights)
    zones: tuple[str, ...] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    attempts: int = 6
    backoff_seconds: float = 60.0
    backoff_most_seconds: float = 6 * 3600.0
    lease_seconds: float = 300.0
    batch: int = 200
    window: int = 1
    breaker: int = 20
    breaker_seconds: float = 60.0
    complaint_rate: float = 0.003
    bounce_rate: float = 0.05
    reputation_days: float = 7.0
    reputation_least: int = 1_000
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        check("Rules", {item.name: getattr(self, item.name) for item in fields(self)}, _LIMITS)
        parts: tuple[Cap | Quiet | Rate, ...] = (*self.caps, *self.quiet, *self.rates.values())
        for part in parts:
            part.check()
        from tradewind.deliver.quiet import never, zone

        for name in self.zones:
            if zone(name) is None:
                raise InputError(f'Rules: "{name}" in zones is no IANA time zone. Write for example "Europe/Paris".')
        for channel in schema.Channel:
            if self.zones and never(self, channel.value):
                raise InputError(
                    f"Rules: in the zones {', '.join(self.zones)} there is no moment that is outside the quiet hours of all of them for "
                    f"{channel.value}. Name fewer zones, or shorten the quiet hours."
                )

    @cached_property
    def all_caps(self) -> tuple[Cap, ...]:
        """The cap of every channel, then the further ones."""
        return (Cap(self.cap, self.cap_days, per="channel"), *self.caps)

    @cached_property
    def cap_window(self) -> int:
        """Microseconds over which the longest cap counts."""
        return max(cap.window for cap in self.all_caps)

    def wait(self, message_id: str, attempt: int) -> int:
        """Microseconds until the next try after the ``attempt``-th one (from 1) failed: the same for the same seed."""
        longest = min(self.backoff_seconds * 2.0 ** min(attempt - 1, 60), self.backoff_most_seconds)
        draw = hashlib.sha256(f"{self.seed}|{message_id}|{attempt}".encode()).digest()
        share = 0.5 + int.from_bytes(draw[:6], "big") / 2**49
        return int(longest * share * SECOND)


def load(home: Home) -> Rules:
    """The shop's rules; the defaults where none were saved."""
    with home.ledger.read() as conn:
        text = conn.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    if text is None:
        return Rules()
    values = json.loads(text)
    known = [item.name for item in fields(Rules)]
    for name in values:
        if name not in known:
            raise InputError(f'The rules of delivery have an unknown value "{name}".{did_you_mean(name, known)} Save them anew.')
    return Rules(**{name: _read(name, value) for name, value in values.items()})


def save(home: Home, rules: Rules) -> None:
    """Set the shop's rules for every worker that starts from now on; raises InputError for a value not allowed."""
    rules.check()
    with home.ledger.write() as conn:
        upsert(conn, meta, [{"key": _KEY, "value": json.dumps(asdict(rules), sort_keys=True)}], update=("value",))


def _read(name: str, value: Any) -> Any:
    if name == "caps":
        return tuple(Cap(**one) for one in value)
    if name == "quiet":
        return tuple(Quiet(one["start"], one["end"], tuple(one["channels"]), tuple(one["countries"])) for one in value)
    if name == "rates":
        return {key: Rate(**one) for key, one in value.items()}
    return tuple(value) if name == "zones" else value


def _channels(owner: str, names: tuple[str, ...]) -> None:
    known = [each.value for each in schema.Channel]
    for name in names:
        if name not in known:
            raise InputError(f"{owner}: {unknown('channel', name, known)}")
