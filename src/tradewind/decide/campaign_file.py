"""A campaign as a person writes it: a TOML file, or a mapping of the same shape, checked key by key before any work.

::

    name = "spring"
    goal = "Bring those back who bought last autumn"
    audience = 'stage == "lapsed" and monetary > 50000'   # over the profile; everybody when left out
    offers = ["coupon"]                                   # kinds or ids; all when left out
    channels = ["email", "push"]                          # or costs of a contact: { email = 1, sms = 5 }
    budget = "2000 CNY"
    holdout = 0.1
    from = 2026-03-01
    until = 2026-04-01

    [guard]                                               # what pauses it
    complaint_rate = 0.002

    [trigger]                                             # decides when something happens, not at once
    kind = "abandoned_cart"
    wait_hours = 2
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.decide import expression
from tradewind.decide.hashing import canonical, digest
from tradewind.decide.limits import read_limits
from tradewind.decide.triggers_run import Watch
from tradewind.errors import InputError, did_you_mean, unknown
from tradewind.params import Number, check
from tradewind.schema import Channel
from tradewind.types import money, utc

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NUMBERS = {"holdout": Number(0, 0.9), "window_days": Number(1, 366, whole=True), "seed": Number(-(2**62), 2**62, whole=True)}
_SHARES = ("complaint_rate", "unsubscribe_rate", "bounce_rate")
_MONEYS = ("spend_per_day", "max_loss")
_PLAIN = 'Write for example name = "spring"; docs/campaigns.md shows a whole file.'


@dataclass(frozen=True)
class Guard:
    """What pauses a campaign; None: not looked at.

    Rates are shares (0-1) of the messages that were handed off, once there are ``least_messages``. ``spend_per_day`` and
    ``max_loss`` are minor units: what decisions of the last 24 hours hold or spent, and how much less the treated may have earned than
    without the campaign. Rates and loss are exceeded when a test says so that stays valid at every look (``campaign_guard``).
    """

    complaint_rate: float | None = None
    unsubscribe_rate: float | None = None
    bounce_rate: float | None = None
    spend_per_day: int | None = None
    max_loss: int | None = None
    least_messages: int = 100


@dataclass(frozen=True)
class Campaign:
    """One version of a campaign, checked. ``told`` is what was written, as JSON values; its hash names the version."""

    name: str
    goal: str
    begins: datetime
    ends: datetime
    budget: str = "0"
    audience: str | None = None
    offers: tuple[str, ...] | None = None
    channels: tuple[str, ...] | Mapping[str, int] | None = None
    holdout: float = 0.1
    window_days: int = 14
    seed: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)
    watch: Watch | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Equal files have equal hashes, whatever their comments and the order of their keys."""
        return spec_hash(self.told)

    @property
    def amount(self) -> int:
        """The budget in minor units."""
        return 0 if self.budget == "0" else money(self.budget)[0]

    @property
    def budget_id(self) -> str:
        return f"campaign:{self.name}"

    def audience_of(self, profiles: pa.Table) -> np.ndarray:
        """Which profiles are in the audience; bool, one value per row.

        Raises
        ------
        InputError
            The expression cannot be read or names a column that profiles do not have; a caret shows where.
        """
        if self.audience is None:
            return np.ones(profiles.num_rows, dtype=bool)
        try:
            return expression.matches(self.audience, profiles)
        except InputError as error:
            raise InputError(f"campaign {self.name}: audience: {error}") from error


def spec_hash(told: Mapping[str, Any]) -> str:
    """The hash of what a file says, as JSON values."""
    return digest("campaign", canonical(told))


KEYS = ("name", "goal", "audience", "offers", "channels", "budget", "holdout", "from", "until", "window_days", "seed",
        "limits", "guard", "trigger")  # fmt: skip


def read_campaign(source: str | Path | Mapping[str, Any], *, currency: str) -> Campaign:
    """A campaign from a TOML file or a mapping.

    Raises
    ------
    InputError
        The file cannot be read; a key is missing, unknown or of the wrong kind. The message names the key and what to write.
    """
    told = _plain(source)
    where = str(source) if isinstance(source, str | Path) else "campaign"
    try:
        return _checked(told, currency=currency)
    except InputError as error:
        raise type(error)(f"{where}: {error}") from error


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a file: the key (``guard.complaint_rate``), and its line where the text was given."""

    where: str
    what: str
    line: int | None = None


def faults(source: str | Mapping[str, Any], *, currency: str, columns: pa.Schema) -> list[Fault]:
    """Everything that is wrong with a campaign, in the order of its keys: the text of a file, or a mapping.

    ``columns``: what the expression of the audience may name.
    """
    try:
        told = tomllib.loads(source) if isinstance(source, str) else dict(source)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        return [Fault("file", f"This is no TOML: {error}.", int(line[1]) if line else None)]
    lines, found = _lines(source) if isinstance(source, str) else {}, list[Fault]()

    def look(where: str, check_it: Callable[[], object]) -> None:
        try:
            check_it()
        except InputError as error:
            found.append(Fault(where, str(error), lines.get(where)))

    for key in told:
        look(key, partial(_known, "a campaign", key, KEYS))
    look("name", lambda: _name(told))
    look("goal", lambda: _text(told, "goal"))
    for key in ("from", "until"):
        look(key, partial(_time, told, key))
    for key in (key for key in _NUMBERS if key in told):
        look(key, partial(check, "campaign", {key: told[key]}, {key: _NUMBERS[key]}))
    if told.get("budget", "0") != "0":
        look("budget", lambda: _money(told["budget"], "budget", currency))
    look("offers", lambda: _names(told, "offers"))
    look("channels", lambda: _channels(told))
    look("audience", lambda: expression.compiled(text, columns) if (text := _audience(told)) else None)
    look("limits", lambda: read_limits(_table(told, "limits"), currency=currency))
    guard = told.get("guard", {})
    for key in guard if isinstance(guard, Mapping) else ():
        look(f"guard.{key}", partial(_guard, {key: guard[key]}, currency=currency))
    if "trigger" in told:
        look("trigger", lambda: Watch.read(_table(told, "trigger")))
    if not found:
        look("campaign", lambda: _checked(told, currency=currency))  # what no key tells alone, such as until before from
    return found


def _lines(text: str) -> dict[str, int]:
    """Where the keys of a TOML text stand: "guard.complaint_rate" -> line, counted from 1."""
    table, found = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.fullmatch(r"\s*\[([\w.-]+)\]\s*(#.*)?", line):
            table = head[1]
            found.setdefault(table, number)
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            found.setdefault(f"{table}.{key[1]}" if table else key[1], number)
    return found


def _checked(told: dict[str, Any], *, currency: str) -> Campaign:
    for key in told:
        _known("a campaign", key, KEYS)
    name, goal = _name(told), _text(told, "goal")
    begins, ends = _time(told, "from"), _time(told, "until")
    if ends <= begins:
        raise InputError(f"until must lie after from; got {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC.")
    numbers = {key: told.get(key, default) for key, default in (("holdout", 0.1), ("window_days", 14), ("seed", 0))}
    check("campaign", numbers, _NUMBERS)
    budget = told.get("budget", "0")
    if budget != "0":
        _money(budget, "budget", currency)
    limits = _table(told, "limits")
    if "budget" in limits:
        raise InputError("[limits] has a budget; a campaign says it once, as budget at the top. Move it there.")
    read_limits(limits, currency=currency)
    channels = _channels(told)
    trigger = _table(told, "trigger")
    return Campaign(
        name, goal, begins, ends, budget, _audience(told), _names(told, "offers"), channels,
        **numbers,
        limits=limits, guard=_guard(_table(told, "guard"), currency=currency),
        watch=Watch.read(trigger) if "trigger" in told else None, told=_jsonable(told),
    )  # fmt: skip


def _guard(told: dict[str, Any], *, currency: str) -> Guard:
    for key in told:
        _known("[guard]", key, (*_SHARES, *_MONEYS, "least_messages"))
    shares = {key: told[key] for key in _SHARES if key in told}
    check("[guard]", shares, dict.fromkeys(shares, Number(0, 1)))
    amounts = {}
    for key in (key for key in _MONEYS if key in told):
        amounts[key] = _money(told[key], f"[guard] {key}", currency)
    least = {"least_messages": told.get("least_messages", Guard.least_messages)}
    check("[guard]", least, {"least_messages": Number(1, 10**9, whole=True)})
    return Guard(**shares, **amounts, **least)


def _money(told: object, what: str, currency: str) -> int:
    if not isinstance(told, str) or (got := money(told, what=what))[1] != currency:
        raise InputError(f'{what} must be money in {currency}, for example "500 {currency}"; got {told!r}.')
    return got[0]


def _plain(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str | Path):
        raise InputError(f"A campaign is a TOML file or a mapping; got {type(source).__name__}.")
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {source}: {error.strerror}. Give a campaign's TOML file; docs/campaigns.md shows one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{source} is no TOML: {error}. docs/campaigns.md shows an example.") from error


def _known(owner: str, key: str, allowed: tuple[str, ...]) -> None:
    if key not in allowed:
        raise InputError(f'{owner} has no "{key}".{did_you_mean(key, allowed)} Known: {", ".join(allowed)}.')


def _text(told: Mapping[str, Any], key: str) -> str:
    found = told.get(key)
    if not isinstance(found, str) or not found.strip():
        raise InputError(f"{key} must be a text that is not empty; got {found!r}. {_PLAIN}")
    return found


def _name(told: Mapping[str, Any]) -> str:
    name = _text(told, "name")
    if not _NAME.fullmatch(name):
        raise InputError(f'name must be 1 to 63 of a-z, 0-9, "-" and "_", the first a letter or digit; got "{name}".')
    return name


def _audience(told: Mapping[str, Any]) -> str | None:
    audience = told.get("audience")
    if audience is not None and (not isinstance(audience, str) or not audience.strip()):
        raise InputError(f"audience must be a text with an expression such as 'recency_days > 60'; got {audience!r}.")
    return audience


def _table(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = told.get(key, {})
    if not isinstance(found, Mapping):
        raise InputError(f"[{key}] must be a table of names and values; got {found!r}.")
    return dict(found)


def _names(told: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    found = told.get(key)
    if found is None:
        return None
    if not isinstance(found, list | tuple) or not found or not all(isinstance(one, str) for one in found):
        raise InputError(f'{key} must be a list of texts such as ["coupon"], or be left out; got {found!r}.')
    return tuple(found)


def _channels(told: Mapping[str, Any]) -> tuple[str, ...] | dict[str, int] | None:
    found = told.get("channels")
    if not isinstance(found, Mapping):
        names = _names(told, "channels")
        for name in names or ():
            _channel(name)
        return names
    for name in found:
        _channel(name)
    check("channels", found, dict.fromkeys(found, Number(0, 10**12, whole=True)))
    return dict(found)


def _channel(name: str) -> None:
    if name not in set(Channel):
        raise unknown("channel", name, list(Channel))


def _time(told: Mapping[str, Any], key: str) -> datetime:
    found = told.get(key)
    if isinstance(found, date) and not isinstance(found, datetime):
        found = found.isoformat()
    if not isinstance(found, datetime | str):
        raise InputError(f"{key} must be a date or a time with a zone, such as 2026-03-01 or 2026-03-01T09:00:00Z; got {found!r}.")
    return utc(found, what=key)


def _jsonable(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with times as texts."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return value.isoformat() if isinstance(value, date) else value

    return {key: plain(value) for key, value in told.items()}
