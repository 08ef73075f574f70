"""Events over HTTP: judged, put into the ledger's inbox by group commit, acknowledged after the disk has them, stored once by id.

The inbox is compacted into the event log by the service's upkeep (``serve/upkeep.py``), which drops what the log has already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, select

from tradewind.engine.ledger import inbox, insert_new
from tradewind.serve.group import Group
from tradewind.serve.rows import Fault, Shape, judge, written
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.serve.recent import Recent

WAITING = 200_000  # events that may wait for a commit
AT_ONCE = 20_000  # events of one transaction
_ASKED = 500  # ids per look-up
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: events stored for the first time, events whose id waits already, and rows that could not be stored.

    ``unused``: events that no table holds; ``people``: calls that told of a customer.
    """

    stored: int
    known: int
    faults: Sequence[tuple[int, str | None, Sequence[Fault]]]  # row, its id, why
    unused: int = 0
    people: int = 0


class Intake:
    """Where events come in. ``recent`` learns of what was committed before anybody is answered."""

    def __init__(self, home: Home, recent: Recent, *, now: Callable[[], datetime], waiting: int = WAITING) -> None:
        self._home, self._recent, self._now = home, recent, now
        self._group: Group[Rows, int] = Group("inbox", self._commit, most=waiting, at_once=AT_ONCE)

    @property
    def depth(self) -> int:
        """How many events wait for a commit."""
        return self._group.depth

    def shape(self, source: str) -> Shape:
        """What a row is judged by now."""
        return Shape(micros(self._now()), self._home.settings.currency, source)

    async def take(self, told: Sequence[Any], *, source: str) -> Taken:
        """Judge events of our own shape and store the good ones; returns when they are on disk."""
        shape = self.shape(source)
        good: list[dict[str, Any]] = []
        faults: list[tuple[int, str | None, Sequence[Fault]]] = []
        for number, one in enumerate(told):
            found = judge(one, shape)
            if isinstance(found, dict):
                good.append(found)
            else:
                name = one.get("id") if isinstance(one, dict) else None
                faults.append((number, str(name)[:100] if name is not None else None, found))
        return await self.store(good, faults)

    async def store(self, rows: Rows, faults: Sequence[tuple[int, str | None, Sequence[Fault]]] = ()) -> Taken:
        """Store rows that were judged."""
        new = await self._group.put(rows, len(rows)) if rows else 0
        return Taken(new, len(rows) - new, faults)

    def close(self) -> None:
        """Store what waits, then stop."""
        self._group.close()

    def _commit(self, group: Sequence[Rows]) -> list[int]:
        """One transaction for all; returns how many of each request are new. The first of two rows with one id wins."""
        first: dict[str, Mapping[str, Any]] = {}
        fresh = [[row for row in rows if first.setdefault(row["id"], row) is row] for rows in group]
        known: set[str] = set()
        with self._home.ledger.write() as conn:
            savepoint = conn.begin_nested()
            if _insert(conn, list(first.values()), at := micros(self._now())) == len(first):
                savepoint.commit()
            else:  # rarely: which ones were there?
                savepoint.rollback()
                known = _waiting(conn, list(first))
                _insert(conn, [row for name, row in first.items() if name not in known], at)
        new = [[row for row in rows if row["id"] not in known] for rows in fresh]
        self._recent.add(row for rows in new for row in rows)
        return [len(rows) for rows in new]


def _insert(conn: Connection, rows: Rows, at: int) -> int:
    """Put rows into the inbox whose id is not there; returns how many those are."""
    if conn.dialect.name != "sqlite":
        return insert_new(conn, inbox, [{"id": row["id"], "received_at": at, "row": written(row)} for row in rows])
    # One statement for all of them: SQLite works through the list without Python, so that requests are read meanwhile.
    done = conn.exec_driver_sql(
        "INSERT INTO inbox (id, received_at, row) SELECT value ->> 'id', ?, value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING",
        (at, orjson.dumps(rows).decode()),
    )
    return done.rowcount


def _waiting(conn: Connection, ids: Sequence[str]) -> set[str]:
    """Those of ``ids`` that are in the inbox."""
    found: set[str] = set()
    for start in range(0, len(ids), _ASKED):
        found.update(conn.execute(select(inbox.c.id).where(inbox.c.id.in_(ids[start : start + _ASKED]))).scalars())
    return found
