"""How rows become Parquet files of a shop: checked columns, days as folders, and what the manifest says of a file."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.engine.files import fsync_file, sha256_file
from tradewind.errors import SchemaError, did_you_mean

if TYPE_CHECKING:
    import duckdb

_SQL = {"string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE"}
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_ACCEPTS = {
    "VARCHAR": ("VARCHAR", "ENUM", "UUID", "JSON", *_WHOLE),
    "DOUBLE": ("DOUBLE", "FLOAT", "DECIMAL", *_WHOLE),
    "BIGINT": _WHOLE,
    "BOOLEAN": ("BOOLEAN",),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP WITH TIME ZONE",),
}


def connect(root: Path, *, threads: int | None = None, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC that spills into the shop's folder and not into the current one.

    ``threads`` defaults to the number of cores, ``memory_limit`` (for example ``"2GB"``) to DuckDB's 80 % of memory.
    Insertion order is not kept: no result of ours depends on it, and keeping it costs memory.
    """
    import duckdb

    spill_folder(root).mkdir(parents=True, exist_ok=True)  # DuckDB makes one level only
    con = duckdb.connect(config=options(root, threads=threads, memory_limit=memory_limit))
    con.execute("SET TimeZone = 'UTC'")
    return con


def options(root: Path, *, threads: int | None, memory_limit: str | None) -> dict[str, Any]:
    """DuckDB's configuration for work on a shop."""
    values: dict[str, Any] = {
        "threads": threads or os.cpu_count() or 1,
        "temp_directory": str(spill_folder(root) / f"{socket.gethostname()}-{os.getpid()}"),
        "preserve_insertion_order": False,
    }
    return values | ({"memory_limit": memory_limit} if memory_limit else {})


def spill_folder(root: Path) -> Path:
    """Where DuckDB puts what exceeds its memory: one folder per process, so that a dead one's can be removed."""
    return root / "data" / ".spill"


def remove_dead_spills(root: Path) -> None:
    """Remove what processes of this machine spilled and could not remove because they were killed."""
    for folder in spill_folder(root).glob(f"{socket.gethostname()}-*"):
        try:
            os.kill(int(folder.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be removing it too
        except PermissionError:
            continue  # it lives, and is somebody else's


def quoted(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | Path) -> str:
    """A DuckDB string."""
    return "'" + str(value).replace("'", "''") + "'"


def scan(files: Sequence[Path], columns: str = "*") -> str:
    """SQL that reads files; there must be at least one."""
    listed = ", ".join(literal(path) for path in files)
    return f"SELECT {columns} FROM read_parquet([{listed}], hive_partitioning = false)"


def conformed(con: duckdb.DuckDBPyConnection, relation_sql: str, schema: pa.Schema) -> str:
    """SQL that yields ``relation_sql`` as exactly the columns of ``schema``; missing nullable columns become nulls.

    Raises
    ------
    SchemaError
        An unknown or a missing column, or a type that cannot become the schema's without loss (a time without zone).
    """
    name = (schema.metadata or {}).get(b"tradewind.table", b"table").decode()
    have = {row[0]: str(row[1]) for row in con.execute(f"DESCRIBE ({relation_sql})").fetchall()}
    for column in have:
        if column not in schema.names:
            raise SchemaError(
                f'Table "{name}" has no column "{column}".{did_you_mean(column, schema.names)} Allowed: {", ".join(schema.names)}.'
            )
    parts = []
    for field in schema:
        kind = _SQL[str(field.type)]
        if field.name not in have:
            if not field.nullable:
                raise SchemaError(f'Table "{name}" needs the column "{field.name}". Got: {", ".join(have)}.')
            parts.append(f"CAST(NULL AS {kind}) AS {quoted(field.name)}")
            continue
        got = have[field.name]
        if got.partition("(")[0] not in _ACCEPTS[kind] and got != '"NULL"':
            raise SchemaError(
                f'Column "{field.name}" of table "{name}" is {got}, which cannot become {kind} without a guess. Cast it first.'
            )
        parts.append(f"CAST({quoted(field.name)} AS {kind}) AS {quoted(field.name)}")
    return f"SELECT {', '.join(parts)} FROM ({relation_sql})"


def write(con: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Write the rows of ``sql`` to one file."""
    con.execute(f"COPY ({sql}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")


def write_days(con: duckdb.DuckDBPyConnection, sql: str, folder: Path) -> None:
    """Write events to ``folder/day=YYYY-MM-DD/*.parquet``, days in UTC, one file a day."""
    # Snappy: for 2 million events zstd took 21 % more CPU for 40 % less disk, and writing is what bounds a load.
    day = 'CAST(make_timestamp(epoch_us("at")) AS DATE) AS day'
    # Flushed early, ten million events over 90 days took 7.3 s and 0.55 GB; at DuckDB's default 10.6 s and 2.6 GB.
    con.execute("SET partitioned_write_flush_threshold = 16384")
    # Ids differ in nearly every row: giving up on a dictionary of them early saves time for slightly larger files.
    options = "FORMAT parquet, PARTITION_BY (day), COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 4096"
    con.execute(f"COPY (SELECT *, {day} FROM ({sql})) TO {literal(folder)} ({options})")


def describe(path: Path, schema: pa.Schema | None) -> Mapping[str, int | str]:
    """``rows``, ``bytes`` and ``sha256`` of a file, forced to the disk before it is described.

    Raises SchemaError when a column that ``schema`` requires has empty values.
    """
    footer = pq.read_metadata(path)
    required = [field.name for field in schema or () if not field.nullable]
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            if column.path_in_schema in required and column.statistics is not None and column.statistics.null_count:
                raise SchemaError(f'Column "{column.path_in_schema}" has {column.statistics.null_count} empty values; it needs all.')
    fsync_file(path)
    return {"rows": footer.num_rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
