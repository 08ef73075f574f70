"""The queue of messages in the ledger, and the only code that moves a message from state to state.

::

    planned --compose--> ready --claim--> leased --hand_off--> handing_off --settle--> accepted
     ^ |                  ^ ^               | |                   | | |
     | +--> withheld      | +---release-----+ +--> suppressed     | | +--> failed    refused for good, or tried too often
     |                    |                 |                     | +----> unknown   nobody knows: never blindly re-sent
     +------ its facts are too old ---------+                     |
                          +-------- certainly not taken, or the provider honours the key

``suppressed``: consent, suppression, erasure, expiry, cap, no address, plan cancelled; final. ``failed`` and ``unknown`` wait for
an operator: :func:`replay` and :func:`resolve`. A row in ``handing_off`` says, durably, that its provider may be called at
any moment. A worker owns a row while ``fence`` is the number that its claim gave it; every write checks it.

``next_at`` is when a row has something to do next: when to try a ready one, 0 for an accepted one whose ``sent`` event is
not in the event log yet, ``NEVER`` when it is. ``detail`` holds a reason, or, from the first hand-off under a key until
the outcome is certain, that key's provider: only that provider may be tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, bindparam, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from tradewind.engine.audit import note
from tradewind.engine.books_deliver import history
from tradewind.engine.ledger import insert_new, outbox, promises, reservations
from tradewind.errors import NotFound, StateError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NEVER = 2**62
CANCELLED = "plan_cancelled"
FREED = 500  # decisions that give back what they hold in one transaction
KEYED = "keyed "  # begins ``detail`` of a row that its provider may have taken under the message id
c = outbox.c
_SETTLE = (
    update(outbox)
    .where(c.message_id == bindparam("of_id"), c.fence == bindparam("of_fence"), or_(c.state == "handing_off", c.state == "unknown"))
    .values(lease_owner=None, lease_until=None)
)
_RELEASE = (
    update(outbox)
    .where(c.message_id == bindparam("of_id"), c.fence == bindparam("of_fence"), c.state == "leased")
    .values(state="ready", lease_owner=None, lease_until=None, updated_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class Row:
    """A claimed message: what the hand-off needs of its row."""

    message_id: str
    plan_id: str
    customer: str
    channel: str
    send_at: int
    expires_at: int | None
    attempts: int
    fence: int
    next_at: int
    detail: str | None
    message: str | None
    worth: int | None = None
    category: str | None = None

    @property
    def doubtful(self) -> bool:
        """Whether an earlier try may have reached its provider."""
        return (self.detail or "").startswith(KEYED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one hand-off at ``at``; ``spent`` is false when the provider was not even asked."""

    row: Row
    state: str  # "accepted" | "failed" | "unknown" | "ready"
    at: int
    detail: str | None = None
    next_at: int = NEVER
    provider_id: str | None = None
    spent: bool = True


def unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """A column in a condition for which the database shall not read an index: the condition beside it is narrower."""
    return column.concat("")


def columns() -> list[ColumnElement[Any]]:
    """The columns of :class:`Row`, in its order."""
    return [c[name] for name in Row.__dataclass_fields__]


def due(*, plan_id: str | None, channel: str, now: int) -> ColumnElement[bool]:
    """Ready rows of a channel whose time has come, of one plan or of all."""
    waiting = and_(c.state == "ready", c.next_at <= now, c.send_at <= now, c.channel == channel)
    return waiting if plan_id is None else and_(waiting, c.plan_id == plan_id)


def claim(conn: Connection, where: ColumnElement[bool], *, owner: str, now: int, until: int, limit: int) -> list[Row]:
    """Lease up to ``limit`` rows, oldest first, each with a fence of its own; other workers skip what is locked here."""
    query = select(*columns()).where(where).order_by(c.next_at, c.message_id).limit(limit).with_for_update(skip_locked=True)
    rows = [Row(*row) for row in conn.execute(query)]
    if rows:
        change = {"state": "leased", "lease_owner": owner, "lease_until": until, "fence": c.fence + 1, "updated_at": now}
        conn.execute(update(outbox).where(c.message_id.in_([row.message_id for row in rows])).values(change))
    return [replace(row, fence=row.fence + 1) for row in rows]


def release(conn: Connection, rows: Sequence[Row], *, now: int) -> None:
    """Give leased rows back untouched; those that somebody else owns by now stay with them."""
    if rows:
        conn.execute(_RELEASE, [{"of_id": row.message_id, "of_fence": row.fence, "at": now} for row in rows])


def recover(conn: Connection, providers: Mapping[str, str | None], *, now: int, alone: bool, longest: int = NEVER) -> Counter[str]:
    """Take up what dead workers left on some channels: leases that ended, or all of them when this worker is ``alone``.

    A lease that ends more than ``longest`` microseconds from now was given before the clock was set back; it has ended, too.

    ``providers`` names the provider of each channel that honours message ids, None for the others. A row that was being
    handed off to that very provider becomes ready again. Any other becomes unknown, and keeps its fence, so that a worker
    that was only slow may still settle it.
    """
    ended = c.lease_until.is_not(None) if alone else or_(c.lease_until <= now, c.lease_until > now + longest)
    over = and_(c.channel.in_(sorted(providers)), ended)
    free = {"state": "ready", "lease_owner": None, "lease_until": None, "updated_at": now}
    done = Counter(leases=conn.execute(update(outbox).where(c.state == "leased", over).values(free)).rowcount)
    for channel, provider in providers.items():
        if provider is not None:
            again = and_(c.state == "handing_off", c.channel == channel, c.detail == KEYED + provider, over)
            done["retried"] += conn.execute(update(outbox).where(again).values(**free, next_at=now)).rowcount
    why = "the worker ended during the hand-off"
    unsure = {**free, "state": "unknown", "detail": why, "next_at": NEVER}
    lost = conn.execute(update(outbox).where(c.state == "handing_off", over).values(unsure).returning(*columns())).all()
    remember(conn, [(Row(*row), "unknown", now, why) for row in lost], actor="recovery")
    done["unknown"] += len(lost)
    return done


def settle(conn: Connection, outcomes: Sequence[Outcome], *, actor: str = "worker") -> int:
    """Write what became of hand-offs; returns how many rows were still this worker's to write."""
    told = [each for each in outcomes if each.spent and (each.state != "accepted" or each.row.attempts)]
    remember(conn, [(each.row, each.state, each.at, each.detail) for each in told], actor=actor)
    values = [
        {
            "of_id": outcome.row.message_id,
            "of_fence": outcome.row.fence,
            "state": outcome.state,
            "detail": outcome.detail,
            "provider_id": outcome.provider_id,
            "attempts": outcome.row.attempts + outcome.spent,
            "next_at": outcome.next_at,
            "updated_at": outcome.at,
        }
        for outcome in outcomes
    ]
    return conn.execute(_SETTLE, values).rowcount if values else 0


def doubts(conn: Connection, channel: str, provider: str, *, limit: int) -> list[Row]:
    """Unknown messages that this very provider may have taken under their ids."""
    asked = and_(c.state == "unknown", c.channel == channel, c.detail.startswith(f"{KEYED}{provider}; ", autoescape=True))
    return [Row(*row) for row in conn.execute(select(*columns()).where(asked).order_by(c.next_at, c.message_id).limit(limit))]


def answered(conn: Connection, row: Row, *, taken: bool, now: int) -> bool:
    """Enter what the provider itself said about an unknown message; whether it was still unknown."""
    why = (row.detail or "").partition("; ")[2]
    # When it may have arrived stays what it was: the caps count from then.
    change: dict[str, Any] = {"state": "accepted", "next_at": 0, "detail": "the provider has it"}
    if not taken:
        change = {"state": "failed", "next_at": NEVER, "detail": f"the provider does not have it; {why}", "updated_at": now}
    mine = and_(c.message_id == row.message_id, c.fence == row.fence, c.state == "unknown")
    moved = conn.execute(update(outbox).where(mine).values({**change, "fence": c.fence + 1})).rowcount
    if moved:
        remember(conn, [(row, change["state"], now, change["detail"])], actor="provider")
    return bool(moved)


def remember(conn: Connection, steps: Sequence[tuple[Row, str, int, str | None]], *, actor: str) -> None:
    """Enter into the history what the rows themselves will forget: (row, the state that it entered, when, why)."""
    if steps:
        values = [
            {"message_id": row.message_id, "step": row.fence, "at": at, "state": state, "detail": detail, "actor": actor}
            for row, state, at, detail in steps
        ]
        insert_new(conn, history, values)


# -- what an operator does --------------------------------------------------------------------------------------------


def replay(home: Home, message_id: str, *, now: datetime, not_sent: bool = False, by: str = "operator") -> None:
    """Make a failed message ready again with all its attempts, or an unknown one that was found ``not_sent``.

    Consent, suppression, expiry and caps are checked again at its hand-off.

    Raises
    ------
    NotFound
        There is no such message.
    StateError
        It is in another state, or it is unknown and nobody said that it was not sent.
    """
    state = _state(home, message_id)
    if state == "unknown" and not not_sent:
        raise StateError(
            f'Message "{message_id}" may have been sent: sending it again could reach the person twice. '
            "Ask the provider for its Message-ID, then call resolve(...), or replay(..., not_sent=True)."
        )
    change = {"state": "ready", "attempts": 0, "next_at": micros(now), "detail": None}
    _change(home, message_id, ("failed", "unknown"), change, now=now, by=by)


def resolve(home: Home, message_id: str, *, accepted: bool, now: datetime, provider_id: str | None = None, by: str = "operator") -> None:
    """Enter what the provider said about an unknown message: it has it (``accepted``) or it has not (failed).

    Raises NotFound or StateError like :func:`replay`.
    """
    change = {"state": "accepted", "next_at": 0} if accepted else {"state": "failed", "next_at": NEVER}
    # When it may have arrived stays what it was: the caps count from then.
    change |= {"detail": "reconciled by an operator", "provider_id": provider_id, "updated_at": c.updated_at}
    _change(home, message_id, ("unknown",), change, now=now, by=by)


def cancel(home: Home, plan_id: str, *, now: datetime, by: str = "operator") -> int:
    """Stop a plan: suppress every message of it that is not with a provider yet, in one transaction; returns how many.

    What their decisions held of budget and stock is free at once. A call that is killed in between is finished by the next one.
    """
    change = {"state": "suppressed", "detail": CANCELLED, "lease_owner": None, "lease_until": None, "updated_at": micros(now)}
    waiting = and_(c.plan_id == plan_id, c.state.in_(("planned", "ready", "leased")))
    doubt = {**change, "state": "unknown", "detail": f"an earlier try may have reached the provider; {CANCELLED}"}
    with home.ledger.write() as conn:
        unsure = conn.execute(update(outbox).where(waiting, c.detail.startswith(KEYED)).values(doubt)).rowcount
        stopped = unsure + conn.execute(update(outbox).where(waiting).values(change)).rowcount
        if stopped:
            note(conn, f"person:{by}", "outbox.cancel", f"plan:{plan_id}", {"messages": stopped}, at=now)
    _free(home, plan_id)
    return stopped


def _free(home: Home, plan_id: str) -> None:
    """Give back what cancelled decisions hold, some at a time, so that no other writer waits long."""
    from tradewind.decide.commit import release

    holds = or_(
        select(reservations.c.decision_id).where(reservations.c.decision_id == c.decision_id, reservations.c.state == "held").exists(),
        select(promises.c.decision_id).where(promises.c.decision_id == c.decision_id).exists(),
    )
    theirs = select(c.decision_id).where(c.plan_id == plan_id, c.state == "suppressed", c.detail == CANCELLED, holds)
    while True:
        with home.ledger.read() as conn:
            rows = conn.execute(theirs.distinct().limit(FREED)).scalars().all()
        if not rows:
            return
        release(home, rows)


def _state(home: Home, message_id: str) -> str:
    with home.ledger.read() as conn:
        state: str | None = conn.execute(select(c.state).where(c.message_id == message_id)).scalar()
    if state is None:
        raise NotFound(f'There is no message "{message_id}".')
    return state


def _change(home: Home, message_id: str, states: tuple[str, ...], change: dict[str, Any], *, now: datetime, by: str) -> None:
    with home.ledger.write() as conn:
        # The fence moves on, so that nothing a slow worker still has to say about the old hand-off is heard.
        values = {"updated_at": micros(now), **change, "fence": c.fence + 1}
        where = and_(c.message_id == message_id, c.state.in_(states))
        moved = conn.execute(update(outbox).where(where).values(values).returning(*columns())).all()
        remember(conn, [(Row(*row), change["state"], micros(now), change["detail"]) for row in moved], actor=by[:64])
        if moved:
            note(conn, f"person:{by}", f"outbox.{change['state']}", f"message:{message_id}", at=now)
    if not moved:
        raise StateError(f'Message "{message_id}" is {_state(home, message_id)}; this needs {" or ".join(states)}.')
