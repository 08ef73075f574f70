"""The ledger: what must commit together. SQLite by default, PostgreSQL when the shop grows; one code for both.

Times are integers of microseconds UTC, JSON is text, money is integer minor units: the same on every database.
Migrations live in ``engine/migrations``; ``Ledger.open`` brings an older ledger up to date and refuses a newer one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tradewind.errors import InputError, Locked

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

# -- event log: rows wait in the inbox until they are compacted into Parquet files that the manifest names ----------
inbox = Table(
    "inbox",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("row", Text, nullable=False),  # JSON of a schema.EVENTS row
    Index("inbox_received", "received_at"),
)
loads = Table(
    "loads",  # one per collected source: the same bytes under the same mapping are one load, whatever is retried
    metadata,
    Column("load_id", String(64), primary_key=True),
    Column("source", Text, nullable=False),
    Column("state", String(16), nullable=False),  # "running" | "done"
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("report", Text),  # JSON
)
manifest = Table(
    "manifest",  # a Parquet file exists for readers if and only if its row is here
    metadata,
    Column("path", String(512), primary_key=True),  # relative to the shop's root
    Column("name", String(64), nullable=False),  # table: "events", "items", "quarantine", ...
    Column("day", String(10)),  # of the events in it; NULL for other tables
    Column("load_id", String(64)),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("committed_at", BigInteger, nullable=False),
    Index("manifest_name_day", "name", "day"),
)

# -- people: consent is append-only; contact points are ciphertext under one wrapped key per customer ---------------
consents = Table(
    "consents",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("granted", Boolean, nullable=False),
    Column("source", Text, nullable=False),
)
suppressions = Table(
    "suppressions",  # survives erasure: only a keyed hash of the address
    metadata,
    Column("address_hash", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
)
vault_keys = Table(
    "vault_keys",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
)
contacts = Table(
    "contacts",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("address_hash", String(64), nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Index("contacts_hash", "address_hash"),
)

# -- models, plans and money -----------------------------------------------------------------------------------------
models = Table(
    "models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),  # content hash
    Column("path", String(512), nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("card", Text, nullable=False),  # JSON: parameters, data, figures
)
plans = Table(
    "plans",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("path", String(512), nullable=False),  # Parquet of schema.PLAN, immutable
    Column("sha256", String(64), nullable=False),
    Column("meta", Text, nullable=False),  # JSON: policy, budget, currency, holdout, salt, seed, versions
)
budgets = Table(
    "budgets",
    metadata,
    Column("budget", String(255), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
)
reservations = Table(
    "reservations",
    metadata,
    Column("decision_id", String(64), primary_key=True),
    Column("budget", String(255), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),  # "held" | "spent" | "released"
    Column("spent", BigInteger, nullable=False),
    Index("reservations_budget", "budget", "state"),
)

# -- delivery --------------------------------------------------------------------------------------------------------
outbox = Table(
    "outbox",  # "planned" rows commit with the decision; compose makes them "ready"
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("decision_id", String(64), nullable=False),
    Column("plan_id", String(64), nullable=False),
    Column("customer", String(255), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("send_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("message", Text),  # JSON of types.Message
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("detail", Text),
    Column("provider_id", String(255)),
    Column("updated_at", BigInteger, nullable=False),
    Index("outbox_due", "state", "next_at"),
    Index("outbox_customer", "customer", "channel", "updated_at"),
    Index("outbox_plan", "plan_id", "state"),
)
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("args", Text, nullable=False),
    Column("state", String(16), nullable=False),  # "queued" | "running" | "done" | "failed"
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("progress", Float, nullable=False),
    Column("result", Text),
    Column("updated_at", BigInteger, nullable=False),
    Index("jobs_due", "state", "next_at"),
)

CHUNK = 5_000  # rows per statement
WAIT_SECONDS = 10.0  # how long a writer waits for another one before it is told who holds the ledger


class Ledger:
    """A SQLite or PostgreSQL database with the tables of this module, up to date. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect: str = engine.dialect.name  # "sqlite" | "postgresql"

    def __repr__(self) -> str:
        return f"Ledger({self.engine.url.render_as_string(hide_password=True)!r})"

    @classmethod
    def open(cls, url: str, *, wait_seconds: float = WAIT_SECONDS) -> Ledger:
        """Connect to ``sqlite:////abs/ledger.db`` or ``postgresql://user@host/db`` and migrate it up.

        ``wait_seconds`` is how long a statement waits for the locks of others.

        Raises
        ------
        InputError
            The address is wrong: no such scheme, a folder, a file that is no ledger, a server that does not answer.
        StateError
            A newer Tradewind made this ledger, or the database holds tables of somebody else.
        Locked
            Another process held the ledger for longer than ``wait_seconds``.
        """
        from tradewind.engine.migrate import HEAD, migrate, revision

        engine = _engine(url, wait_seconds)
        ledger = cls(engine)
        try:
            with ledger.read() as conn:
                current = revision(conn)
            if current != HEAD:  # the usual case asks for no lock
                with ledger.write() as conn:
                    migrate(conn)
        except DBAPIError as error:
            ledger.close()
            raise _cannot_open(engine.url, error) from error
        except BaseException:
            ledger.close()
            raise
        return ledger

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that commits when the block ends and rolls back when it raises.

        On SQLite it takes the write lock at its start, so a read inside it stays true until the commit.

        Raises
        ------
        Locked
            Another writer held the lock for longer than the ledger's ``wait_seconds``.
        """
        with self._transaction(immediate=True) as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction for reading: all its statements see the same state on SQLite, each its own on PostgreSQL."""
        with self._transaction(immediate=False) as conn:
            yield conn

    def close(self) -> None:
        """Close the connections; the ledger opens new ones when it is used again."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _transaction(self, *, immediate: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect() as conn:
                conn = conn.execution_options(tradewind_immediate=immediate)
                with conn.begin():
                    yield conn
        except DBAPIError as error:
            if _is_lock(error.orig):
                raise Locked(
                    f"{self!r} is locked by another process: waited and gave up ({_first_line(error)}). Try again when that one has ended."
                ) from error
            raise


def insert_new(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary key is new, skip the others, and return how many were inserted.

    All rows have the same keys. The first of two rows with one key wins, within ``rows`` and against the table.
    """
    insert = _dialect_insert(conn)(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return sum(conn.execute(insert, [dict(row) for row in chunk]).rowcount for chunk in _chunks(rows))


def upsert(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, update: Sequence[str]) -> None:
    """Insert rows; where the primary key exists, set the columns ``update`` to the new values instead."""
    insert = _dialect_insert(conn)(table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={column: insert.excluded[column] for column in update}
    )
    for chunk in _chunks(rows):
        conn.execute(statement, [dict(row) for row in chunk])


def _dialect_insert(conn: Connection) -> Any:
    return sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _engine(url: str, wait_seconds: float) -> Engine:
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
            if not _is_lock(error) or time.monotonic() > deadline:
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


def _is_lock(error: object) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return cast("int", getattr(error, "sqlite_errorcode", 0)) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error, "sqlstate", None) in ("55P03", "40P01")  # lock not available, deadlock


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _cannot_open(url: URL, error: DBAPIError) -> InputError:
    reason = _first_line(error)
    if url.drivername == "sqlite":
        return InputError(
            f"{url.database} cannot be opened as a ledger: {reason}. Give the path of a ledger.db, or of a file that does not exist yet."
        )
    return InputError(
        f"Cannot open the ledger {url.render_as_string(hide_password=True)}: {reason}. Check host, database, user and that the server runs."
    )
