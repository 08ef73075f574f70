"""SQL that turns one value of any SQL type into another; what cannot be turned becomes NULL and is quarantined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tradewind.collect.sources.base import literal, quoted

ZONE = r"(?i)(z|utc|gmt|[+-]\d{2}(:?\d{2})?)$"
PER_SECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
)


@dataclass(frozen=True, slots=True)
class Cast:
    """One value: an expression and its SQL type."""

    sql: str
    sql_type: str
    decimal: str = "."

    @property
    def number(self) -> bool:
        """Whether it is a number already."""
        return self.sql_type.partition("(")[0] in NUMBERS

    @property
    def zoned(self) -> bool:
        """Whether it is a time with a zone already."""
        return self.sql_type in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")

    @property
    def _plain(self) -> str:
        """A number's text with a point."""
        return f"replace(replace({self.sql}, '.', ''), ',', '.')" if self.decimal == "," else self.sql

    def text(self) -> str:
        """Text; a whole number stored as a float (17850.0) loses its point."""
        if self.sql_type == "VARCHAR":
            return self.sql
        if self.sql_type in ("DOUBLE", "FLOAT") or self.sql_type.startswith("DECIMAL"):
            whole = f"{self.sql} = floor({self.sql}) AND abs({self.sql}) < 1e15"
            return f"CASE WHEN {whole} THEN CAST(CAST({self.sql} AS BIGINT) AS VARCHAR) ELSE CAST({self.sql} AS VARCHAR) END"
        return f"CAST({self.sql} AS VARCHAR)"

    def double(self) -> str:
        """A finite DOUBLE."""
        value = f"try_cast({self._plain} AS DOUBLE)" if self.sql_type == "VARCHAR" else f"try_cast({self.sql} AS DOUBLE)"
        if self.number and self.sql_type not in ("DOUBLE", "FLOAT"):
            return value
        return f"CASE WHEN isfinite({value}) THEN {value} END"

    def whole(self) -> str:
        """A BIGINT; a fraction is no whole number."""
        if self.number and self.sql_type not in ("DOUBLE", "FLOAT") and not self.sql_type.startswith("DECIMAL"):
            return f"try_cast({self.sql} AS BIGINT)"
        value = f"try_cast({self._plain if self.sql_type == 'VARCHAR' else self.sql} AS DOUBLE)"
        return f"CASE WHEN {value} = floor({value}) THEN try_cast({value} AS BIGINT) END"

    def money(self, unit: str) -> str:
        """Minor units as BIGINT, exact in decimal arithmetic and rounded half away from zero."""
        if unit == "1" and self.number and self.sql_type.partition("(")[0] not in ("DOUBLE", "FLOAT", "DECIMAL"):
            return f"try_cast({self.sql} AS BIGINT)"
        value = self._plain if self.sql_type == "VARCHAR" else self.sql
        return f"try_cast(round(try_cast({value} AS DECIMAL(18, 6)) * {unit}) AS BIGINT)"

    def boolean(self) -> str:
        """true or false from what shops write."""
        if self.sql_type == "BOOLEAN":
            return self.sql
        text = f"lower({self.text()})"
        yes, no = "'true', 't', '1', 'yes', 'y', 'on'", "'false', 'f', '0', 'no', 'n', 'off'"
        return f"CASE WHEN {text} IN ({yes}) THEN true WHEN {text} IN ({no}) THEN false END"

    def epoch(self, unit: str) -> str:
        """A time from a number since 1970-01-01 UTC."""
        micros = f"try_cast(try_cast({self.sql} AS DECIMAL(30, 6)) * {PER_SECOND[unit]} AS BIGINT)"
        return f"timezone('UTC', make_timestamp(CASE WHEN abs({micros}) < 9e18 THEN {micros} END))"

    def formatted(self, pattern: str, zone: str) -> str:
        """A time from text in a strptime format; ``zone`` is of the clock that wrote it."""
        time = f"try_strptime({self.text()}, {literal(pattern)})"
        return f"CAST({time} AS TIMESTAMPTZ)" if "%z" in pattern else f"timezone({literal(zone)}, {time})"

    def has_zone(self) -> str:
        """Whether a time written as text ends in a zone (a date's hyphens are none)."""
        return f"(regexp_matches({self.sql}, {literal(ZONE)}) AND contains({self.sql}, ':'))"

    def iso(self, zone: str | None) -> str:
        """A time from ISO 8601 text; without a zone it is of ``zone``, or unreadable when that is None."""
        local = f"timezone({literal(zone)}, try_cast({self.sql} AS TIMESTAMP))" if zone else "NULL"
        return f"CASE WHEN {self.has_zone()} THEN try_cast({self.sql} AS TIMESTAMPTZ) ELSE {local} END"

    def local(self, zone: str) -> str:
        """A time from a TIMESTAMP or DATE of a wall clock in ``zone``."""
        return f"timezone({literal(zone)}, try_cast({self.sql} AS TIMESTAMP))"

    def to(self, wanted: str) -> str:
        """Any of the types that a mapping may declare for a source column."""
        if wanted == "VARCHAR":
            return self.text()
        if wanted in ("BIGINT", "DOUBLE", "BOOLEAN"):
            return {"BIGINT": self.whole, "DOUBLE": self.double, "BOOLEAN": self.boolean}[wanted]()
        return f"try_cast({self.sql} AS {wanted})"


def from_sql_type(sql: str, sql_type: str, *, decimal: str) -> Cast:
    """The value ``sql`` of a DuckDB type."""
    return Cast(sql, sql_type, decimal)


def row_hash(columns: Sequence[str]) -> str:
    """128 bits over the named columns as hexadecimal text: equal rows, and only those, are equal."""
    parts = ", ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), chr(30))" for name in columns)
    return f"md5(concat_ws(chr(31), {parts}))"


def filled(column: str) -> str:
    """A text without spaces around it; NULL when nothing is left. Texts that need no trimming, nearly all, cost two comparisons."""
    return f"CASE WHEN {column} < '!' OR suffix({column}, ' ') THEN nullif(trim({column}), '') ELSE {column} END"
