"""The ledger in a backup: one SQLite file without keys, whatever database it came from; and the way back."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, delete, insert, inspect, select

from tradewind.collect.vault import DESTROYED, ROOT
from tradewind.engine import ledger as books
from tradewind.engine.ledger import CHUNK, Ledger, metadata
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Address, Home


def snapshot(home: Home, path: Path) -> tuple[Ledger, dict[str, bytes]]:
    """The ledger as of one moment in a new SQLite file, open, and the wrapped data keys, which are taken out of it."""
    if home.ledger.dialect == "sqlite":
        _sqlite(str(home.ledger.engine.url.database), path)
    else:
        _rows(home.ledger, path)
    copy = Ledger.open(f"sqlite:///{path}")
    with copy.write() as conn:
        conn.exec_driver_sql("PRAGMA secure_delete=ON").close()
        k = books.vault_keys.c
        wrapped = {
            row.customer: bytes(row.wrapped_key)
            for row in conn.execute(select(k.customer, k.wrapped_key).where(k.wrapped_key != DESTROYED))
        }
        conn.execute(delete(books.vault_keys).where(k.wrapped_key != DESTROYED))
        conn.execute(delete(books.meta).where(books.meta.c.key == ROOT))
    copy.close()
    _one_file(path)
    return copy, wrapped


def bring(path: Path, target: Address) -> Ledger:
    """Put the ledger of a backup where a new shop's ledger belongs; raises InputError when something is there already."""
    if target.ledger == f"sqlite:///{target.root / 'ledger.db'}":
        shutil.copyfile(path, target.root / "ledger.db")
        return Ledger.open(target.ledger)
    probe = books.Ledger(_engine(target.ledger))
    try:
        with probe.read() as conn:
            if inspect(conn).get_table_names():
                raise InputError(f"The database {probe!r} is not empty; nothing is overwritten. Give an empty one.")
    finally:
        probe.close()
    scratch = target.root / "data" / ".restoring.db"
    shutil.copyfile(path, scratch)
    try:
        made = Ledger.open(target.ledger)
        with Ledger.open(f"sqlite:///{scratch}") as source, source.read() as old, made.write() as new:
            _copied(old, new)
    finally:
        for left in scratch.parent.glob(".restoring.db*"):
            left.unlink()
    return made


def _engine(url: str) -> Engine:
    from tradewind.engine.connect import connect

    return connect(url, books.WAIT_SECONDS)


def _sqlite(source: str, path: Path) -> None:
    """SQLite's own backup, in one step: a reader that no writer waits for."""
    old, new = sqlite3.connect(source), sqlite3.connect(path)
    try:
        old.backup(new)
    finally:
        new.close()
        old.close()


def _rows(ledger: Ledger, path: Path) -> None:
    """Every row of every table, read in one transaction that sees one moment."""
    reading = ledger.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with Ledger.open(f"sqlite:///{path}") as copy, reading as conn, conn.begin(), copy.write() as new:
        _copied(conn, new)


def _copied(old: Connection, new: Connection) -> None:
    for table in metadata.sorted_tables:
        new.execute(delete(table))
        rows = old.execute(select(table).execution_options(stream_results=True)).mappings()
        for part in rows.partitions(CHUNK):
            new.execute(insert(table), [dict(row) for row in part])


def _one_file(path: Path) -> None:
    """No free pages, no log beside it."""
    con = sqlite3.connect(path, isolation_level=None)
    try:
        con.execute("VACUUM")
        con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        con.execute("PRAGMA journal_mode=DELETE")
    finally:
        con.close()
