"""Drafting a mapping from the data: what each column probably is, every assumption said, what cannot be known left open."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tradewind.collect.guess import Column, guess, kinds_of, look, table_of
from tradewind.collect.sources.base import Part
from tradewind.errors import InputError
from tradewind.plugins import load
from tradewind.schema import TABLES

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import MappingFile

OPEN = "FILL IN"  # a draft with this in it is refused, and the refusal says what to write
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".zip": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


@dataclass
class Draft:
    """One ``[[source]]`` while it grows; ``columns`` maps target columns to TOML values."""

    file: str
    table: str = "events"
    id: str | None = None
    money: str | None = None
    local_times: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)

    def assume(self, text: str) -> None:
        """Say what was assumed."""
        self.assumptions.append(f"{self.file}: {text}")

    def toml(self) -> str:
        """The block."""
        lines = ["[[source]]", f"files = {_text(self.file)}", f'into = "{self.table}"']
        lines += [f'money = "{self.money}"'] if self.money else []
        lines += [f"id = {_text(self.id)}"] if self.id else []
        if self.types:
            lines += [
                "",
                "[source.types]  # what text columns really are",
                *(f"{_key(name)} = {_text(kind)}" for name, kind in self.types.items()),
            ]
        if self.columns:
            lines += ["", "[source.columns]", *(f"{name} = {value}" for name, value in self.columns.items())]
        return "\n".join(lines)


def draft_mapping(path: str | Path, *, currency: str | None = None, zone: str | None = None) -> tuple[str, list[str]]:
    """Draft a mapping of a file or of all data files in a folder: the TOML text, and every assumption in it as a sentence.

    Currency and zone cannot be seen in the data. Given here they are written; else they stand there to be filled in, and
    the draft loads as soon as they are.

    Raises
    ------
    InputError
        There is no such file, none with a known ending, or one that cannot be read.
    """
    path = Path(path).expanduser()
    drafts = [_draft(con, file, part) for file, part, con in _opened(path)]
    head = ["# Drafted from the data. Read every line: what is assumed is said.", "tradewind = 1", f"name = {_text(path.stem)}"]
    assumptions = [text for draft in drafts for text in draft.assumptions]
    if any(draft.money for draft in drafts):
        head.append(f"currency = {_text(currency or OPEN)}" + ("" if currency else "  # ISO 4217, for example EUR"))
        assumptions.append(
            f"the currency is {currency}, as told" if currency else "the currency is not in the data: write it in before the first load"
        )
    if any(draft.local_times for draft in drafts):
        head.append(f"zone = {_text(zone or OPEN)}" + ("" if zone else "  # IANA, for example Europe/London"))
        assumptions.append(f"times are of a clock in {zone}, as told" if zone else "times carry no zone: write in whose clock they are")
    said = [f"# {text}" for text in assumptions]
    return "\n".join([*head, "", *said, "", *(draft.toml() + "\n" for draft in drafts)]), assumptions


def implied(path: Path) -> MappingFile:
    """The mapping of files that need none: payloads, and files with our own column names and money in minor units.

    Raises
    ------
    InputError
        A file is neither; the message says how to draft a mapping.
    """
    from tradewind.collect.mapping import parse_mapping

    blocks = ["tradewind = 1"]
    for file, part, con in _opened(path):
        names = [row[0] for row in con.execute(f"DESCRIBE ({part.sql})").fetchall() if row[0] != "_pos"]
        table = part.into or next((one for one in TABLES if _ours(one, names)), None)
        if table is None:
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise InputError(
                f'"{file.name}" needs a mapping: its columns ({shown}) are not Tradewind\'s. '
                f"Draft one with: tradewind map {path} > mapping.toml"
            )
        blocks.append(f'[[source]]\nname = {_text(file.name)}\nfiles = {_text(file.name)}\ninto = "{table}"\nmoney = "minor"')
    return parse_mapping("\n".join(blocks))


def _ours(table: str, names: list[str]) -> bool:
    given = {"id", "source"} if table == "events" else set()
    needed = {one.name for one in TABLES[table] if not one.nullable} - given
    return set(names) <= set(TABLES[table].names) and needed <= set(names)


def _opened(path: Path) -> Iterator[tuple[Path, Part, duckdb.DuckDBPyConnection]]:
    """Each readable file below ``path``, opened by its format."""
    from tradewind.collect.mapping import SourceMap

    if not path.exists():
        raise InputError(f'There is no file or folder "{path}".')
    files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file() and _format(one))
    kinds = [_format(file) for file in files]
    if not files or None in kinds:
        raise InputError(f'"{path}" holds no file that can be read; known endings: {", ".join(sorted(SUFFIXES))}, also with .gz.')
    for file, kind in zip(files, kinds, strict=True):
        with _scratch() as (con, scratch):
            assert kind is not None
            part, *_ = load("collect.sources", kind).open(con, [file], source=SourceMap(name=file.stem, into="events"), scratch=scratch)
            yield file, part, con


@contextmanager
def _scratch() -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    from tradewind.engine.parquet import connect

    with tempfile.TemporaryDirectory(prefix="tradewind-") as folder, connect(Path(folder)) as con:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        yield con, scratch


def _format(path: Path) -> str | None:
    return SUFFIXES.get(path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix)


def _draft(con: duckdb.DuckDBPyConnection, file: Path, part: Part) -> Draft:
    draft = Draft(file.name)
    for note in part.notes:
        draft.assume(note)
    if part.into:  # payloads say themselves what they hold
        draft.table, draft.money = part.into, "major"
        draft.assume("names, ids and amounts of the payloads are taken as the Segment or GA4 specification says")
        return draft
    columns = look(con, part.sql)
    chosen = guess(columns)
    draft.table = table_of(chosen)
    draft.assume(f"it fills the table {draft.table}, judging by its columns")
    if draft.table == "events":
        _event(con, draft, chosen)
    for name, column in chosen.items():
        if name in TABLES[draft.table].names and name not in draft.columns and name != "id":
            draft.columns[name] = _plain(column)
            how = f", read as {column.format}" if column.format else ""
            draft.assume(
                f"{column.name} is the {name} ({column.filled:,} of {column.rows:,} filled, for example {column.example[:40]}{how})"
            )
    draft.types = {
        one.name: one.sql_type for one in columns if one.text and one.sql_type == "DOUBLE" and one.name in " ".join(draft.columns.values())
    }
    _amounts(draft, chosen)
    draft.local_times = any(one.time and not one.zoned and not one.unit for name, one in chosen.items() if name in draft.columns)
    rest = [one.name for one in columns if one not in chosen.values()]
    if rest:
        draft.assume(f"not used: {', '.join(rest)}")
    return draft


def _event(con: duckdb.DuckDBPyConnection, draft: Draft, chosen: dict[str, Column]) -> None:
    """What only events have: identity, time, kind, and a value from price and quantity."""
    if "id" in chosen:
        draft.id = chosen["id"].name
        draft.assume(f"{draft.id} names each row: all its values differ")
    else:
        draft.assume("no column names each row, so rows that are equal in all columns are one event")
    if "at" not in chosen:
        draft.columns["at"] = f"{_text(OPEN)}  # which column holds the time of the event?"
        draft.assume("no column looks like the time of the event: write it in")
    quantity, price = chosen.get("quantity"), chosen.get("price")
    if "kind" in chosen:
        known, unknown = kinds_of(con, chosen["kind"])
        pairs = ", ".join(f"{_text(theirs)} = {_text(ours)}" for theirs, ours in known.items())
        draft.columns["kind"] = f"{{ column = {_text(chosen['kind'].name)}, map = {{ {pairs} }} }}"
        draft.assume(f"{chosen['kind'].name} says what happened: {pairs or 'nothing that is known'}")
        if unknown:
            draft.assume(f"rows with these names will be quarantined until the map has them: {', '.join(unknown)}")
    elif quantity is not None and quantity.negative:
        draft.columns["kind"] = "{ sql = " + _text(f"CASE WHEN {_number(quantity)} < 0 THEN 'refund' ELSE 'purchase' END") + " }"
        draft.columns["quantity"] = "{ sql = " + _text(f"abs({_number(quantity)})") + " }"
        draft.assume(f"every row is a purchase, and a refund where {quantity.name} is negative")
    else:
        draft.columns["kind"] = '{ constant = "purchase" }'
        draft.assume("every row is a purchase")
    if "value" not in chosen and price is not None:
        product = f"abs({_number(quantity)}) * {_number(price)}" if quantity is not None else _number(price)
        draft.columns["value"] = "{ sql = " + _text(product) + " }"
        draft.assume(f"the value of a row is {product}")


def _amounts(draft: Draft, chosen: dict[str, Column]) -> None:
    amounts = [chosen[name] for name in ("value", "price", "cost", "discount") if name in chosen]
    if amounts:
        whole = all(one.sql_type == "BIGINT" for one in amounts)
        draft.money = "minor" if whole else "major"
        unit = "minor units (cents), for they have no fractions" if whole else "major units, for they have fractions"
        draft.assume(f"{', '.join(one.name for one in amounts)} count {unit}")


def _plain(column: Column) -> str:
    if column.unit:
        return f"{{ column = {_text(column.name)}, unit = {_text(column.unit)} }}"
    if column.format:
        return f"{{ column = {_text(column.name)}, format = {_text(column.format)} }}"
    return _text(column.name)


def _number(column: Column) -> str:
    """The column as a number in SQL."""
    name = column.name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column.name) else '"' + column.name.replace('"', '""') + '"'
    return f"try_cast({name} AS DOUBLE)" if column.text else name


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
