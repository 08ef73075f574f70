"""JSON lines: Segment payloads, GA4 payloads, or plain records; told apart file by file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect.sources import _ga4, _segment
from tradewind.collect.sources._text import Text, inspect, lines, unpack
from tradewind.collect.sources.base import KEPT, MOST_BAD, BadLine, Part, json_path, listed, literal, note_bad, place, position, quoted
from tradewind.errors import InputError

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap

SEGMENT_TYPES = ("track", "identify", "page", "screen", "group", "alias")
BATCH = 32 * 1024 * 1024  # characters
OBJECT = "(CASE WHEN json_valid(j) THEN json_type(j) = 'OBJECT' ELSE false END)"
MOST_KEYS = 2_000
LOOK_AT = 200  # lines that decide what a file holds


class Jsonl:
    """One JSON object per line. Payloads are flattened to the columns of ``schema.EVENTS``; plain records keep their own."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")

    def open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, source: SourceMap, scratch: Path) -> list[Part]:
        """Read each file's lines; raises InputError when the files mix shapes or a file holds one large JSON value."""
        bad: list[BadLine] = []
        notes: list[str] = []
        texts: list[Text] = []
        shapes: dict[str, list[Path]] = {}
        for file in files:
            for path, name in unpack(file, scratch, suffixes=(".jsonl", ".ndjson", ".json")):
                text = inspect(path, name, encoding=source.encoding, scratch=scratch)
                target = scratch / f"{len(texts)}.parquet"
                heads = _read(text, number=len(texts), target=target, bad=bad)
                shapes.setdefault(_shape(heads, name), []).append(target)
                texts.append(text)
                if text.guessed and text.encoding not in ("utf-8", "utf-8-sig"):
                    notes.append(f'{name} was read as {text.encoding} (a guess from its bytes; declare encoding = "{text.encoding}")')
        names = tuple(text.name for text in texts)
        _no_objects(con, [path for paths in shapes.values() for path in paths], names, bad)
        parts: list[Part] = []
        for shape, paths in sorted(shapes.items()):
            notes.append(f"{len(paths)} file(s) read as {shape}")
            objects = (
                f"SELECT j, _pos FROM read_parquet([{', '.join(map(literal, paths))}]) WHERE json_valid(j) AND json_type(j) = 'OBJECT'"
            )
            if shape == "Segment":
                parts += _segment.parts(con, objects, names, source=source)
            elif shape == "GA4":
                parts += _ga4.parts(con, objects, names, source=source)
            else:
                parts.append(Part(sql=_records(con, objects), files=names))
        first, *rest = parts
        return [Part(first.sql, names, tuple(bad), tuple(notes), first.into, first.money, first.left_out), *rest]


def _read(text: Text, *, number: int, target: Path, bad: list[BadLine]) -> list[str]:
    """Write the readable lines to Parquet as ``j`` and ``_pos``; returns the first ones."""
    schema = pa.schema([("j", pa.string()), ("_pos", pa.int64())])
    heads: list[str] = []
    rows: list[str] = []
    places: list[int] = []
    held = 0
    with pq.ParquetWriter(target, schema, compression="lz4") as writer:
        for line, value, fault in lines(text):
            if fault:
                note_bad(bad, BadLine(text.name, line, "", value, fault))
            elif value := value.strip():
                rows.append(value)
                places.append(position(number, line))
            if len(heads) < LOOK_AT and value and not fault:
                heads.append(value)
                held += len(value)
            if held > BATCH:
                writer.write_table(pa.table([rows, places], schema=schema))
                rows, places, held = [], [], 0
        writer.write_table(pa.table([pa.array(rows, pa.string()), pa.array(places, pa.int64())], schema=schema))
    return heads


def _shape(heads: list[str], name: str) -> str:
    found: Counter[str] = Counter()
    for head in heads:
        try:
            value = json.loads(head)
        except (json.JSONDecodeError, RecursionError):
            continue
        found["a JSON list" if isinstance(value, list) else _shape_of(value) if isinstance(value, dict) else "a JSON value"] += 1
    if found and set(found) <= {"a JSON list", "a JSON value"}:
        raise InputError(f'"{name}" holds {next(iter(found))}. One JSON object per line is needed; convert it with: jq -c ".[]" {name}')
    found.pop("a JSON list", None)
    found.pop("a JSON value", None)
    if not found:
        if heads:
            raise InputError(f'"{name}": none of the first {len(heads)} lines is a JSON object. One JSON object per line is needed.')
        return "plain records"
    return found.most_common(1)[0][0]


def _shape_of(value: dict[str, Any]) -> str:
    if value.get("type") in SEGMENT_TYPES and ("userId" in value or "anonymousId" in value or "messageId" in value):
        return "Segment"
    if "event_name" in value and ("event_timestamp" in value or "event_params" in value or "items" in value):
        return "GA4"
    if isinstance(value.get("events"), list) and ("client_id" in value or "app_instance_id" in value):
        return "GA4"
    return "plain records"


def _no_objects(con: duckdb.DuckDBPyConnection, paths: Sequence[Path], names: Sequence[str], bad: list[BadLine]) -> None:
    """Add the lines that are text but no JSON object."""
    rows = con.execute(
        f"SELECT _pos, left(j, {KEPT}), json_valid(j) FROM read_parquet({listed(paths)}) "
        f"WHERE NOT {OBJECT} ORDER BY _pos LIMIT {MOST_BAD + 1}"
    ).fetchall()
    for pos, head, valid in rows:
        number, line = place(pos)
        note_bad(bad, BadLine(names[number], line, "", head, "the line holds JSON, but no object" if valid else "the line is no JSON"))


def _records(con: duckdb.DuckDBPyConnection, objects: str) -> str:
    """One text column per key, whatever its case; values that are lists or objects stay JSON text."""
    keys = [key for (key,) in con.execute(f"SELECT DISTINCT unnest(json_keys(j)) AS key FROM ({objects}) ORDER BY key").fetchall()]
    columns: dict[str, list[str]] = {}
    for key in keys:
        columns.setdefault(key.lower(), []).append(key)
    if len(columns) > MOST_KEYS:
        raise InputError(f"The records have {len(columns):,} different keys; at most {MOST_KEYS:,} become columns. Are the keys ids?")
    values = "".join(
        f"coalesce({', '.join(f'json_extract_string(j, {literal(json_path(key))})' for key in same)}) AS {quoted(same[0])}, "
        for name, same in columns.items()
        if not name.startswith("_pos")
    )
    return f"SELECT {values}_pos FROM ({objects})"


PLUGIN = Jsonl()
