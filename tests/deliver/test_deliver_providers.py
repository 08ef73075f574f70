"""Providers have a rate, a breaker and a reputation that all workers share, in the ledger, on a clock that the test turns."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from deliver_kit import START, Clock, consent, message, people, queue, row, states
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.deliver import gates, rules
from tradewind.deliver.channels.base import Channel, Later, Uncertain, accepted
from tradewind.deliver.deliver import deliver
from tradewind.deliver.gates import News, Pass, admit, note, spend
from tradewind.deliver.rules import SECOND, Rate, Rules
from tradewind.deliver.worker import Worker
from tradewind.engine.books_channels import feedback
from tradewind.engine.home import Home
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError, NotFound, Terminal, Transient
from tradewind.types import Message, Receipt, from_micros, micros


class Provider(Channel):
    """Takes what comes while it is ``up``."""

    def __init__(self, *, idempotent: bool = False) -> None:
        self.idempotent = idempotent
        self.up = True
        self.seen: list[tuple[str, int]] = []
        self.asked = 0

    def send(self, message: Message, *, address: str | None, at: object) -> Receipt:
        self.asked += 1
        if not self.up:
            raise Transient("down")
        self.seen.append((message.message_id, micros(at)))  # type: ignore[arg-type]
        return accepted(message, at=at)  # type: ignore[arg-type]


def fill(home: Home, limits: Rules, size: int) -> list[str]:
    rules.save(home, limits)
    names = [f"c{number:02d}" for number in range(size)]
    people(home, names)
    return queue(home, [message(name) for name in names])


# -- rate -------------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(
    per_second=st.sampled_from([0.5, 3.0, 7.0, 1000.0]),
    burst=st.integers(1, 5),
    asks=st.lists(st.tuples(st.integers(-5_000_000, 3_000_000), st.integers(1, 9)), min_size=1, max_size=25),
)
def test_no_window_lets_more_through_than_the_bucket_holds(
    tmp_path_factory: pytest.TempPathFactory, per_second: float, burst: int, asks: list[tuple[int, int]]
) -> None:
    """Also when the clock is set back now and then; a bucket never stays empty for longer than it takes to fill."""
    limits = Rules(rates={"email": Rate(per_second, burst)})
    with Home.open(tmp_path_factory.mktemp("rate") / "shop") as home:
        now = micros(START)
        gone: list[int] = []
        for step, wanted in asks:
            now += step
            if step < 0:
                gone.clear()  # the past lies in the future now: only windows after the jump can be judged
            with home.ledger.write() as conn:
                found = admit(conn, "p", "email", wanted=wanted, rules=limits, now=now)
                spend(conn, "p", "email", found.room, rules=limits, now=now)
            assert 0 <= found.room <= wanted
            gone += [now] * found.room
            if not found.room:
                assert found.wait_until is not None
                assert now < found.wait_until <= now + limits.rates["email"].step * burst
        for first, start in enumerate(gone):
            for last in range(first, len(gone)):
                assert last - first + 1 <= burst + per_second * (gone[last] - start) / SECOND + 1e-3


def test_a_run_waits_for_the_rate_and_a_clock_that_stands_still_ends_it(home: Home) -> None:
    names = fill(home, Rules(rates={"provider": Rate(2.0, 3)}), 9)
    provider, clock = Provider(), Clock()
    done = deliver(home, channels={"email": provider}, now=clock)
    assert (done.counts["accepted"], done.reasons["deferred: rate"]) == (3, 2), "the clock stands still"
    loaded = rules.load(home)
    worker = Worker(home, {"email": provider}, clock, loaded, "w", pause=lambda seconds: clock.forward(seconds=seconds))
    worker.run()
    assert set(states(home).values()) == {"accepted"}
    assert len(provider.seen) == len(names)
    assert provider.seen[-1][1] - provider.seen[0][1] >= 3 * SECOND, "six more at two a second"


def test_workers_share_one_bucket(tmp_path: Path, postgres_url: str) -> None:
    url = f"{postgres_url}&root={tmp_path / 'shop'}"
    with Home.open(url) as home:
        fill(home, Rules(rates={"email": Rate(1.0, 7)}, batch=3), 30)
    providers, clock = [Provider() for _ in range(4)], Clock()

    def work(provider: Provider, number: int) -> None:
        with Home.open(url) as mine:
            deliver(mine, channels={"email": provider}, now=clock, owner=f"w{number}")

    for total in (7, 12):
        threads = [threading.Thread(target=work, args=(provider, number)) for number, provider in enumerate(providers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(len(provider.seen) for provider in providers) == total
        clock.forward(seconds=5)


# -- breaker ----------------------------------------------------------------------------------------------------------


def test_the_breaker_opens_probes_with_one_message_and_closes(each_home: Home) -> None:
    fill(each_home, Rules(breaker=3, breaker_seconds=60, backoff_seconds=0, attempts=50), 8)
    provider, clock = Provider(), Clock()
    provider.up = False
    deliver(each_home, channels={"email": provider}, now=clock)
    assert provider.asked == 3
    (gate,) = gates.shut(each_home)
    assert (gate["gate"], gate["opened"], from_micros(gate["open_until"])) == ("provider", 1, START + timedelta(seconds=60))
    clock.forward(seconds=59)
    deliver(each_home, channels={"email": provider}, now=clock)
    assert provider.asked == 3, "closed to everybody"
    clock.forward(seconds=1)
    deliver(each_home, channels={"email": provider}, now=clock)
    assert provider.asked == 4, "one message tries"
    clock.forward(seconds=119)
    done = deliver(each_home, channels={"email": provider}, now=clock)
    assert (provider.asked, set(done.reasons)) == (4, {"deferred: breaker"}), "twice as long"
    clock.forward(seconds=1)
    provider.up = True
    deliver(each_home, channels={"email": provider}, now=clock)
    assert set(states(each_home).values()) == {"accepted"}
    assert gates.shut(each_home) == []


def test_failures_of_several_workers_count_together(home: Home) -> None:
    limits, now = Rules(breaker=4), micros(START)
    for misses in (1, 2):
        with home.ledger.write() as conn:
            note(conn, "p", News(heard=False, misses=misses), clean=True, rules=limits, now=now)
            assert admit(conn, "p", "email", wanted=5, rules=limits, now=now) == Pass(5, clean=False)
    with home.ledger.write() as conn:
        note(conn, "p", News(heard=False, misses=1), clean=False, rules=limits, now=now)
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=now).why == "breaker"
        later = now + 61 * SECOND
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=later).room == 1
        spend(conn, "p", "email", 1, rules=limits, now=later)
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=later).why == "breaker", "one probe at a time"
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=later + 301 * SECOND).room == 1, "the one that tried is gone"
        note(conn, "p", News(heard=True, misses=0), clean=False, rules=limits, now=later)
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=later) == Pass(5)


class Busy(Provider):
    """Says once, at its third message, for how long it wants peace."""

    provider = "provider"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def send(self, message: Message, *, address: str | None, at: object) -> Receipt:
        if self.asked == 2:
            self.asked += 1
            raise Later("busy", seconds=self.seconds)
        return super().send(message, address=address, at=at)


def test_a_provider_is_left_alone_for_as_long_as_it_asks(each_home: Home) -> None:
    """Retry-After: by every worker, whatever the breaker's own times are; then one message tries, and the rest follow."""
    names, clock, provider = fill(each_home, Rules(window=8, breaker_seconds=1), 6), Clock(), Busy(7200)
    deliver(each_home, channels={"email": provider}, now=clock)
    assert provider.asked == 3
    assert Counter(states(each_home).values()) == {"accepted": 2, "ready": 4}
    clock.forward(seconds=7199)
    other = Provider()
    assert deliver(each_home, channels={"email": other}, now=clock).reasons == {"deferred: breaker": 3}, (
        "the refused one has its own next try"
    )
    clock.forward(seconds=1)
    deliver(each_home, channels={"email": other}, now=clock)
    assert (other.asked, {states(each_home)[name] for name in names}) == (4, {"accepted"})
    assert gates.shut(each_home) == []


def test_a_short_wait_is_waited_for_within_the_run(home: Home) -> None:
    names, clock, slept = fill(home, Rules(window=8), 6), Clock(), []

    def pause(seconds: float) -> None:
        slept.append(seconds)
        clock.forward(seconds=seconds)

    worker = Worker(home, {"email": Busy(3)}, clock, rules.load(home), "test", pause=pause)
    worker.run()
    assert 2.9 < sum(slept) < 3.1
    left = {name: state for name, state in states(home).items() if state != "accepted"}
    assert list(left.values()) == ["ready"], "the refused one waits for its own next try"
    assert len(names) == 6


def test_a_probe_that_is_told_to_wait_waits_that_long_and_not_twice_as_long(home: Home) -> None:
    limits, now = Rules(breaker_seconds=60), micros(START)
    with home.ledger.write() as conn:
        for _ in range(4):
            note(conn, "p", News(heard=False, misses=1, hold=now + 100 * SECOND), clean=False, rules=limits, now=now)
            now += 100 * SECOND
            assert admit(conn, "p", "email", wanted=5, rules=limits, now=now - 1).why == "breaker"
            assert admit(conn, "p", "email", wanted=5, rules=limits, now=now).room == 1
        note(conn, "p", News(heard=False, misses=1, hold=now + 86_400 * SECOND), clean=False, rules=limits, now=now)
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=now + 86_399 * SECOND).why == "breaker"
        back = now - 400 * 86_400 * SECOND  # the clock is set back by more than a year
        assert admit(conn, "p", "email", wanted=5, rules=limits, now=back).room == 1, "nobody is closed for a year"


def test_a_disk_that_is_full_opens_the_breaker_too(home: Home) -> None:
    """What is refused at the flush was not taken, however many sends went well before it."""

    class Full(Provider):
        def flush(self) -> None:
            raise Transient("no room")

    names = fill(home, Rules(breaker=2, batch=2), 8)
    provider = Full(idempotent=True)
    deliver(home, channels={"email": provider}, now=Clock())
    assert provider.asked == 4, "two groups of two"
    assert [states(home)[name] for name in names] == ["ready"] * 8


# -- reputation -------------------------------------------------------------------------------------------------------


def came_back(home: Home, names: list[str], kind: str, clock: Clock) -> None:
    values = [
        {
            "message_id": name, "kind": kind, "customer": "c", "channel": "email", "decision_id": "d",
            "at": micros(clock()), "status": "", "logged": False,
        }
        for name in names
    ]  # fmt: skip
    with home.ledger.write() as conn:
        insert_new(conn, feedback, values)


@pytest.mark.parametrize(("kind", "what"), [("complaint", "complaints"), ("hard", "bounces")])
def test_a_channel_stops_when_too_much_comes_back_and_runs_when_an_operator_says_so(each_home: Home, kind: str, what: str) -> None:
    home = each_home
    limits = Rules(complaint_rate=0.1, bounce_rate=0.1, reputation_least=10, reputation_days=7)
    names = fill(home, limits, 20)
    provider, clock = Provider(), Clock()
    deliver(home, channels={"email": provider}, now=clock, limit=10)
    came_back(home, names[:1], kind, clock)
    clock.forward(hours=1)
    deliver(home, channels={"email": provider}, now=clock, limit=2)
    assert len(provider.seen) == 12, "one of ten is allowed"
    came_back(home, names[1:2], kind, clock)
    done = deliver(home, channels={"email": provider}, now=clock)
    assert len(provider.seen) == 12
    assert any(f"2 {what} of 12 messages" in reason for reason in done.reasons), done.to_text()
    clock.forward(days=30)
    deliver(home, channels={"email": provider}, now=clock)
    assert len(provider.seen) == 12, "it does not start by itself"
    gates.resume(home, "email", now=clock())
    deliver(home, channels={"email": provider}, now=clock)
    assert set(states(home).values()) == {"accepted"}


def test_an_operator_stops_and_resumes_a_channel(home: Home) -> None:
    fill(home, Rules(), 3)
    provider = Provider()
    gates.stop(home, "email", why="wrong price in the text", now=START)
    done = deliver(home, channels={"email": provider}, now=Clock())
    assert done.reasons == {"deferred: stopped: wrong price in the text": 3}
    gates.resume(home, "email", now=START)
    assert deliver(home, channels={"email": provider}, now=Clock()).counts == {"accepted": 3}
    with pytest.raises(NotFound, match="fax"):
        gates.stop(home, "fax", why="x", now=START)


def test_rates_are_checked_and_kept(home: Home) -> None:
    for bad in (Rate(0.0), Rate(1.0, 0)):
        with pytest.raises(InputError):
            rules.save(home, Rules(rates={"email": bad}))
    kept = Rules(rates={"smtp mail.example:587": Rate(10.0, 20)})
    rules.save(home, kept)
    assert rules.load(home) == kept


# -- doubt ------------------------------------------------------------------------------------------------------------


class Keyed(Provider):
    """Can be asked what it has."""

    def __init__(self) -> None:
        super().__init__(idempotent=True)
        self.faults: list[bool] = []  # per send: whether it was taken before the line broke
        self.answers = True

    def send(self, message: Message, *, address: str | None, at: object) -> Receipt:
        if self.faults:
            if self.faults.pop(0):
                super().send(message, address=address, at=at)
            raise Uncertain("cut")
        return super().send(message, address=address, at=at)

    def look_up(self, message_id: str) -> bool | None:
        if not self.answers:
            raise Transient("busy")
        return message_id in [name for name, _ in self.seen]


def test_a_provider_that_can_answer_ends_the_doubt(home: Home) -> None:
    """Both messages may have been taken; then consent was withdrawn, so they must not be tried again."""
    names = fill(home, Rules(), 2)
    provider, clock = Keyed(), Clock()
    provider.faults, provider.answers = [True, False], False
    deliver(home, channels={"email": provider}, now=clock)
    clock.forward(minutes=5)
    consent(home, ["c00", "c01"], granted=False, at=clock())
    deliver(home, channels={"email": provider}, now=clock)
    assert set(states(home).values()) == {"unknown"}
    provider.answers = True
    deliver(home, channels={"email": provider}, now=clock)
    taken = {name for name, _ in provider.seen}
    assert states(home) == {name: "accepted" if name in taken else "failed" for name in names}
    assert len(provider.seen) == 1
    (lost,) = set(names) - taken
    assert row(home, lost)["detail"] == "the provider does not have it; an earlier try may have reached the provider; withdrawn"


def test_a_terminal_answer_proves_that_the_provider_is_there(home: Home) -> None:
    class Picky(Provider):
        def send(self, message: Message, *, address: str | None, at: object) -> Receipt:
            self.asked += 1
            raise Transient("busy") if self.asked % 3 else Terminal("no such mailbox")

    fill(home, Rules(breaker=3), 12)
    provider = Picky()
    deliver(home, channels={"email": provider}, now=Clock())
    assert provider.asked == 12
