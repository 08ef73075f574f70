"""A disk that is full, a ledger that goes away, a clock that jumps: defined, and nothing doubled or lost."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from deliver_kit import START, Clock, message, people, queue, row, sent, states
from sqlalchemy import select

from tradewind.deliver import rules
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.deliver import deliver
from tradewind.deliver.outbox import claim, due
from tradewind.deliver.rules import Rules
from tradewind.engine.books_deliver import tallies
from tradewind.engine.home import Home
from tradewind.errors import Transient
from tradewind.types import Message, Receipt, micros


class Provider(Channel):
    """Counts, and does something in the middle."""

    def __init__(self, then: Callable[[int], None] = lambda _number: None) -> None:
        self.then = then
        self.seen: Counter[str] = Counter()

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        self.seen[message.message_id] += 1
        self.then(sum(self.seen.values()))
        return accepted(message, at=at)


def fill(home: Home, size: int, **limits: object) -> list[str]:
    rules.save(home, Rules(**limits))  # type: ignore[arg-type]
    names = [f"c{number:03d}" for number in range(size)]
    people(home, names)
    return queue(home, [message(name) for name in names])


def checked(home: Home, provider: Provider, names: list[str], *, doubts: int) -> None:
    found = states(home)
    assert set(provider.seen) == set(names) - {name for name in names if provider.seen[name] == 0}
    assert max(provider.seen.values()) == 1
    unknown = {name for name, state in found.items() if state == "unknown"}
    assert len(unknown) <= doubts
    assert all(found[name] == "accepted" for name in set(names) - unknown)
    assert sent(home, now=START + timedelta(days=400)) == sorted(set(names) - unknown)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(home: Home) -> None:
    names = fill(home, 80)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    books = [path for path in home.root.glob("ledger.db*") if path.is_file()]

    def fill_up(number: int) -> None:
        if number == 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(path.stat().st_size for path in books) + 30_000, hard))

    provider = Provider(fill_up)
    try:
        with pytest.raises(Transient, match=r"(?s)in the middle of a delivery .*Make room"):
            deliver(home, channels={"email": provider}, now=Clock())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 20 <= len(provider.seen) < 80
    provider.then = lambda _number: None
    deliver(home, channels={"email": provider}, now=Clock())
    checked(home, provider, names, doubts=1)


def test_a_server_that_drops_its_connections_is_written_to_again(tmp_path: Path, postgres_url: str) -> None:
    """What the provider answered is known, and must not become a doubt because the ledger was away for a moment."""
    with Home.open(f"{postgres_url}&root={tmp_path / 'shop'}") as home:
        names = fill(home, 40)
        seen: Counter[str] = Counter()

        def drop() -> None:
            with psycopg.connect(postgres_url, autocommit=True) as conn:
                others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                conn.execute(f"SELECT pg_terminate_backend(pid) {others}")

        def step(name: str) -> None:
            seen[name] += 1
            if (name, seen[name]) in (("sent", 7), ("marking", 12)):
                drop()

        provider = Provider()
        with pytest.raises(Transient, match="start its server"):
            deliver(home, channels={"email": provider}, now=Clock(), step=step)
        assert sum(provider.seen.values()) == 11, "between transactions nothing is noticed; inside one, the run ends"
        assert Counter(states(home).values()) == {"accepted": 11, "ready": 29}, "every answer is written"
        deliver(home, channels={"email": provider}, now=Clock())
        checked(home, provider, names, doubts=0)


def test_a_clock_that_leaps_forward_stops_what_was_marked_before(home: Home) -> None:
    names, clock = fill(home, 12, window=6), Clock()
    provider = Provider(lambda number: clock.forward(days=365) if number == 2 else None)
    done = deliver(home, channels={"email": provider}, now=clock)
    assert done.counts["accepted"] == 12
    checked(home, provider, names, doubts=0)


def test_a_clock_that_is_set_back_frees_leases_and_forgets_no_cap(each_home: Home) -> None:
    home, clock = each_home, Clock()
    (name,) = fill(home, 1, cap=1, cap_days=7)
    with home.ledger.write() as conn:  # a worker that died, a year from now
        later = micros(START + timedelta(days=365))
        assert claim(conn, due(plan_id=None, channel="email", now=later), owner="dead", now=later, until=later + 1, limit=9)
    provider = Provider()
    deliver(home, channels={"email": provider}, now=clock)
    assert states(home)[name] == "accepted"
    clock.forward(days=-30)
    (second,) = queue(home, [message("c000", step="2", send_at=clock())])
    deliver(home, channels={"email": provider}, now=clock)
    assert states(home)[second] == "ready", "what lies in the future has been sent, too"
    assert row(home, second)["next_at"] == micros(clock() + timedelta(days=7))
    clock.forward(days=8)
    deliver(home, channels={"email": provider}, now=clock)
    assert states(home)[second] == "ready", "still within seven days of now"
    clock.forward(days=40)
    deliver(home, channels={"email": provider}, now=clock)
    assert states(home)[second] == "accepted"


def test_accepted_messages_are_tallied_once_per_hour(each_home: Home) -> None:
    clock = Clock(datetime(2026, 3, 1, 9, 59, 59, tzinfo=UTC))
    fill(each_home, 5)
    for limit in (2, 3):
        deliver(each_home, channels={"email": Provider()}, now=clock, limit=limit)
        clock.forward(seconds=2)
    deliver(each_home, channels={"email": Provider()}, now=clock)
    with each_home.ledger.read() as conn:
        rows = conn.execute(select(tallies.c.hour, tallies.c.sent).order_by(tallies.c.hour)).all()
    assert [(hour // 3_600_000_000 % 24, number) for hour, number in rows] == [(9, 2), (10, 3)]
