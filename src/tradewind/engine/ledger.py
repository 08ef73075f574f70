"""The ledger: what must commit together. SQLite by default, PostgreSQL when the shop grows; one code for both.

Times are integers of microseconds UTC, JSON is text, money is integer minor units: the same on every database.
Migrations live in ``engine/migrations``; ``Ledger.open`` brings an older ledger up to date and refuses a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

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
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from tradewind.engine.connect import cannot_open, connect, first_line, is_lock
from tradewind.errors import Locked

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

stock = Table(
    "stock",  # how many pieces of an item or an offer open decisions promise; what there is stands in the plan
    metadata,
    Column("thing", String(300), primary_key=True),  # "item:SKU" or "offer:ID"
    Column("reserved", BigInteger, nullable=False),
)
promises = Table(
    "promises",  # deleted when the decision is settled, or its window is over
    metadata,
    Column("decision_id", String(64), primary_key=True),
    Column("thing", String(300), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Index("promises_until", "until"),
)

# -- language models: what they cost, and what they answered. Money in billionths of the currency: a token costs less than a cent --
model_budgets = Table(
    "model_budgets",  # one row per limit, for example "chat 2026-03"; held + spent never pass the limit that a call names
    metadata,
    Column("budget", String(64), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
)
model_calls = Table(
    "model_calls",
    metadata,
    Column("call_id", String(64), primary_key=True),
    Column("budget", String(64), nullable=False),
    Column("model", String(255), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),  # "held" (not known yet what became of it: counts in full) | "paid" | "free"
    Column("amount", BigInteger, nullable=False),  # held or paid
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Index("model_calls_budget", "budget", "state"),
)
model_answers = Table(
    "model_answers",  # a cache: the same question to the same model is asked once
    metadata,
    Column("key", String(64), primary_key=True),  # hash of the whole request
    Column("model", String(255), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("question", Text, nullable=False),  # JSON
    Column("answer", Text, nullable=False),  # JSON: the candidates that were valid
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
    Column("worth", BigInteger),  # expected profit in thousandths of a minor unit: who goes first where a cap is short
    Column("category", String(64)),  # what caps may count together: the campaign of the offer
    Index("outbox_due", "state", "channel", "next_at", "message_id"),
    Index("outbox_customer", "customer", "channel", "updated_at"),
    Index("outbox_plan", "plan_id", "state"),
)
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("args", Text, nullable=False),
    Column("state", String(16), nullable=False),  # "queued" | "running" | "done" | "failed" | "cancelled"
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("progress", Float, nullable=False),
    Column("result", Text),
    Column("updated_at", BigInteger, nullable=False),
    Column("created_at", BigInteger),  # NULL: before 0013
    Column("made_by", String(255)),  # "person:NAME", "policy:NAME" or "schedule:NAME"
    Column("step", Text),  # what a running job is at, in words
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

        engine = connect(url, wait_seconds)
        ledger = cls(engine)
        try:
            with ledger.read() as conn:
                current = revision(conn)
            if current != HEAD:  # the usual case asks for no lock
                with ledger.write() as conn:
                    migrate(conn)
        except DBAPIError as error:
            ledger.close()
            raise cannot_open(engine.url, error) from error
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
            if is_lock(error.orig):
                raise Locked(
                    f"{self!r} is locked by another process: waited and gave up ({first_line(error)}). Try again when that one has ended."
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
