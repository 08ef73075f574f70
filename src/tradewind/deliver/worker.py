"""One worker: claim, check, mark, hand off, write what became of it; and take up what a killed worker left."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from tradewind.collect.vault import Vault
from tradewind.deliver import checks
from tradewind.deliver.channels.base import Channel
from tradewind.deliver.outbox import NEVER, Outcome, Row, claim, due, recover, release, settle
from tradewind.deliver.rules import SECOND, Rules
from tradewind.deliver.sending import Sender
from tradewind.engine.ledger import outbox
from tradewind.errors import Locked
from tradewind.schema import Kind
from tradewind.types import Event, Message, Receipt, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

RECEIPTS = 10_000  # kept in memory; the ledger has them all
LOGGED = 20_000  # ``sent`` events per append
ASKED = ("accepted", "failed", "unknown", "retry")
LEFT = "the worker ended during the hand-off"
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
    """Hands off the due messages of one plan (None: of all) through ``channels``, once; at most ``limit`` of them."""

    home: Home
    channels: Mapping[str, Channel]
    now: Callable[[], datetime]
    rules: Rules
    owner: str
    plan_id: str | None = None
    limit: int | None = None
    progress: Callable[[float, str], None] | None = None
    tally: Tally = field(default_factory=Tally)

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
            self._total = self._waiting() if self.progress else 0
            try:
                for name, channel in sorted(self.channels.items()):
                    self._drain(name, Sender(channel, self.rules, self.now))
            finally:
                log_sent(self.home, now=self.now())
        return self.tally

    def _drain(self, name: str, sender: Sender) -> None:
        """Hand off what is due on one channel."""
        size = self.rules.batch if sender.channel.idempotent else self.rules.window
        while not sender.broken and (rows := self._claim(name)):
            outcomes: list[Outcome] = []
            done = 0
            try:
                while done < len(rows) and not sender.broken:
                    group = rows[done : done + size]
                    until = self._at() + int(self.rules.lease_seconds * SECOND)
                    go = self._mark(group, outcomes, sender=sender, until=until)
                    done, outcomes = done + len(group), []
                    outcomes, fault = sender.send(go, until=until)
                    if fault is not None:
                        raise fault
                    self._report(name)
            finally:
                with self.home.ledger.write() as conn:
                    settle(conn, outcomes)
                    release(conn, rows[done:], now=self._at())
                self._count(outcomes)
            if self.home.ledger.dialect != "sqlite":  # there, nobody else can have died meanwhile
                self._recover(alone=False)

    def _claim(self, name: str) -> list[Row]:
        room = self.rules.batch if self.limit is None else min(self.rules.batch, self.limit - self.tally.asked)
        if room <= 0:
            return []
        now = self._at()
        until = now + int(self.rules.lease_seconds * SECOND)
        with self.home.ledger.write() as conn:
            return claim(conn, due(plan_id=self.plan_id, channel=name, now=now), owner=self.owner, now=now, until=until, limit=room)

    def _mark(self, rows: Sequence[Row], before: Sequence[Outcome], *, sender: Sender, until: int) -> list[checks.Case]:
        """In one transaction, settle the group before and mark what may go of this one."""
        at = self._at()
        addressed = {row.channel for row in rows} if sender.channel.addressed else set()
        pairs = [(row.customer, row.channel) for row in rows]
        with self.home.ledger.write() as conn:
            settle(conn, before)
            addresses = self._vault.addresses(conn, pairs) if addressed else {}
            cases = [checks.Case(row, checks.read(row), at, addresses.get((row.customer, row.channel))) for row in rows]
            verdicts = checks.hand_off(conn, cases, until=until, mark=sender.mark, rules=self.rules, addressed=addressed)
        self._count(before)
        for verdict in verdicts.values():
            if verdict is not checks.GO:
                self.tally.add("deferred" if verdict.state in ("ready", "planned") else verdict.state, verdict.reason)
        return [case for case in cases if verdicts.get(case.row.message_id) is checks.GO]

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.spent:
                state = "retry" if outcome.state == "ready" else outcome.state
                receipt = Receipt(outcome.row.message_id, outcome.state, from_micros(outcome.at), outcome.detail or "", outcome.provider_id)
                self.tally.add(state, outcome.detail, None if state == "retry" else receipt)

    def _recover(self, *, alone: bool) -> None:
        keyed = {name: channel.provider if channel.idempotent else None for name, channel in self.channels.items()}
        with self.home.ledger.write() as conn:
            done = recover(conn, keyed, now=self._at(), alone=alone)
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


def log_sent(home: Home, *, now: datetime) -> int:
    """Enter accepted messages into the event log as ``sent`` events, and return how many.

    An event's id comes from its message id, so that a killed run that is repeated enters none twice.
    """
    query = select(c.message_id, c.decision_id, c.customer, c.channel, c.updated_at, c.message).where(c.state == "accepted", c.next_at == 0)
    total = 0
    while True:
        with home.ledger.read() as conn:
            rows = conn.execute(query.limit(LOGGED)).all()
        if not rows:
            return total
        home.log.append((_event(*row) for row in rows), now=now)
        with home.ledger.write() as conn:
            for start in range(0, len(rows), 5_000):
                names = [row.message_id for row in rows[start : start + 5_000]]
                conn.execute(update(outbox).where(c.message_id.in_(names), c.state == "accepted").values(next_at=NEVER))
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
