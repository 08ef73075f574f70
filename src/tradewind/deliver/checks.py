"""The last look before a message leaves: consent, suppression, time, expiry, quiet hours and caps, in the transaction that hands it off."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, select, text, update

from tradewind.collect.consent import reason
from tradewind.compose.material import catalogue
from tradewind.decide.campaign_books import states
from tradewind.deliver.caps import Near, Placed, Waiting, near, place, rank, yields
from tradewind.deliver.outbox import NEVER, Row, remember, unindexed
from tradewind.deliver.quiet import Hours, hours
from tradewind.deliver.rules import Rules
from tradewind.engine.ledger import outbox
from tradewind.errors import InputError
from tradewind.types import Message, micros, utc

c = outbox.c

# Statements are built once: at one message per transaction, building them would cost more than running them.
_MARK = (
    update(outbox)
    .where(c.message_id.in_(bindparam("names", expanding=True)))
    .values(state="handing_off", detail=bindparam("new_detail"), lease_until=bindparam("new_until"), updated_at=bindparam("at"))
)


@cache
def _ours(*, locked: bool) -> Select[Any]:
    mine = and_(c.message_id.in_(bindparam("names", expanding=True)), unindexed(c.state).in_(("leased", "ready")))
    query = select(c.message_id, c.fence, reason(c.customer, c.channel).label("stop")).where(mine)
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
    until: int | None = None  # not sent at or after this moment


def read(row: Row) -> Message | None:
    """The message of a row; None when it cannot be read or belongs to another row."""
    try:
        message = Message.from_json(row.message or "")
    except InputError:
        return None
    ours = (message.message_id, message.customer, message.channel, message.plan_id)
    return message if ours == (row.message_id, row.customer, row.channel, row.plan_id) else None


PAUSED = 300_000_000  # microseconds until a message of a paused campaign is looked at again
Reached = dict[str, list[Placed]]  # customer -> messages that may have arrived, and when


def judge(
    conn: Connection, cases: Sequence[Case], *, rules: Rules, addressed: Collection[str], planned: Reached | None = None
) -> dict[str, Verdict]:
    """The verdict on each message that is still ours, by id; on PostgreSQL the rows stay locked until the transaction ends.

    ``addressed`` names the channels that need an address. ``planned`` carries what a dry run let through from call to call.
    """
    fences = {case.row.message_id: case.row.fence for case in cases}
    found = conn.execute(_ours(locked=planned is None), {"names": list(fences)})
    stops = {row.message_id: row.stop for row in found if row.fence == fences[row.message_id]}
    moments = [case.at for case in cases]
    around = near(conn, {case.row.customer for case in cases}, rules=rules, at=max(moments), first=min(moments))
    mark, campaigns = catalogue(conn), states(conn, {case.row.plan_id for case in cases})
    verdicts: dict[str, Verdict] = {}
    for case in sorted(cases, key=lambda case: _waiting(case).rank):
        row = case.row
        if row.message_id not in stops:
            continue  # cancelled, or another worker's by now
        here = around[row.customer]
        if planned is not None:
            here = Near([*here.taken, *planned.get(row.customer, [])], here.waiting)
        verdict = _judge(case, stops[row.message_id], mark, no_address=row.channel in addressed and case.address is None)
        if verdict is GO and (state := campaigns.get(row.plan_id, "running")) != "running":
            verdict = Verdict("suppressed", "campaign_done") if state == "done" else Verdict("ready", "campaign_paused", case.at + PAUSED)
        if verdict is GO:
            verdict = _timely(conn, case, here, rules)
        if verdict is GO:
            (around[row.customer].taken if planned is None else planned.setdefault(row.customer, [])).append(_waiting(case).placed(case.at))
        around[row.customer].waiting = [other for other in here.waiting if other.message_id != row.message_id]
        verdicts[row.message_id] = verdict
    return verdicts


def hold_caps(conn: Connection, cases: Sequence[Case]) -> None:
    """On PostgreSQL, let nobody else judge these customers, on any channel, until the transaction ends: counts stay exact.

    SQLite has one writer at a time anyway.
    """
    if conn.dialect.name != "postgresql":
        return
    digests = {hashlib.sha256(case.row.customer.encode()).digest()[:8] for case in cases}
    numbers = sorted(int.from_bytes(digest, "big", signed=True) for digest in digests)  # one order for all: no deadlock
    conn.execute(text("SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(:numbers AS bigint[])) AS n"), {"numbers": numbers})


def hand_off(
    conn: Connection,
    cases: Sequence[Case],
    *,
    until: int,
    mark: str | None,
    rules: Rules,
    addressed: Collection[str],
    actor: str = "worker",
) -> dict[str, Verdict]:
    """Judge leased rows and write the verdicts, by message id.

    Those with ``GO`` are in state ``handing_off`` once the transaction has committed, and only then may they be sent. A
    row that another provider may have taken under its key becomes unknown instead.
    """
    if not cases:
        return {}
    hold_caps(conn, cases)
    verdicts = judge(conn, cases, rules=rules, addressed=addressed)
    for case in cases:
        row, verdict = case.row, verdicts.get(case.row.message_id)
        if row.doubtful and verdict is not None and (row.detail != mark if verdict is GO else verdict.state != "ready"):
            why = (
                "another provider may have taken it"
                if verdict is GO
                else f"{row.detail}; an earlier try may have reached the provider; {verdict.reason}"
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
    ended = [(case, verdicts[case.row.message_id]) for case in cases if case.row.message_id in verdicts]
    remember(conn, [(case.row, v.state, case.at, v.reason) for case, v in ended if v is not GO and v.state != "ready"], actor=actor)
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


def _timely(conn: Connection, case: Case, here: Near, rules: Rules) -> Verdict:
    """Whether this is a moment for the message: outside the quiet hours, inside the caps, and not better used for another one."""
    one, own = _waiting(case), hours_of(case, rules)
    moment = place(one, here.taken, at=case.at, rules=rules, hours=own)
    why = "quiet" if own.opens(case.at) != case.at else "cap"
    if moment is None:
        return Verdict("suppressed", why)
    if moment > case.at:
        return Verdict("ready", why, moment)
    others = {other.channel: hours_of(case, rules, channel=other.channel) for other in here.waiting}
    again = yields(conn, one, here, at=case.at, rules=rules, hours=own, others=others)
    if again is None:
        return GO
    return Verdict("ready", "cap", again) if again > case.at else Verdict("suppressed", "cap")


def hours_of(case: Case, rules: Rules, *, channel: str | None = None) -> Hours:
    """When the customer of a case may be reached, on its own channel or on another one."""
    about = case.message.headers if case.message is not None else {}
    return hours(rules, channel or case.row.channel, zone_name=about.get("zone"), country=about.get("country"))


def deadline(case: Case, rules: Rules, *, until: int) -> int:
    """Until when (microseconds, exclusive) a message that may go now may still be sent: lease, expiry, the next quiet hours."""
    closes = hours_of(case, rules).closes(case.at)
    return min(until, closes, until if case.row.expires_at is None else case.row.expires_at)


def _waiting(case: Case) -> Waiting:
    row = case.row
    order = rank(row.worth, row.send_at, row.message_id)
    return Waiting(row.message_id, row.channel, row.category, row.send_at, row.expires_at, order)


def _keep_back(conn: Connection, case: Case, verdict: Verdict) -> None:
    detail = case.row.detail if verdict.state == "ready" else verdict.reason  # it may name the provider of an earlier try
    values = {"state": verdict.state, "detail": detail, "next_at": verdict.next_at, "updated_at": case.at}
    change = update(outbox).where(c.message_id == case.row.message_id).values(**values, lease_owner=None, lease_until=None)
    conn.execute(change)
