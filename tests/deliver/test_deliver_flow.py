"""The way of a message from ready to its end: every check, every class of error, everything an operator may do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from deliver_kit import START, Clock, change, consent, message, people, queue, row, sent, states
from sqlalchemy import select

from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver import rules
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.channels.file import File
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import Delivered, deliver
from tradewind.deliver.outbox import KEYED, cancel, replay, resolve
from tradewind.deliver.rules import Rules
from tradewind.deliver.worker import alone
from tradewind.engine.home import Home
from tradewind.engine.ledger import metadata, outbox
from tradewind.errors import InputError, Locked, NotFound, StateError, Terminal, Transient
from tradewind.types import Message, Receipt, micros


class Fake(Channel):
    """Raises what it is told to, in order, then takes everything."""

    def __init__(self, *errors: BaseException | None, idempotent: bool = False, addressed: bool = False) -> None:
        self.errors = list(errors)
        self.idempotent = idempotent
        self.addressed = addressed
        self.taken: list[str] = []

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.taken.append(message.customer)
        return accepted(message, at=at)


@pytest.fixture
def shop(ledger_url: str, tmp_path: Path) -> Iterator[Home]:
    """A shop on SQLite and on PostgreSQL."""
    root = tmp_path / "shop"
    with Home.open(root if ledger_url.startswith("sqlite") else f"{ledger_url}&root={root}") as opened:
        yield opened


def run(home: Home, channel: Channel, clock: Clock | None = None, **options: int) -> Delivered:
    return deliver(home, channels={"email": channel}, now=clock or Clock(), **options)  # type: ignore[arg-type]


def test_what_is_ready_due_and_wanted_leaves_once_and_is_logged_once(shop: Home) -> None:
    people(shop, ["ann", "bob"])
    first, second = queue(shop, [message("ann"), message("bob", send_at=START + timedelta(hours=1))])
    queue(shop, [message("cat", step="2")], state="planned")
    fake, clock = Fake(addressed=True), Clock()
    done = run(shop, fake, clock)
    assert done.counts == {"accepted": 1}
    assert [receipt.message_id for receipt in done.receipts] == [first]
    assert done.states == {"accepted": 1, "planned": 1, "ready": 1}
    assert run(shop, fake, clock).counts == {}
    clock.forward(hours=2)
    assert run(shop, fake, clock).counts == {"accepted": 1}
    assert fake.taken == ["ann", "bob"]
    assert sent(shop, now=clock()) == sorted([first, second])
    assert "1 accepted" in done.to_text()
    assert json.loads(json.dumps(done.to_json()))["counts"] == {"accepted": 1}


def test_every_reason_to_keep_a_message(shop: Home) -> None:
    people(shop, ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "joe"])
    consent(shop, ["no-address"], at=START)
    clock = Clock()
    vault, consents = Vault(shop), Consents(shop)
    late = START - timedelta(hours=1)
    cases = {
        "no_consent": message("nobody"),
        "withdrawn": message("ann"),
        "suppressed:complaint": message("bob"),
        "erased": message("cat"),
        "expired": message("dan", send_at=late, expires_at=START),
        "no_address": message("no-address"),
        "stale": message("eve", headers={"fresh_until": START.isoformat()}),
        "the stored text cannot be read": message("fay"),
        "ok": message("gus"),
    }
    ids = dict(zip(cases, queue(shop, list(cases.values())), strict=True))
    change(shop, ids["the stored text cannot be read"], message=message("somebody else").to_json())
    # All of this happens after compose, before the hand-off.
    consent(shop, ["ann"], at=START, granted=False)
    consents.suppress(vault.hash("bob@mail.example"), "email", "complaint", START)
    vault.erase("cat", now=START)
    fake = Fake(addressed=True)
    done = run(shop, fake, clock)
    assert fake.taken == ["gus"]
    for why, name in ids.items():
        state = {"ok": "accepted", "stale": "planned", "the stored text cannot be read": "failed"}.get(why, "suppressed")
        assert (states(shop)[name], why) == (state, row(shop, name)["detail"] or "ok")
    assert done.counts == {"accepted": 1, "deferred": 1, "failed": 1, "suppressed": 6}
    assert "compose" in done.to_text()


def test_the_cap_defers_counts_what_may_have_arrived_and_lets_go_again(shop: Home) -> None:
    people(shop, ["ann"])
    rules.save(shop, Rules(cap=2, cap_days=7))
    soon = START + timedelta(days=2)
    queue(shop, [message("ann", step=step) for step in "123"])
    (gone,) = queue(shop, [message("ann", step="4", expires_at=soon)])
    clock = Clock()
    done = run(shop, Fake(Uncertain("cut")), clock)
    assert done.counts.get("accepted", 0) + done.counts["unknown"] == 2
    assert done.reasons.get("deferred: cap", 0) + done.reasons.get("suppressed: cap", 0) == 2
    assert run(shop, Fake(), clock).counts == {}
    clock.forward(days=7, seconds=-1)
    assert run(shop, Fake(), clock).counts == {}
    clock.forward(seconds=2)
    done = run(shop, Fake(), clock)
    assert "ready" not in done.states
    assert states(shop)[gone] != "ready"


def test_two_workers_on_postgresql_never_break_the_cap(tmp_path: Path, postgres_url: str) -> None:
    url = f"{postgres_url}&root={tmp_path / 'shop'}"
    with Home.open(url) as home:
        names = [f"c{number}" for number in range(20)]
        people(home, names)
        rules.save(home, Rules(cap=1, batch=5))
        queue(home, [message(name, step=str(step)) for name in names for step in range(4)])
    fakes, barrier, faults = [Fake(), Fake(), Fake()], threading.Barrier(3), []

    def work(fake: Fake, number: int) -> None:
        try:
            with Home.open(url) as mine:
                barrier.wait()
                deliver(mine, channels={"email": fake}, now=Clock(), owner=f"w{number}")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            faults.append(error)

    threads = [threading.Thread(target=work, args=(fake, number)) for number, fake in enumerate(fakes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    taken = [name for fake in fakes for name in fake.taken]
    assert sorted(taken) == sorted(names)


def test_transient_errors_wait_longer_each_time_and_end_as_failed(shop: Home) -> None:
    people(shop, ["ann"])
    (name,) = queue(shop, [message("ann")])
    rules.save(shop, Rules(attempts=3, backoff_seconds=60))
    clock, waits = Clock(), []
    for _ in range(3):
        run(shop, Fake(Transient("busy")), clock)
        waits.append(int(str(row(shop, name)["next_at"])) - micros(clock()))
        assert run(shop, Fake(), clock).counts == {}, "not before its time"
        clock.forward(seconds=waits[-1] / 1e6 if states(shop)[name] == "ready" else 0)
    assert states(shop)[name] == "failed"
    assert row(shop, name)["detail"] == "busy (tried 3 times)"
    assert 30e6 <= waits[0] <= 60e6 <= waits[1] <= 120e6
    with pytest.raises(StateError, match="needs unknown"):
        resolve(shop, name, accepted=True, now=clock())
    replay(shop, name, now=clock())
    assert run(shop, Fake(), clock).counts == {"accepted": 1}


def test_backoff_is_a_function_of_seed_message_and_attempt() -> None:
    assert Rules(seed=1).wait("m", 2) == Rules(seed=1).wait("m", 2)
    assert len({Rules(seed=seed).wait("m", 2) for seed in range(20)}) > 15
    assert Rules(backoff_most_seconds=100).wait("m", 60) <= 100_000_000


def test_an_unknown_message_waits_for_an_operator(shop: Home) -> None:
    people(shop, ["ann", "bob"])
    names = queue(shop, [message("ann"), message("bob")])
    clock = Clock()
    assert run(shop, Fake(Uncertain("cut"), Uncertain("cut")), clock).counts == {"unknown": 2}
    clock.forward(days=30)
    assert run(shop, Fake(), clock).counts == {}
    with pytest.raises(StateError, match="twice"):
        replay(shop, names[0], now=clock())
    resolve(shop, names[0], accepted=True, now=clock(), provider_id="Q7")
    replay(shop, names[1], now=clock(), not_sent=True)
    assert run(shop, Fake(), clock).counts == {"accepted": 1}
    assert sent(shop, now=clock()) == sorted(names)
    with pytest.raises(NotFound):
        replay(shop, "nothing", now=clock())


def test_a_provider_with_keys_is_asked_again_but_only_that_one(shop: Home, tmp_path: Path) -> None:
    people(shop, ["ann"])
    (name,) = queue(shop, [message("ann")])
    clock = Clock()
    fake = Fake(Uncertain("cut"), idempotent=True)
    assert run(shop, fake, clock).counts == {"retry": 1}
    assert row(shop, name)["detail"] == KEYED + "fake"
    clock.forward(hours=1)
    assert run(shop, File(tmp_path / "other"), clock).counts == {"unknown": 1}
    replay(shop, name, now=clock(), not_sent=True)
    assert run(shop, fake, clock).counts == {"accepted": 1}


def test_a_fault_of_the_channel_ends_the_run_and_spares_the_rest(shop: Home) -> None:
    people(shop, ["ann", "bob", "cat"])
    queue(shop, [message(name) for name in ("ann", "bob", "cat")])
    with pytest.raises(StateError, match="credentials"):
        run(shop, Fake(None, StateError("credentials")))
    assert sorted(states(shop).values()) == ["accepted", "ready", "ready"]
    with pytest.raises(RuntimeError, match="bug"):
        run(shop, Fake(RuntimeError("bug with ann@mail.example")))
    assert sorted(states(shop).values()) == ["accepted", "ready", "unknown"]
    with shop.ledger.read() as conn:
        assert not any("mail.example" in str(detail) for detail in conn.execute(select(outbox.c.detail)).scalars())


def test_a_cancelled_plan_stops_at_once(shop: Home) -> None:
    people(shop, ["ann", "bob"])
    queue(shop, [message("ann", plan_id="one"), message("bob", plan_id="two")])
    assert cancel(shop, "one", now=START) == 1
    fake = Fake()
    assert deliver(shop, "one", channels={"email": fake}, now=Clock()).counts == {}
    assert deliver(shop, channels={"email": fake}, now=Clock()).counts == {"accepted": 1}
    assert fake.taken == ["bob"]


def test_limit_and_plan_and_progress(shop: Home) -> None:
    people(shop, ["ann", "bob", "cat"])
    queue(shop, [message(name) for name in ("ann", "bob", "cat")])
    seen: list[float] = []
    done = deliver(shop, "plan-1", channels=Fake(), now=Clock(), limit=2, progress=lambda share, _: seen.append(share))
    assert done.counts == {"accepted": 2}
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= 1
    with pytest.raises(NotFound, match='no plan "plan-x1"'):
        deliver(shop, "plan-x1", channels=Fake(), now=Clock())
    with pytest.raises(InputError, match="limit"):
        deliver(shop, channels=Fake(), now=Clock(), limit=0)
    with pytest.raises(NotFound, match='Did you mean "email"'):
        deliver(shop, channels={"emai": Fake()}, now=Clock())


def test_a_dry_run_writes_nothing_and_shows_what_would_leave(shop: Home) -> None:
    people(shop, ["ann", "bob"])
    rules.save(shop, Rules(cap=1))
    later = START + timedelta(days=3)
    queue(shop, [message("ann", send_at=later), message("ann", step="2", send_at=later), message("bob"), message("cat")])

    def everything() -> str:
        with shop.ledger.read() as conn:
            return repr([conn.execute(select(table).order_by(*table.primary_key)).all() for table in metadata.sorted_tables])

    before = everything()
    done = deliver(shop, "plan-1", channels={"email": Fake(addressed=True)}, now=Clock(), dry_run=True)
    assert everything() == before
    assert done.counts == {"accepted": 2, "deferred": 1, "suppressed": 1}
    assert done.outbox is not None
    assert {item.customer for item in done.outbox.messages.values()} == {"ann", "bob"}
    sink = Outbox()
    assert deliver(shop, channels=sink, now=Clock(), dry_run=True, limit=1).outbox is sink
    assert len(sink.messages) == 1


def test_sqlite_has_one_worker_and_says_who(home: Home) -> None:
    people(home, ["ann"])
    queue(home, [message("ann")])
    with alone(home), pytest.raises(Locked, match=f"Process {os.getpid()} delivers"):
        run(home, Fake())
    assert run(home, Fake()).counts == {"accepted": 1}


def test_a_slow_worker_whose_lease_ended_sends_nothing_more_and_may_settle_what_it_sent(tmp_path: Path, postgres_url: str) -> None:
    """Another worker declared its row unknown meanwhile; the slow one knows better."""
    with Home.open(f"{postgres_url}&root={tmp_path / 'shop'}") as home:
        people(home, ["ann", "bob"])
        queue(home, [message("ann"), message("bob")])
        rules.save(home, Rules(lease_seconds=10, window=2))
        clock, quick = Clock(), Fake()

        class Slow(Fake):
            def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
                if not self.taken:
                    clock.forward(minutes=1)
                    assert run(home, quick, clock).counts == {"unknown": 2}
                return super().send(message, address=address, at=at)

        slow = Slow()
        done = run(home, slow, clock)
        assert sorted(slow.taken) == ["ann", "bob"], "the one that was not started went with a new lease"
        assert quick.taken == []
        assert sorted(states(home).values()) == ["accepted", "accepted"]
        assert done.states == {"accepted": 2}


def test_rules_are_shared_checked_and_kept(home: Home) -> None:
    assert rules.load(home) == Rules()
    rules.save(home, Rules(cap=9))
    assert rules.load(home).cap == 9
    with pytest.raises(InputError, match="cap must be a whole number from 1"):
        rules.save(home, replace(Rules(), cap=0))


def test_a_terminal_error_is_final(shop: Home) -> None:
    people(shop, ["ann"])
    (name,) = queue(shop, [message("ann")])
    assert run(shop, Fake(Terminal("no such mailbox"))).reasons == {"failed: no such mailbox": 1}
    assert (states(shop)[name], row(shop, name)["attempts"]) == ("failed", 1)
