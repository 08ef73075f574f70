"""The ledger after an erasure: rows that only make sense with the person go, all others keep their numbers under aliases.

Tables that this module does not name are treated, too: every text of every table is looked at, so that a table that somebody adds
next year forgets without being told. A row of the audit log that names the person is written anew and the chain behind it is
computed again; the last row says so, with the hashes that stood at its end before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, select, text, update

from tradewind.collect.erase_clean import People, distinctive, personal
from tradewind.engine import books_channels, books_people
from tradewind.engine import ledger as books
from tradewind.engine.audit import _hash

GONE = (
    "consents",
    "consent_acts",
    "consent_requests",
    "trigger_states",
    "audience_members",
    "audience_uploads",
)  # rows that go with the person
APART = (
    "vault_keys",
    "contacts",
    "suppressions",
    "erasures",
    "inbox",
    "outbox",
    "manifest",
    "plans",
    "audit",
    "audit_head",
    "alembic_version",
)
OPEN = ("planned", "ready", "leased", "withheld")  # states of the outbox before a hand-off
FEW = 500  # values per IN
SHORT = 64  # characters: a column of no more holds one name, not a text


def forget(conn: Connection, people: People) -> dict[str, int]:
    """Take ``people`` out of every table, inside the caller's write transaction; returns rows per table."""
    counts = {"outbox": _outbox(conn, people)}
    found = MetaData()
    found.reflect(conn)
    for name in sorted(set(found.tables) - set(APART)):
        counts[name] = _table(conn, found.tables[name], people)
    counts["audit"] = _audit(conn, people)
    return {name: count for name, count in counts.items() if count}


def platforms(conn: Connection, people: People) -> list[tuple[str, str, str]]:
    """Audience, kind and digest of the contact points that an advertising platform was given: only the operator can tell it to forget."""
    c = books_channels.uploads.c
    rows = conn.execute(select(c.audience, c.kind, c.digest).where(c.digest.in_(people.digests)).order_by(c.audience, c.digest))
    return [(row.audience, row.kind, row.digest) for row in rows]


def enter(conn: Connection, people: People) -> None:
    """Let the decisions and messages that the ledger knows of them get aliases, too."""
    c = books.outbox.c
    for start in range(0, len(people.ids), FEW):
        rows = conn.execute(select(c.message_id, c.decision_id).where(c.customer.in_(people.ids[start : start + FEW])))
        people.enter(value for row in rows for value in row)


def _outbox(conn: Connection, people: People) -> int:
    """Messages that wait are stopped; of those that left stay the place, the words by their ids and what became of them."""
    table, day = books.outbox, 86_400_000_000
    count = 0
    for start in range(0, len(people.ids), FEW):
        for row in conn.execute(select(table).where(table.c.customer.in_(people.ids[start : start + FEW]))).mappings().all():
            stopped = row["state"] in OPEN
            values = {
                "message_id": people.also[row["message_id"]],
                "decision_id": people.also[row["decision_id"]],
                "customer": people.alias(row["customer"]),
                "state": "suppressed" if stopped else row["state"],
                "detail": "erased" if stopped else None,
                "message": None if stopped or row["message"] is None else _stripped(row["message"], people),
                "send_at": row["send_at"] // day * day,
                "updated_at": row["updated_at"] // day * day,
                "provider_id": None,
                "lease_owner": None,
            }
            conn.execute(update(table).where(table.c.message_id == row["message_id"]).values(values))
            count += 1
    return count


def _stripped(message: str, people: People) -> str:
    """A message without its words: who was told what is gone, which components were drawn with which odds stays."""
    told: dict[str, Any] = json.loads(people.clean(message))
    told["parts"], told["facts"] = {}, ""
    for name in ("send_at", "expires_at"):
        told[name] = told[name] and f"{told[name][:10]}T00:00:00+00:00"
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def _table(conn: Connection, table: Table, people: People) -> int:
    texts = [column for column in table.columns if isinstance(column.type, String)]
    count = 0
    for row in _rows(conn, table, texts, people):
        changed = {
            column.name: people.clean(row[column.name], of_person=personal(column.name)) for column in texts if row[column.name] is not None
        }
        changed = {name: value for name, value in changed.items() if value != row[name]}
        if not changed:
            continue
        this = [column == row[column.name] for column in table.primary_key.columns]
        conn.execute(delete(table).where(*this) if table.name in GONE else update(table).where(*this).values(changed))
        count += 1
    return count


def _rows(conn: Connection, table: Table, texts: Sequence[Column[Any]], people: People) -> list[Mapping[str, Any]]:
    """The rows that may know one of them, in one pass: values that are an id, and longer texts that hold a word."""
    if not texts or not table.primary_key.columns:
        return []
    sqlite = conn.dialect.name == "sqlite"
    listed = "SELECT value FROM " + ("json_each(:{})" if sqlite else "json_array_elements_text(CAST(:{} AS json)) AS t(value)")
    within = "instr(lower({}), w.value) > 0" if sqlite else "strpos(lower({}), w.value) > 0"
    quote = conn.dialect.identifier_preparer.quote
    long = [within.format(quote(c.name)) for c in texts if c.type.length is None or c.type.length > SHORT]  # type: ignore[attr-defined]
    tests = [f"{quote(column.name)} IN ({listed.format('whole' if personal(column.name) else 'sure')})" for column in texts]
    if long:
        tests.append(f"EXISTS (SELECT 1 FROM ({listed.format('words')}) AS w WHERE {' OR '.join(long)})")
    words = {*(word.lower() for word in people.words), *(f'"{name.lower()}"' for name in people.ids if not distinctive(name))}
    told = {"whole": json.dumps(people.exact(of_person=True)), "sure": json.dumps(people.exact(of_person=False))}
    told["words"] = json.dumps(sorted(words))
    query = text(f"SELECT * FROM {quote(table.name)} WHERE {' OR '.join(tests)}")
    return [dict(row) for row in conn.execute(query, {name: value for name, value in told.items() if f":{name}" in str(query)}).mappings()]


def _audit(conn: Connection, people: People) -> int:
    """Write rows that name one of them anew, and the chain from there on."""
    table, head = books_people.audit, books_people.audit_head
    named = [row.seq for row in conn.execute(select(table.c.seq, table.c.subject, table.c.detail)) if _names(row, people)]
    if not named:
        return 0
    before = conn.execute(select(head.c.hash).where(head.c.one == 1).with_for_update()).scalar_one()
    rows = conn.execute(select(table).where(table.c.seq >= min(named)).order_by(table.c.seq)).mappings().all()
    previous = rows[0]["prev"]
    for row in rows:
        fresh = {**row, "prev": previous}
        if row["seq"] in named:
            fresh["subject"], fresh["detail"] = _subject(row["subject"], people), people.clean(row["detail"])
        previous = fresh["hash"] = _hash(fresh)
        conn.execute(update(table).where(table.c.seq == row["seq"]).values(**fresh))
    conn.execute(update(head).where(head.c.one == 1).values(hash=previous))
    people.also[f"audit {before}"] = previous  # for the row that says so
    return len(named)


def _subject(subject: str, people: People) -> str:
    kind, mark, name = subject.partition(":")
    return f"{kind}:{people.whole(name)}" if mark and personal(kind) and people.whole(name) else people.clean(subject)


def _names(row: Any, people: People) -> bool:
    return _subject(row.subject, people) != row.subject or people.mentioned(row.detail)
