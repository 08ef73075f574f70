"""The audit log: who did what to whom, when; append-only, and each row holds the hash of the one before.

A row's hash is the SHA-256 of the canonical JSON of all its other fields, so that a changed, removed, inserted or
reordered row breaks the chain at a place that :func:`verify` names. The last hash stands in a row of its own: a cut
tail shows as well. Whoever may write to the whole database could forge the whole chain; against that, keep the head
that ``tradewind audit --verify`` prints somewhere else, and compare.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tradewind.engine.books_people import audit, audit_head
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError
from tradewind.types import from_micros, micros

START = "0" * 64  # the hash before the first row
NEAR = 1_000  # rows: how far a moved row is looked for; farther off it counts as changed
ERASED = "customer.erase"  # rows that named an erased person are written anew, and the row of the erasure says so
_FIELDS = ("seq", "prev", "at", "actor", "action", "subject", "detail")
_ACTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_ADDRESS = re.compile(r"[^\s\"@]+@[^\s\"@]+\.[^\s\"@]+|\+\d[\d -]{7,}\d")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the chain is broken."""

    seq: int
    kind: str  # "changed" | "removed" | "moved" | "inserted" | "head"
    text: str


@dataclass(frozen=True)
class Verified:
    """What :func:`verify` found."""

    rows: int
    head: str
    faults: tuple[Fault, ...]

    @property
    def sound(self) -> bool:
        """Whether every row is as it was written, and all are there."""
        return not self.faults


def note(conn: Connection, actor: str, action: str, subject: str = "", detail: Mapping[str, Any] | None = None, *, at: datetime) -> Entry:
    """Append one action to the chain, inside the caller's write transaction: it is logged if and only if it happened.

    ``actor`` is ``person:NAME`` or ``policy:NAME``; ``action`` a dotted name such as ``campaign.pause``; ``subject`` what it
    was done to, such as ``campaign:spring`` or ``customer:42``. ``detail`` is JSON. Call it last in a transaction: on
    PostgreSQL writers queue here until they commit.

    Raises
    ------
    InputError
        A name is empty or malformed, ``detail`` is no JSON, or it holds something like an address: rows outlive erasure.
    """
    text = _checked(actor, action, subject, detail)
    insert_new(conn, audit_head, [{"one": 1, "seq": 0, "hash": START}])
    last = conn.execute(select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.one == 1).with_for_update()).one()
    row = {"seq": last.seq + 1, "prev": last.hash, "at": micros(at), "actor": actor, "action": action, "subject": subject, "detail": text}
    digest = _hash(row)
    conn.execute(insert(audit).values(**row, hash=digest))
    conn.execute(update(audit_head).where(audit_head.c.one == 1).values(seq=row["seq"], hash=digest))
    return Entry(row["seq"], from_micros(row["at"]), actor, action, subject, json.loads(text), digest)


def entries(
    conn: Connection, *, subject: str | None = None, action: str | None = None, limit: int = 100, before: int | None = None
) -> list[Entry]:
    """The newest rows, newest first, those before a number if one is given.

    ``action`` takes the beginning of a name (``campaign`` finds ``campaign.pause``).
    """
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.seq < before)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if action is not None:
        query = query.where(audit.c.action.startswith(action, autoescape=True))
    return [Entry(r.seq, from_micros(r.at), r.actor, r.action, r.subject, json.loads(r.detail), r.hash) for r in conn.execute(query)]


def verify(conn: Connection, *, expect: str | None = None) -> Verified:
    """Recompute the chain and name every row that was changed, moved or inserted, and every gap.

    ``expect`` is a head that was noted down earlier: it must still be the hash of some row, or an erasure must say that it
    rewrote the chain which ended there.
    """
    faults: list[Fault] = []
    previous, want, rows, seen = START, 1, 0, expect in (None, START)
    linked = True  # a row after a faulty one has nothing to be compared with
    for found in conn.execute(select(audit).order_by(audit.c.seq)):
        row = found._asdict()
        rows += 1
        seen = seen or row["hash"] == expect or (row["action"] == ERASED and f'"head_was":"{expect}"' in row["detail"])
        gap = list(_gap(want, row["seq"]))
        fault = _look(row, previous if linked and not gap else None)
        faults += [*gap, *([fault] if fault else [])]
        previous, want, linked = row["hash"], row["seq"] + 1, fault is None
    faults += _tail(conn, want - 1, previous)
    if not seen:
        faults.append(Fault(want - 1, "head", f"no row has the hash {expect} that was noted down: rows were rewritten since"))
    return Verified(rows, previous, tuple(faults))


def _look(row: Mapping[str, Any], previous: str | None) -> Fault | None:
    seq = row["seq"]
    if _hash(row) != row["hash"]:
        for was in range(max(1, seq - NEAR), seq + NEAR + 1):
            if _hash({**row, "seq": was}) == row["hash"]:
                return Fault(seq, "moved", f"row {seq} was written as row {was}")
        return Fault(seq, "changed", f"row {seq} ({row['action']} by {row['actor']}) is not as it was written")
    if previous is not None and row["prev"] != previous:
        return Fault(seq, "inserted", f"row {seq} does not follow from row {seq - 1}: one of both was written anew")
    return None


def _gap(want: int, seq: int) -> Iterator[Fault]:
    if seq > want:
        which = f"row {want} is" if seq == want + 1 else f"rows {want} to {seq - 1} are"
        yield Fault(want, "removed", f"{which} missing")
    elif seq < 1:
        yield Fault(seq, "inserted", f"row {seq} is before the first")


def _tail(conn: Connection, last: int, digest: str) -> Iterator[Fault]:
    head = conn.execute(select(audit_head.c.seq, audit_head.c.hash)).one_or_none()
    if head is None:
        if last:
            yield Fault(last, "head", "the row that says where the chain ends is missing")
    elif head.seq > last:
        yield from _gap(last + 1, head.seq + 1)
    elif (head.seq, head.hash) != (last, digest):
        yield Fault(last, "head", f"the chain should end with row {head.seq} and hash {head.hash}")


def _hash(row: Mapping[str, Any]) -> str:
    text = json.dumps([row[name] for name in _FIELDS], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _checked(actor: str, action: str, subject: str, detail: Mapping[str, Any] | None) -> str:
    kind, _, name = actor.partition(":")
    if kind not in ("person", "policy") or not name or len(actor) > 255:
        raise InputError(f'An audit row names who acted as "person:NAME" or "policy:NAME"; got "{actor}".')
    if not _ACTION.fullmatch(action) or len(action) > 64:
        raise InputError(f'An audit row names an action such as "campaign.pause"; got "{action}".')
    if len(subject) > 300:
        raise InputError(f"The subject of an audit row has at most 300 characters; got {len(subject)}.")
    try:
        text = json.dumps(dict(detail or {}), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"The detail of an audit row is JSON of texts, numbers, lists and mappings: {error}.") from error
    if _ADDRESS.search(text):  # a subject is an id of the shop's own, whatever it looks like
        raise InputError("An audit row outlives erasure, so it holds no e-mail address or phone number. Name the customer's id instead.")
    return text
