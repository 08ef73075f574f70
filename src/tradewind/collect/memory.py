"""Collect a table that is already in memory: a simulation's events, a report's outcomes, rows of a user's own program."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pyarrow as pa

from tradewind import schema
from tradewind.collect.report import CollectReport, Count
from tradewind.engine.home import Home
from tradewind.errors import InputError


def table_name(table: pa.Table) -> str:
    """Which table of the schema this is: by its metadata, else by columns that only fit one.

    Raises
    ------
    InputError
        No table of the schema, or several, have these columns.
    """
    told: str = (table.schema.metadata or {}).get(b"tradewind.table", b"").decode()
    if told in schema.TABLES:
        return told
    columns = set(table.column_names)
    fits = [
        name
        for name, fields in schema.TABLES.items()
        if columns <= set(fields.names) and {field.name for field in fields if not field.nullable} <= columns
    ]
    if len(fits) != 1:
        known = ", ".join(schema.TABLES)
        raise InputError(
            f"Cannot tell which table has the columns {', '.join(table.column_names)} ({'none' if not fits else ' or '.join(fits)} fits). "
            f"Build it with a schema of tradewind.schema. Tables: {known}."
        )
    return fits[0]


def collect_table(home: Home, table: pa.Table, *, now: datetime) -> CollectReport:
    """Store the rows of an Arrow table of the schema; the same table twice changes nothing.

    Events are stored once by id. Rows of other tables replace those with the same key. Contacts go to the vault and
    consents to the consent ledger.

    Raises
    ------
    SchemaError
        Columns or types do not fit.
    """
    import duckdb

    name = table_name(table)
    rows = schema.conform(table, schema.TABLES[name]).combine_chunks()
    load_id = _fingerprint(name, rows)
    source = f"memory:{name}"
    if name == "contacts":
        from tradewind.collect.vault import Vault

        Vault(home).put(rows)
        return CollectReport(load_id, source, False, (), (Count(source, name, rows.num_rows, rows.num_rows, 0, 0, 0),))
    if name == "consents":
        from tradewind.collect.consent import Consents

        done = Consents(home).record(rows)
        return CollectReport(load_id, source, False, (), (Count(source, name, rows.num_rows, done.new, done.known, 0, 0),))
    staging = home.log.begin(load_id, source=source, now=now)
    if staging is None:
        return CollectReport(load_id, source, True, (), (Count(source, name, rows.num_rows, 0, rows.num_rows, 0, 0),))
    with staging, duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("collected", rows)
        if name == "events":
            stored = staging.add_events(con, "SELECT DISTINCT ON (id) * FROM collected ORDER BY ALL")
        else:
            stored = staging.replace(name, con, "SELECT * FROM collected")
        staging.commit({"rows": rows.num_rows, "stored": stored}, now=now)
    return CollectReport(load_id, source, False, (), (Count(source, name, rows.num_rows, stored, rows.num_rows - stored, 0, 0),))


def _fingerprint(name: str, rows: pa.Table) -> str:
    digest = hashlib.sha256(name.encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    digest.update(sink.getvalue())
    return digest.hexdigest()
