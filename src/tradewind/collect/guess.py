"""What a column probably is, from its name and its values: the knowledge behind ``draft``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tradewind.collect.convert import Cast
from tradewind.collect.names import KINDS
from tradewind.collect.sources.base import literal, quoted

if TYPE_CHECKING:
    import duckdb

SAMPLE = 50_000
ENOUGH = 0.98  # share of values that must fit a reading
FORMATS = (
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y%m%d",
)
EPOCHS = {"s": (3e8, 4e9), "ms": (3e11, 4e12), "us": (3e14, 4e15)}
ID = r"(.?(id|no|nr|num|number|key|code))?$"
# Target column -> what its name looks like in shops' files; the order decides who comes first.
NAMES: dict[str, str] = {
    "order_id": r"(order|invoice|basket|receipt|bill|transaction)" + ID,
    "session": r"(session|visit|cart)" + ID,
    "customer": r"(customer|client|user|member|buyer|shopper|household|visitor|account)" + ID,
    "item": r"(stock|product|item|sku|article|asin|goods|upc)" + ID,
    "kind": r"(event|event.?(type|name)|action|activity|type|kind|behaviou?r(.?type)?)$",
    "quantity": r"(quantity|qty|units|pieces)$",
    "discount": r".*(disc(ount)?|rebate)$",
    "value": r"((line|sales|order|total|net).?)?(value|amount|total|revenue|sales|subtotal)$",
    "price": r"(.*.)?price$",
    "cost": r"(.*.)?cost$",
    "currency": r"currency(.?code)?$",
    "title": r"((product|item).?)?(title|name|description|desc)$",
    "category": r"((product|item|main).?)?(category|department)(.?(name|id))?$",
    "brand": r"(brand|manufacturer)(.?(name|id))?$",
    "stock": r"(stock|inventory)(.?(level|count|quantity))?$",
    "rating": r"(rating|stars|score)$",
    "text": r"(review|comment|review.?(body|text)|search.?term|query)$",
    "locale": r"(locale|lang|language)$",
    "zone": r"(time.?zone|tz)$",
    "signed_up_at": r"(sign(ed)?.?up|regist\w*|joined|created)(.?(at|on|date|time))?$",
    "at": r"(at|ts|time|date|timestamp|datetime|.*(date|time|timestamp|.at))$",
    "id": r"((event|line|message|row|record|transaction.?line).?)?id$",
}
NUMBERS = ("quantity", "discount", "value", "price", "cost", "stock", "rating")


@dataclass(frozen=True, slots=True)
class Column:
    """One column as it was found."""

    name: str
    stored: str  # SQL type in the source
    sql_type: str  # what its values are
    rows: int
    filled: int
    distinct: int
    negative: bool
    example: str
    unit: str | None = None
    format: str | None = None
    zoned: bool = False

    @property
    def text(self) -> bool:
        """Whether the source stores it as text."""
        return self.stored == "VARCHAR"

    @property
    def time(self) -> bool:
        """Whether its values are times."""
        return self.sql_type in ("TIMESTAMP", "TIMESTAMPTZ", "DATE") or self.unit is not None

    @property
    def number(self) -> bool:
        """Whether its values are numbers."""
        return self.sql_type in ("DOUBLE", "BIGINT")

    @property
    def names_rows(self) -> bool:
        """Whether every row has another value."""
        return self.filled == self.rows == self.distinct > 0


def look(con: duckdb.DuckDBPyConnection, sql: str) -> list[Column]:
    """Describe every column from its first ``SAMPLE`` rows."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE looked AS SELECT * EXCLUDE (_pos) FROM ({sql}) LIMIT {SAMPLE}")
    return [_column(con, row[0], str(row[1])) for row in con.execute("DESCRIBE looked").fetchall()]


def _column(con: duckdb.DuckDBPyConnection, name: str, stored: str) -> Column:
    value = f"nullif(trim(CAST({quoted(name)} AS VARCHAR)), '')"
    number = f"try_cast({value} AS DOUBLE)"
    formats = ", ".join(f"count(try_strptime({value}, {literal(one)}))" for one in FORMATS)
    row = con.execute(
        f"SELECT count(*), count({value}), count(DISTINCT {value}), coalesce(min({number}), 0), coalesce(max({number}), 0), min({value}), "
        f"count({number}), count(*) FILTER (regexp_matches({value}, '^0[0-9]')), count(*) FILTER ({number} <> floor({number})), "
        f"count(try_cast({value} AS TIMESTAMP)), count(*) FILTER ({Cast(value, 'VARCHAR').has_zone()}), "
        f"{formats} FROM looked"
    ).fetchall()[0]
    rows, filled, distinct, low, high, example, numbers, padded, fractions, times, zoned, *parsed = row
    kind, unit, pattern = stored, None, None
    most = filled * ENOUGH
    if stored == "VARCHAR" and filled:
        if numbers >= most and not padded:
            kind = "DOUBLE" if fractions else "BIGINT"
        elif times >= most:
            kind = "TIMESTAMPTZ" if zoned >= most else "TIMESTAMP"
        elif max(parsed) >= most:
            kind, pattern = "TIMESTAMP", FORMATS[parsed.index(max(parsed))]
    elif stored in ("TINYINT", "SMALLINT", "INTEGER", "UINTEGER", "BIGINT", "UBIGINT", "HUGEINT"):
        kind = "BIGINT"
    elif stored in ("FLOAT", "DOUBLE") or stored.startswith("DECIMAL"):
        kind = "DOUBLE"
    elif stored == "TIMESTAMP WITH TIME ZONE":
        kind = "TIMESTAMPTZ"
    elif stored.startswith("TIMESTAMP"):
        kind = "TIMESTAMP"
    if kind in ("BIGINT", "DOUBLE") and _named("at", name):
        unit = next((one for one, (least, top) in EPOCHS.items() if least <= low and high <= top), None)
    return Column(name, stored, kind, rows, filled, distinct, bool(low < 0), str(example or ""), unit, pattern, kind == "TIMESTAMPTZ")


def guess(columns: Sequence[Column]) -> dict[str, Column]:
    """Which source column fills which target column; each is used once."""
    found: dict[str, Column] = {}
    for target in NAMES:
        fitting = [one for one in columns if one not in found.values() and one.filled and _named(target, one.name) and _fits(target, one)]
        if fitting:
            found[target] = min(fitting, key=lambda one: len(one.name)) if target != "at" else fitting[0]
    if "at" not in found:
        times = [one for one in columns if one.time and one not in found.values()]
        if len(times) == 1:
            found["at"] = times[0]
    return found


def _named(target: str, name: str) -> bool:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.match(NAMES[target], plain) is not None or re.match(NAMES[target], plain.replace("_", "")) is not None


def _fits(target: str, column: Column) -> bool:
    if target in NUMBERS:
        return column.number
    if target in ("at", "signed_up_at"):
        return column.time
    if target == "kind":
        return column.text and not column.number and column.distinct <= 60
    if target == "id":
        return column.names_rows
    return not column.time


def table_of(chosen: dict[str, Column]) -> str:
    """The table that a file with these columns fills."""
    if "item" in chosen and chosen["item"].names_rows and "customer" not in chosen:
        return "items"
    if "customer" in chosen and chosen["customer"].names_rows and not {"item", "value", "kind"} & set(chosen):
        return "customers"
    return "events"


def kinds_of(con: duckdb.DuckDBPyConnection, column: Column) -> tuple[dict[str, str], list[str]]:
    """The names in a column of event names that are known, with their kinds; and those that are not."""
    rows = con.execute(
        f"SELECT DISTINCT trim({quoted(column.name)}) AS name FROM looked WHERE trim({quoted(column.name)}) <> '' ORDER BY name"
    ).fetchall()
    names = [str(name) for (name,) in rows]
    known = {name: kind for name in names if (kind := _kind(name))}
    return known, [name for name in names if name not in known]


SYNONYMS = {
    "pv": "view",
    "detail": "view",
    "fav": "wish",
    "favorite": "wish",
    "buy": "purchase",
    "sale": "purchase",
    "order": "purchase",
    "transaction": "purchase",
    "addtocart": "cart",
    "basket": "cart",
    "return": "refund",
    "cancellation": "refund",
}


def _kind(name: str) -> str | None:
    plain = name.lower().strip()
    return KINDS.get(plain) or SYNONYMS.get(re.sub(r"[^a-z]", "", plain))
