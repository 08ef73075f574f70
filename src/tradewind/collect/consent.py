"""Who may be contacted where: an append-only ledger of consents, and suppressions that outlive the person's data.

Consent is opt-in: nobody may be contacted without a grant. The latest entry counts; of two entries of one moment the
withdrawal counts. A suppression belongs to an address, as its keyed hash, and beats every consent. ``consent_acts`` keeps who
said what under which words; ``consent_desk`` is where people and programs speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Connection, Select, and_, case, func, literal, select
from sqlalchemy.sql.elements import ColumnElement

from tradewind import schema
from tradewind.collect.consent_acts import USES, WITHDRAWN, Act, append, enter
from tradewind.collect.vault import DESTROYED, Pair
from tradewind.engine import audit, ledger
from tradewind.engine.ledger import insert_new
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

CHUNK = 5_000  # rows per statement
UNSUBSCRIBED = "unsubscribed"  # the one reason of a suppression that its owner can lift
CURRENT = pa.schema([("customer", pa.string()), ("channel", pa.string()), ("granted", pa.bool_())])


@dataclass(frozen=True)
class Recorded:
    """What became of the rows of one :meth:`Consents.record`."""

    new: int = 0
    known: int = 0


class Consents:
    """The consents and suppressions of one shop."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def record(self, rows: pa.Table) -> Recorded:
        """Append the rows of a ``schema.CONSENTS`` table; what is there already stays. Idempotent, in any order."""
        rows = schema.conform(rows, schema.CONSENTS)
        new = 0
        for batch in rows.to_batches(max_chunksize=CHUNK):
            with self._home.ledger.write() as conn:
                new += enter(conn, [{**row, "at": micros(row["at"])} for row in batch.to_pylist()])
        return Recorded(new=new, known=rows.num_rows - new)

    def withdraw(self, customer: str, channel: str, *, source: str, at: datetime) -> None:
        """Record one withdrawal, and suppress the address when there is one: all who share it are spared."""
        with self._home.ledger.write() as conn:
            withdraw(conn, Act(customer, channel, WITHDRAWN, at, source), actor="policy:collect", now=at)

    def suppress(self, address_hash: str, channel: str, reason: str, at: datetime) -> None:
        """Never contact this address on this channel again; the first reason stays. ``Vault.hash`` makes the hash."""
        with self._home.ledger.write() as conn:
            _suppress(conn, address_hash, channel, reason, at)

    def current(self, *, as_of: datetime | None = None) -> pa.Table:
        """The latest entry of every customer and channel (before ``as_of``, exclusive), in order of both."""
        with self._home.ledger.read() as conn:
            rows = conn.execute(_latest(as_of)).all()
        return pa.Table.from_arrays([pa.array([row[i] for row in rows], field.type) for i, field in enumerate(CURRENT)], schema=CURRENT)

    def sendable(self) -> pa.Table:
        """The customers and channels that :meth:`allowed` lets through, in order of both: what planning starts from."""
        latest = _latest(None).subquery()
        why = reason(latest.c.customer, latest.c.channel)
        contact = latest.c.channel.not_in(USES)
        query = select(latest.c.customer, latest.c.channel).where(contact, why == "").order_by("customer", "channel")
        with self._home.ledger.read() as conn:
            rows = conn.execute(query).all()
        pairs = CURRENT.remove(2)
        return pa.Table.from_arrays([pa.array([row[i] for row in rows], field.type) for i, field in enumerate(pairs)], schema=pairs)

    def allowed(self, conn: Connection, customer: str, channel: str) -> tuple[bool, str]:
        """Whether this customer may be contacted on this channel, read inside the caller's transaction, and why not.

        Reasons: ``no_consent``, ``withdrawn``, ``suppressed:<reason>``, ``erased``; empty when allowed.
        """
        why = conn.execute(select(reason(literal(customer), literal(channel)))).scalar_one()
        return why == "", why


def reason(customer: ColumnElement[str], channel: ColumnElement[str]) -> ColumnElement[str]:
    """The SQL expression of :meth:`Consents.allowed`: why not, or an empty text. ``deliver`` puts it into its own query."""
    given, contact, stop, key = (table.alias() for table in (ledger.consents, ledger.contacts, ledger.suppressions, ledger.vault_keys))
    granted = (
        select(given.c.granted)
        .where(given.c.customer == customer, given.c.channel == channel)
        .order_by(given.c.at.desc())
        .limit(1)
        .scalar_subquery()
    )
    stopped = (
        select(func.min(stop.c.reason))
        .join_from(contact, stop, and_(stop.c.address_hash == contact.c.address_hash, stop.c.channel == contact.c.channel))
        .where(contact.c.customer == customer, contact.c.channel == channel)
        .scalar_subquery()
    )
    erased = select(key.c.customer).where(key.c.customer == customer, key.c.wrapped_key == DESTROYED).exists()
    return case(
        (erased, "erased"),
        (stopped.is_not(None), literal("suppressed:") + stopped),
        (granted.is_(None), "no_consent"),
        (granted.is_(False), "withdrawn"),
        else_="",
    )


def withdraw(conn: Connection, act: Act, *, actor: str, now: datetime) -> bool:
    """Enter a withdrawal, suppress the address when there is one, and note it in the audit log; return whether it was new."""
    new = append(conn, [act], now=now) > 0
    spare(conn, act)
    if new:
        audit.note(conn, actor, "consent.withdrawn", f"customer:{act.customer}", {"channel": act.channel}, at=now)
    return new


def spare(conn: Connection, act: Act) -> None:
    """Suppress the address of whoever withdrew, when there is one."""
    contact = ledger.contacts.c
    query = select(contact.address_hash).where(contact.customer == act.customer, contact.channel == act.channel)
    if (digest := conn.execute(query).scalar()) is not None:
        _suppress(conn, digest, act.channel, UNSUBSCRIBED, act.at)


def _suppress(conn: Connection, address_hash: str, channel: str, why: str, at: datetime) -> None:
    insert_new(conn, ledger.suppressions, [{"address_hash": address_hash, "channel": channel, "reason": why, "at": micros(at)}])


def _latest(as_of: datetime | None) -> Select[Any]:
    c, other = ledger.consents.c, ledger.consents.alias()
    later = and_(other.c.customer == c.customer, other.c.channel == c.channel, other.c.at > c.at)
    query = select(c.customer, c.channel, c.granted).order_by(c.customer, c.channel)
    if as_of is not None:
        later, query = and_(later, other.c.at < micros(as_of)), query.where(c.at < micros(as_of))
    return query.where(~select(other.c.at).where(later).exists())


__all__ = ["CURRENT", "UNSUBSCRIBED", "Consents", "Pair", "Recorded", "reason", "spare", "withdraw"]
