"""Rows that could not be stored: kept with file, line, field, value and reason, listed, mended, replayed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect.judge import shown_value
from tradewind.collect.sources.base import KEPT, LINE_BITS, SUB_BITS, BadLine, line_sql, literal, quoted
from tradewind.errors import InputError, NotFound
from tradewind.schema import TEXT, TIME
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.collect.relation import Relation
    from tradewind.collect.report import CollectReport
    from tradewind.collect.rules.base import Flaw
    from tradewind.engine.home import Home

QUARANTINE = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),  # of this quarantined row
        pa.field("load_id", TEXT, nullable=False),
        pa.field("source", TEXT, nullable=False),  # name of the [[source]]
        pa.field("table", TEXT, nullable=False),
        pa.field("file", TEXT, nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("rule", TEXT, nullable=False),
        pa.field("field", TEXT, nullable=False),
        pa.field("value", TEXT),
        pa.field("reason", TEXT, nullable=False),
        pa.field("row", TEXT),  # JSON object of the source's own columns; NULL for a line that is no row
        pa.field("types", TEXT),  # JSON object: how to read ``row`` again
        pa.field("at", TIME, nullable=False),
    ]
)
PERSONAL = ("contacts",)  # tables whose values stay out of plain files, here too


def write_held(relation: Relation, flaws: Sequence[Flaw], path: Path, *, load_id: str, now: datetime) -> None:
    """Write the rows that the last :func:`tradewind.collect.pipeline.run` held to Parquet: one per row, its first fault first."""
    source = relation.source.name
    masked = relation.table in PERSONAL
    original = {name: quoted("_was " + name) if name in source_typed(relation) else quoted(name) for name in relation.kinds}
    packed = ", ".join(f"{quoted(name)} := {sql}" for name, sql in original.items())
    row = "NULL::VARCHAR" if masked else f"CAST(to_json(struct_pack({packed})) AS VARCHAR)"
    how = json.dumps({"columns": original_types(relation), "into": relation.part.into, "money": relation.part.money}, ensure_ascii=False)
    value = "'***'" if masked else _values(relation, flaws)
    files = "[" + ", ".join(map(literal, relation.part.files)) + f"][(_pos >> {LINE_BITS + SUB_BITS}) + 1]"
    first = (
        "SELECT _pos, arg_min(field, shown) AS field, arg_min(rule, shown) AS rule, min(shown) AS shown, "
        "string_agg(field || ' ' || reason, '; ' ORDER BY shown) AS reasons FROM held GROUP BY _pos"
    )
    held = (
        f"SELECT _pos, {files} AS file, CAST({line_sql('_pos')} AS BIGINT) AS line, rule, field, "
        f"left({value}, {KEPT}) AS value, reasons AS reason, {row} AS row "
        f"FROM {relation.rows_among('SELECT _pos FROM held')}{''.join(relation.joins)} JOIN ({first}) AS first USING (_pos)"
    )
    known = f'{literal(load_id)} AS load_id, {literal(source)} AS source, {literal(relation.table)} AS "table"'
    named = f"concat_ws(chr(31), {literal(load_id)}, {literal(source)}, {literal(relation.table)}, file, _pos, row)"
    sql = (
        f'SELECT md5({named}) AS id, {known}, file, line, rule, field, value, reason, row, {literal(how)} AS "types", '
        f"timezone('UTC', make_timestamp({micros(now)})) AS \"at\" FROM ({held}) ORDER BY _pos"
    )
    relation.con.execute(f"COPY ({sql}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")


def _values(relation: Relation, flaws: Sequence[Flaw]) -> str:
    """SQL of what stands in the faulty field: by the broken condition, else (rows found by comparing) by the field."""
    by_flaw = [
        f"WHEN shown = {number} THEN {shown_value(relation, flaw.field, flaw.shown)}"
        for number, flaw in enumerate(flaws)
        if flaw.action == "quarantine"
    ]
    compared = relation.con.execute("SELECT DISTINCT field FROM held WHERE shown < 0 ORDER BY field").fetchall()
    by_field = [f"WHEN field = {literal(name)} THEN {shown_value(relation, name, None)}" for (name,) in compared]
    return f"CASE {' '.join([*by_flaw, *by_field])} END"


def source_typed(relation: Relation) -> set[str]:
    """Source columns whose declared type replaced the original value."""
    return {name for name in relation.kinds for wanted in relation.source.types if name.lower() == wanted.lower()}


def original_types(relation: Relation) -> dict[str, str]:
    """The SQL types of the source's columns before the mapping's types."""
    return {name: "VARCHAR" if name in source_typed(relation) else kind for name, kind in relation.kinds.items()}


def write_bad_lines(bad: Sequence[BadLine], path: Path, *, load_id: str, source: str, table: str, now: datetime) -> None:
    """Write lines that never became rows to Parquet."""
    rows = []
    for one in bad:
        named = chr(31).join([load_id, source, table, one.file, str(one.line), one.value]).encode("utf-8", "replace")
        known = {
            "id": hashlib.md5(named, usedforsecurity=False).hexdigest(),
            "load_id": load_id,
            "source": source,
            "table": table,
            "at": now,
        }
        rows.append({**known, **{name: getattr(one, name) for name in ("file", "line", "rule", "field", "value", "reason")}})
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE), path, compression="zstd")


def quarantine_rows(home: Home, *, all_rows: bool = False) -> pa.Table:
    """The rows that wait for mending, as a table of ``QUARANTINE`` ordered by file and line; with ``all_rows`` the replayed ones too."""
    files = home.log.files("quarantine")
    if not files:
        return QUARANTINE.empty_table()
    table = pa.concat_tables([pq.read_table(path).cast(QUARANTINE) for path in files])
    done: set[str] = set()
    for path in home.log.files("quarantine_done"):
        done |= set(pq.read_table(path)["id"].to_pylist())
    seen: set[str] = set()
    keep = []
    for one in table["id"].to_pylist():
        keep.append(one not in seen and (all_rows or one not in done))
        seen.add(one)
    return table.filter(pa.array(keep, pa.bool_())).sort_by([("file", "ascending"), ("line", "ascending"), ("id", "ascending")])


def replay(home: Home, rows: pa.Table | str | Path, *, now: datetime) -> CollectReport:
    """Collect quarantined rows again after mending: ``row`` holds the mended JSON, ``id`` says which row it was.

    ``rows`` is a table, or a JSON-lines or Parquet file, with at least ``id`` and ``row``. What is still wrong goes back
    to quarantine. Replaying the same rows twice changes nothing.

    Raises
    ------
    InputError
        The file has other columns, a row is no JSON object, or an id is not in quarantine.
    """
    from tradewind.collect.ingest import collect_rows

    given = _mended(rows)
    known = {row["id"]: row for row in quarantine_rows(home, all_rows=True).to_pylist()}
    for one in given:
        if one["id"] not in known:
            raise NotFound(f'There is no quarantined row "{one["id"]}". quarantine_rows lists those that exist.')
    return collect_rows(home, [(known[one["id"]], _object(one)) for one in given], now=now)


def _mended(rows: pa.Table | str | Path) -> list[dict[str, Any]]:
    if not isinstance(rows, pa.Table):
        path = Path(rows)
        try:
            rows = pq.read_table(path) if path.suffix == ".parquet" else pa.Table.from_pylist(_json_lines(path))
        except (FileNotFoundError, IsADirectoryError, pa.ArrowInvalid) as error:
            raise InputError(
                f'"{path}" cannot be read as mended rows: {error}. Give JSON lines or Parquet with the columns id and row.'
            ) from error
    for column in ("id", "row"):
        if column not in rows.column_names:
            raise InputError(f"Mended rows need the columns id and row; got {', '.join(rows.column_names) or 'none'}.")
    found: list[dict[str, Any]] = rows.select(["id", "row"]).to_pylist()
    return found


def _json_lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path.name} line {number} is no JSON: {error}.") from error
            if not isinstance(value, dict):
                raise InputError(f"{path.name} line {number} is no JSON object.")
            row = value.get("row")
            found.append(
                {"id": value.get("id"), "row": row if isinstance(row, str) or row is None else json.dumps(row, ensure_ascii=False)}
            )
    return found


def _object(one: dict[str, Any]) -> dict[str, Any]:
    try:
        value = json.loads(one["row"] or "")
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f'Mended row "{one["id"]}" is no JSON object: {str(one["row"])[:80]}. Write the source\'s columns and their values.'
        )
    return value
