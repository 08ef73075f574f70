"""What a person said, when, and how one knows: the append-only history from which the consents in force follow.

A purpose is bound to where it acts: ``marketing`` to the channel of a message, ``advertising`` to the channel ``ads``,
``personalisation`` and ``analytics`` to no channel at all; these two stand in place of one. ``transactional`` messages
rest on the contract and need no consent, so that none is recorded.

Acts are ordered by their own time, not by their arrival: the latest counts, and of two at one moment the withdrawal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, and_, select, true, tuple_, update

from tradewind.engine import ledger
from tradewind.engine.books_people import consent_acts, consent_requests
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError, unknown
from tradewind.schema import Channel
from tradewind.types import from_micros, micros

PURPOSES = ("marketing", "advertising", "personalisation", "analytics", "transactional")
CONTACTS = (*(str(one) for one in Channel), "ads")
USES = ("personalisation", "analytics")  # what is done with data rather than said on a channel
BASES = ("consent", "double_opt_in", "soft_opt_in", "legitimate_interest", "assumed")
GRANTED, WITHDRAWN, PENDING = "granted", "withdrawn", "pending"
_ORDER = (PENDING, GRANTED, WITHDRAWN)  # at one moment


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a person said about one channel, or about one use of data."""

    customer: str
    channel: str  # of CONTACTS or USES
    status: str  # GRANTED | WITHDRAWN; in a history also PENDING
    at: datetime
    source: str  # who recorded it: a form, a file, a link
    basis: str = "consent"
    text_version: str | None = None
    text_hash: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    jurisdiction: str | None = None

    @property
    def purpose(self) -> str:
        """What it is about."""
        return purpose_of(self.channel)

    def check(self) -> None:
        """Raise InputError for an act that means nothing."""
        if self.status == GRANTED:  # a withdrawal is taken under any name
            known(self.channel)
        if self.basis not in BASES:
            raise unknown("basis of a consent", self.basis, BASES)
        if not self.customer or not self.source:
            raise InputError("A consent names a customer and a source: who recorded it.")


def known(channel: str) -> str:
    """The channel or use, if there is one of that name."""
    if channel == "transactional":
        raise InputError("Transactional messages rest on the contract and need no consent. Record consents for channels and uses.")
    if channel not in (*CONTACTS, *USES):
        raise unknown("channel or use", channel, (*CONTACTS, *USES))
    return channel


def purpose_of(channel: str) -> str:
    """The purpose that a channel, or a use in its place, serves."""
    return channel if channel in USES else "advertising" if channel == "ads" else "marketing"


def append(conn: Connection, acts: Sequence[Act], *, now: datetime) -> int:
    """Enter acts into the history and into what is in force; return how many were new. Idempotent, in any order."""
    rows = [_row(act) | {"recorded_at": micros(now)} for act in acts]
    insert_new(conn, consent_acts, rows)
    return enter(conn, [_state(row) for row in rows])


def enter(conn: Connection, entries: Sequence[Mapping[str, Any]]) -> int:
    """Enter rows of ``ledger.consents``: of one moment the withdrawal stays, and the grant that it replaces moves to the history."""
    merged: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for row in entries:
        key = (row["customer"], row["channel"], row["at"])
        if key not in merged or not row["granted"]:
            merged[key] = row
    new = insert_new(conn, ledger.consents, list(merged.values()))
    no = {key: row for key, row in merged.items() if not row["granted"]}
    if new == len(merged) or not no:
        return new
    c = ledger.consents.c
    replaced = conn.execute(select(ledger.consents).where(tuple_(c.customer, c.channel, c.at).in_(list(no)), c.granted == true())).all()
    for old in replaced:
        grant = Act(old.customer, old.channel, GRANTED, from_micros(old.at), old.source)
        insert_new(conn, consent_acts, [_row(grant) | {"recorded_at": old.at}])
        source = no[old.customer, old.channel, old.at]["source"]
        same = and_(c.customer == old.customer, c.channel == old.channel, c.at == old.at)
        conn.execute(update(ledger.consents).where(same).values(granted=False, source=source))
    return new + len(replaced)


def history(conn: Connection, customer: str) -> list[Act]:
    """Everything that a customer said, in order of time, pending requests included; of one moment the grant comes first."""
    found: dict[tuple[str, int, str], Act] = {}
    for table in (ledger.consents, consent_acts, consent_requests):
        for act in _read(conn, table, customer):
            found[act.channel, micros(act.at), act.status] = act  # the act, where there is one, tells more than the state
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0], _ORDER.index(key[2])))]


def in_force(conn: Connection, customer: str) -> dict[str, bool]:
    """The latest word of a customer on each channel and use that was ever spoken of."""
    c = ledger.consents.c
    rows = conn.execute(select(c.channel, c.granted).where(c.customer == customer).order_by(c.at)).all()
    return {row.channel: bool(row.granted) for row in rows}


def personal(conn: Connection, customer: str) -> bool:
    """Whether decisions and texts may use what is known of this customer: yes until personalisation or analytics is switched off."""
    said = in_force(conn, customer)
    return all(said.get(use, True) for use in USES)


def impersonal(conn: Connection, *, among: Sequence[str] | None = None) -> frozenset[str]:
    """The customers who switched personalisation or analytics off: all of them, or those ``among`` a few."""
    return frozenset().union(*(switched_off(conn, use, among=among) for use in USES))


def switched_off(conn: Connection, use: str, *, among: Sequence[str] | None = None) -> frozenset[str]:
    """The customers whose last word on a use of their data was no; who was never asked is not among them."""
    c = ledger.consents.c
    query = select(c.customer, c.granted).where(c.channel == use).order_by(c.at)
    rows = conn.execute(query if among is None else query.where(c.customer.in_(among))).all()
    latest = {row.customer: bool(row.granted) for row in rows}
    return frozenset(name for name, granted in latest.items() if not granted)


def _row(act: Act) -> dict[str, Any]:
    act.check()
    try:
        evidence = json.dumps(dict(act.evidence), ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"The evidence of a consent is JSON of texts, numbers, lists and mappings: {error}.") from error
    return {
        "customer": act.customer, "channel": act.channel, "at": micros(act.at), "status": act.status, "purpose": act.purpose,
        "basis": act.basis, "text_version": act.text_version, "text_hash": act.text_hash, "evidence": evidence,
        "jurisdiction": act.jurisdiction, "source": act.source,
    }  # fmt: skip


def _state(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("customer", "channel", "at", "source")} | {"granted": row["status"] == GRANTED}


def _read(conn: Connection, table: Table, customer: str) -> list[Act]:
    acts = []
    for row in conn.execute(select(table).where(table.c.customer == customer)):
        told = row._asdict()
        if table is consent_requests:
            told |= {"at": row.asked_at, "status": PENDING, "basis": "double_opt_in", "evidence": _asked(told)}
        elif table is ledger.consents:
            told |= {"status": GRANTED if row.granted else WITHDRAWN, "evidence": "{}"}
        evidence = json.loads(told.pop("evidence"))
        names = ("customer", "channel", "status", "source", "basis", "text_version", "text_hash", "jurisdiction")
        values = {name: told[name] for name in names if told.get(name) is not None}
        acts.append(Act(**values, at=from_micros(told["at"]), evidence=evidence))
    return acts


def _asked(row: Mapping[str, Any]) -> str:
    told = {"request": row["request_id"], "expires_at": from_micros(row["expires_at"]).isoformat()}
    return json.dumps(told | ({"confirmed_at": from_micros(row["confirmed_at"]).isoformat()} if row["confirmed_at"] else {}))
