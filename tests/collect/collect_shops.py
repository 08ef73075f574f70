"""Small files of shops for the tests of collect."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tradewind.collect.ingest import collect
from tradewind.collect.mapping import parse_mapping
from tradewind.collect.report import CollectReport
from tradewind.engine.home import Home

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HEAD = "id,when,who,what,sku,qty,amount\n"
MAPPING = """
currency = "EUR"
zone = "UTC"
[[source]]
name = "orders"
files = "*.csv"
into = "events"
id = "id"
[source.columns]
at = "when"
customer = "who"
kind = { column = "what", map = { sale = "purchase", return = "refund", look = "view" } }
item = "sku"
quantity = "qty"
value = "amount"
"""


def rows(*lines: str) -> str:
    """A CSV of events; each line without its head."""
    return HEAD + "".join(line + "\n" for line in lines)


def folder(base: Path, content: bytes | str, *, name: str = "orders.csv", mapping: str = MAPPING) -> Path:
    """A folder with one file and its mapping."""
    base.mkdir(exist_ok=True)
    (base / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (base / "mapping.toml").write_text(mapping, encoding="utf-8")
    return base


def load(home: Home, base: Path, content: bytes | str, *, name: str = "orders.csv", mapping: str = MAPPING) -> CollectReport:
    """Write a folder and collect it."""
    return collect(home, folder(base, content, name=name, mapping=mapping), now=NOW)


def events(home: Home) -> list[dict[str, Any]]:
    """The stored events by id."""
    found: list[dict[str, Any]] = home.tables.to_arrow(home.tables.get("events")).sort_by("id").to_pylist()
    return found


def table(home: Home, name: str) -> list[dict[str, Any]]:
    """A stored table, ordered by all columns."""
    found = home.tables.to_arrow(home.tables.get(name)).to_pylist()
    return sorted(found, key=lambda row: json.dumps(row, default=str))


def inline(home: Home, base: Path, text: str, **files: str) -> CollectReport:
    """Collect several files (name with __ for the dot) under a mapping."""
    base.mkdir(exist_ok=True)
    for name, content in files.items():
        (base / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return collect(home, base, mapping=parse_mapping(text), now=NOW)


def balanced(report: CollectReport) -> bool:
    """Whether every row of every source is accounted for."""
    return all(count.balanced for count in report.counts)
