"""The last look before a message leaves: consent, suppression, time, expiry and cap, in the transaction that hands it off."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, or_, select, text, tuple_, update

from tradewind.collect.consent import reason
from tradewind.compose.material import catalogue
from tradewind.deliver.outbox import KEYED, NEVER, Row
from tradewind.deliver.rules import Rules
from tradewind.engine.ledger import outbox
from tradewind.errors import InputError
from tradewind.types import Message, micros, utc

COUNTED = ("accepted", "handing_off", "unknown")  # what may have reached the person counts against the cap
c = outbox.c

# Statements are built once: at one message per transaction, building them would cost more than running them.
_REACHED = select(c.customer, c.channel, c.message_id, c.updated_at).where(
    tuple_(c.customer, c.channel).in_(bindparam("pairs", expanding=True)),
    c.updated_at > bindparam("since"),
    or_(c.state.in_(COUNTED), and_(c.state.in_(("ready", "leased")), c.detail.startswith(KEYED))),
)
_MARK = (
    update(outbox)
    .where(c.message_id.in_(bindparam("names", expanding=True)))
    .values(state="handing_off", detail=bindparam("new_detail"), lease_until=bindparam("new_until"), updated_at=bindparam("at"))
)


@cache
def _ours(*, locked: bool) -> Select[Any]:
    mine = tuple_(c.message_id, c.fence).in_(bindparam("mine", expanding=True))
    query = select(c.message_id, reason(c.customer, c.channel).label("stop")).where(mine, c.state.in_(("leased", "ready")))
    return query.with_for_update(of=outbox) if locked else query


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a message now: its next ``state`` ("go": hand it off), why, and when it has something to do."""

    state: str
    reason: str = ""
    next_at: int = NEVER


GO = Verdict("go")


@dataclass(frozen=True, slots=True)
class Case:
    """One message before the judge: ``message`` is None when its text cannot be read."""

    row: Row
    message: Message | None
    at: int  # the moment that counts
    address: str | None = field(default=None, repr=False)


def read(row: Row) -> Message | None:
    """The message of a row; None when it cannot be read or belongs to another row."""
    try:
        message = Message.from_json(row.message or "")
    except InputError:
        return None
    ours = (message.message_id, message.customer, message.channel, message.plan_id)
    return message if ours == (row.message_id, row.customer, row.channel, row.plan_id) else None


Reached = dict[tuple[str, str], list[tuple[str, int]]]  # (customer, channel) -> messages that may have arrived, and when


def judge(
    conn: Connection, cases: Sequence[Case], *, rules: Rules, addressed: Collection[str], planned: Reached | None = None
) -> dict[str, Verdict]:
    """The verdict on each message that is still ours, by id; on PostgreSQL the rows stay locked until the transaction ends.

    ``addressed`` names the channels that need an address. ``planned`` carries what a dry run let through from call to call.
    """
    mine = [(case.row.message_id, case.row.fence) for case in cases]
    stops = {row.message_id: row.stop for row in conn.execute(_ours(locked=planned is None), {"mine": mine})}
    seen = _seen(conn, cases, since=min(case.at for case in cases) - rules.cap_window)
    mark = catalogue(conn)
    verdicts: dict[str, Verdict] = {}
    for case in cases:
        row = case.row
        if row.message_id not in stops:
            continue  # cancelled, or another worker's by now
        pair = (row.customer, row.channel)
        verdict = _judge(case, stops[row.message_id], mark, no_address=row.channel in addressed and case.address is None)
        if verdict is GO:
            others = seen[pair] + (planned or {}).get(pair, [])
            verdict = _cap(case, [moment for name, moment in others if name != row.message_id], rules)
        if verdict is GO:
            (seen if planned is None else planned).setdefault(pair, []).append((row.message_id, case.at))
        verdicts[row.message_id] = verdict
    return verdicts


def hold_caps(conn: Connection, cases: Sequence[Case]) -> None:
    """On PostgreSQL, let nobody else judge these customers until the transaction ends: counts stay exact.

    SQLite has one writer at a time anyway.
    """
    if conn.dialect.name != "postgresql":
        return
    pairs = {f"{len(case.row.customer)}|{case.row.customer}|{case.row.channel}" for case in cases}
    digests = {hashlib.sha256(pair.encode()).digest()[:8] for pair in pairs}
    numbers = sorted(int.from_bytes(digest, "big", signed=True) for digest in digests)  # one order for all: no deadlock
    conn.execute(text("SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(:numbers AS bigint[])) AS n"), {"numbers": numbers})


def hand_off(
    conn: Connection, cases: Sequence[Case], *, until: int, mark: str | None, rules: Rules, addressed: Collection[str]
) -> dict[str, Verdict]:
    """Judge leased rows and write the verdicts, by message id.

    Those with ``GO`` are in state ``handing_off`` once the transaction has committed, and only then may they be sent. A
    row that another provider may have taken under its key becomes unknown instead.
    """
    hold_caps(conn, cases)
    verdicts = judge(conn, cases, rules=rules, addressed=addressed)
    for case in cases:
        row, verdict = case.row, verdicts.get(case.row.message_id)
        if row.doubtful and verdict is not None and (row.detail != mark if verdict is GO else verdict.state != "ready"):
            why = (
                "another provider may have taken it" if verdict is GO else f"an earlier try may have reached the provider; {verdict.reason}"
            )
            verdicts[row.message_id] = Verdict("unknown", why)
    go = [case for case in cases if verdicts.get(case.row.message_id) is GO]
    if go:
        names = [case.row.message_id for case in go]
        conn.execute(_MARK, {"names": names, "new_detail": mark, "new_until": until, "at": max(case.at for case in go)})
    for case in cases:
        verdict = verdicts.get(case.row.message_id, GO)
        if verdict is not GO:
            _keep_back(conn, case, verdict)
    return verdicts


def _judge(case: Case, stop: str, mark: str, *, no_address: bool) -> Verdict:
    row, message = case.row, case.message
    if stop:
        return Verdict("suppressed", stop)
    if row.expires_at is not None and row.expires_at <= case.at:
        return Verdict("suppressed", "expired")
    if no_address:
        return Verdict("suppressed", "no_address")
    if message is None:
        return Verdict("failed", "the stored text cannot be read")
    if row.send_at > case.at:
        return Verdict("ready", "not_due", row.send_at)
    if _stale(message, case.at, mark):
        return Verdict("planned", "stale", row.send_at)
    return GO


def _stale(message: Message, at: int, mark: str) -> bool:
    """Whether the facts in the text were promised for a shorter time, or the catalogue was replaced since; ``compose`` looks again."""
    fresh_until = message.headers.get("fresh_until")
    return message.headers.get("catalogue", mark) != mark or (fresh_until is not None and micros(utc(fresh_until)) <= at)


def _cap(case: Case, seen: Sequence[int], rules: Rules) -> Verdict:
    inside = sorted(moment for moment in seen if moment > case.at - rules.cap_window)
    if len(inside) < rules.cap:
        return GO
    free = inside[len(inside) - rules.cap] + rules.cap_window
    if case.row.expires_at is not None and case.row.expires_at <= free:
        return Verdict("suppressed", "cap")
    return Verdict("ready", "cap", free)


def _seen(conn: Connection, cases: Sequence[Case], *, since: int) -> Reached:
    """Which messages may have reached these customers on these channels and when, by customer and channel."""
    pairs = {(case.row.customer, case.row.channel) for case in cases}
    seen: Reached = {pair: [] for pair in pairs}
    for row in conn.execute(_REACHED, {"pairs": sorted(pairs), "since": since}):
        seen[row.customer, row.channel].append((row.message_id, row.updated_at))
    return seen


def _keep_back(conn: Connection, case: Case, verdict: Verdict) -> None:
    detail = case.row.detail if verdict.state == "ready" else verdict.reason  # it may name the provider of an earlier try
    values = {"state": verdict.state, "detail": detail, "next_at": verdict.next_at, "updated_at": case.at}
    change = update(outbox).where(c.message_id == case.row.message_id).values(**values, lease_owner=None, lease_until=None)
    conn.execute(change)
