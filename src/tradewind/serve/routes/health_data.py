"""The health of the data: loads with their checks, what waits in quarantine, what lies in files, what has moved."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.collect import health
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept, newest
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name, Told

router = APIRouter(tags=["data"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]


class Table(BaseModel):
    """A table of files."""

    name: str
    files: int
    rows: int
    bytes: int
    committed_at: datetime


class Tables(BaseModel):
    """What lies in files, and how many events came and are in no file yet."""

    tables: list[Table]
    waiting: int


class Check(BaseModel):
    """One quality rule on one source: rows concerned, one as an example, and what was done."""

    name: str
    level: Literal["PASS", "WARN", "FAIL"]
    count: int
    example: str
    consequence: str
    source: str
    table: str


class Count(BaseModel):
    """The rows of a source: rows_in = stored + duplicates + quarantined + dropped."""

    source: str
    table: str
    rows_in: int
    stored: int
    duplicates: int
    quarantined: int
    dropped: int


class LoadLine(BaseModel):
    """A load; the counts are null while it runs, and checks are those of files: a table of the schema is taken as it is."""

    load_id: str
    source: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    rows_in: int | None
    rows_stored: int | None
    rows_quarantined: int | None
    duplicates: int | None
    warned: int | None = Field(description="Checks that found something.")
    failed: int | None


class LoadReport(LoadLine):
    """A load with every check."""

    checks: list[Check]
    counts: list[Count]
    totals: dict[str, float]
    assumptions: list[str]
    simulated: bool


class Waiting(BaseModel):
    """A row that could not be stored: where it stood, what was wrong. Values of contact points are masked."""

    id: str
    load_id: str
    source: str
    table: str
    file: str
    line: int
    rule: str
    field: str
    value: str | None
    reason: str
    row: str | None = Field(description="JSON object of the source's own columns; null for a line that is no row.")
    at: datetime


@router.get("/v1/data/tables")
def tables(held: Held, _caller: Reader) -> Tables:
    """What the shop holds."""
    data = held.shop.data
    return Tables(tables=[Table(**asdict(one)) for one in data.tables()], waiting=data.waiting())


@router.get("/v1/data/loads")
def loads(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[LoadLine]:
    """Every load, the one begun last first."""
    return views.paged([_line(one) for one in held.shop.data.loads()], limit=limit, after=after, key=lambda one: one.load_id)


@router.get("/v1/data/loads/{load_id}")
def load(load_id: Name, held: Held, _caller: Reader) -> LoadReport:
    """What one load did, check by check."""
    one = held.shop.data.load(load_id)
    line, report = _line(one).model_dump(), one.report
    if report is None:
        return LoadReport(**line, checks=[], counts=[], totals={}, assumptions=[], simulated=held.shop.home.settings.simulated)
    return LoadReport(
        **line,
        checks=[Check(**asdict(check)) for check in report.checks],
        counts=[Count(**asdict(count)) for count in report.counts],
        totals={name: views.plain(value) for name, value in report.totals.items()},
        assumptions=list(report.assumptions),
        simulated=report.simulated,
    )


@router.get("/v1/data/quarantine")
def quarantine(
    held: Held,
    _caller: Reader,
    load_id: Annotated[views.Asked, Query(alias="load")] = None,
    rule: views.Asked = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[Waiting]:
    """Rows that wait for mending, by file and line."""
    found = held.shop.data.quarantine(load_id=load_id, rule=rule).select(list(Waiting.model_fields))
    return views.paged([Waiting(**row) for row in found.to_pylist()], limit=limit, after=after, key=lambda one: one.id)


@router.get("/v1/data/quality")
def quality(held: Held, _caller: Reader, days: Annotated[int, Query(ge=1, le=366)] = 28, locale: views.Locale = "en") -> Told:
    """Quality of profiles, recommender and data: what they know, whom they leave out, and what has drifted within some days."""
    found = kept(held, ("quality", days), lambda shop: views.told(shop.evidence.quality(as_of=newest(shop), days=days)))
    return views.said(found, locale)


def _line(one: health.Load) -> LoadLine:
    known = {name: getattr(one, name) for name in ("load_id", "source", "state", "started_at", "finished_at")}
    known |= {"rows_in": one.rows, "rows_stored": one.stored}
    if (report := one.report) is None:
        return LoadLine(**known, rows_quarantined=None, duplicates=None, warned=None, failed=None)
    levels = [check.level for check in report.checks]
    counts = {name: getattr(report, name) for name in ("rows_quarantined", "duplicates")}
    return LoadLine(**known, **counts, warned=levels.count("WARN"), failed=levels.count("FAIL"))
