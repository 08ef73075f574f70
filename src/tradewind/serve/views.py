"""What answers over HTTP share: names and pages that a caller may ask for, figures with intervals, reports, sentences in two languages.

Money is minor units of the ``currency`` beside it; shares are 0 to 1; times are ISO 8601 with a zone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, Field, JsonValue

from tradewind.errors import NotFound
from tradewind.measure.speak import speaker
from tradewind.serve.access import Caller
from tradewind.types import Estimate, Report

T = TypeVar("T")
MOST = 500  # rows of a page
_PRINTED = r"^[^\x00-\x1f\x7f]+$"  # a database refuses some of the others
Unit = Literal["minor", "share", "count", "ratio", ""]
Scalar = str | int | float | bool | None

Name = Annotated[str, Path(min_length=1, max_length=255, pattern=_PRINTED)]
Word = Annotated[str, Field(min_length=1, max_length=255, pattern=_PRINTED)]
Asked = Annotated[str | None, Query(min_length=1, max_length=255, pattern=_PRINTED)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Rows of the page.")]
After = Annotated[str | None, Query(min_length=1, max_length=255, pattern=_PRINTED, description="`next` of the page before.")]
Locale = Annotated[Literal["en", "zh-CN"], Query(description="Language of the sentences.")]


class Page(BaseModel, Generic[T]):
    """Some rows; ``next`` goes into ``after`` of the next request, and is null on the last page."""

    rows: list[T]
    next: str | None = None


class Interval(BaseModel):
    """A figure and how sure it is: ``low`` and ``high`` hold the truth with probability ``level``; null where that is not known."""

    value: float | None
    low: float | None
    high: float | None
    level: float = Field(description="0 to 1, such as 0.95.")
    unit: Unit = Field(description="minor: minor units of the currency; share: 0 to 1; count; ratio.")
    n: int | None = Field(default=None, description="Customers, messages or orders behind it.")


class Figure(Interval):
    """A figure of a report, with its name."""

    name: str = Field(description="The same in every language.")
    label: str = Field(description="The name in the language that was asked for.")
    note: str = ""


class Sentence(BaseModel):
    """A code for programs and the sentence for people."""

    code: str
    en: str
    zh: str


class ReportPart(BaseModel):
    """A titled part of a report: sentences, figures, and free rows whose columns are theirs."""

    title: str
    text: list[str]
    figures: list[Figure]
    rows: list[dict[str, JsonValue]]
    heads: dict[str, str] = Field(default_factory=dict, description="Column of the rows -> its head in the language that was asked for.")


class Told(BaseModel):
    """A report in parts."""

    title: str
    at: datetime
    currency: str | None
    simulated: bool = Field(description="The customers are not people: whoever shows it must say so.")
    parts: list[ReportPart]


class Submitted(BaseModel):
    """Work that a worker takes up: GET /v1/jobs/{job_id} says how it goes."""

    job_id: str


def signed(caller: Caller) -> str:
    """Who answers for what is done: the name of the person, or "key NAME" of a program."""
    kind, _, name = caller.name.partition(":")
    return name if kind == "person" else f"key {name}"


def interval(estimate: Estimate | None) -> Interval | None:
    """The figure of a report, if there is one."""
    return None if estimate is None else measured(estimate)


def measured(estimate: Estimate) -> Interval:
    """A figure with its interval."""
    return Interval(**_numbers(estimate))


def told(report: Report) -> Told:
    """A report as values."""
    parts = [
        ReportPart(
            title=section.title,
            text=list(section.text),
            figures=[Figure(name=one.name, label=one.name, note=one.note, **_numbers(one)) for one in section.estimates],
            rows=[{str(key): plain(value) for key, value in row.items()} for row in section.rows],
        )
        for section in report.sections
    ]
    currency = report.meta.get("currency")
    return Told(title=report.title, at=report.at, currency=currency and str(currency), simulated=report.simulated, parts=parts)


def said(report: Told, locale: str) -> Told:
    """The same report in another language: titles, sentences, labels and heads; what has no words there stays English."""
    say = speaker(locale)
    parts = [
        part.model_copy(
            update={
                "title": say(part.title),
                "text": [say(text) for text in part.text],
                "figures": [one.model_copy(update={"label": say(one.name), "note": say(one.note)}) for one in part.figures],
                "heads": {head: say(head) for row in part.rows for head in row},
            }
        )
        for part in report.parts
    ]
    return report.model_copy(update={"title": say(report.title), "parts": parts})


def plain(value: Any) -> Any:
    """A value as JSON: numbers that are none become null, times and the rest texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


def paged(rows: Sequence[T] | Iterable[T], *, limit: int, after: str | None, key: Callable[[T], str]) -> Page[T]:
    """One page of rows that are all at hand; ``key`` names a row. Raises NotFound where ``after`` names none of them."""
    found = list(rows)
    begin = 0
    if after is not None:
        places = {key(row): at for at, row in enumerate(found)}
        if after not in places:
            raise NotFound(f'after: "{after}" is on no page. Begin again without it.')
        begin = places[after] + 1
    some = found[begin : begin + limit]
    return Page(rows=some, next=key(some[-1]) if begin + limit < len(found) else None)


def _numbers(one: Estimate) -> dict[str, Any]:
    values = {name: plain(getattr(one, name)) for name in ("value", "low", "high", "level", "n", "unit")}
    return values if values["unit"] in ("minor", "share", "count", "ratio") else values | {"unit": ""}
