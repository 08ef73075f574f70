"""One event at a time by the rules of ``collect``: what it does with columns in SQL, without a database on the way of a request.

The limits are those of ``collect/rules``; a test sends the same rows both ways and compares verdicts and values. Stricter here: money
is a whole number of minor units, a field that is not known is a fault, and what looks like an e-mail address is never stored.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import orjson

from tradewind.collect.names import KINDS
from tradewind.collect.rules.range import LIMITS
from tradewind.collect.rules.time_order import TimeOrder
from tradewind.collect.rules.type import WHAT
from tradewind.collect.sources._segment import PERSONAL
from tradewind.errors import did_you_mean
from tradewind.types import micros, utc

ID_LENGTH = 255
LARGEST = 2**62  # of money, minor units
_START, _MICRO = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {"above": operator.le, "from": operator.lt, "below": operator.ge, "to": operator.gt}
_RANGES = tuple(
    (name, _SIGNS[sign], bound, f"is outside its range ({sign} {bound})")
    for name, limits in LIMITS["events"].items()
    for sign, bound in limits.items()
)
_EARLIEST = micros(utc(str(TimeOrder.defaults["earliest"])))
_AHEAD = int(TimeOrder.defaults["ahead_seconds"]) * 1_000_000
_TEXT, _TIME = "is no text", "is no time with a zone, such as 2026-03-01T09:00:00Z"
_NAMES = ("id", "customer", "session")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_PERSON = "looks like an e-mail address. Send an id of your own; addresses belong to the contacts"


class Fault(NamedTuple):
    """Why a row is not stored."""

    field: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rules need to know: the moment (microseconds), the shop's currency, and where rows come from."""

    now: int
    currency: str | None
    source: str


def judge(told: Any, shape: Shape) -> dict[str, Any] | list[Fault]:
    """The columns of ``schema.EVENTS`` that an event of our own shape fills (``at`` in microseconds), or what is wrong with it."""
    if not isinstance(told, dict):
        return [Fault("", "readable", "is no JSON object")]
    faults: list[Fault] = []
    row: dict[str, Any] = {}
    for name, value in told.items():
        if value is None:
            continue
        read = _READ.get(name)
        if read is None:
            faults.append(Fault(name, "fields", f"is no field of an event.{did_you_mean(name, _READ)}"))
            continue
        try:
            found = read(value)
        except ValueError as error:
            faults.append(Fault(name, f"type {name}", str(error)))
            continue
        if found is not None:
            row[name] = found
    if "id" not in row:
        row["id"] = hashlib.blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    faults += _checked(row, shape, {fault.field for fault in faults})
    return faults or row


def _checked(row: dict[str, Any], shape: Shape, broken: set[str]) -> list[Fault]:
    """The faults of a row that could be read; fills its currency and its source."""
    faults = [Fault(name, f"required {name}", "is empty") for name in ("at", "kind") if name not in row and name not in broken]
    at = row.get("at")
    if at is not None:
        if at > shape.now + _AHEAD:
            faults.append(Fault("at", "time_order at in the future", "is in the future"))
        elif at < _EARLIEST:
            faults.append(Fault("at", "time_order at too early", f"is before {TimeOrder.defaults['earliest']}"))
    for name, outside, bound, reason in _RANGES:
        value = row.get(name)
        if value is not None and outside(value, bound):
            faults.append(Fault(name, f"range {name}", reason))
    currency = row.get("currency")
    if currency is None:
        if "value" in row or "discount" in row:
            if shape.currency is None:
                faults.append(Fault("currency", "required currency", "is empty, and the shop has none yet"))
            else:
                row["currency"] = shape.currency
    elif shape.currency is not None and currency != shape.currency:
        faults.append(Fault("currency", "currency_mix currency", f"is not the shop's currency {shape.currency}"))
    row["source"] = shape.source
    return faults


def unnamed(rows: Sequence[dict[str, Any]], source: str) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Rows that were judged elsewhere, with their ``source`` and without addresses; and the faults of those that carry one as a name."""
    good, faults = [], []
    for row in rows:
        broken = [Fault(name, "personal", _PERSON) for name in _NAMES if "@" in row.get(name, "") and _ADDRESS.search(row[name])]
        faults += broken
        if not broken:
            told = {name: masked(row[name]) for name in ("text",) if name in row} | {"source": source}
            told |= {"context": _context(row["context"])} if "context" in row else {}
            good.append({name: value for name, value in (row | told).items() if value is not None})
    return good, faults


def written(row: Mapping[str, Any]) -> str:
    """The row as the inbox keeps it: JSON."""
    return orjson.dumps(row).decode()


# ---- single values ---------------------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """A text without spaces around it, None for an empty one; raises ValueError for what the log cannot hold."""
    if type(value) is not str:
        if type(value) is not int:
            raise ValueError(_TEXT)
        return str(value)
    value = value.strip()
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value or None


def _name(value: Any) -> str | None:
    found = text(value)
    if found is not None:
        if len(found) > ID_LENGTH:
            raise ValueError(f"has more than {ID_LENGTH} characters")
        if "@" in found and _ADDRESS.search(found):
            raise ValueError(_PERSON)
    return found


def masked(value: Any) -> str | None:
    """A text in which no e-mail address stands."""
    found = text(value)
    return found if found is None or "@" not in found else _ADDRESS.sub("***", found)


def _at(value: Any) -> int:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(_TIME) from None
    if found.tzinfo is None:
        raise ValueError(_TIME)
    return (found - _START) // _MICRO


def _kind(value: Any) -> str:
    known = KINDS.get(value) if type(value) is str else None
    if known is None:
        known = KINDS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        hint = did_you_mean(value, KINDS) if isinstance(value, str) else ""
        raise ValueError(f"{WHAT['string']}.{hint}")
    return known


def _number(value: Any) -> float | None:
    if type(value) is float or type(value) is int:
        number = float(value)
    elif isinstance(value, str) and value.strip():
        try:
            number = float(value)
        except ValueError:
            raise ValueError(WHAT["double"]) from None
    elif isinstance(value, str):
        return None
    else:
        raise ValueError(WHAT["double"])
    if not isfinite(number):
        raise ValueError(WHAT["double"])
    return number


def _money(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -LARGEST <= value <= LARGEST:
        raise ValueError("is no whole number of minor units (cents, fen)")
    return value


def _currency(value: Any) -> str | None:
    found = text(value)
    return None if found is None else found.upper()


def _context(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - one way to say that a value does not fit
    kept = _without_people(value)
    return orjson.dumps(kept).decode() if kept else None


def _without_people(value: Any) -> Any:
    """JSON without keys that name or reach a person, and without addresses in its texts."""
    if isinstance(value, dict):
        return {key: _without_people(inner) for key, inner in value.items() if not _personal(key)}
    if isinstance(value, list):
        return [_without_people(inner) for inner in value]
    return masked(value) if isinstance(value, str) else value


@lru_cache(maxsize=10_000)
def _personal(key: str) -> bool:
    return re.search(PERSONAL, key) is not None


_READ: dict[str, Callable[[Any], Any]] = {
    "id": _name, "at": _at, "customer": _name, "session": _name, "kind": _kind, "item": text, "quantity": _number, "value": _money,
    "discount": _money, "currency": _currency, "order_id": text, "offer": text, "channel": text, "decision_id": text, "text": masked,
    "rating": _number, "context": _context,
}  # fmt: skip
