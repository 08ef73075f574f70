"""From a source's own columns to a table's columns, as one SELECT that DuckDB runs over any number of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from tradewind.collect.convert import Cast, from_sql_type, row_hash
from tradewind.collect.convert import filled as without_spaces
from tradewind.collect.mapping import ColumnMap, SourceMap
from tradewind.collect.money import minor_units, minor_units_sql
from tradewind.collect.names import KINDS, kind_sql
from tradewind.collect.sources.base import LINE_BITS, SUB_BITS, Part, literal, quoted
from tradewind.errors import InputError, SchemaError, did_you_mean
from tradewind.schema import KEYS, MONEY, TABLES, TIME, Channel

if TYPE_CHECKING:
    import duckdb

CHANNELLED = ("contacts", "consents")  # tables whose channel is one of ours; events may name any place
OBJECTS = ("context", "attributes", "terms")  # JSON objects


@dataclass
class Relation:
    """One part of a source as rows of ``table``.

    ``sql`` yields ``_pos``, the table's columns, and ``_s0``, ``_s1``, ...: conditions in terms of the source's columns.
    """

    con: duckdb.DuckDBPyConnection
    part: Part
    source: SourceMap
    table: str
    simulated: bool = False
    retyped: str = ""  # the select list that applies declared types to the source's columns
    kinds: dict[str, str] = field(default_factory=dict)  # source column -> SQL type
    targets: dict[str, str] = field(default_factory=dict)  # column -> SQL over the source's columns
    unreadable: dict[str, tuple[str, str]] = field(default_factory=dict)  # column -> (condition, shown value), over source columns
    conditions: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    hashed: bool = False  # the id is a hash of the whole row
    mended: dict[str, str] = field(default_factory=dict)  # column -> SQL over ``targets`` that fills empty values

    def __post_init__(self) -> None:
        self._type_lines()
        for column in TABLES[self.table].names:
            mapping = self._mapping(column)
            if mapping is not None:
                self._target(column, mapping)
        self._derive()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the table."""
        return TABLES[self.table]

    @property
    def sql(self) -> str:
        """The SELECT."""
        columns = [
            f"CAST({self.mended.get(name, expr)} AS {_sql_type(self.schema.field(name).type)}) AS {quoted(name)}"
            for name, expr in self.targets.items()
        ]
        extra = [f"coalesce({condition}, false) AS _s{number}" for number, condition in enumerate(self.conditions)]
        return f"SELECT _pos, {', '.join([*columns, *extra])} FROM {self.rows}{''.join(self.joins)}"

    @property
    def rows(self) -> str:
        """The source's rows as a FROM item: what SQL in the mapping speaks about."""
        return f"({self._typed(self.part.sql)}) AS lines"

    def rows_among(self, wanted: str) -> str:
        """``rows``, of at least those at the positions that ``wanted``, a SELECT of ``_pos``, yields."""
        return f"({self._typed(self.part.among(wanted))}) AS lines" if self.part.among else self.rows

    def _typed(self, sql: str) -> str:
        return f"SELECT {self.retyped} FROM ({sql})" if self.retyped else sql

    def condition(self, sql: str) -> str:
        """The name, within ``sql``, of a condition on the source's columns."""
        if sql not in self.conditions:
            self.conditions.append(sql)
        return f"_s{self.conditions.index(sql)}"

    def bind(self, expression: str, *, what: str) -> str:
        """The SQL type of an expression over the source's columns; raises InputError when it does not fit them."""
        import duckdb

        try:
            return str(self.con.execute(f"DESCRIBE (SELECT {expression} AS x FROM {self.rows})").fetchall()[0][1])
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            columns = ", ".join(self.kinds)
            raise SchemaError(
                f'Source "{self.source.name}": {what}: {reason} SQL in a mapping speaks about the source\'s columns: {columns}.'
            ) from error

    def _type_lines(self) -> None:
        described = self.con.execute(f"DESCRIBE ({self.part.sql})").fetchall()
        self.kinds = {row[0]: str(row[1]) for row in described if row[0] != "_pos"}
        changes = []
        for name, wanted in self.source.types.items():
            real = self._column(name)
            cast = from_sql_type(quoted(real), self.kinds[real], decimal=self.source.decimal).to(wanted)
            if self.kinds[real] == "VARCHAR":
                before = f"{quoted('_was ' + real)}"
                self.unreadable[real] = (f"({without_spaces(before)}) IS NOT NULL AND {quoted(real)} IS NULL", before)
            changes.append((real, cast, wanted))
        was = "".join(f", {quoted(name)} AS {quoted('_was ' + name)}" for name, _, _ in changes)
        replaced = ", ".join(f"{cast} AS {quoted(name)}" for name, cast, _ in changes)
        self.retyped = f"* REPLACE ({replaced}){was}" if changes else ""
        self.kinds |= {name: wanted for name, _, wanted in changes}

    def _column(self, name: str) -> str:
        """The real name of a source column, whatever its case."""
        for known in self.kinds:
            if known == name or known.lower() == name.lower():
                return known
        raise SchemaError(
            f'Source "{self.source.name}" ({", ".join(self.part.files[:3])}) has no column "{name}".{did_you_mean(name, self.kinds)} '
            f"It has: {', '.join(self.kinds)}."
        )

    def _mapping(self, column: str) -> ColumnMap | None:
        if column in self.source.columns and self.part.into in (None, self.source.into):
            return self.source.columns[column]
        if column == "id" and self.source.id and self.part.into is None:
            return None  # derived below
        if self.source.columns and self.part.into is None:
            return None
        return ColumnMap(column=column) if column in self.kinds else None

    def _target(self, column: str, mapping: ColumnMap) -> None:
        kind = self.schema.field(column).type
        if mapping.constant is not None:
            self.targets[column] = _constant(mapping.constant, kind, column=column, source=self.source)
            return
        if mapping.column is not None:
            real = self._column(mapping.column)
            raw, raw_type = quoted(real), self.kinds[real]
        else:
            raw, raw_type = f"({mapping.sql})", self.bind(f"({mapping.sql})", what=f"column {column}")
        filled = f"({without_spaces(raw)})" if raw_type == "VARCHAR" else raw
        value = self._converted(column, filled, raw_type, mapping)
        if kind != pa.string() or mapping.values or self._limited(column):
            self.unreadable[column] = (f"{filled} IS NOT NULL AND {value} IS NULL", f"CAST({raw} AS VARCHAR)")
        if mapping.default is not None:
            value = (
                f"CASE WHEN {filled} IS NULL THEN {_constant(mapping.default, kind, column=column, source=self.source)} ELSE {value} END"
            )
        self.targets[column] = value

    def _converted(self, column: str, raw: str, raw_type: str, mapping: ColumnMap) -> str:
        kind = self.schema.field(column).type
        cast = from_sql_type(raw, raw_type, decimal=self.source.decimal)
        if mapping.values:
            pairs = ", ".join(f"{literal(theirs)}: {literal(ours)}" for theirs, ours in mapping.values.items())
            return f"MAP {{{pairs}}}[{cast.text()}]"
        if self.table == "events" and column == "kind":
            return kind_sql(raw)
        if self.table in CHANNELLED and column == "channel":
            known = ", ".join(f"'{channel}'" for channel in Channel)
            return f"CASE WHEN lower({cast.text()}) IN ({known}) THEN lower({cast.text()}) END"
        if column in OBJECTS:
            return f"CASE WHEN json_valid({cast.text()}) THEN CASE WHEN json_type({cast.text()}) = 'OBJECT' THEN {cast.text()} END END"
        if column == "currency":
            usual = literal(self.source.currency or "")
            return f"CASE WHEN {cast.text()} = {usual} THEN {usual} ELSE upper({cast.text()}) END"
        if kind == TIME:
            return self._time(column, cast, mapping)
        if kind == MONEY and column != "stock":
            return cast.money(self._unit())
        return {"string": cast.text, "double": cast.double, "int64": cast.whole, "bool": cast.boolean}[str(kind)]()

    def _limited(self, column: str) -> bool:
        """Whether not every text may stand in the column."""
        return column in OBJECTS or (column, self.table) in {("kind", "events"), *(("channel", table) for table in CHANNELLED)}

    def _time(self, column: str, cast: Cast, mapping: ColumnMap) -> str:
        place = f'Source "{self.source.name}", column {column}'
        if mapping.unit:
            return cast.epoch(mapping.unit)
        if cast.number:
            raise InputError(
                f"{place}: the times are numbers. Say what they count: "
                f'{column} = {{ column = "{mapping.column}", unit = "s" }} (s, ms or us).'
            )
        if mapping.format:
            return cast.formatted(mapping.format, self._zone(place, cast, None) if "%z" not in mapping.format else "UTC")
        if cast.zoned:
            return cast.sql
        if cast.sql_type == "VARCHAR":
            if self.source.zone is None and not self._any_zone(cast):
                self._zone(place, cast, None)
            return cast.iso(self.source.zone)
        return cast.local(self._zone(place, cast, self.source.zone))

    def _any_zone(self, cast: Cast) -> bool:
        """Whether some of the first times carry a zone: then only those without one are quarantined."""
        found = self.con.execute(
            f"SELECT {cast.sql}, {cast.has_zone()} FROM (SELECT * FROM {self.rows} LIMIT 10000) WHERE {cast.sql} IS NOT NULL"
        ).fetchall()
        return not found or any(zoned for _, zoned in found)

    def _zone(self, place: str, cast: Cast, zone: str | None) -> str:
        zone = zone or self.source.zone
        if zone is None:
            seen = self.con.execute(f"SELECT CAST({cast.sql} AS VARCHAR) FROM {self.rows} WHERE {cast.sql} IS NOT NULL LIMIT 1").fetchall()
            example = f" ({seen[0][0]})" if seen else ""
            raise InputError(
                f"{place}: the times carry no zone{example}. Say which clock wrote them: "
                'zone = "Europe/London" (any IANA name, or "UTC") at the top of the mapping or in this source.'
            )
        return zone

    def _unit(self) -> str:
        """Minor units per unit of the source's amounts."""
        if "minor" in (self.part.money, self.source.money):
            return "1"
        if "currency" in self.targets:
            return f"({minor_units_sql(self._currency(self.targets['currency']))})"
        currency = self.source.columns.get("currency") or (ColumnMap(column="currency") if "currency" in self.kinds else None)
        if currency is not None and currency.column:
            return f"({minor_units_sql(self._currency(quoted(self._column(currency.column))))})"
        return str(minor_units(str(currency.constant) if currency and currency.constant else self.source.currency))

    def _currency(self, value: str) -> str:
        return f"coalesce({value}, {literal(self.source.currency)})" if self.source.currency else value

    def _derive(self) -> None:
        """Columns that are known without being mapped, and refusal where a needed one is not."""
        if self.table == "events":
            self._identify()
            files = "[" + ", ".join(map(literal, self.part.files)) + f"][(_pos >> {LINE_BITS + SUB_BITS}) + 1]"
            own = files if len(self.part.files) > 1 else literal(self.part.files[0] if self.part.files else self.source.name)
            self.targets.setdefault("source", "'simulated'" if self.simulated else own)
        amounts = [name for name in ("value", "discount", "price", "cost") if name in self.targets]
        if amounts and "currency" in self.schema.names:
            if "currency" not in self.targets and self.source.currency is None:
                raise InputError(
                    f'Source "{self.source.name}": the currency of {" and ".join(amounts)} is not known. '
                    'Write currency = "EUR" (ISO 4217) at the top of the mapping.'
                )
            stated = self._currency(self.targets.get("currency", "NULL"))
            filled = " OR ".join(f"{self.targets[name]} IS NOT NULL" for name in amounts)
            self.targets["currency"] = f"CASE WHEN {filled} THEN {stated} ELSE {self.targets.get('currency', 'NULL')} END"
        needed = [f.name for f in self.schema if not f.nullable]
        for column in needed:
            if column not in self.targets:
                raise SchemaError(
                    f'Source "{self.source.name}": nothing fills the column {column} of {self.table}. Add {column} = "their column" under '
                    f"[source.columns]. The source has: {', '.join(self.kinds)}."
                )

    def _identify(self) -> None:
        """Event ids: the source's, a hash of chosen columns, or a hash of the whole row."""
        every = list(self.kinds)
        if "id" in self.targets:
            self.targets["id"] = f"coalesce({self.targets['id']}, {row_hash(every)})"
        elif len(self.source.id) == 1:
            real = self._column(self.source.id[0])
            text = from_sql_type(quoted(real), self.kinds[real], decimal=".").text()
            self.targets["id"] = f"coalesce({without_spaces(text)}, {row_hash(every)})"
        else:
            self.targets["id"] = row_hash([self._column(name) for name in self.source.id] or every)
            self.hashed = not self.source.id
        self.targets = {"id": self.targets["id"]} | self.targets

    @property
    def key(self) -> str:
        """A 64-bit hash of what makes a row of this table unique, over ``sql``."""
        return "hash(" + ", ".join(quoted(name) for name in KEYS[self.table]) + ")"

    @property
    def content(self) -> str:
        """A 64-bit hash of all that a row says, over ``sql``: tells a copy from another row of the same key."""
        if self.hashed:
            return self.key
        return "hash(" + ", ".join(quoted(name) for name in self.targets if name != "source") + ")"


def _constant(value: str | float | bool, kind: pa.DataType, *, column: str, source: SourceMap) -> str:
    if kind == MONEY and column != "stock" and isinstance(value, int | float):
        value = round(value * (1 if source.money == "minor" else minor_units(source.currency)))
    if column == "kind" and source.into == "events" and value not in KINDS.values():
        raise InputError(
            f'Source "{source.name}": there is no kind "{value}".{did_you_mean(str(value), KINDS.values())} '
            f"Known: {', '.join(sorted(set(KINDS.values())))}."
        )
    if isinstance(value, bool):
        return str(value).lower()
    return literal(value) if isinstance(value, str) else repr(value)


def _sql_type(kind: pa.DataType) -> str:
    return {"string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN"}.get(str(kind), "TIMESTAMPTZ")
