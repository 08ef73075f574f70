"""Print a report for a terminal, as Markdown, as JSON, or as one self-contained HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from unicodedata import east_asian_width

from tradewind.measure.speak import Say, speaker, svg
from tradewind.types import NO_MINOR, Estimate, Report, Section

WHOLE = ("value", "from", "difference", "week")  # heads of columns that are never broken into lines
SIMULATED = "Simulated: customers, behaviour and answers come from a simulation. Nothing here was earned by a real shop."


class Told(Report):
    """A report that prints itself: as text with ``print``, as a page in a notebook."""

    def __str__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self, whole=False)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        forms = {"text/plain": to_text(self), "text/markdown": to_markdown(self), "text/html": self._repr_html_()}
        return {name: text for name, text in forms.items() if (not include or name in include) and name not in (exclude or ())}


def units(currency: str) -> float:
    """Minor units in one unit of a currency: 100 for most, 1 for the yen."""
    return 1.0 if currency in NO_MINOR else 100.0


def _amount(value: float, currency: str) -> str:
    text = f"{value / units(currency):,.{0 if currency in NO_MINOR else 2}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def number(value: float, unit: str, *, currency: str = "") -> str:
    """A value in words of its unit: money of minor units with its currency, shares as percent, the rest plain."""
    if math.isnan(value):
        return "-"
    if unit == "minor":
        return f"{currency} {_amount(value, currency)}".strip()
    if unit == "share":
        return f"{100 * value:.2f} %"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "ratio":
        return f"{value:,.2f}"
    return f"{value:,.4g}"


def interval(estimate: Estimate, *, currency: str = "") -> str:
    """The interval in the same words, or an empty text."""
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.unit == "minor":
        return f"{number(estimate.low, 'minor', currency=currency)} to {_amount(estimate.high, currency)}"
    low, high = (number(bound, estimate.unit, currency=currency) for bound in (estimate.low, estimate.high))
    return f"{low} to {high}"


def _row(estimate: Estimate, currency: str) -> dict[str, str]:
    found = interval(estimate, currency=currency)
    return {
        "": estimate.name,
        "value": number(estimate.value, estimate.unit, currency=currency),
        "interval": f"{found} ({estimate.level:.0%})" if found else "",
        "note": estimate.note,
    }


def tables(section: Section, *, currency: str = "", say: Say = str) -> list[list[dict[str, Any]]]:
    """The tables of a section as rows of text cells, in the language of ``say``: estimates first, then free rows."""
    found: list[list[dict[str, Any]]] = []
    if section.estimates:
        rows = [_row(estimate, currency) for estimate in section.estimates]
        empty = {column for column in ("interval", "note") if not any(row[column] for row in rows)}
        found.append([{key: value for key, value in row.items() if key not in empty} for row in rows])
    if section.rows:
        found.append([{key: _cell(value) for key, value in row.items()} for row in section.rows])
    return [[{say(key): say(cell) for key, cell in row.items()} for row in rows] for rows in found]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def to_text(report: Report, *, locale: str = "en") -> str:
    """The report for a terminal; ``locale``: "en" or "zh-CN"."""
    currency, say = str(report.meta.get("currency", "")), speaker(locale, report.meta.get("names"))
    title = say(report.title)
    lines = [title, "=" * _width(title)]
    if report.simulated:
        lines.append(say(SIMULATED))
    for section in report.sections:
        head = say(section.title)
        lines += ["", head, "-" * _width(head), *map(say, section.text)]
        for rows in tables(section, currency=currency, say=say):
            lines += _aligned(rows)
    return "\n".join(lines) + "\n"


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _aligned(rows: list[dict[str, Any]]) -> list[str]:
    heads = list(rows[0])
    rows = [{head: " / ".join(str(row.get(head, "")).split("\n")) for head in heads} for row in rows]  # one line a row
    widths = [max(_width(head), *(_width(row[head]) for row in rows)) for head in heads]

    def line(cells: list[str]) -> str:
        return "  " + "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return ["", line(heads), *(line([row[head] for head in heads]) for row in rows)]


def to_markdown(report: Report, *, locale: str = "en") -> str:
    """The report as Markdown; plots are left out; ``locale``: "en" or "zh-CN"."""
    currency, say = str(report.meta.get("currency", "")), speaker(locale, report.meta.get("names"))
    lines = [f"# {say(report.title)}", ""]
    if report.simulated:
        lines += [f"> {say(SIMULATED)}", ""]
    for section in report.sections:
        lines += [f"## {say(section.title)}", "", *(f"{say(sentence)}\n" for sentence in section.text)]
        for rows in tables(section, currency=currency, say=say):
            heads = list(rows[0])
            lines += ["| " + " | ".join(head or " " for head in heads) + " |", "|" + "---|" * len(heads)]
            lines += [
                "| " + " | ".join(str(row.get(head, "")).replace("|", "\\|").replace("\n", "<br>") for head in heads) + " |" for row in rows
            ]
            lines.append("")
    return "\n".join(lines)


def to_json(report: Report) -> str:
    """Every named value with its interval, and every row, as JSON."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def estimate(e: Estimate) -> Mapping[str, Any]:
        return {name: plain(getattr(e, name)) for name in ("name", "value", "low", "high", "level", "n", "unit", "note")}

    body = {
        "title": report.title,
        "at": report.at.isoformat(),
        "simulated": report.simulated,
        "meta": dict(report.meta),
        "sections": [
            {
                "title": section.title,
                "text": list(section.text),
                "estimates": [estimate(e) for e in section.estimates],
                "rows": [{key: plain(value) for key, value in row.items()} for row in section.rows],
            }
            for section in report.sections
        ],
    }
    return json.dumps(body, ensure_ascii=False, indent=2, default=str)


def to_html(report: Report, *, whole: bool = True, locale: str = "en") -> str:
    """One HTML page without scripts and without any outside reference; every value is escaped.

    ``whole`` False: a part of a page. ``locale``: "en" or "zh-CN".
    """
    from jinja2 import Environment
    from markupsafe import Markup

    source = files("tradewind.measure").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    currency, say = str(report.meta.get("currency", "")), speaker(locale, report.meta.get("names"))
    sections = [
        {
            "title": say(section.title),
            "text": [say(sentence) for sentence in section.text],
            "tables": tables(section, currency=currency, say=say),
            "plots": [Markup(svg(plot, say)) for plot in section.plots],  # noqa: S704 - written by measure/plots.py, names escaped there
        }
        for section in report.sections
    ]
    more = {"sections": sections, "say": say, "simulated": SIMULATED, "whole": whole, "locale": locale, "whole_heads": {*map(say, WHOLE)}}
    page: str = environment.from_string(source).render(report=report, **more)
    return page
