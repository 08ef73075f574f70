"""The event log of a shop: a durable inbox in the ledger, and Parquet files by day that the manifest names.

An event id is stored exactly once for ever. Small streams go through :meth:`EventLog.append` and wait in the inbox
until :meth:`EventLog.compact`; bulk loads go through :meth:`EventLog.begin` and never touch the inbox. Readers see
committed files only. Whatever is killed when, the manifest is the truth: a file that it does not name is left over
and the next loader removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Connection, bindparam, delete, select

from tradewind import schema
from tradewind.engine import parquet
from tradewind.engine.draft import Draft
from tradewind.engine.ledger import Ledger, inbox, insert_new, loads, manifest, upsert
from tradewind.engine.lock import LoaderLock
from tradewind.engine.staging import Staging
from tradewind.errors import InputError, Locked, did_you_mean
from tradewind.params import Number
from tradewind.types import Event, micros, utc

if TYPE_CHECKING:
    import duckdb

LOADER_MEMORY = 3_000_000_000  # bytes; see EventLog.connect
BATCH = 100_000  # inbox rows per transaction of compact
ID_LENGTH = 255
_WHOLE = Number(-(2**62), 2**62, whole=True)
_FINITE = Number(-sys.float_info.max, sys.float_info.max)
_MONEYS = [field.name for field in schema.EVENTS if field.type == schema.MONEY]
_NUMBERS = [field.name for field in schema.EVENTS if field.type == pa.float64()]
_TEXTS = [field.name for field in schema.EVENTS if field.type == schema.TEXT]
_FIELDS = tuple(item.name for item in fields(Event))
_KINDS = frozenset(schema.Kind)
_IDS = pa.schema([pa.field("id", pa.string(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of events: stored for the first time, or known already."""

    new: int
    duplicate: int


class EventLog:
    """The events and reference tables of one shop. ``wait_seconds``: how long a loader waits for another one."""

    def __init__(self, root: Path, ledger: Ledger, *, wait_seconds: float = 2.0) -> None:
        self.root = root
        self.ledger = ledger
        self.wait_seconds = wait_seconds
        self.staging = root / "data" / ".staging"

    def connect(self, *, threads: int | None = None, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection for a loader: bounded memory, spilling into the shop's folder, UTC.

        DuckDB holds all rows of a partitioned write until its end (3.4 GB for 10 million events) unless it is bounded.
        The default bound is 3 GB or half of the machine's memory: smaller ones work, with more spilling to disk.
        """
        if memory_limit is None:
            installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            memory_limit = f"{min(LOADER_MEMORY, installed // 2) // 1_000_000}MB"
        return parquet.connect(self.root, threads=threads, memory_limit=memory_limit)

    def append(self, events: Iterable[Event], *, now: datetime) -> Appended:
        """Store events durably: when this returns they survive a kill and a power cut. Repeating it changes nothing.

        Raises
        ------
        InputError
            An event has a value that is not allowed; none of them is stored then.
        """
        at = micros(now)
        rows = [{"id": event.id, "received_at": at, "row": _row(event)} for event in events]
        if not rows:
            return Appended(0, 0)
        known = self._committed([str(row["id"]) for row in rows])
        fresh = [row for row in rows if row["id"] not in known]
        with self.ledger.write() as conn:
            new = insert_new(conn, inbox, fresh)
        return Appended(new, len(rows) - new)

    def compact(self, *, now: datetime) -> int:
        """Move the inbox into day files and return how many events were moved; a kill loses and doubles nothing.

        Raises
        ------
        Locked
            A load is running.
        """
        moved = 0
        with self._lock("compact") as lock:
            self.sweep()
            while (batch := self._oldest()).num_rows:
                moved += self._move(batch, lock, now)
        return moved

    def begin(self, load_id: str, *, source: str, now: datetime) -> Staging | None:
        """Start the load of ``source``, or return None because it is done. Use the staging in a ``with`` block.

        ``load_id`` is a hash of the source's bytes and of how they are read: 1 to 64 letters, digits, ``_``, ``-``.
        A killed load starts anew: what it left is removed first.

        Raises
        ------
        Locked
            Another loader is at work; the message says which.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", load_id):
            raise InputError(f'"{load_id}" is no load id. Allowed: 1 to 64 letters, digits, "_" and "-".')
        if self._done(load_id):
            return None
        lock = self._lock(f"load {load_id[:12]}")
        try:
            if self._done(load_id):  # by the loader that we waited for
                lock.release()
                return None
            self.sweep()
            with self.ledger.write() as conn:
                row = {"load_id": load_id, "source": source, "state": "running", "started_at": micros(now)}
                upsert(conn, loads, [row], update=["source", "started_at"])
        except BaseException:
            lock.release()
            raise
        return Staging(self, load_id, lock)

    def files(self, name: str, *, before: datetime | None = None) -> list[Path]:
        """The committed files of a table, by day and path; with ``before``, without those of later days."""
        query = select(manifest.c.path).where(manifest.c.name == name).order_by(manifest.c.day, manifest.c.path)
        if before is not None:
            query = query.where(manifest.c.day <= utc(before).date().isoformat())
        with self.ledger.read() as conn:
            return [self.root / path for path in conn.execute(query).scalars()]

    def waiting_ids(self) -> pa.Table:
        """The ids in the inbox: one text column ``id``."""
        with self.ledger.read() as conn:
            return pa.table({"id": pa.array(conn.execute(select(inbox.c.id)).scalars().all(), pa.string())}, schema=_IDS)

    def recover(self) -> None:
        """Remove what a killed process left, unless another loader is at work now."""
        parquet.remove_dead_spills(self.root)
        if not self.staging.is_dir() or not any(self.staging.iterdir()):
            return
        try:
            with LoaderLock(self.root, self.ledger, what="recover", wait_seconds=0):
                self.sweep()
        except Locked:
            return  # it sweeps itself

    def sweep(self) -> None:
        """Remove every Parquet file that the manifest does not name. Only for who holds the loader lock."""
        with self.ledger.read() as conn:
            named = set(conn.execute(select(manifest.c.path)).scalars())
        for path in (self.root / "data").glob("[!.]*/**/*.parquet"):
            if str(path.relative_to(self.root)) not in named:
                path.unlink()
        if self.staging.is_dir():
            shutil.rmtree(self.staging)

    def _lock(self, what: str) -> LoaderLock:
        return LoaderLock(self.root, self.ledger, what=what, wait_seconds=self.wait_seconds)

    def _done(self, load_id: str) -> bool:
        with self.ledger.read() as conn:
            return conn.execute(select(loads.c.state).where(loads.c.load_id == load_id)).scalar() == "done"

    def _committed(self, ids: list[str]) -> set[str]:
        """Those of ``ids`` that are in committed files."""
        files = self.files("events")
        if not files:
            return set()
        con = self.connect()
        try:
            con.register("asked", pa.table({"id": pa.array(ids, pa.string())}))
            return {row[0] for row in con.execute(f"{parquet.scan(files, 'id')} WHERE id IN (SELECT id FROM asked)").fetchall()}
        finally:
            con.close()

    def _oldest(self) -> pa.Table:
        with self.ledger.read() as conn:
            texts = conn.execute(select(inbox.c.row).order_by(inbox.c.received_at, inbox.c.id).limit(BATCH)).scalars().all()
        return pa.Table.from_pylist([json.loads(text) for text in texts], schema=schema.EVENTS)

    def _move(self, batch: pa.Table, lock: LoaderLock, now: datetime) -> int:
        """Publish a batch and take it out of the inbox in one transaction."""
        draft = Draft(self.root, self.staging / "compact", prefix=secrets.token_hex(8))
        files = self.files("events")
        con = self.connect()
        try:
            con.register("batch", batch)
            sql = parquet.conformed(con, "SELECT * FROM batch", schema.EVENTS)
            moved = draft.write_events(con, sql, known=[parquet.scan(files, "id")] if files else [])
        finally:
            con.close()
        moving = [{"gone": key} for key in batch["id"].to_pylist()]

        def empty(conn: Connection) -> None:
            conn.execute(delete(inbox).where(inbox.c.id == bindparam("gone")), moving)

        draft.publish(self.ledger, lock, load_id=None, now=now, also=empty)
        shutil.rmtree(draft.folder)
        return moved


def _row(event: Event) -> str:
    """The JSON of an event in the inbox: what is None is left out, the time is microseconds."""
    if problem := _problem(event):
        raise InputError(f"Event {event.id!r}: {problem}")
    values: dict[str, Any] = {key: value for key in _FIELDS if (value := getattr(event, key)) is not None}
    for names, kind in ((_MONEYS, int), (_NUMBERS, float)):  # a number of NumPy is no JSON
        values |= {name: kind(values[name]) for name in names if name in values}
    return json.dumps(values | {"at": micros(event.at)}, ensure_ascii=False, separators=(",", ":"))


def _problem(event: Event) -> str | None:
    for name in _NUMBERS:
        if (number := getattr(event, name)) is not None and not _FINITE.accepts(number):
            return f"{name} must be a number; got {number!r}."
    for name in _MONEYS:
        if (money := getattr(event, name)) is not None and not _WHOLE.accepts(money):
            return f"{name} must be a whole number of minor units; got {money!r}."
    for name in _TEXTS:
        if (text := getattr(event, name)) is not None and not _is_text(text):
            return f"{name} must be a text that UTF-8 can write, without NUL; got {text!r}."
    if not event.id or len(event.id) > ID_LENGTH:
        return f"an id has 1 to {ID_LENGTH} characters."
    if event.kind not in _KINDS:
        return f'there is no kind "{event.kind}".{did_you_mean(event.kind, _KINDS)} Known: {", ".join(sorted(_KINDS))}.'
    if not event.source:
        return "source must say where it came from."
    if not isinstance(event.at, datetime) or event.at.tzinfo is None:
        return f"at must be a time with a zone; got {event.at!r}."
    return None


def _is_text(value: object) -> bool:
    """Whether every ledger and every file can hold it: PostgreSQL refuses NUL, UTF-8 has no lone surrogates."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
