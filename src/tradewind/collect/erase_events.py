"""The event log and the tables after an erasure: files are written anew without the person, and one transaction swaps them.

What a person did is removed, but for the lines that sums are made of: purchases and refunds, and answers to a message of a plan. They stay
without session, text, rating, context and source, with new ids, and at the beginning of their day or of the plan's. Lines that a plan
of this person counts carry the person's alias; all others carry nobody, as those of a visitor who was not recognised.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, delete, insert, select

from tradewind import schema
from tradewind.collect.erase_clean import People, distinctive, personal
from tradewind.collect.erase_plans import Found, following
from tradewind.engine import ledger as books
from tradewind.engine import parquet
from tradewind.engine.files import fsync_dir
from tradewind.schema import Kind
from tradewind.types import utc

if TYPE_CHECKING:
    import duckdb

    from tradewind.engine.home import Home

SOURCE = "erased"  # of the lines that stay
MONEY = (Kind.PURCHASE, Kind.REFUND)
ANSWERS = (Kind.REDEEM, Kind.OPEN, Kind.CLICK, Kind.UNSUBSCRIBE, Kind.COMPLAINT, Kind.BOUNCE)
_KEPT = ("kind", "item", "quantity", "value", "discount", "currency", "offer", "channel")
DROPPED = ("customers", "audiences", "quarantine")  # tables whose rows about a person have no use without it


@dataclass
class Swapped:
    """Files written anew and not yet named; :func:`swap` names them."""

    rows: list[tuple[Mapping[str, Any], dict[str, Any] | None]] = field(default_factory=list)  # old and new row of the manifest
    removed: int = 0
    kept: int = 0
    first: dict[str, dict[str, datetime]] = field(default_factory=dict)  # customer -> file -> first event in it


def stage(home: Home, people: People, plans: Sequence[Found]) -> Swapped:
    """Write every file anew that knows one of ``people``. Only for who holds the loader lock, after a sweep."""
    with home.ledger.read() as conn:
        named = [dict(row) for row in conn.execute(select(books.manifest).order_by(books.manifest.c.path)).mappings()]
    folder = home.log.staging / "erase"
    folder.mkdir(parents=True)
    done = Swapped()
    con = home.log.connect()
    try:
        events = [row for row in named if row["name"] == "events"]
        touched = _find(home, con, events, people)
        for theirs in touched.values():
            mine = [event for event in theirs if event["customer"] in people.ids]
            people.enter(event[name] for event in mine for name in ("order_id", "decision_id") if event[name] is not None)
        last = _last(con, home, events)
        for row in events:
            if row["path"] in touched:
                _events(home, con, row, touched[row["path"]], people, plans, done, last=last)
        for row in named:
            if row["name"] != "events":
                _table(home, row, people, done, folder)
    finally:
        con.close()
    return done


def swap(conn: Connection, done: Swapped) -> None:
    """Let the manifest name the new files in place of the old ones."""
    table = books.manifest
    for old, new in done.rows:
        conn.execute(delete(table).where(table.c.path == old["path"]))
        if new is not None:
            conn.execute(insert(table).values(**new))


def unlink(home: Home, done: Swapped) -> None:
    """Remove the old files, after the swap; what a kill leaves here, the next sweep removes."""
    for old, _ in done.rows:
        (home.root / old["path"]).unlink(missing_ok=True)
    shutil.rmtree(home.log.staging, ignore_errors=True)


def inbox_rows(conn: Connection, people: People) -> int:
    """Drop what came for them while the erasure ran."""
    table = books.inbox
    gone = [row.id for row in conn.execute(select(table.c.id, table.c.row)) if people.mentioned(row.row)]
    for start in range(0, len(gone), books.CHUNK):
        conn.execute(delete(table).where(table.c.id.in_(gone[start : start + books.CHUNK])))
    return len(gone)


def _sql_list(values: Sequence[str]) -> str:
    return ", ".join(parquet.literal(value) for value in values)


def _find(home: Home, con: duckdb.DuckDBPyConnection, events: Sequence[dict[str, Any]], people: People) -> dict[str, list[dict[str, Any]]]:
    """The events of these people, and those of others whose words name them, by file; one pass over four columns."""
    if not events:
        return {}
    words = "|".join(re.escape(word) for word in people.words)
    named = " OR ".join(f"regexp_matches({name}, {parquet.literal(words)}, 'i')" for name in ("text", "context")) if words else "false"
    for name in people.ids:
        if not distinctive(name):  # as a whole value of a field; whose, is looked at when the row is cleaned
            named += f" OR contains(context, {parquet.literal(json.dumps(name, ensure_ascii=False))})"
    files = _sql_list([str(home.root / row["path"]) for row in events])
    scan = f"read_parquet([{files}], hive_partitioning = false, filename = true)"
    con.execute(f"CREATE OR REPLACE TEMP TABLE tradewind_who AS SELECT unnest([{_sql_list(people.ids)}]) AS customer")
    test = f"customer IN (SELECT customer FROM tradewind_who) OR {named}"
    con.execute(f"CREATE OR REPLACE TEMP TABLE tradewind_touched AS SELECT * FROM {scan} WHERE {test}")
    found: dict[str, list[dict[str, Any]]] = {}
    for event in con.sql("SELECT * FROM tradewind_touched").to_arrow_table().to_pylist():
        found.setdefault(event.pop("filename"), []).append({**event, "at": utc(event["at"])})
    return {row["path"]: found[str(home.root / row["path"])] for row in events if str(home.root / row["path"]) in found}


def _last(con: duckdb.DuckDBPyConnection, home: Home, events: Sequence[dict[str, Any]]) -> datetime | None:
    """When the log ends, if it ends with one of them: measuring asks how far it was seen."""
    if not events:
        return None
    scan = parquet.scan([home.root / row["path"] for row in events], '"at", customer')
    mine = "customer IS NOT NULL AND customer IN (SELECT customer FROM tradewind_who)"
    times = f'max("at") FILTER (WHERE {mine}), max("at") FILTER (WHERE NOT ({mine}))'
    sql = f"SELECT {times} FROM ({scan} WHERE source <> 'deliver')"
    theirs, others = (column[0].as_py() for column in con.sql(sql).to_arrow_table().columns)
    return utc(theirs) if theirs is not None and (others is None or theirs > others) else None


def _events(
    home: Home, con: duckdb.DuckDBPyConnection, row: dict[str, Any], theirs: Sequence[dict[str, Any]], people: People,
    plans: Sequence[Found], done: Swapped, *, last: datetime | None,
) -> None:  # fmt: skip
    """One day's file: most rows go from file to file as they are."""
    fresh: list[dict[str, Any]] = []
    for event in theirs:
        if event["customer"] not in people.ids:  # somebody else's words
            fresh.append({**event, "text": _clean(event["text"], people), "context": _clean(event["context"], people)})
            continue
        seen = done.first.setdefault(event["customer"], {})
        seen[row["path"]] = min(event["at"], seen.get(row["path"], event["at"]))
        if (line := _line(event, people, plans)) is not None:
            fresh.append(line)
            done.kept += 1
        else:
            done.removed += 1
        if event["at"] == last:
            fresh.append({"id": secrets.token_hex(16), "at": last, "kind": str(Kind.VIEW), "source": SOURCE})
    con.register("tradewind_fresh", pa.Table.from_pylist(fresh, schema=schema.EVENTS))
    rest = f"SELECT e.* FROM ({parquet.scan([home.root / row['path']])}) AS e ANTI JOIN tradewind_touched AS t ON e.id = t.id"
    path = home.log.staging / "erase" / f"{len(done.rows)}.parquet"
    options = "FORMAT parquet, COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 4096"
    con.execute(f"COPY ({rest} UNION ALL BY NAME SELECT * FROM tradewind_fresh) TO {parquet.literal(path)} ({options})")
    con.unregister("tradewind_fresh")
    _place(home, row, path, done, columns=schema.EVENTS)


def _clean(text: str | None, people: People) -> str | None:
    return None if text is None else people.clean(text)


def _line(event: Mapping[str, Any], people: People, plans: Sequence[Found]) -> dict[str, Any] | None:
    """What stays of an event: a line of money or an answer, or nothing."""
    answers = event["kind"] in ANSWERS and any(event["decision_id"] in one.decisions for one in plans)
    if event["kind"] not in MONEY and not answers:
        return None
    at = utc(event["at"])
    mine = [one.counted for one in plans if event["customer"] in one.customers]
    counted = any(start <= at < end for start, end in mine)
    kept = {name: event[name] for name in _KEPT}
    for name in ("order_id", "decision_id"):
        kept[name] = None if event[name] is None else people.also[event[name]]
    moment = _floored(at, [edge for window in mine for edge in window])
    customer = people.alias(event["customer"]) if counted else None
    return {**kept, "id": secrets.token_hex(16), "at": moment, "customer": customer, "source": SOURCE}


def _floored(at: datetime, edges: Sequence[datetime]) -> datetime:
    """The last beginning of a day, or hour at which a plan's windows begin and end, that is not after ``at``."""
    hours = {time(tzinfo=UTC)} | {edge.timetz() for edge in edges}
    return max(datetime.combine(at.date(), hour) for hour in hours if hour <= at.timetz())


def _table(home: Home, row: dict[str, Any], people: People, done: Swapped, folder: Path) -> None:
    """A table other than events; read whole, for these are small, or grow with the number of decisions."""
    table = pq.read_table(home.root / row["path"])
    texts = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
    hit = np.zeros(table.num_rows, dtype=bool)
    for name in texts:
        hit |= _may_name(table[name], people, of_person=_of_person(row["name"], name))
    places = np.flatnonzero(hit)
    order = np.arange(table.num_rows)
    rows: list[dict[str, Any]] = []
    for place, one in zip(places, table.take(pa.array(places)).to_pylist(), strict=True):
        cleaned = dict(one)
        for name in texts:
            if one[name] is not None:
                cleaned[name] = people.clean(one[name], of_person=_of_person(row["name"], name))
        if cleaned == one:
            continue
        if row["name"] in DROPPED:
            order[place] = -1
            done.removed += 1
        else:
            order[place] = table.num_rows + len(rows)
            rows.append(cleaned)
    if (order == np.arange(table.num_rows)).all():
        return
    fresh = pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)]).take(pa.array(order[order >= 0]))
    path = folder / f"{len(done.rows)}.parquet"
    pq.write_table(fresh.combine_chunks(), path, compression="zstd")
    _place(home, row, path, done, columns=schema.TABLES.get(row["name"]))


def _of_person(table: str, column: str) -> bool:
    """Rows in quarantine have the columns of a source that nobody has mapped: any of them may name a person."""
    return personal(column) or (table == "quarantine" and column in ("row", "value"))


def _may_name(column: pa.ChunkedArray, people: People, *, of_person: bool) -> Any:
    """Bool [rows]: which values could be or name one of them; exact values at once, words in longer texts."""
    exact = pa.array(people.exact(of_person=of_person), pa.string())
    hit = pc.is_in(column, value_set=exact)
    for word in (*people.words, *(f'"{name}"' for name in people.ids if not distinctive(name))):
        hit = pc.or_(hit, pc.fill_null(pc.match_substring(column, word, ignore_case=True), fill_value=False))
    return hit.to_numpy(zero_copy_only=False) if isinstance(hit, pa.Array) else hit.combine_chunks().to_numpy(zero_copy_only=False)


def _place(home: Home, row: dict[str, Any], staged: Path, done: Swapped, *, columns: pa.Schema | None) -> None:
    """Put a new file beside the old one; without rows there is none."""
    about = parquet.describe(staged, columns)
    if not about["rows"]:
        done.rows.append((row, None))
        return
    path = following(row["path"])
    staged.replace(home.root / path)
    fsync_dir((home.root / path).parent)
    done.rows.append((row, {**row, "path": path, **about}))


def known_ids(home: Home) -> Iterator[str]:
    """Every customer whom a file or the ledger names, for those who look for one by a keyed hash."""
    import duckdb

    files = home.log.files("events")
    found: set[str] = set()
    with duckdb.connect() as con:
        for name in ("events", "customers", "outcomes", "audiences"):
            files = home.log.files(name)
            if files:
                sql = f"SELECT DISTINCT customer FROM ({parquet.scan(files, 'customer')}) WHERE customer IS NOT NULL"
                found |= {one for (one,) in con.execute(sql).fetchall()}
    with home.ledger.read() as conn:
        for table in (books.consents, books.contacts, books.vault_keys, books.outbox):
            found |= set(conn.execute(select(table.c.customer).distinct()).scalars())
        found |= {customer for text in conn.execute(select(books.inbox.c.row)).scalars() if (customer := json.loads(text).get("customer"))}
    yield from sorted(found)
