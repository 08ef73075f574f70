"""CSV: any usual encoding, plain, gzip or zip. Every value stays text until the mapping says what it is."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect.sources._text import Text, as_utf8, inspect, lines, unpack
from tradewind.collect.sources.base import KEPT, MAX_LINE, SUB_BITS, BadLine, Part, listed, literal, note_bad, position
from tradewind.errors import InputError

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap

DELIMITERS = ",;\t|"
BATCH = 32 * 1024 * 1024  # characters
LONGEST_RECORD = 1000  # lines that one quoted field may span


class Csv:
    """Clean files are parsed by DuckDB; a file with a bad line is parsed again record by record to place the fault."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".zip")

    def open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, source: SourceMap, scratch: Path) -> list[Part]:
        """Parse each file into a Parquet file of text columns in ``scratch``; raises InputError for a file without header."""
        texts = [
            inspect(path, name, encoding=source.encoding, scratch=scratch)
            for file in files
            for path, name in unpack(file, scratch, suffixes=(".csv", ".tsv", ".txt"))
        ]
        bad: list[BadLine] = []
        notes: list[str] = []
        parsed: list[Path] = []
        for number, text in enumerate(texts):
            header, delimiter = _header(text, source.delimiter)
            target = scratch / f"{number}.parquet"
            if not (text.clean and _fast(con, text, header=header, delimiter=delimiter, number=number, target=target, scratch=scratch)):
                bad += _slow(text, header=header, delimiter=delimiter, number=number, target=target)
            parsed.append(target)
            if text.guessed and text.encoding not in ("utf-8", "utf-8-sig"):
                notes.append(f'{text.name} was read as {text.encoding} (a guess from its bytes; declare encoding = "{text.encoding}")')
        sql = f"SELECT * FROM read_parquet({listed(parsed)}, union_by_name = true, hive_partitioning = false)"
        return [Part(sql=sql, files=tuple(text.name for text in texts), bad=tuple(bad), notes=tuple(notes))]


def _header(text: Text, delimiter: str | None) -> tuple[list[str], str]:
    _, line, fault = next(lines(text))
    if fault:
        raise InputError(f'"{text.name}": the header line cannot be read: {fault}. Declare encoding = ... in the mapping.')
    chosen = delimiter or max(DELIMITERS, key=line.count)
    names = next(csv.reader([line], delimiter=chosen), [])
    names = [name.strip() for name in names]
    if not any(names):
        raise InputError(f'"{text.name}": the first line is blank. The first line must name the columns.')
    for number, name in enumerate(names, start=1):
        if not name or name.startswith("_pos"):
            raise InputError(f'"{text.name}": column {number} of the header has no usable name ("{name}").')
        if names.count(name) > 1:
            raise InputError(f'"{text.name}": two columns are named "{name}". Rename one.')
    return names, chosen


def _fast(
    con: duckdb.DuckDBPyConnection, text: Text, *, header: list[str], delimiter: str, number: int, target: Path, scratch: Path
) -> bool:
    """Let DuckDB parse a clean file; False when it has a fault or a record over several lines, so that lines are not rows."""
    import duckdb

    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
    plain = as_utf8(text, scratch)
    sql = (
        f"SELECT *, {position(number, 1)} + (row_number() OVER () << {SUB_BITS}) AS _pos "
        f"FROM read_csv({literal(plain)}, header = true, auto_detect = false, "
        f"columns = {{{columns}}}, delim = {literal(delimiter)}, quote = '\"', escape = '\"', nullstr = '', strict_mode = true, "
        f"max_line_size = {MAX_LINE})"
    )
    con.execute("SET preserve_insertion_order = true")
    try:
        con.execute(f"COPY ({sql}) TO {literal(target)} (FORMAT parquet, COMPRESSION lz4)")
    except duckdb.Error:
        return False
    finally:
        con.execute("SET preserve_insertion_order = false")
    return bool(pq.read_metadata(target).num_rows + 1 == text.lines)


def _slow(text: Text, *, header: list[str], delimiter: str, number: int, target: Path) -> list[BadLine]:
    """Parse record by record; what has the wrong number of fields or unreadable bytes comes back as bad lines."""
    csv.field_size_limit(MAX_LINE)
    bad: list[BadLine] = []
    schema = pa.schema([*((name, pa.string()) for name in header), ("_pos", pa.int64())])
    rows: list[list[str | int | None]] = []
    held = 0
    with pq.ParquetWriter(target, schema, compression="lz4") as writer:
        for line, record in _records(text, header, delimiter, bad):
            fault = _fault(text, header, line, record)
            if fault:
                note_bad(bad, fault)
                continue
            rows.append([*(value or None for value in record), position(number, line)])
            held += sum(map(len, record)) + len(record)
            if held > BATCH:
                _flush(writer, rows, schema)
                held = 0
        _flush(writer, rows, schema)
    return bad


def _flush(writer: pq.ParquetWriter, rows: list[list[str | int | None]], schema: pa.Schema) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    writer.write_table(
        pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
    )
    rows.clear()


def _records(text: Text, header: list[str], delimiter: str, bad: list[BadLine]) -> Iterator[tuple[int, list[str]]]:
    """Records after the header, each with the line on which it starts. An unreadable line is passed over."""
    waiting: deque[tuple[int, str]] = deque()
    source = _readable(text, bad)
    next(source)  # the header
    while True:
        if not waiting and not _pull(source, waiting):
            return
        number, line = waiting.popleft()
        if line.count('"') % 2:  # perhaps a quoted field over several lines, perhaps a stray quote
            record = _several(line, source, waiting, fields=len(header), delimiter=delimiter)
        else:
            record = next(csv.reader([line], delimiter=delimiter), [])
        if record:
            yield number, record


def _several(line: str, source: Iterator[tuple[int, str]], waiting: deque[tuple[int, str]], *, fields: int, delimiter: str) -> list[str]:
    """The record that starts on ``line``; lines that do not belong to it stay in ``waiting``, so a stray quote costs one line."""

    def following() -> Iterator[str]:
        yield line
        for number in range(LONGEST_RECORD):
            if number == len(waiting) and not _pull(source, waiting):
                return
            yield waiting[number][1]

    reader = csv.reader(following(), delimiter=delimiter, strict=True)  # strict: a quote that is never closed is an error
    try:
        record = next(reader, [])
    except csv.Error:
        record = []
    if len(record) != fields:
        return next(csv.reader([line], delimiter=delimiter), [])
    for _ in range(reader.line_num - 1):
        waiting.popleft()
    return record


def _pull(source: Iterator[tuple[int, str]], waiting: deque[tuple[int, str]]) -> bool:
    one = next(source, None)
    if one is not None:
        waiting.append(one)
    return one is not None


def _readable(text: Text, bad: list[BadLine]) -> Iterator[tuple[int, str]]:
    for number, line, fault in lines(text):
        if fault and number > 1:
            note_bad(bad, BadLine(text.name, number, "", line, fault))
        else:
            yield number, line


def _fault(text: Text, header: list[str], line: int, record: list[str]) -> BadLine | None:
    if len(record) != len(header):
        shown = repr(record)[:KEPT]
        return BadLine(text.name, line, "", shown, f"{len(record)} fields, the header names {len(header)}")
    return None


PLUGIN = Csv()
