"""One bulk load: Parquet files that nobody sees until one ledger transaction names them all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, delete, update

from tradewind import schema
from tradewind.engine import parquet
from tradewind.engine.draft import Draft
from tradewind.engine.ledger import loads
from tradewind.engine.lock import LoaderLock
from tradewind.errors import InputError, unknown
from tradewind.types import micros

if TYPE_CHECKING:
    import duckdb

    from tradewind.engine.log import EventLog


class Staging:
    """What one load adds. Use it in a ``with`` block: leaving it without :meth:`commit` removes everything."""

    def __init__(self, log: EventLog, load_id: str, lock: LoaderLock) -> None:
        self.load_id = load_id
        self.folder = log.staging / load_id  # any file may be written here; only registered ones survive
        self._log = log
        self._lock = lock
        self._draft = Draft(log.root, self.folder, prefix=hashlib.sha256(load_id.encode()).hexdigest()[:16])
        self._open = True
        self.folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add_events(self, con: duckdb.DuckDBPyConnection, relation_sql: str) -> int:
        """Stage the events of a SELECT whose ids are new, as Parquet by UTC day, and return how many they were.

        The SELECT yields columns of ``schema.EVENTS`` and each id once. Ids that wait in the inbox, are in a
        committed file or came earlier in this load are dropped: the first row of an id wins for ever.

        Raises
        ------
        SchemaError
            Columns do not fit, or a required one has empty values.
        """
        sql = parquet.conformed(con, relation_sql, schema.EVENTS)
        files = [*self._log.files("events"), *self._draft.staged("events")]
        known = [parquet.scan(files, "id")] if files else []
        waiting = self._log.waiting_ids()
        if waiting.num_rows:
            con.register("tradewind_waiting", waiting)
            known.append("SELECT id FROM tradewind_waiting")
        try:
            return self._draft.write_events(con, sql, known=known)
        finally:
            con.unregister("tradewind_waiting")

    def replace(self, name: str, con: duckdb.DuckDBPyConnection, relation_sql: str) -> int:
        """Merge a SELECT into the reference table ``name`` by its key (the new row wins); returns the rows taken.

        Of two new rows with one key the smaller by column order wins, whatever order they came in. The merged
        table is one new file, sorted by key; the old one leaves the manifest when the load commits.

        Raises
        ------
        SchemaError
            Columns do not fit, or a required one has empty values.
        """
        if name not in schema.TABLES or name == "events":
            raise unknown("reference table", name, set(schema.TABLES) - {"events"})
        keys = [parquet.quoted(key) for key in schema.KEYS[name]]
        fresh = f"SELECT DISTINCT ON ({', '.join(keys)}) * FROM ({parquet.conformed(con, relation_sql, schema.TABLES[name])}) ORDER BY ALL"
        con.execute(f"CREATE OR REPLACE TEMP TABLE tradewind_fresh AS {fresh}")
        taken = int(con.execute("SELECT count(*) FROM tradewind_fresh").fetchall()[0][0])
        sql = "SELECT * FROM tradewind_fresh"
        if old := self._draft.staged(name) or self._log.files(name):
            same = " AND ".join(f"o.{key} IS NOT DISTINCT FROM n.{key}" for key in keys)
            sql += f" UNION ALL SELECT o.* FROM ({parquet.scan(old)}) AS o ANTI JOIN tradewind_fresh AS n ON {same}"
        self._draft.write_table(name, con, f"SELECT * FROM ({sql}) ORDER BY {', '.join(keys)}")
        con.execute("DROP TABLE tradewind_fresh")
        return taken

    def add_file(self, name: str, path: Path) -> int:
        """Register a Parquet file that was written into :attr:`folder` as part of table ``name``; returns its rows.

        For tables that only grow, such as ``"quarantine"``. Tables of ``schema`` go through the other methods.
        """
        if name in schema.TABLES:
            raise InputError(f'Table "{name}" is checked and merged: use add_events or replace.')
        if not path.is_relative_to(self.folder) or not path.is_file():
            raise InputError(f"{path} is no file in {self.folder}. Write it there, then register it.")
        return self._draft.add(name, path)

    def commit(self, report: Mapping[str, Any], *, now: datetime) -> None:
        """Make everything visible and the load done, in one ledger transaction; ``report`` is kept as JSON."""
        assert self._open, "a load commits once, inside its with block"
        done = {"state": "done", "finished_at": micros(now), "report": json.dumps(report, ensure_ascii=False, sort_keys=True)}

        def finish(conn: Connection) -> None:
            conn.execute(update(loads).where(loads.c.load_id == self.load_id).values(done))

        self._draft.publish(self._log.ledger, self._lock, load_id=self.load_id, now=now, also=finish)
        self._open = False
        shutil.rmtree(self.folder)
        self._lock.release()

    def close(self) -> None:
        """Remove what was not committed and let the next loader in; safe to call twice."""
        if not self._open:
            return
        self._open = False
        try:
            # A commit whose answer was lost may have happened: only the ledger knows which files are left over.
            self._log.sweep()
            with self._log.ledger.write() as conn:
                conn.execute(delete(loads).where(loads.c.load_id == self.load_id, loads.c.state == "running"))
        finally:
            self._lock.release()
