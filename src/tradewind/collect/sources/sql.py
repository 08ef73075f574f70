"""Tables of a database that SQLAlchemy reaches, streamed in Arrow batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect.sources.base import SUB_BITS, Part, listed
from tradewind.errors import InputError, Locked

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import CursorResult

    from tradewind.collect.mapping import SourceMap

BATCH = 20_000
WAIT = 5.0  # seconds for a lock of SQLite


class Sql:
    """One table or view per source. What is read is written to Parquet first, so that it has an identity to load by."""

    suffixes: ClassVar[tuple[str, ...]] = ()

    def open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, source: SourceMap, scratch: Path) -> list[Part]:  # noqa: ARG002 - the contract
        """Scan what :func:`fetch` wrote."""
        sql = f"SELECT *, CAST(file_row_number + 1 AS BIGINT) << {SUB_BITS} AS _pos FROM read_parquet({listed(files)})"
        return [Part(sql=sql, files=(source.table or source.name,))]


def fetch(url: str, table: str, target: Path) -> str:
    """Stream a table into a Parquet file at bounded memory; returns the SHA-256 of its content.

    Raises
    ------
    InputError
        The database or the table does not exist, or the driver is not installed.
    Locked
        Another process holds the database.
    """
    import sqlalchemy as sa

    _sqlite_exists(url)
    try:
        engine = sa.create_engine(url, connect_args={"timeout": WAIT} if url.startswith("sqlite") else {})
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise InputError(
            f'"{_masked(url)}" is no database URL that can be opened: {error}. Write for example sqlite:////data/shop.db.'
        ) from error
    try:
        with engine.connect() as conn:
            known = [*sa.inspect(conn).get_table_names(), *sa.inspect(conn).get_view_names()]
            if table not in known:
                listing = ", ".join(sorted(known)) or "none"
                raise InputError(f'There is no table "{table}" in {_masked(url)}. There are: {listing}.')
            quoted = engine.dialect.identifier_preparer.quote(table)
            result = conn.execution_options(stream_results=True, yield_per=BATCH).execute(sa.text(f"SELECT * FROM {quoted}"))
            return _write(result, target)
    except sa.exc.OperationalError as error:
        reason = str(error.orig)
        if "locked" in reason or "could not obtain lock" in reason:
            raise Locked(f"{_masked(url)} is locked by another process. Nothing was loaded: try again when it has ended.") from error
        raise InputError(f"{_masked(url)} cannot be read: {reason}. Check the address and the rights.") from error
    except sa.exc.DatabaseError as error:
        raise InputError(f"{_masked(url)} cannot be read: {error.orig}. Is it a database of that kind?") from error
    finally:
        engine.dispose()


def _sqlite_exists(url: str) -> None:
    """SQLite would make a missing file; reading never does."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///").partition("?")[0])
        if not path.is_file():
            raise InputError(f'There is no database "{path}".')


def _masked(url: str) -> str:
    from sqlalchemy import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ValueError:
        return url.partition("@")[2] or url


def _write(result: CursorResult[Any], target: Path) -> str:
    names = list(result.keys())
    schema: pa.Schema | None = None
    digest = hashlib.sha256(repr(names).encode())
    writer: pq.ParquetWriter | None = None
    try:
        while rows := result.fetchmany(BATCH):
            columns = [_array(column) for column in zip(*rows, strict=True)]
            batch = pa.Table.from_arrays(columns, names=names)
            if schema is None or writer is None:
                schema = pa.schema(
                    [(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in zip(names, batch.schema.types, strict=True)]
                )
                writer = pq.ParquetWriter(target, schema, compression="lz4")
            batch = _fit(batch, schema)
            for row in rows:
                digest.update(repr(tuple(row)).encode())
            writer.write_table(batch)
        if writer is None:
            writer = pq.ParquetWriter(target, pa.schema([(name, pa.string()) for name in names]))
    finally:
        if writer is not None:
            writer.close()
    return digest.hexdigest()


def _array(values: tuple[Any, ...]) -> pa.Array:
    """One column: exact numbers as numbers, everything of mixed kinds as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str} or kinds <= {datetime} or kinds <= {date}:
        return pa.array(values)
    if kinds <= {int, float, Decimal}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _fit(batch: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a batch to the first one's types; a column that does not fit any more ends in a clear error."""
    try:
        return batch.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"A column changes its type between rows: {error}. Read it through a view that casts it to text.") from error


PLUGIN = Sql()
