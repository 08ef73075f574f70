"""Parquet files on their way into the manifest: written aside, moved into place, then named in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Connection, delete, insert

from tradewind import schema
from tradewind.engine import parquet
from tradewind.engine.files import fsync_dir
from tradewind.engine.ledger import Ledger, manifest
from tradewind.engine.lock import LoaderLock
from tradewind.types import micros

if TYPE_CHECKING:
    import duckdb


class Draft:
    """Files of one load or one compaction. ``prefix`` makes their names unique for ever."""

    def __init__(self, root: Path, folder: Path, *, prefix: str) -> None:
        self.root = root
        self.folder = folder
        self.prefix = prefix
        self.rows: list[dict[str, Any]] = []  # of the manifest, with the file as "staged"
        self.replaced: set[str] = set()
        self._written = 0

    def staged(self, name: str) -> list[Path]:
        """The files of a table in this draft."""
        return [row["staged"] for row in self.rows if row["name"] == name]

    def write_events(self, con: duckdb.DuckDBPyConnection, sql: str, *, known: Sequence[str]) -> int:
        """Write the events of ``sql`` whose id no SELECT of ``known`` yields, by day; returns how many."""
        if known:
            sql = f"SELECT e.* FROM ({sql}) AS e ANTI JOIN ({' UNION ALL '.join(known)}) AS k ON e.id = k.id"
        folder = self.fresh("events")
        parquet.write_days(con, sql, folder)
        rows = [self._row("events", path, path.parent.name.partition("=")[2], schema.EVENTS) for path in sorted(folder.rglob("*.parquet"))]
        self.rows += rows  # all or none: a file that is refused takes its neighbours with it
        return sum(row["rows"] for row in rows)

    def write_table(self, name: str, con: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Write ``sql`` as the one file that replaces table ``name``."""
        path = self.fresh(name) / "0.parquet"
        parquet.write(con, sql, path)
        row = self._row(name, path, None, schema.TABLES[name])
        self.rows = [*(other for other in self.rows if other["name"] != name), row]
        self.replaced.add(name)

    def add(self, name: str, path: Path) -> int:
        """Register a file that was written into :attr:`folder`; returns its rows."""
        row = self._row(name, path, None, None)
        self.rows.append(row)
        return int(row["rows"])

    def fresh(self, name: str) -> Path:
        """A new empty folder."""
        self._written += 1
        folder = self.folder / f"{self._written}-{name}"
        folder.mkdir(parents=True)
        return folder

    def publish(self, ledger: Ledger, lock: LoaderLock, *, load_id: str | None, now: datetime, also: Callable[[Connection], None]) -> None:
        """Move the files into place, then name them and run ``also`` in one transaction that the fence guards."""
        named = [self._place(number, row) | {"load_id": load_id, "committed_at": micros(now)} for number, row in enumerate(self.rows)]
        places = {(self.root / row["path"]).parent for row in named}
        for folder in sorted(places | {folder.parent for folder in places} | {self.root / "data"}):
            fsync_dir(folder)
        with ledger.write() as conn:
            lock.check(conn)
            if self.replaced:
                conn.execute(delete(manifest).where(manifest.c.name.in_(sorted(self.replaced))))
            if named:
                conn.execute(insert(manifest), named)
            also(conn)

    def _row(self, name: str, path: Path, day: str | None, columns: pa.Schema | None) -> dict[str, Any]:
        return {"name": name, "day": day, "staged": path, **parquet.describe(path, columns)}

    def _place(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        folder = self.root / "data" / row["name"]
        if row["day"]:
            folder /= f"day={row['day']}"
        folder.mkdir(parents=True, exist_ok=True)
        path: Path = row["staged"].replace(folder / f"{self.prefix}-{number}.parquet")
        return {key: value for key, value in row.items() if key != "staged"} | {"path": str(path.relative_to(self.root))}
