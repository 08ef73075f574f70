"""One worker: claim, check, mark, hand off, write what became of it; and take up what a killed worker left."""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, func, select, update
from sqlalchemy.exc import DBAPIError

from tradewind import schema
from tradewind.collect.vault import Vault
from tradewind.deliver import checks, gates
from tradewind.deliver.channels.base import Channel
from tradewind.deliver.outbox import NEVER, Outcome, Row, answered, claim, doubts, due, recover, release, settle, unindexed
from tradewind.deliver.rules import SECOND, Rules
from tradewind.deliver.sending import Answering, Sender
from tradewind.engine.ledger import outbox
from tradewind.errors import Locked, Transient
from tradewind.schema import Kind
from tradewind.types import Event, Message, Receipt, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

RECEIPTS = 10_000  # kept in memory; the ledger has them all
LOGGED = 20_000  # ``sent`` events per append
ASKED = ("accepted", "failed", "unknown", "retry")
LEFT = "the worker ended during the hand-off"
LOOK = 2_000  # messages between two looks at what came back of a channel
LONGEST_PAUSE = 10.0  # seconds; then leases, gates and the clock are looked at again
RECONNECT = (0.1, 1.0, 5.0)  # seconds between tries to write what is known to a ledger that went away
# The boundaries of one turn, in order. "marking": judged and written, not committed; only from "marked" on may the provider be called.
STEPS = ("recovered", "claimed", "marking", "marked", "sent", "settled", "logging", "logged")
c = outbox.c


@dataclass
class Tally:
    """What one run did: messages by state, by state and reason, and the first receipts."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    receipts: list[Receipt] = field(default_factory=list)

    def add(self, state: str, reason: str | None, receipt: Receipt | None = None) -> None:
        """Count one message."""
        self.counts[state] += 1
        if reason:
            self.reasons[f"{state}: {reason}"] += 1
        if receipt is not None and len(self.receipts) < RECEIPTS:
            self.receipts.append(receipt)

    @property
    def asked(self) -> int:
        """Messages that a provider was asked to take."""
        return sum(self.counts[state] for state in ASKED)


@dataclass
class Worker:
    """Hands off the due messages of one plan (None: of all) through ``channels``, once; at most ``limit`` of them.

    ``step`` is told each boundary that a kill could hit, see :data:`STEPS`. ``pause`` waits (seconds) for a provider's rate.
    """

    home: Home
    channels: Mapping[str, Channel]
    now: Callable[[], datetime]
    rules: Rules
    owner: str
    plan_id: str | None = None
    limit: int | None = None
    progress: Callable[[float, str], None] | None = None
    step: Callable[[str], None] = lambda _name: None
    pause: Callable[[float], None] = time.sleep
    tally: Tally = field(default_factory=Tally)
    _looked: dict[str, int] = field(default_factory=dict)
    _clean: bool = True
    _ended: list[str] = field(default_factory=list)
    _unfair: list[str] = field(default_factory=list)

    def run(self) -> Tally:
        """Work until nothing is due, the limit is reached, or a fault ends it; what is known is written in any case.

        Raises
        ------
        Locked
            Another worker delivers from this SQLite ledger.
        StateError, InputError
            A channel cannot work; its messages stay ready.
        """
        self._vault = Vault(self.home)
        with alone(self.home) as certain:
            self._recover(alone=certain)
            self.step("recovered")
            self._total = self._waiting() if self.progress else 0
            if unfair := gates.unfair(self.home, self.channels, plan_id=self.plan_id):
                self._unfair, held = list(unfair), sum(unfair.values())
                self.tally.counts["deferred"] += held
                self.tally.reasons["deferred: unfair"] += held
            try:
                for name, channel in sorted(self.channels.items()):
                    self._drain(name, Sender(channel, self.rules, self.now))
                    self._reconcile(name, channel)
            finally:
                log_sent(self.home, now=self.now(), step=self.step)
        return self.tally

    def _drain(self, name: str, sender: Sender) -> None:
        """Hand off what is due on one channel."""
        size = self.rules.batch if sender.channel.idempotent else self.rules.window
        while not sender.broken and (rows := self._claim(name, sender)):
            self.step("claimed")
            outcomes: list[Outcome] = []
            done = 0
            gate: gates.Pass | None = None
            try:
                while done < len(rows) and not sender.broken:
                    until = self._at() + int(self.rules.lease_seconds * SECOND)
                    go, gate = self._mark(rows[done : done + size], outcomes, sender=sender, until=until)
                    done, outcomes = done + gate.room, []
                    if not gate.room:
                        break
                    self.step("marked")
                    outcomes, fault = sender.send(go, until=until)
                    self.step("sent")
                    if fault is not None:
                        raise fault
                    self._report(name)
            finally:
                self._finish(outcomes, rows[done:], sender)
                self.step("settled")
                self._count(outcomes)
            self._free()
            if sender.hold:
                if sender.hold - self._at() > LONGEST_PAUSE * SECOND:
                    return
                gate, sender.hold = gates.Pass(0, "breaker", sender.hold), 0
            if gate is not None and not gate.room and not self._wait(gate, len(rows) - done):
                return
            if self.home.ledger.dialect != "sqlite":  # there, nobody else can have died meanwhile
                self._recover(alone=False)

    def _finish(self, outcomes: Sequence[Outcome], rest: Sequence[Row], sender: Sender) -> None:
        """Write what became of a group and give the rest back; a connection that broke is worth another try, for answers are known."""
        news = sender.news()
        for wait in (*RECONNECT, None):
            try:
                with self.home.ledger.write() as conn:
                    settle(conn, outcomes, actor=self.owner)
                    self._note(conn, sender, news)
                    release(conn, rest, now=self._at())
            except DBAPIError as error:
                if wait is None or not error.connection_invalidated:
                    raise
                self.pause(wait)
            else:
                return

    def _claim(self, name: str, sender: Sender) -> list[Row]:
        room = self.rules.batch if self.limit is None else min(self.rules.batch, self.limit - self.tally.asked)
        if room <= 0:
            return []
        now = self._at()
        provider = sender.channel.provider
        if (rate := gates.rate_of(self.rules, provider, name)) is not None:
            room = min(room, rate.burst + int(rate.per_second))  # more would only wait under a lease
        if self._looked.get(name, 0) <= self.tally.asked:
            self._looked[name] = self.tally.asked + LOOK
            gates.guard(self.home, name, rules=self.rules, now=now)
        until = now + int(self.rules.lease_seconds * SECOND)
        where = due(plan_id=self.plan_id, channel=name, now=now)
        if self._unfair:
            where = and_(where, c.plan_id.not_in(self._unfair))
        with self.home.ledger.write() as conn:
            return claim(conn, where, owner=self.owner, now=now, until=until, limit=room)

    def _mark(self, rows: Sequence[Row], before: Sequence[Outcome], *, sender: Sender, until: int) -> tuple[list[checks.Case], gates.Pass]:
        """In one transaction, settle the group before and mark what may go of this one, as far as the provider's gate is open."""
        at, provider, name = self._at(), sender.channel.provider, rows[0].channel
        addressed = {name} if sender.channel.addressed else set()
        with self.home.ledger.write() as conn:
            settle(conn, before, actor=self.owner)
            self._note(conn, sender, sender.news())
            gate = gates.admit(conn, provider, name, wanted=len(rows), rules=self.rules, now=at)
            self._clean = gate.clean
            rows = rows[: gate.room]
            addresses = self._vault.addresses(conn, [(row.customer, name) for row in rows]) if addressed and rows else {}
            cases = [checks.Case(row, checks.read(row), at, addresses.get((row.customer, name))) for row in rows]
            verdicts = checks.hand_off(conn, cases, until=until, mark=sender.mark, rules=self.rules, addressed=addressed, actor=self.owner)
            go = [case for case in cases if verdicts.get(case.row.message_id) is checks.GO]
            gates.spend(conn, provider, name, len(go), rules=self.rules, now=at)
            self.step("marking")
        self._count(before)
        self._ended += [case.message.decision_id for case in cases if case.message and _state(verdicts, case) == "suppressed"]
        for verdict in verdicts.values():
            if verdict is not checks.GO:
                self.tally.add("deferred" if verdict.state in ("ready", "planned") else verdict.state, verdict.reason)
        return [replace(case, until=checks.deadline(case, self.rules, until=until)) for case in go], gate

    def _note(self, conn: Connection, sender: Sender, news: gates.News) -> None:
        gates.note(conn, sender.channel.provider, news, clean=self._clean, rules=self.rules, now=self._at())

    def _free(self) -> None:
        """Give back what suppressed messages held; should it end before, that is free when the plan's window is over."""
        ended, self._ended = self._ended, []
        if ended:
            from tradewind.decide.commit import release as free

            free(self.home, ended)

    def _reconcile(self, name: str, channel: Channel) -> None:
        """Ask a provider that can answer about the messages in doubt that it may have taken."""
        if not (channel.idempotent and isinstance(channel, Answering)):
            return
        with self.home.ledger.read() as conn:
            rows = doubts(conn, name, channel.provider, limit=self.rules.batch)
        for row in rows:
            try:
                taken = channel.look_up(row.message_id)
            except Transient:
                return
            if taken is not None:
                with self.home.ledger.write() as conn:
                    answered(conn, row, taken=taken, now=self._at())

    def _wait(self, gate: gates.Pass, number: int) -> bool:
        """Wait for the provider's rate; False when the run on this channel is over: stopped, broken, or a clock that stands still."""
        if gate.wait_until is not None:
            before = self._at()
            self.pause(0.001)
            if (now := self._at()) > before:
                self.pause(min(max(gate.wait_until - now, 0) / SECOND, LONGEST_PAUSE))
                return True
        for _ in range(number):
            self.tally.add("deferred", gate.why)
        return False

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.spent:
                state = "retry" if outcome.state == "ready" else outcome.state
                receipt = Receipt(outcome.row.message_id, outcome.state, from_micros(outcome.at), outcome.detail or "", outcome.provider_id)
                self.tally.add(state, outcome.detail, None if state == "retry" else receipt)

    def _recover(self, *, alone: bool) -> None:
        keyed = {name: channel.provider if channel.idempotent else None for name, channel in self.channels.items()}
        longest = 2 * int(self.rules.lease_seconds * SECOND)
        with self.home.ledger.write() as conn:
            done = recover(conn, keyed, now=self._at(), alone=alone, longest=longest)
        for _ in range(done["unknown"]):
            self.tally.add("unknown", LEFT)

    def _waiting(self) -> int:
        now = self._at()
        with self.home.ledger.read() as conn:
            counts = [
                conn.execute(select(func.count()).where(due(plan_id=self.plan_id, channel=name, now=now))).scalar_one()
                for name in self.channels
            ]
        return sum(counts)

    def _report(self, name: str) -> None:
        if self.progress is not None:
            handled = self.tally.counts.total()
            self.progress(min(1.0, handled / max(self._total, handled, 1)), f"{name}: {handled:,}")

    def _at(self) -> int:
        return micros(self.now())


def _state(verdicts: Mapping[str, checks.Verdict], case: checks.Case) -> str | None:
    verdict = verdicts.get(case.row.message_id)
    return None if verdict is None else verdict.state


@contextmanager
def alone(home: Home) -> Iterator[bool]:
    """On SQLite, be the only worker until the block ends, and know it; on PostgreSQL many may work and leases decide.

    Raises Locked when another process delivers from this SQLite ledger. The lock ends with its process.
    """
    if home.ledger.dialect != "sqlite":
        yield False
        return
    path = home.root / "outbox" / ".lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise Locked(
                f"Process {handle.read().strip() or '?'} delivers from {home.root} now, and a ledger on SQLite has one worker at a time. "
                "Try again when it has ended, or keep the ledger on PostgreSQL, where many work at once."
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield True


def log_sent(home: Home, *, now: datetime, step: Callable[[str], None] = lambda _name: None) -> int:
    """Enter accepted messages into the event log as ``sent`` events, and return how many.

    An event's id comes from its message id, so that a killed run that is repeated enters none twice.
    """
    every = [each.value for each in schema.Channel]
    query = select(c.message_id, c.decision_id, c.customer, c.channel, c.updated_at, c.message)
    query = query.where(c.state == "accepted", c.channel.in_(every), c.next_at == 0)  # the columns of the queue's index
    total = 0
    while True:
        with home.ledger.read() as conn:
            rows = conn.execute(query.limit(LOGGED)).all()
        if not rows:
            return total
        home.log.append((_event(*row) for row in rows), now=now)
        step("logging")
        with home.ledger.write() as conn:
            for start in range(0, len(rows), 5_000):
                names = [row.message_id for row in rows[start : start + 5_000]]
                fresh = and_(c.message_id.in_(names), unindexed(c.state) == "accepted", c.next_at == 0)
                moved = conn.execute(update(outbox).where(fresh).values(next_at=NEVER).returning(c.channel, c.updated_at))
                gates.tally(conn, [(channel, at) for channel, at in moved])  # once each, whoever races
        step("logged")
        total += len(rows)


def _event(message_id: str, decision_id: str, customer: str, channel: str, at: int, message: str) -> Event:
    about = Message.from_json(message).headers
    return Event(
        id=f"sent-{message_id}",
        at=from_micros(at),
        kind=Kind.SENT.value,
        source="deliver",
        customer=customer,
        item=about.get("item"),
        offer=about.get("offer"),
        channel=channel,
        decision_id=decision_id,
    )
