"""What loads did and what waits for mending, for whoever looks after the data. ``shop.data``. Writes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, select

from tradewind.collect.quarantine import quarantine_rows
from tradewind.collect.report import CollectReport
from tradewind.engine.ledger import inbox, loads, manifest
from tradewind.errors import NotFound
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

c = loads.c


@dataclass(frozen=True, slots=True)
class Load:
    """One load: ``state`` is "running" or "done". ``rows``, ``stored``: read and new; None while it runs.

    ``report`` is None while it runs, and for rows that came as a table of the schema rather than from files.
    """

    load_id: str
    source: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    rows: int | None
    stored: int | None
    report: CollectReport | None


@dataclass(frozen=True, slots=True)
class Held:
    """A table of files: how many rows and bytes, and when something was committed last."""

    name: str
    files: int
    rows: int
    bytes: int
    committed_at: datetime


class Data:
    """The data of one shop."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def loads(self) -> list[Load]:
        """Every load, the one begun last first."""
        with self._home.ledger.read() as conn:
            rows = conn.execute(select(loads).order_by(c.started_at.desc(), c.load_id)).all()
        return [_load(row) for row in rows]

    def load(self, load_id: str) -> Load:
        """One load. Raises NotFound."""
        found = next((one for one in self.loads() if one.load_id == load_id), None)
        if found is None:
            raise NotFound(f'There is no load "{load_id}". The list of loads names those that exist.')
        return found

    def quarantine(self, *, load_id: str | None = None, rule: str | None = None) -> pa.Table:
        """Rows that wait for mending: the columns of ``quarantine.QUARANTINE``; of one load, or that broke one rule."""
        table = quarantine_rows(self._home)
        for name, wanted in (("load_id", load_id), ("rule", rule)):
            table = table if wanted is None else table.filter(pc.equal(table[name], wanted))
        return table

    def tables(self) -> list[Held]:
        """What lies in files, by table."""
        k = manifest.c
        query = select(k.name, func.count(), func.sum(k.rows), func.sum(k.bytes), func.max(k.committed_at)).group_by(k.name)
        with self._home.ledger.read() as conn:
            rows = conn.execute(query.order_by(k.name)).all()
        return [Held(str(name), int(files), int(many), int(size), from_micros(at)) for name, files, many, size, at in rows]

    def waiting(self) -> int:
        """Events that came and are in no file yet."""
        with self._home.ledger.read() as conn:
            return int(conn.execute(select(func.count()).select_from(inbox)).scalar_one())


def _load(row: Any) -> Load:
    told = json.loads(row.report) if row.report else {}
    report = CollectReport.from_json(told["report"]) if "report" in told else None
    rows, stored = (told.get("rows"), told.get("stored")) if report is None else (report.rows_in, report.rows_stored)
    finished = None if row.finished_at is None else from_micros(row.finished_at)
    return Load(row.load_id, row.source, row.state, from_micros(row.started_at), finished, rows, stored, report)
