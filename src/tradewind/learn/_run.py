"""Running expressions step by step: keep an intermediate result, or stream a large one. On both engines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

BATCH = 200_000

# Names are dropped by statements of our own: Ibis 12 with sqlglot 30 writes DROP statements without a name.


@contextmanager
def kept(tables: Tables, expression: Any) -> Iterator[Any]:
    """The result of ``expression`` computed once, as a table of the engine, until the block ends."""
    name = f"tw_{secrets.token_hex(8)}"
    if tables.backend == "duckdb":
        tables.con.create_table(name, expression, temp=True)
        try:
            yield tables.con.table(name)
        finally:
            tables.con.con.execute(f'DROP TABLE "{name}"')
        return
    view = f"{name}_plan"
    tables.con.create_view(view, expression)
    # A checkpoint, not a cache: it forgets how it was made, so that plans do not grow with every step.
    tables.session.table(view).localCheckpoint().createOrReplaceTempView(name)
    tables.session.catalog.dropTempView(view)
    try:
        yield tables.con.table(name)
    finally:
        tables.session.catalog.dropTempView(name)


def batches(tables: Tables, expression: Any) -> Iterator[pa.RecordBatch]:
    """The result of ``expression`` in record batches; on DuckDB without ever being held as a whole."""
    if tables.backend != "duckdb":
        yield from tables.to_arrow(expression).to_batches(BATCH)
        return
    view = f"tw_{secrets.token_hex(8)}"  # not Ibis' to_pyarrow_batches: it calls a method that DuckDB 2 no longer has
    tables.con.create_view(view, expression)
    try:
        relation = tables.con.con.sql(f'SELECT * FROM "{view}"')
        yield from relation.to_arrow_reader(BATCH) if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader(BATCH)
    finally:
        tables.con.con.execute(f'DROP VIEW "{view}"')
