"""The tables of a shop as Ibis expressions: written once, run on DuckDB or on Apache Spark with equal results.

Keep to the portable subset (each rule was learned from a wrong or a refused answer; ADR 0002):

- Never hand SQL text to both engines. Arrays that keep an order come from :func:`ordered_list`: transpiled SQL drops
  the order inside an array aggregation without an error.
- Break every tie: sort by a total order such as ``at, id``. ``row_number`` and ``ntile`` of Ibis count from 0.
- ``ibis.ifelse(condition, 1, 0)``, not ``condition.cast("int64")``. Put the column first: ``-(column) + literal``.
- Cast to float64 before dividing or averaging: one engine divides decimals, the other doubles.
- Windows over time use a numeric column of seconds and ``range_window``, not intervals.
- Times are UTC on both: the sessions are, and :meth:`Tables.to_arrow` returns ``timestamp[us, UTC]``.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tradewind import schema
from tradewind.engine.log import EventLog
from tradewind.errors import InputError, StateError, unknown
from tradewind.types import utc

if TYPE_CHECKING:
    import ibis


class Tables:
    """The committed tables of a shop on one engine: ``on_duckdb`` or ``on_spark`` builds it."""

    def __init__(self, log: EventLog, con: Any, session: Any = None) -> None:
        self.con = con  # the Ibis backend
        self.session = session  # the SparkSession, where there is one
        self.backend: str = con.name  # "duckdb" | "pyspark"
        self._log = log
        self._left_out: pa.Table | None = None
        self._kept: pa.Table | None = None

    @property
    def root(self) -> Path:
        """The shop's folder."""
        return self._log.root

    @classmethod
    def on_duckdb(cls, log: EventLog, *, threads: int | None = None, memory_limit: str | None = None) -> Tables:
        """Tables on an in-process DuckDB; see :func:`tradewind.engine.parquet.connect` for the parameters."""
        import ibis

        from tradewind.engine import parquet

        return cls(log, ibis.duckdb.from_connection(parquet.connect(log.root, threads=threads, memory_limit=memory_limit)))

    @classmethod
    def on_spark(cls, log: EventLog) -> Tables:
        """Tables on Apache Spark: the session that is active, or a local one. Raises InputError without PySpark."""
        from tradewind.engine.spark import backend

        con, session = backend()
        return cls(log, con, session)

    def get(self, name: str) -> ibis.Table:
        """The table ``name`` of ``schema.TABLES`` as committed now; right columns and no row when nothing was.

        Raises
        ------
        NotFound
            There is no such table.
        """
        if name not in schema.TABLES:
            raise unknown("table", name, schema.TABLES)
        table = self._read(name, self._log.files(name))
        return self._seen(table) if name == "events" else self._of_kept(table) if name == "customers" else table

    def without(self, customers: Collection[str]) -> Tables:
        """The same tables on the same engine, where the events of these customers are left out; those of nobody known stay."""
        if not customers:
            return self
        before = [] if self._left_out is None else self._left_out["customer"].to_pylist()
        return self._beside(_names({*customers, *before}), self._kept)

    def only(self, customers: Collection[str]) -> Tables:
        """The same tables on the same engine, with the events and the rows of these customers alone."""
        return self._beside(self._left_out, _names(customers))

    def events(self, *, as_of: datetime | None = None) -> ibis.Table:
        """The events, or those strictly before ``as_of``: an event at ``as_of`` is the future."""
        if as_of is None:
            return self.get("events")
        import ibis

        table = self._seen(self._read("events", self._log.files("events", before=as_of)))
        return table.filter(table.at < ibis.literal(utc(as_of)).cast("timestamp('UTC')"))

    def to_arrow(self, expr: Any) -> pa.Table:
        """Run a table expression; every time in the answer is ``timestamp[us, UTC]``, every text ``string``."""
        if self.backend == "duckdb":
            table = self.con.to_pyarrow(expr)
        else:  # not through pandas, as Ibis does: it would turn whole numbers with gaps into floats
            view = f"tw_{secrets.token_hex(8)}"
            self.con.create_view(view, expr)
            try:
                table = self.session.table(view).toArrow()
            finally:
                self.session.catalog.dropTempView(view)
        return table.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema]))

    def memory(self, table: pa.Table) -> ibis.Table:
        """An Arrow table of this process as a table of the engine."""
        if self.backend == "duckdb":
            import ibis

            return ibis.memtable(table)
        view = f"tw_{secrets.token_hex(8)}"
        self.session.createDataFrame(table).createOrReplaceTempView(view)
        return self.con.table(view)

    def close(self) -> None:
        """Let the engine go. A Spark session stays: others may use it."""
        if self.backend == "duckdb":
            self.con.disconnect()

    def _beside(self, left_out: pa.Table | None, kept: pa.Table | None) -> Tables:
        other = Tables(self._log, self.con, self.session)
        other._left_out, other._kept = left_out, kept
        return other

    def _seen(self, events: ibis.Table) -> ibis.Table:
        return self._of_kept(events if self._left_out is None else events.anti_join(self.memory(self._left_out), "customer"))

    def _of_kept(self, table: ibis.Table) -> ibis.Table:
        return table if self._kept is None else table.semi_join(self.memory(self._kept), "customer")

    def _read(self, name: str, files: Sequence[Path]) -> ibis.Table:
        if not files:
            return self.memory(schema.TABLES[name].empty_table())
        gone = [path for path in files if not path.is_file()]
        if gone:
            raise StateError(
                f"{len(gone)} of {len(files)} files of {name} are gone, first {gone[0]}. Restore them from a backup; the ledger names them."
            )
        paths = [str(path) for path in files]
        view = f"{name}_{hashlib.sha256(repr(paths).encode()).hexdigest()[:16]}"
        if self.backend == "duckdb":
            return self.con.read_parquet(paths, table_name=view, hive_partitioning=False)
        from tradewind.engine.spark import struct

        self.session.read.schema(struct(schema.TABLES[name])).parquet(*paths).createOrReplaceTempView(view)
        return self.con.table(view)


def ordered_list(table: Any, *, by: str, order: Sequence[str], columns: Sequence[str], last: int) -> ibis.Table:
    """Per value of ``by``, arrays of ``columns`` of the ``last`` rows in ascending ``order``; nulls keep their place.

    ``order`` should be a total order (``at, id``): rows that tie come in any order. Needs at least one row back.

    Raises
    ------
    InputError
        ``last`` is not positive, or a name occurs twice or not at all.
    """
    import ibis

    names = [by, *order, *columns]
    for name in names:
        if name not in table.columns:
            raise unknown("column", name, table.columns)
    if by in columns or len(set(columns)) < len(columns) or not order or not columns:
        raise InputError(
            f"ordered_list needs an order and distinct columns other than {by!r}; got order={list(order)}, columns={list(columns)}."
        )
    if last < 1:
        raise InputError(f"last must be at least 1; got {last}.")
    newest = ibis.row_number().over(group_by=by, order_by=[ibis.desc(name) for name in order])
    rows = table.select(*dict.fromkeys(names), tw_rank=newest).filter(lambda t: t.tw_rank < last)
    # Structs compare field by field on both engines, so sorting them sorts by the order; an ordered aggregation
    # would be refused by one engine, and its SQL loses the order on the way to the other.
    pairs = {f"o{i}": rows[name] for i, name in enumerate(order)} | {f"c{i}": rows[name] for i, name in enumerate(columns)}
    lists = rows.group_by(by).agg(tw_rows=ibis.struct(pairs).collect().sort())
    picked = {name: lists.tw_rows.map(lambda row, field=f"c{i}": row[field]) for i, name in enumerate(columns)}
    return lists.select(by, **picked)


def _names(customers: Collection[str]) -> pa.Table:
    return pa.table({"customer": pa.array(sorted(customers), pa.string())})


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return schema.TIME
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
