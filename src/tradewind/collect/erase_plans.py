"""Plans after an erasure: the row stays, so that what a plan earned stays true, and nothing in it leads to the person.

Customer, unit and decision get aliases; the profile that was seen (the features), the reasons and the hour are taken out. What stays are
the numbers of the experiment: arm, action, propensities, values, costs.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, select, update

from tradewind.collect.erase_clean import People
from tradewind.engine import ledger as books
from tradewind.engine.files import atomic_write
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

FEATURES = ".features.parquet"
_META = b"tradewind.meta"
HISTORY = timedelta(days=90)  # before a plan: what measuring looks back at


@dataclass(frozen=True)
class Found:
    """A plan that decides for some of them: its row of the ledger, and its window."""

    plan_id: str
    path: str
    meta: dict[str, Any]
    customers: frozenset[str]
    decisions: frozenset[str]

    @property
    def counted(self) -> tuple[datetime, datetime]:
        """From when to when measuring counts what its customers bought."""
        start, length = utc(self.meta["as_of"]), timedelta(days=float(self.meta["window_days"]))
        return start - max(HISTORY, length), start + length


@dataclass(frozen=True)
class Rewritten:
    """New files of one plan, not yet named by the ledger."""

    plan_id: str
    old: str
    path: str
    sha256: str
    meta: str


def find(home: Home, people: People) -> list[Found]:
    """The committed plans with a row of these people; their decisions and units are entered into ``people``."""
    with home.ledger.read() as conn:
        rows = conn.execute(select(books.plans.c.plan_id, books.plans.c.path, books.plans.c.meta)).all()
    wanted, found = pa.array(people.ids, pa.string()), []
    for plan_id, path, meta in rows:
        table = pq.read_table(home.root / path, columns=["customer", "decision_id", "unit"])
        mine = table.filter(pc.is_in(table["customer"], value_set=wanted))
        if mine.num_rows:
            people.enter(mine["decision_id"].to_pylist())
            names, decisions = (frozenset(mine[column].to_pylist()) for column in ("customer", "decision_id"))
            found.append(Found(plan_id, path, json.loads(meta), names, decisions))
    return found


def rewrite(home: Home, found: Sequence[Found], people: People) -> list[Rewritten]:
    """Write new files beside the old ones; nobody reads them before :func:`swap`."""
    return [_rewrite(home.root, one, people) for one in found]


def swap(conn: Connection, files: Sequence[Rewritten]) -> None:
    """Let the ledger name the new files."""
    table = books.plans
    for one in files:
        conn.execute(update(table).where(table.c.plan_id == one.plan_id).values(path=one.path, sha256=one.sha256, meta=one.meta))


def tidy_old(home: Home, files: Sequence[Rewritten]) -> None:
    """Remove the old files, after the swap."""
    for one in files:
        (home.root / one.old).unlink(missing_ok=True)
        features_of(home.root / one.old).unlink(missing_ok=True)


def tidy(home: Home, people: People) -> int:
    """Remove files of plans that the ledger does not name and that know one of them; returns how many."""
    with home.ledger.read() as conn:
        named = {home.root / path for path in conn.execute(select(books.plans.c.path)).scalars()}
    gone = 0
    for path in sorted((home.root / "plans").glob("*.parquet")):
        if path in named or path.name.endswith(FEATURES):
            continue
        names = pq.read_table(path, columns=["customer"])["customer"]
        if pc.any(pc.is_in(names, value_set=pa.array(people.ids, pa.string()))).as_py():
            features_of(path).unlink(missing_ok=True)
            path.unlink()
            gone += 1
    for left in sorted((home.root / "plans").glob(f"*{FEATURES}")):
        if re.search(r"\.e\d+\.features", left.name) and not left.with_name(left.name.replace(FEATURES, ".parquet")).exists():
            left.unlink()
    return gone


def features_of(path: Path) -> Path:
    """Where the features of a plan's file lie."""
    return path.with_name(path.name.removesuffix(".parquet") + FEATURES)


def following(path: str) -> str:
    """The name of the next version of a file: ``x.parquet``, ``x.e1.parquet``, ``x.e2.parquet``."""
    stem = path.removesuffix(".parquet")
    number = re.search(r"\.e(\d+)$", stem)
    return f"{stem[: number.start()]}.e{int(number[1]) + 1}.parquet" if number else f"{stem}.e1.parquet"


def origin(path: str) -> str:
    """The name that a file had before any erasure rewrote it."""
    return re.sub(r"\.e\d+(?=\.parquet$)", "", path)


def _rewrite(root: Path, one: Found, people: People) -> Rewritten:
    table = pq.read_table(root / one.path)
    mine = pc.is_in(table["customer"], value_set=pa.array(people.ids, pa.string())).to_numpy(zero_copy_only=False)
    units = {unit for unit, erased in zip(table["unit"].to_pylist(), mine, strict=True) if erased}
    places = np.flatnonzero(mine | pc.is_in(table["unit"], value_set=pa.array(sorted(units), pa.string())).to_numpy(zero_copy_only=False))
    rows = table.take(pa.array(places)).to_pylist()
    for row, erased in zip(rows, mine[places], strict=True):
        if row["unit"] in units:  # the household as it was drawn, under a name that only this plan knows
            row["unit"] = people.alias(row["unit"], of=f"unit {one.plan_id}")
        if erased:
            _strip(row, people)
    order = np.arange(table.num_rows)
    order[places] = table.num_rows + np.arange(places.size)
    fresh = pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)]).take(pa.array(order))
    features = features_of(root / one.path)
    kept = pq.read_table(features) if features.exists() else None
    meta = people.clean(json.dumps(one.meta, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    fresh = fresh.replace_schema_metadata({**(table.schema.metadata or {}), _META: meta.encode()})
    path = following(one.path)
    if kept is not None:
        atomic_write(features_of(root / path), _bytes(_blank(kept, mine, people)))
    data = _bytes(fresh)
    atomic_write(root / path, data)
    return Rewritten(one.plan_id, one.path, path, hashlib.sha256(data).hexdigest(), meta)


def _strip(row: dict[str, Any], people: People) -> None:
    row["customer"] = people.alias(row["customer"])
    row["decision_id"] = people.also[row["decision_id"]]
    row["reasons"] = ["[]"] * len(row["reasons"])
    row["suppressed"], row["features"] = "{}", ""
    if row["send_at"] is not None:
        row["send_at"] = row["send_at"].replace(hour=0, minute=0, second=0, microsecond=0)


def _blank(features: pa.Table, mine: Any, people: People) -> pa.Table:
    """The features without what they say of the erased: unknown, which the value model takes as the average."""
    keep = pa.array(~mine)
    for place, name in enumerate(features.column_names):
        if name == "decision_id":
            column = pa.array([people.whole(one) or one for one in features[name].to_pylist()], pa.string())
        elif name.startswith("x:"):
            column = pc.if_else(keep, features[name], pa.scalar(None, features.schema.field(name).type))
        else:
            continue
        features = features.set_column(place, name, column)
    return features


def _bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=65_536)
    return sink.getvalue()
