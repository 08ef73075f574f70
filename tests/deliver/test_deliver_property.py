"""Whatever happens in whatever order: never twice, never without consent, never above the cap, never lost."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from deliver_kit import Clock, consent, message, people, queue, sent, states
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver import checks, rules
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.deliver import deliver
from tradewind.deliver.outbox import cancel, claim, due, replay, resolve
from tradewind.deliver.rules import Rules
from tradewind.deliver.sending import Sender
from tradewind.engine.home import Home
from tradewind.errors import StateError, Terminal, Transient
from tradewind.types import Message, Receipt, micros

PEOPLE = ("ann", "bob", "cat")
RULES = Rules(cap=2, cap_days=7, attempts=3, backoff_seconds=60, batch=3, breaker=5)
FAULTS = ("", "transient", "terminal", "cut before", "cut after", "settings", "bug before", "bug after")


class Provider(Channel):
    """Takes what comes and fails as it is told; a keyed one shows a message once, whatever is sent how often."""

    def __init__(self, machine: Delivery, *, idempotent: bool) -> None:
        self.machine = machine
        self.idempotent = idempotent
        self.faults: list[str] = []

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        fault = self.faults.pop(0) if self.faults else ""
        errors = {
            "transient": Transient("busy"),
            "terminal": Terminal("no"),
            "cut before": Uncertain("cut"),
            "settings": StateError("credentials"),
        }
        if fault in errors:
            raise errors[fault]
        if fault == "bug before":
            raise RuntimeError(fault)
        self.machine.arrived(message, address, at)
        if fault == "cut after":
            raise Uncertain("cut")
        if fault == "bug after":
            raise RuntimeError(fault)
        return accepted(message, at=at)


class Delivery(RuleBasedStateMachine):
    """A shop of three customers, an operator, a provider that fails, and workers that die."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Home.open(Path(self.folder.name) / "shop")
        self.clock = Clock()
        self.visible: dict[str, datetime] = {}
        self.customer: dict[str, str] = {}
        self.willing = dict.fromkeys(PEOPLE, True)
        self.raw: Counter[str] = Counter()
        self.broken: list[str] = []
        self.step = 0

    def teardown(self) -> None:
        try:
            self.clock.forward(days=30)
            for _ in range(RULES.attempts + 1):  # no faults any more: everything ends
                self.run([])
                self.clock.forward(days=8)
            ends = states(self.home)
            assert set(ends.values()) <= {"accepted", "failed", "suppressed", "unknown"}
            arrived = {name for name, state in ends.items() if state == "accepted"}
            assert arrived <= set(self.visible)
            assert sorted(arrived) == sent(self.home, now=self.clock())
            for name in set(self.visible) - arrived:
                assert ends[name] == "unknown", "what arrived is accepted or in doubt"
        finally:
            self.home.close()
            self.folder.cleanup()

    @initialize(idempotent=st.booleans(), waits=st.lists(st.integers(0, 3), min_size=4, max_size=8))
    def open(self, idempotent: bool, waits: list[int]) -> None:
        rules.save(self.home, RULES)
        people(self.home, PEOPLE)
        self.provider = Provider(self, idempotent=idempotent)
        for number, wait in enumerate(waits):
            self.plan(PEOPLE[number % 3], wait, None)

    def arrived(self, message: Message, address: str | None, at: datetime) -> None:
        self.raw[message.message_id] += 1
        if not self.willing[message.customer]:
            self.broken.append(f"{message.customer} did not want it")
        if address != f"{message.customer}@mail.example":
            self.broken.append("wrong address")
        self.visible.setdefault(message.message_id, at)

    def run(self, faults: list[str]) -> None:
        self.provider.faults = list(faults)
        try:
            deliver(self.home, channels={"email": self.provider}, now=self.clock)
        except (StateError, RuntimeError):
            assert set(faults) & {"settings", "bug before", "bug after"}

    @rule(customer=st.sampled_from(PEOPLE), wait=st.integers(0, 3), life=st.sampled_from([None, 1, 5]))
    def plan(self, customer: str, wait: int, life: int | None) -> None:
        self.step += 1
        send_at = self.clock() + timedelta(days=wait)
        expires_at = None if life is None else send_at + timedelta(days=life)
        item = message(customer, step=str(self.step), plan_id=f"plan-{self.step % 3}", send_at=send_at, expires_at=expires_at)
        queue(self.home, [item])
        self.customer[item.message_id] = customer

    @rule(faults=st.lists(st.sampled_from(FAULTS), max_size=4), pause=st.sampled_from([0, 0.001, 1, 4]))
    def deliver(self, faults: list[str], pause: float) -> None:
        self.run(faults)
        self.clock.forward(days=pause)

    @rule(reached=st.integers(0, 3))
    def die(self, reached: int) -> None:
        """A worker claims, marks, sends to some, and is gone before it writes what became of them."""
        now = micros(self.clock())
        with self.home.ledger.write() as conn:
            rows = claim(conn, due(plan_id=None, channel="email", now=now), owner="dead", now=now, until=now + 1, limit=3)
        size = 3 if self.provider.idempotent else 1
        with self.home.ledger.write() as conn:
            found = Vault(self.home).addresses(conn, [(row.customer, row.channel) for row in rows])
            cases = [checks.Case(row, checks.read(row), now, found.get((row.customer, row.channel))) for row in rows[:size]]
            if not cases:
                return
            mark = Sender(self.provider, RULES, self.clock).mark
            verdicts = checks.hand_off(conn, cases, until=now + 1, mark=mark, rules=RULES, addressed={"email"})
        for case in [case for case in cases if verdicts[case.row.message_id] is checks.GO][:reached]:
            assert case.message is not None
            self.provider.faults = []
            self.provider.send(case.message, address=case.address, at=self.clock())
        self.clock.forward(seconds=1)

    @rule(customer=st.sampled_from(PEOPLE), granted=st.booleans())
    def decide(self, customer: str, granted: bool) -> None:
        self.clock.forward(seconds=1)
        consent(self.home, [customer], at=self.clock(), granted=granted)
        if customer not in self.stopped():
            self.willing[customer] = granted

    @rule(customer=st.sampled_from(PEOPLE), how=st.sampled_from(["complain", "unsubscribe", "erase"]))
    def stop(self, customer: str, how: str) -> None:
        self.clock.forward(seconds=1)
        vault, consents = Vault(self.home), Consents(self.home)
        if how == "complain":
            consents.suppress(vault.hash(f"{customer}@mail.example"), "email", "complaint", self.clock())
        elif how == "unsubscribe":
            consents.withdraw(customer, "email", source="link", at=self.clock())
        else:
            vault.erase(customer, now=self.clock())
        self.gone = self.stopped() | {customer}
        self.willing[customer] = False

    def stopped(self) -> set[str]:
        return getattr(self, "gone", set())

    @rule(plan=st.sampled_from(["plan-0", "plan-1"]))
    def stop_a_plan(self, plan: str) -> None:
        cancel(self.home, plan, now=self.clock())

    @precondition(lambda self: any(state in ("failed", "unknown") for state in states(self.home).values()))
    @rule(data=st.data(), lie=st.booleans())
    def reconcile(self, data: st.DataObject, lie: bool) -> None:
        """An operator asks the provider and says the truth; without asking, the queue refuses to send again."""
        name = data.draw(st.sampled_from(sorted(name for name, state in states(self.home).items() if state in ("failed", "unknown"))))
        if states(self.home)[name] == "failed":
            replay(self.home, name, now=self.clock())
        elif lie:
            with pytest.raises(StateError, match="twice"):
                replay(self.home, name, now=self.clock())
        elif name in self.visible:
            resolve(self.home, name, accepted=True, now=self.clock())
        else:
            replay(self.home, name, now=self.clock(), not_sent=True)

    @invariant()
    def promises(self) -> None:
        assert not self.broken
        if not getattr(self, "provider", None):
            return
        if not self.provider.idempotent:
            assert max(self.raw.values(), default=0) <= 1
        times = defaultdict(list)
        for name, at in self.visible.items():
            times[self.customer[name]].append(at)
        for customer, moments in times.items():
            for start in moments:
                inside = [at for at in moments if start <= at < start + timedelta(days=RULES.cap_days)]
                assert len(inside) <= RULES.cap, f"{customer} got {len(inside)}"


def sized(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


TestDelivery = Delivery.TestCase
TestDelivery.settings = sized(6)


@pytest.mark.slow
def test_delivery_for_longer() -> None:
    run_state_machine_as_test(Delivery, settings=sized(25))
