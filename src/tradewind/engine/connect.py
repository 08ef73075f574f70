"""Connections to the ledger's database: SQLite or PostgreSQL, made so that writers wait for each other and readers for nobody."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tradewind.errors import InputError


def connect(url: str, wait_seconds: float) -> Engine:
    """The engine of a ledger's address, set up for one writer that waits ``wait_seconds`` for the locks of others."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(f'"{url}" is no ledger address. {_ALLOWED}') from error
    if parsed.drivername == "sqlite":
        return _sqlite(parsed, wait_seconds)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return _postgresql(parsed, wait_seconds)
    raise InputError(f'"{parsed.render_as_string(hide_password=True)}" is no ledger address. {_ALLOWED}')


_ALLOWED = "Allowed: sqlite:////absolute/path/ledger.db or postgresql://user@host/database."


def _sqlite(url: URL, wait_seconds: float) -> Engine:
    if not url.database or not Path(url.database).is_absolute():
        raise InputError(f'"{url.render_as_string()}" names no absolute path. {_ALLOWED}')
    path = Path(url.database)
    if path.is_dir():
        raise InputError(f"{path} is a folder; a ledger is a file. Write {path}/ledger.db.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} does not exist. Create the folder first.")
    engine = create_engine(url, connect_args={"timeout": wait_seconds, "check_same_thread": False, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        _to_wal(connection, wait_seconds)
        # FULL: a commit that was answered survives a power cut, not only a kill.
        connection.execute("PRAGMA synchronous=FULL").close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        # The write lock is taken first: a reader that becomes a writer late could only fail.
        immediate = conn.get_execution_options().get("tradewind_immediate", True)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _to_wal(connection: sqlite3.Connection, wait_seconds: float) -> None:
    """Switch a file to the write-ahead log; where two processes switch a new one at once, SQLite refuses without waiting."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _postgresql(url: URL, wait_seconds: float) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise InputError('PostgreSQL needs its driver: pip install "tradewind[postgres]"') from error
    engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args={"connect_timeout": 10})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(wait_seconds * 1000)}")
        connection.commit()

    return engine


def is_lock(error: object) -> bool:
    """Whether a driver's error says that somebody else held a lock for too long."""
    if isinstance(error, sqlite3.OperationalError):
        return cast("int", getattr(error, "sqlite_errorcode", 0)) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error, "sqlstate", None) in ("55P03", "40P01")  # lock not available, deadlock


def first_line(error: DBAPIError) -> str:
    """What the driver said, without its second thoughts."""
    return str(error.orig).strip().partition("\n")[0]


def cannot_open(url: URL, error: DBAPIError) -> InputError:
    """The error for whoever gave this address."""
    reason = first_line(error)
    if url.drivername == "sqlite":
        return InputError(
            f"{url.database} cannot be opened as a ledger: {reason}. Give the path of a ledger.db, or of a file that does not exist yet."
        )
    return InputError(
        f"Cannot open the ledger {url.render_as_string(hide_password=True)}: {reason}. Check host, database, user and that the server runs."
    )
