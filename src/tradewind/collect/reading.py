"""Reading a TOML table strictly: every wrong key or value is told with its place, what is allowed and the nearest name."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tradewind.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import duckdb

SQL_TYPES = ("BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMPTZ")


class Reader:
    """One table of the file with its place in it, for messages."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data = data
        self.where = where

    def error(self, text: str) -> InputError:
        """An error that starts with this table's place."""
        return InputError(f"{self.where}: {text}.")

    def only(self, *known: str) -> None:
        """Refuse keys that do not exist."""
        for key in self.data:
            if key not in known:
                raise InputError(f'{self.where}: there is no key "{key}".{did_you_mean(key, known)} Known: {", ".join(known)}.')

    def table(self, name: str) -> Reader:
        """A sub-table; an absent one is empty."""
        value = self.data.get(name, {})
        if not isinstance(value, Mapping):
            raise self.error(f"{name} must be a table; got {value!r}")
        return Reader(value, f"{self.where}: {name}" if ":" not in self.where else f"{self.where}.{name}")

    def tables(self, name: str) -> list[Reader]:
        """An array of tables, ``[[name]]``."""
        value = self.data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(block, Mapping) for block in value):
            raise self.error(f"{name} must be written as [[{name}]], once per entry")
        return [Reader(block, f"{self.where}: {name}[{number}]") for number, block in enumerate(value, start=1)]

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A text; an absent one is None unless ``required``."""
        value = self.data.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not value:
            raise self.error(f"{name} must be a text" + (f"; got {value!r}" if value is not None else "; it is missing"))
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        value = self.data.get(name, [])
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            raise self.error(f"{name} must be a text or a list of texts; got {value!r}")
        return tuple(found)

    def number(self, name: str, *, default: float | None = None) -> float:
        """A number; booleans are none."""
        value = self.data.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{name} must be a number; got {value!r}")
        return float(value)

    def flag(self, name: str) -> bool:
        """true or false; absent is false."""
        value = self.data.get(name, False)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false; got {value!r}")
        return value

    def scalar(self, name: str) -> str | int | float | bool | None:
        """Any single value; None when absent."""
        value = self.data.get(name)
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise self.error(f"{name} must be one text, number or boolean; got {value!r}")

    def choice(self, name: str, known: tuple[str, ...], *, required: bool = False) -> Any:
        """One of a few names; None when absent and not ``required``."""
        value = self.text(name, required=required)
        return value if value is None else self.choice_of(value, name, known)

    def choice_of(self, value: str, name: str, known: tuple[str, ...]) -> str:
        """Check one value of ``name`` against the known ones."""
        if value not in known:
            listed = ", ".join(f'"{one}"' for one in known)
            raise InputError(f'{self.where}: {name} must be one of {listed}; got "{value}".{did_you_mean(value, known)}')
        return value

    def currency(self, name: str) -> str | None:
        """An ISO 4217 code such as EUR."""
        value = self.text(name)
        if value is not None and not (len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
            raise self.error(f'{name} must be a code of ISO 4217 such as "EUR"; got "{value}"')
        return value

    def zone(self, name: str) -> str | None:
        """An IANA time zone such as Europe/London."""
        value = self.text(name)
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError):
                raise self.error(f'{name} must be an IANA time zone such as "Europe/London" or "UTC"; got "{value}"') from None
        return value

    def encoding(self, name: str) -> str | None:
        """A text encoding that Python knows."""
        value = self.text(name)
        if value is not None:
            try:
                codecs.lookup(value)
            except LookupError:
                raise self.error(f'{name} must be an encoding such as utf-8, gb18030 or latin-1; got "{value}"') from None
        return value

    def time(self, name: str) -> datetime | None:
        """A time with its zone, or a date (midnight UTC)."""
        from tradewind.types import utc

        value = self.data.get(name)
        if value is None:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        if not isinstance(value, str | datetime):
            raise self.error(f"{name} must be a time such as 2026-03-01T09:00:00Z; got {value!r}")
        return utc(value, what=f"{self.where}.{name}")

    def sql_type(self, name: str) -> str:
        """A SQL type for a text column."""
        value = self.text(name, required=True)
        assert value is not None
        return self.choice_of(value.upper(), name, SQL_TYPES)

    def expression(self, name: str) -> str:
        """A SQL expression, checked for its syntax."""
        value = self.text(name, required=True)
        assert value is not None
        check_sql(value, where=f"{self.where}.{name}")
        return value


def check_sql(text: str, *, where: str, whole: bool = False) -> None:
    """Refuse anything but one SELECT (``whole``) or one expression in DuckDB's SQL."""
    statement = text if whole else f"SELECT ({text}\n) FROM lines"
    parsed = json.loads(_parser().execute("SELECT json_serialize_sql(?)", [statement]).fetchall()[0][0])
    if parsed["error"] and parsed["error_type"] == "not implemented":
        raise InputError(f"{where}: a SELECT is needed, and nothing else is allowed. Got: {text}")
    if parsed["error"]:
        raise InputError(f"{where}: {parsed['error_message']} in the SQL: {text}")
    if len(parsed["statements"]) != 1:
        raise InputError(f"{where}: one SQL expression is allowed, got {len(parsed['statements'])} statements: {text}")


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(config={"threads": 1})
