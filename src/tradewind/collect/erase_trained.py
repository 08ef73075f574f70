"""Which model version saw whom: by the event files that existed when it learned, and the time up to which it read them.

A set of files is stored once for all models of a run, compressed; a file that an erasure rewrote keeps its place in the set, for
its name keeps its stem. When a person is erased, every version that saw one of the person's events gets a deadline.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, update

from tradewind.collect.erase_plans import origin
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import training_sets, trainings
from tradewind.errors import StateError
from tradewind.params import Number, OneOf, check
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

POLICY = "policy"  # stored like a model, and learned from nobody: names of models and what was asked
ALL = ""  # the set of a version that was not recorded
_KEY = "erase.rule"


@dataclass(frozen=True)
class Rule:
    """How long a model may serve after it has to forget somebody, and what happens then: ``late`` is "warn" or "refuse"."""

    days: int = 30
    late: str = "warn"


@dataclass(frozen=True)
class Due:
    """A model version that has to be learned anew."""

    name: str
    version: str
    active: bool
    erased: int  # how many of those it saw were erased since
    deadline: datetime


def rule(conn: Connection) -> Rule:
    """The shop's rule; the defaults where none was saved."""
    text = conn.execute(select(books.meta.c.value).where(books.meta.c.key == _KEY)).scalar()
    return Rule() if text is None else Rule(**json.loads(text))


def save_rule(home: Home, wanted: Rule) -> None:
    """Set the rule for erasures from now on; raises InputError for a value that is not allowed."""
    check("models after an erasure", asdict(wanted), {"days": Number(0, 366, whole=True), "late": OneOf(("warn", "refuse"))})
    with home.ledger.write() as conn:
        books.upsert(conn, books.meta, [{"key": _KEY, "value": json.dumps(asdict(wanted))}], update=["value"])


def record(conn: Connection, name: str, version: str, *, as_of: int) -> None:
    """Note what a version learned from, inside the transaction that publishes it; learning it anew lifts its deadline."""
    if name == POLICY:
        return
    files = sorted(
        {origin(path) for path in conn.execute(select(books.manifest.c.path).where(books.manifest.c.name == "events")).scalars()}
    )
    text = "\n".join(files).encode()
    set_id = hashlib.sha256(text).hexdigest()
    books.insert_new(conn, training_sets, [{"set_id": set_id, "files": zlib.compress(text)}])
    row = {"name": name, "version": version, "as_of": as_of, "set_id": set_id, "erased": 0, "deadline": None}
    books.upsert(conn, trainings, [row], update=["as_of", "set_id", "erased", "deadline"])


def mark(conn: Connection, first: Mapping[str, Mapping[str, datetime]], *, now: datetime) -> list[str]:
    """Give every version that saw one of these customers a deadline; returns ``"name version"`` of each.

    ``first``: per customer the first event in each file.
    """
    if not first:
        return []
    _enter_unrecorded(conn)
    sets: dict[str, set[str]] = {}
    deadline = micros(now + timedelta(days=rule(conn).days))
    found = []
    for row in conn.execute(select(trainings)).all():
        if row.set_id not in sets and row.set_id != ALL:
            packed = conn.execute(select(training_sets.c.files).where(training_sets.c.set_id == row.set_id)).scalar_one()
            sets[row.set_id] = set(zlib.decompress(bytes(packed)).decode().split("\n"))
        seen = sum(_saw(files, sets.get(row.set_id), row.as_of) for files in first.values())
        if seen:
            mine = (trainings.c.name == row.name, trainings.c.version == row.version)
            until = deadline if row.deadline is None else min(deadline, row.deadline)
            conn.execute(update(trainings).where(*mine).values(erased=row.erased + seen, deadline=until))
            found.append(f"{row.name} {row.version}")
    return found


def _enter_unrecorded(conn: Connection) -> None:
    """Versions of before there was this list: they may have seen every event until their time."""
    m, t = books.models.c, trainings.c
    known = select(t.version).where(t.name == m.name, t.version == m.version).exists()
    rows = conn.execute(select(m.name, m.version, m.as_of).where(m.name != POLICY, ~known)).mappings().all()
    books.insert_new(conn, trainings, [{**row, "set_id": ALL, "erased": 0, "deadline": None} for row in rows])


def _saw(files: Mapping[str, datetime], read: set[str] | None, as_of: int) -> bool:
    return any((read is None or origin(path) in read) and micros(at) < as_of for path, at in files.items())


def due(home: Home) -> list[Due]:
    """Versions that have to be learned anew, the most urgent first."""
    t, m = trainings.c, books.models.c
    query = (
        select(t.name, t.version, t.erased, t.deadline, m.active)
        .join_from(trainings, books.models, (m.name == t.name) & (m.version == t.version))
        .where(t.deadline.is_not(None))
        .order_by(t.deadline, t.name, t.version)
    )
    with home.ledger.read() as conn:
        return [Due(row.name, row.version, bool(row.active), row.erased, from_micros(row.deadline)) for row in conn.execute(query)]


def late(home: Home, *, now: datetime) -> str | None:
    """What to warn of before the shop's active models are used; None when none of them is past its deadline.

    Raises
    ------
    StateError
        One is, and the shop's rule is to refuse it.
    """
    over = [one for one in due(home) if one.active and one.deadline <= now]
    if not over:
        return None
    names = ", ".join(f'"{one.name}"' for one in over)
    said = (
        f"The model {names} still knows what it learned from {over[0].erased} customer(s) who were erased; it had to be learned anew until "
        f"{over[0].deadline:%Y-%m-%d}. Run: tradewind learn --shop {home.root}"
    )
    with home.ledger.read() as conn:
        if rule(conn).late == "refuse":
            raise StateError(said)
    return said
