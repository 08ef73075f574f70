"""Frequency caps over rolling windows, and who goes first where they are short: the messages that are worth most.

A message is placed at the first moment that is outside the quiet hours and leaves every window of every cap that holds it with no more
messages than allowed, beside those that may have reached the customer already. Where that is now, the customer's other messages that
wait are placed too, those of higher expected profit first (ties: the earlier, then the id), each at its own first moment before it
expires. A message that no longer fits beside them yields: it waits until they are gone, and is judged again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select

from tradewind.collect.consent import reason
from tradewind.decide.campaign_books import states
from tradewind.deliver.gates import stopped
from tradewind.deliver.outbox import KEYED, unindexed
from tradewind.deliver.quiet import Hours
from tradewind.deliver.rules import SECOND, Cap, Rules
from tradewind.engine.ledger import outbox

COUNTED = ("accepted", "handing_off", "unknown")  # what may have reached the person counts
LOOK = 60 * SECOND  # after a better message had its turn
c = outbox.c
_NAMES = ("customer", "message_id", "channel", "category", "state", "detail", "updated_at", "send_at", "next_at", "expires_at")

# Statements are built once: at one message per transaction, building them would cost more than running them.
_NEAR = select(*(c[name] for name in _NAMES), c.worth, c.attempts).where(
    c.customer.in_(bindparam("customers", expanding=True)),
    or_(
        and_(unindexed(c.state).in_(COUNTED), c.updated_at > bindparam("since")),
        and_(unindexed(c.state).in_(("ready", "leased")), or_(c.send_at < bindparam("until"), c.detail.startswith(KEYED))),
    ),
)
_WANTED = select(c.message_id, c.plan_id, c.channel).where(
    c.message_id.in_(bindparam("names", expanding=True)), reason(c.customer, c.channel) == ""
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A message at a moment (microseconds), as caps see it."""

    message_id: str
    at: int
    channel: str
    category: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that wants to go: not before ``earliest``, not at or after ``expires_at``."""

    message_id: str
    channel: str
    category: str | None
    earliest: int
    expires_at: int | None
    rank: tuple[int, int, str]

    def placed(self, at: int) -> Placed:
        """The message at a moment."""
        return Placed(self.message_id, at, self.channel, self.category)


@dataclass
class Near:
    """What else is known of one customer: ``taken`` may have arrived, ``waiting`` wants to."""

    taken: list[Placed] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


def rank(worth: int | None, send_at: int, message_id: str) -> tuple[int, int, str]:
    """In what order messages take the places that caps leave; a message of unknown worth is worth nothing."""
    return -(worth or 0), send_at, message_id


def near(conn: Connection, customers: Collection[str], *, rules: Rules, at: int, first: int) -> dict[str, Near]:
    """What may have reached these customers within the caps' windows before ``first``, and what may want to go after ``at``."""
    found = {name: Near() for name in customers}
    span = {"since": first - rules.cap_window, "until": at + rules.cap_window}
    for row in conn.execute(_NEAR, {"customers": sorted(found), **span}).mappings():
        mine = found[row["customer"]]
        keyed = (row["detail"] or "").startswith(KEYED)
        if row["state"] in COUNTED or (keyed and row["updated_at"] > span["since"]):
            # What lies in the future was sent before the clock was set back: it counts from now.
            mine.taken.append(Placed(row["message_id"], min(row["updated_at"], at), row["channel"], row["category"]))
        if row["state"] not in COUNTED:
            mine.waiting.append(_waiting(row))
    return found


def _waiting(row: Mapping[Any, Any]) -> Waiting:
    earliest = max(row["send_at"], row["next_at"] if row["attempts"] else 0)  # what only waited for a cap is placed anew
    order = rank(row["worth"], row["send_at"], row["message_id"])
    return Waiting(row["message_id"], row["channel"], row["category"], earliest, row["expires_at"], order)


def place(one: Waiting, taken: Iterable[Placed], *, at: int, rules: Rules, hours: Hours) -> int | None:
    """The first moment from ``at`` on for a message beside what is ``taken``; None when there is none before it expires."""
    moments = _relevant(one, taken, rules)
    moment: int | None = max(at, one.earliest)
    while moment is not None:
        moment = hours.opens(moment)
        if moment is None or (one.expires_at is not None and moment >= one.expires_at):
            return None
        later = max((_free(cap, others, moment) for cap, others in moments), default=moment)
        if later == moment:
            return moment
        moment = later if later < _ENDLESS else None
    return None


def yields(conn: Connection, one: Waiting, mine: Near, *, at: int, rules: Rules, hours: Hours, others: Mapping[str, Hours]) -> int | None:
    """When a message that could go now should look again, because better ones need the places; None: it may go."""
    taken = [other for other in mine.taken if other.message_id != one.message_id]
    better = sorted((other for other in mine.waiting if other.rank < one.rank), key=lambda other: other.rank)
    if not better or not _short(one, taken, better, rules):
        return None
    wanted = _able(conn, better)
    placed: list[Placed] = []
    for other in better:
        if other.message_id in wanted:
            moment = place(other, [*taken, *placed], at=at, rules=rules, hours=others[other.channel])
            placed += [] if moment is None else [other.placed(moment)]
    if place(one, [*taken, *placed], at=at, rules=rules, hours=hours) == at:
        return None
    again = max(at, min((moment for _, moments in _relevant(one, placed, rules) for moment in moments), default=at)) + LOOK
    return again if one.expires_at is None else min(again, one.expires_at - SECOND)


_ENDLESS = 2**62


def _able(conn: Connection, better: Sequence[Waiting]) -> set[str]:
    """Those that nothing holds back but time: consent is there, the campaign runs, the channel is not stopped."""
    rows = conn.execute(_WANTED, {"names": [other.message_id for other in better]}).all()
    campaigns, shut = states(conn, {row.plan_id for row in rows}), stopped(conn)
    return {row.message_id for row in rows if campaigns.get(row.plan_id, "running") == "running" and row.channel not in shut}


def _relevant(one: Waiting, taken: Iterable[Placed], rules: Rules) -> list[tuple[Cap, list[int]]]:
    """Per cap that looks at the message, the moments that it is counted with, in order."""
    others, found = list(taken), []
    for cap in rules.all_caps:
        scope = cap.scope(one.channel, one.category)
        if scope is not None:
            found.append(
                (cap, sorted(o.at for o in others if o.message_id != one.message_id and cap.scope(o.channel, o.category) == scope))
            )
    return found


def _short(one: Waiting, taken: Sequence[Placed], better: Sequence[Waiting], rules: Rules) -> bool:
    """Whether any cap could be too small for everything; if not, nobody has to yield."""
    everything = [*taken, *(other.placed(other.earliest) for other in better)]
    return any(len(others) >= cap.most for cap, others in _relevant(one, everything, rules))


def _free(cap: Cap, others: Sequence[int], at: int) -> int:
    """The first moment from ``at`` on at which one more message leaves no window of the cap with more than ``most``."""
    if cap.most == 0:
        return _ENDLESS
    if _fits(cap, others, at):
        return at
    later = (moment + cap.window for moment in others if moment + cap.window > at)
    return next(moment for moment in later if _fits(cap, others, moment))


def _fits(cap: Cap, others: Sequence[int], at: int) -> bool:
    around = sorted([*(moment for moment in others if abs(moment - at) < cap.window), at])
    return all(last - first >= cap.window for first, last in zip(around, around[cap.most :], strict=False))
