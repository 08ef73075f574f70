"""One loader at a time for a shop: the lock dies with its holder, and a fence refuses one that lost it unnoticed.

On SQLite the lock is ``flock`` on a file in the shop's folder: the kernel releases it when the process ends,
however it ends. On PostgreSQL it is a session's advisory lock: the server releases it when the connection ends,
also when the loader runs on another machine. No clock and no time-out decides that somebody is dead.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sqlalchemy import Connection, insert, select, text, update

from tradewind.engine.ledger import Ledger, meta
from tradewind.errors import Locked, StateError

_KEY = 0x7472_6164  # of the advisory lock, within the ledger's database
_HOLDER = """
SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE locktype = 'advisory' AND objid = :key AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_PAUSE = 0.02  # seconds between two tries


class LoaderLock:
    """Held from construction until :meth:`release`; ``fence`` proves to the ledger that it still is.

    Raises
    ------
    Locked
        Somebody else holds it for longer than ``wait_seconds``; the message names the holder.
    """

    def __init__(self, root: Path, ledger: Ledger, *, what: str, wait_seconds: float) -> None:
        self.ledger = ledger
        self.fence = secrets.token_hex(16)
        me = f"{what} (process {os.getpid()} on {socket.gethostname()})"
        self._release = _session_lock(ledger, me, wait_seconds) if ledger.dialect == "postgresql" else _file_lock(root, me, wait_seconds)
        try:
            with ledger.write() as conn:
                if not conn.execute(update(meta).where(meta.c.key == "loader").values(value=self.fence)).rowcount:
                    conn.execute(insert(meta).values(key="loader", value=self.fence))
        except BaseException:
            self.release()
            raise

    def check(self, conn: Connection) -> None:
        """Hold the fence until ``conn``'s transaction ends; raises StateError when a later loader took over."""
        row = conn.execute(select(meta.c.value).where(meta.c.key == "loader").with_for_update()).scalar()
        if row != self.fence:
            raise StateError(
                "Another loader took over because this one's connection to the ledger was lost. Nothing was stored: run it again."
            )

    def release(self) -> None:
        """Let the next loader in; safe to call twice."""
        self._release()
        self._release = _nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _nothing() -> None:
    """There is nothing to release."""


def _patient(attempt: Callable[[], bool], wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True


def _file_lock(root: Path, me: str, wait_seconds: float) -> Callable[[], None]:
    path = root / "data" / ".loader.lock"
    path.parent.mkdir(exist_ok=True)
    handle: IO[str] = path.open("a+", encoding="utf-8")

    def attempt() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if not _patient(attempt, wait_seconds):
        handle.close()
        raise _locked(path.read_text(encoding="utf-8").strip())
    handle.truncate(0)
    handle.write(me)
    handle.flush()
    return handle.close  # closing releases


def _session_lock(ledger: Ledger, me: str, wait_seconds: float) -> Callable[[], None]:
    conn = ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def ask(statement: str, **values: Any) -> Any:
        return conn.execute(text(statement), values).scalar()

    try:
        ask("SELECT set_config('application_name', :me, false)", me=f"tradewind: {me}"[:63])
        if not _patient(lambda: bool(ask("SELECT pg_try_advisory_lock(:key)", key=_KEY)), wait_seconds):
            raise _locked(str(ask(_HOLDER, key=_KEY) or "").removeprefix("tradewind: "))  # noqa: TRY301
    except BaseException:
        conn.invalidate()
        conn.close()
        raise

    def release() -> None:
        conn.invalidate()  # ends the session: nothing of it goes back to the pool
        conn.close()

    return release


def _locked(holder: str) -> Locked:
    return Locked(f"The shop's event log is being written by {holder or 'another loader'}. Wait until it has ended, then run this again.")
