"""Forget a person: the key first, then every place of docs/vault.md; cut off anywhere, the same call goes on.

::

    1  the erasure is entered in the ledger (unfinished) and in the journal beside the keys
    2  new files of the event log, the tables and the plans are written beside the old ones
    3  one transaction: key destroyed, addresses suppressed, files swapped, every row of the ledger forgotten, models marked
    4  old files are removed; handed-off messages, reports, models and the keys of backups are cleaned
    5  the erasure is finished: its mark names nobody, free pages and the write-ahead log are cleared, a certificate is kept

Before 3 has committed, everybody is still there; after it, nobody comes back, and a rerun does the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, update

from tradewind.collect import erase_events, erase_files, erase_journal, erase_ledger, erase_plans, keys
from tradewind.collect.erase_clean import People, clear_free_pages
from tradewind.collect.erase_trained import mark
from tradewind.collect.vault import Vault, bound
from tradewind.engine import audit
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import erasures
from tradewind.engine.lock import LoaderLock
from tradewind.errors import InputError, NotFound
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

Also = Callable[["Home", People], int]  # forgets in files that lie in rooms above this one: models


@dataclass(frozen=True)
class Erased:
    """What one erasure did; ``to_text`` for people, ``certificates`` for whoever has to prove it."""

    customers: int
    contact_points: int
    events_removed: int
    events_kept: int  # lines of money and answers, without the person
    files: int  # of the log, the tables and the plans, written anew
    rows: Mapping[str, int]  # of the ledger, by table
    other_files: int
    backup_keys: int
    models: tuple[str, ...]  # "name version": to be learned anew
    platforms: tuple[tuple[str, str, str], ...] = ()  # audience, kind, digest: what the operator has to ask to be removed
    certificates: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def to_text(self) -> str:
        """Lines for people."""
        if not self.customers:
            return "erased before; nothing of them is left to forget"
        lines = [f"erased {self.customers:,} customer(s): the key of {self.contact_points:,} contact point(s) is destroyed and suppressed"]
        lines.append(f"  events removed {self.events_removed:,}; lines of sums kept without the person {self.events_kept:,}")
        lines.append(f"  files written anew {self.files:,}; other files {self.other_files:,}; keys of backups {self.backup_keys:,}")
        lines += [f"  {count:>7,} rows of {name}" for name, count in sorted(self.rows.items())]
        lines += [f"  ask the platform of audience {name} to remove the {kind} {digest}" for name, kind, digest in self.platforms]
        if self.models:
            lines.append(f"  to be learned anew: {', '.join(self.models)} (tradewind learn)")
        return "\n".join([*lines, "Prove it: tradewind erase CUSTOMER --verify --address ADDRESS"])


def erase(
    home: Home,
    customers: Sequence[str],
    *,
    now: datetime,
    actor: str = "person:operator",
    also: Also | None = None,
    known: bool = True,
    addresses: Sequence[str] = (),
) -> Erased:
    """Forget customers for good, all in one pass; see the module for the steps, and docs/vault.md for what stays and why.

    ``addresses``: some that the vault does not hold any more, and that may stand in texts. The others are read from the vault.

    Raises
    ------
    NotFound
        The shop knows nothing of a customer (with ``known`` false that is no error: then there is nothing to do for this one).
    InputError
        No customer is named, or an id is empty.
    Locked
        A load is running, or another process reads the ledger; erase again.
    """
    names = tuple(dict.fromkeys(customers))
    if not names or not all(names):
        raise InputError("erase needs the ids of customers. Find one by an address: tradewind export --find ADDRESS.")
    vault = Vault(home)
    subjects = dict(zip(names, vault.subjects(names), strict=True))
    if known and not _known(home, subjects):
        clear_free_pages(home)  # perhaps this is all that an erasure left undone
        before = tuple(found for subject in subjects.values() if (found := certificate(home, subject)) is not None)
        return Erased(0, 0, 0, 0, 0, {}, 0, erase_journal.destroy(home.root, subjects.values()), (), certificates=before)
    people = _begin(home, vault, names, subjects, now=now, more=addresses)
    home.log.compact(now=now)
    with LoaderLock(home.root, home.ledger, what="erase", wait_seconds=home.log.wait_seconds) as lock:
        home.log.sweep()
        erase_plans.tidy(home, people)
        plans = erase_plans.find(home, people)
        with home.ledger.read() as conn:
            erase_ledger.enter(conn, people)
        files = erase_events.stage(home, people, plans)
        rewritten = erase_plans.rewrite(home, plans, people)
        with home.ledger.write() as conn:
            lock.check(conn)
            points = vault.destroy(conn, names, now=now)
            models = mark(conn, files.first, now=now)
            erase_events.swap(conn, files)
            erase_plans.swap(conn, rewritten)
            erase_events.inbox_rows(conn, people)
            told = erase_ledger.platforms(conn, people)
            rows = erase_ledger.forget(conn, people)
        erase_events.unlink(home, files)
        erase_plans.tidy_old(home, rewritten)
    others = erase_files.forget(home.root, people) + (also(home, people) if also else 0)
    backup_keys = erase_journal.destroy(home.root, subjects.values())
    anew = len(files.rows) + len(rewritten)
    done = Erased(len(names), points, files.removed, files.kept, anew, rows, others, backup_keys, tuple(models), tuple(told))
    certificates = _finish(home, vault, subjects, people, done, now=now, actor=actor)
    clear_free_pages(home)
    return replace(done, certificates=certificates)


def _known(home: Home, subjects: Mapping[str, str]) -> bool:
    """Whether there is anything to forget; raises NotFound for one of whom nothing is known and who was never erased."""
    here = set(erase_events.known_ids(home))
    found = [name for name, subject in subjects.items() if name in here or traces(home, name, subject)]
    for name in subjects:
        if name not in found and certificate(home, subjects[name]) is None:
            raise NotFound(f'The shop knows nothing of a customer "{name}". Find the id by an address: tradewind export --find ADDRESS.')
    return bool(found)


def traces(home: Home, customer: str, subject: str) -> bool:
    """Whether the shop knows anything of a customer, or an erasure of this one was cut off."""
    wanted = (books.vault_keys, books.contacts, books.consents, books.outbox)
    with home.ledger.read() as conn:
        if conn.execute(select(erasures.c.subject).where(erasures.c.subject == subject, erasures.c.finished_at.is_(None))).first():
            return True
        for table in wanted:
            if conn.execute(select(func.count()).select_from(table).where(table.c.customer == customer)).scalar_one():
                return True
        if any(json.loads(row).get("customer") == customer for row in conn.execute(select(books.inbox.c.row)).scalars()):
            return True
    import duckdb

    from tradewind.engine.parquet import scan

    with duckdb.connect() as con:
        for name in ("events", "customers", "outcomes", "audiences"):
            files = home.log.files(name)
            if files and con.execute(f"SELECT 1 FROM ({scan(files, 'customer')}) WHERE customer = ? LIMIT 1", [customer]).fetchall():
                return True
    return any(customer in found.customers for found in erase_plans.find(home, People((customer,))))


def erased(home: Home, customers: Sequence[str]) -> list[str]:
    """Those of ``customers`` whose erasure was begun, also when a stale import brought their id back."""
    vault = Vault(home)
    with home.ledger.read() as conn:
        gone = set(conn.execute(select(erasures.c.subject)).scalars())
    return [name for name, subject in zip(customers, vault.subjects(customers), strict=True) if subject in gone] if gone else []


def again(home: Home, *, now: datetime, also: Also | None = None, actor: str = "policy:erasure") -> Erased | None:
    """Erase again whom a stale import or a restored backup brought back; None when there is nobody."""
    with home.ledger.read() as conn:
        if not conn.execute(select(erasures.c.subject).limit(1)).first():
            return None
    back = erased(home, list(erase_events.known_ids(home)))
    return erase(home, back, now=now, actor=actor, also=also, known=False) if back else None


def certificate(home: Home, subject: str) -> Mapping[str, Any] | None:
    """The certificate of a finished erasure, by the keyed hash of the customer."""
    with home.ledger.read() as conn:
        text = conn.execute(select(erasures.c.certificate).where(erasures.c.subject == subject)).scalar()
    return None if text is None else json.loads(text)


def _begin(home: Home, vault: Vault, names: Sequence[str], subjects: Mapping[str, str], *, now: datetime, more: Sequence[str]) -> People:
    """Enter the erasure, and recall what an interrupted one knew of the addresses, which nobody can read any more."""
    wrap = vault.wrap()
    with home.ledger.read() as conn:
        pairs = [
            tuple(row)
            for row in conn.execute(select(books.contacts.c.customer, books.contacts.c.channel).where(books.contacts.c.customer.in_(names)))
        ]
        hashes = conn.execute(
            select(books.contacts.c.customer, books.contacts.c.channel, books.contacts.c.address_hash).where(
                books.contacts.c.customer.in_(names)
            )
        ).all()
        told = vault.addresses(conn, pairs)
        before = {
            row.subject: bytes(row.sealed)
            for row in conn.execute(select(erasures.c.subject, erasures.c.sealed).where(erasures.c.subject.in_(list(subjects.values()))))
        }
    addresses = list(more)
    rows = []
    for name in names:
        mine = [address for (customer, _), address in told.items() if customer == name]
        known = keys.unseal(wrap, before.get(subjects[name], b""), bound=bound(subjects[name]))
        mine += [one for one in (json.loads(known) if known else []) if one not in mine]
        addresses += mine
        sealed = keys.seal(wrap, json.dumps(mine).encode(), bound=bound(subjects[name]))
        rows.append({"subject": subjects[name], "at": micros(now), "finished_at": None, "sealed": sealed, "certificate": None})
    with home.ledger.write() as conn:
        books.upsert(conn, erasures, rows, update=["finished_at", "sealed"])
    entries = [
        erase_journal.Entry(subjects[name], now, tuple((row.channel, row.address_hash) for row in hashes if row.customer == name))
        for name in names
    ]
    erase_journal.append(home, entries)
    people = People(tuple(names), tuple(dict.fromkeys(addresses)), os.urandom(32))
    people.enter(row.address_hash for row in hashes)
    return people


def _finish(
    home: Home, vault: Vault, subjects: Mapping[str, str], people: People, done: Erased, *, now: datetime, actor: str
) -> tuple[Mapping[str, Any], ...]:
    """Bury the marks, keep the certificates and say so in the audit log."""
    counts = {"events_removed": done.events_removed, "events_kept": done.events_kept, "files": done.files, "rows": dict(done.rows)}
    made = []
    with home.ledger.write() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA secure_delete=ON").close()
        vault.bury(conn, list(subjects))
        for subject in subjects.values():
            first = conn.execute(select(erasures.c.at).where(erasures.c.subject == subject)).scalar_one()
            told: dict[str, Any] = {
                "subject": subject,
                "at": from_micros(first).isoformat(),
                "finished_at": now.isoformat(),
                "models": list(done.models),
            }
            told |= {"batch": len(subjects), "did": counts}
            told["mac"] = vault.sign(json.dumps(told, sort_keys=True))
            text = json.dumps(told, sort_keys=True)
            conn.execute(
                update(erasures).where(erasures.c.subject == subject).values(finished_at=micros(now), sealed=b"", certificate=text)
            )
            made.append(told)
        _say(conn, people, subjects, actor=actor, now=now)
    return tuple(made)


def _say(conn: Connection, people: People, subjects: Mapping[str, str], *, actor: str, now: datetime) -> None:
    moved = {name.removeprefix("audit "): after for name, after in people.also.items() if name.startswith("audit ")}
    for subject in subjects.values():
        detail = {"rewritten": [{"head_was": was, "head_became": became} for was, became in moved.items()]} if moved else {}
        audit.note(conn, actor, "customer.erase", f"erased:{subject}", detail, at=now)
