"""The mapping file: how any shop's files become Tradewind's tables. ``docs/collect.md`` explains every key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tradewind.collect.draft import draft_mapping
from tradewind.collect.reading import Reader, check_sql
from tradewind.errors import InputError
from tradewind.plugins import names
from tradewind.schema import OFFERS, TABLES, Channel

__all__ = ["ColumnMap", "InlineOffer", "MappingFile", "Missing", "SourceMap", "draft_mapping", "load_mapping", "parse_mapping"]

UNITS = ("s", "ms", "us")
POLICIES = ("keep", "flag", "drop", "quarantine", "median")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where one target column comes from: exactly one of ``column``, ``constant``, ``sql``."""

    column: str | None = None
    constant: str | int | float | bool | None = None
    sql: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)  # source value -> target value, for ``column``
    format: str | None = None  # strptime format of a time written as text
    unit: str | None = None  # of a time written as a number since 1970-01-01 UTC: s, ms or us
    default: str | int | float | bool | None = None  # where the source is empty


@dataclass(frozen=True, slots=True)
class Missing:
    """What happens to an empty value of one target column."""

    policy: str = "keep"  # keep | flag | drop | quarantine | median | constant
    constant: str | int | float | bool | None = None
    by: str | None = None  # median within the rows of equal ``by``


@dataclass(frozen=True, slots=True)
class Total:
    """A control total over the raw rows, compared with the shop's own books when ``expect`` is given."""

    sql: str
    expect: float | None = None
    within: float = 0.0


@dataclass(frozen=True)
class SourceMap:
    """One ``[[source]]``: files (or a query over inputs, or a database table) that fill one table."""

    name: str
    into: str
    files: tuple[str, ...] = ()
    query: str | None = None
    table: str | None = None  # of the database, for SQL sources
    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str = "."
    money: str = "major"
    currency: str | None = None
    zone: str | None = None
    id: tuple[str, ...] = ()
    columns: Mapping[str, ColumnMap] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, Missing] = field(default_factory=dict)
    drop: Mapping[str, str] = field(default_factory=dict)  # name -> SQL condition on source or target columns
    totals: Mapping[str, Total] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InlineOffer:
    """One ``[[offers]]`` entry: a row of ``schema.OFFERS`` and the items that it is limited to."""

    row: Mapping[str, Any]
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class MappingFile:
    """A whole mapping, validated. ``text`` is what the load's identity is made of."""

    text: str
    path: Path | None = None
    name: str = ""
    currency: str | None = None
    zone: str | None = None
    simulated: bool = False
    assumptions: tuple[str, ...] = ()  # what the author of the mapping took for granted, for the report
    margin: float | None = None
    consent: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: tuple[SourceMap, ...] = ()
    offers: tuple[InlineOffer, ...] = ()


def load_mapping(path: str | Path) -> MappingFile:
    """Read and validate a mapping file.

    Raises
    ------
    InputError
        The file is missing, no TOML, or says something that does not exist; the message names the key, what is allowed
        and the nearest known name.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f'There is no mapping file "{path}". Draft one with: tradewind map SOURCE > {path}') from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f'"{path}" is no mapping file: {error}. A mapping is TOML text in UTF-8.') from error
    return parse_mapping(text, path=path)


def parse_mapping(text: str, *, path: Path | None = None) -> MappingFile:
    """Validate the TOML text of a mapping; ``path`` only names it in messages."""
    where = path.name if path else "mapping"
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not TOML: {error}. Text needs quotes; conditions go inside {{ sql = '...' }}.") from error
    top = Reader(data, where)
    top.only("tradewind", "name", "currency", "zone", "simulated", "assumptions", "defaults", "inputs", "source", "offers", "rules")
    version = top.number("tradewind", default=1)
    if version != 1:
        raise InputError(f"{where}: this program reads mappings of version 1; got tradewind = {version:g}. Update Tradewind.")
    defaults = top.table("defaults")
    defaults.only("margin", "consent")
    inputs = {name: _globs(top.table("inputs"), name) for name in top.table("inputs").data}
    shared = _rules(top.table("rules"))
    currency, zone = top.currency("currency"), top.zone("zone")
    read = (_source(block, inputs=inputs, shared=shared) for block in top.tables("source"))
    sources = tuple(replace(one, currency=one.currency or currency, zone=one.zone or zone) for one in read)
    _unique(where, [source.name for source in sources])
    offers = tuple(_offer(block) for block in top.tables("offers"))
    if not sources and not offers:
        raise InputError(f"{where}: there is no [[source]]. Add one with files = ... and into = one of {', '.join(TABLES)}.")
    return MappingFile(
        text=text,
        path=path,
        name=top.text("name") or "",
        currency=currency,
        zone=zone,
        simulated=top.flag("simulated"),
        assumptions=top.texts("assumptions"),
        margin=_share(defaults, "margin"),
        consent=tuple(defaults.choice_of(channel, "consent", tuple(Channel)) for channel in defaults.texts("consent")),
        inputs=inputs,
        sources=sources,
        offers=offers,
    )


def _source(block: Reader, *, inputs: Mapping[str, tuple[str, ...]], shared: Mapping[str, Mapping[str, Any]]) -> SourceMap:
    block.only(*(name for name in SourceMap.__dataclass_fields__))
    into = block.choice("into", tuple(TABLES), required=True)
    files = _globs(block, "files") if "files" in block.data else ()
    query, table = block.text("query"), block.text("table")
    if sum(map(bool, (files, query, table))) != 1:
        raise block.error("needs exactly one of files, query (over [inputs]) or table (of a database)")
    if query:
        check_sql(query, where=f"{block.where}.query", whole=True)
        if not inputs:
            raise block.error('has a query, but there is no [inputs] table. Add for example [inputs] lines = "lines.parquet"')
    own = _rules(block.table("rules"))
    columns = block.table("columns")
    columns.only(*TABLES[into].names)
    return SourceMap(
        name=block.text("name") or _stem(files[0] if files else table or into),
        into=into,
        files=files,
        query=query,
        table=table,
        format=block.choice("format", tuple(names("collect.sources"))),
        encoding=block.encoding("encoding"),
        delimiter=block.text("delimiter"),
        decimal=block.choice("decimal", (".", ",")) or ".",
        money=block.choice("money", ("major", "minor")) or "major",
        currency=block.currency("currency"),
        zone=block.zone("zone"),
        id=block.texts("id"),
        columns={name: _column(columns, name) for name in columns.data},
        types={name: block.table("types").sql_type(name) for name in block.table("types").data},
        missing=_missing_all(block.table("missing"), into),
        drop={name: block.table("drop").expression(name) for name in block.table("drop").data},
        totals={name: _total(block.table("totals"), name) for name in block.table("totals").data},
        rules={name: {**shared.get(name, {}), **own.get(name, {})} for name in {**shared, **own}},
    )


def _column(columns: Reader, name: str) -> ColumnMap:
    value = columns.data[name]
    if isinstance(value, str):
        return ColumnMap(column=value)
    block = columns.table(name)
    block.only("column", "constant", "sql", "map", "format", "unit", "default")
    chosen = [key for key in ("column", "constant", "sql") if key in block.data]
    if len(chosen) != 1:
        raise block.error('needs exactly one of column, constant or sql; a bare name such as "InvoiceDate" is a column')
    if "map" in block.data and "column" not in block.data:
        raise block.error("has a map without a column. Write { column = ..., map = { theirs = ours } }")
    return ColumnMap(
        column=block.text("column"),
        constant=block.scalar("constant"),
        sql=block.expression("sql") if "sql" in block.data else None,
        values={str(key): str(value) for key, value in block.table("map").data.items()},
        format=block.text("format"),
        unit=block.choice("unit", UNITS),
        default=block.scalar("default"),
    )


def _missing_all(block: Reader, into: str) -> dict[str, Missing]:
    block.only(*TABLES[into].names)
    return {name: _missing(block, name) for name in block.data}


def _missing(block: Reader, name: str) -> Missing:
    if isinstance(block.data[name], str):
        return Missing(policy=block.choice(name, POLICIES, required=True))
    inner = block.table(name)
    inner.only("constant", "median_by")
    if len(inner.data) != 1:
        raise inner.error('needs constant = ... or median_by = "column"; other policies are plain text such as "keep"')
    if "constant" in inner.data:
        return Missing(policy="constant", constant=inner.scalar("constant"))
    return Missing(policy="median", by=inner.text("median_by"))


def _total(block: Reader, name: str) -> Total:
    inner = block.table(name)
    inner.only("sql", "expect", "within")
    expect = inner.number("expect") if "expect" in inner.data else None
    return Total(sql=inner.expression("sql"), expect=expect, within=inner.number("within", default=0.0))


def _rules(block: Reader) -> dict[str, dict[str, Any]]:
    block.only(*names("collect.rules"))
    return {name: dict(block.table(name).data) for name in block.data}


def _offer(block: Reader) -> InlineOffer:
    block.only(*OFFERS.names, "items")
    offer, kind = block.text("offer", required=True), block.text("kind", required=True)
    terms = block.table("terms").data
    times = {name: block.time(name) for name in ("starts_at", "ends_at")}
    texts = {name: block.text(name) for name in ("campaign", "eligible", "title_zh", "title_en")}
    return InlineOffer(row={"offer": offer, "kind": kind, "terms": dict(terms), **times, **texts}, items=block.texts("items"))


def _share(block: Reader, name: str) -> float | None:
    if name not in block.data:
        return None
    value = block.number(name)
    if not 0 <= value <= 1:
        raise block.error(f"{name} is a share from 0 to 1; got {value:g}")
    return value


def _globs(block: Reader, name: str) -> tuple[str, ...]:
    globs = block.texts(name)
    if not globs:
        raise block.error(f'{name} names no file. Write for example {name} = "orders*.csv"')
    return globs


def _stem(name: str) -> str:
    return Path(name).name.split(".")[0].strip("*?_-") or "source"


def _unique(where: str, found: list[str]) -> None:
    for name in found:
        if found.count(name) > 1:
            raise InputError(f'{where}: two sources are named "{name}". Give each its own name = ...')
