"""Caps over any window, alone and together, exact when workers race; and the messages that are worth most go first."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deliver_kit import START, Clock, change, consent, message, people, queue, row, states
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind.deliver import gates, rules
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.deliver import deliver
from tradewind.deliver.rules import Cap, Rules
from tradewind.engine.home import Home
from tradewind.engine.ledger import budgets, insert_new, promises, reservations, stock
from tradewind.errors import InputError
from tradewind.types import Message, Receipt, from_micros

DAY = timedelta(days=1)


class Log(Channel):
    """Writes down what it was handed, in order; safe for several threads."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, datetime]] = []

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        self.seen.append((message.message_id, at))
        return accepted(message, at=at)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


def put(home: Home, customer: str, step: str, *, worth: int | None = None, category: str | None = None, **values: Any) -> str:
    (name,) = queue(home, [message(customer, step=step, **values)])
    change(home, name, worth=worth, category=category)
    return name


def shop(home: Home, limits: Rules, names: tuple[str, ...] = ("ann",), channels: tuple[str, ...] = ("email",)) -> Home:
    rules.save(home, limits)
    for channel in channels:
        people(home, names, channel=channel)
    return home


def drain(home: Home, log: Channel, clock: Clock, *, channels: tuple[str, ...] = ("email",)) -> None:
    """Run whenever something has become due, until nothing is left."""
    while left := [name for name, state in states(home).items() if state == "ready"]:
        clock.at = max(clock.at, min(from_micros(int(str(row(home, name)["next_at"]))) for name in left))
        deliver(home, channels=dict.fromkeys(channels, log), now=clock)


def test_only_the_best_fit_and_they_are_not_the_first(each_home: Home) -> None:
    home, log, clock = shop(each_home, Rules(cap=2, cap_days=7, batch=2)), Log(), Clock()
    ends = START + timedelta(days=3)
    names = [put(home, "ann", str(number), worth=worth, expires_at=ends) for number, worth in enumerate((5, 90, 1, 70, 30, None))]
    drain(home, log, clock)
    assert sorted(log.names) == sorted([names[1], names[3]])
    assert [states(home)[name] for name in names] == ["suppressed", "accepted", "suppressed", "accepted", "suppressed", "suppressed"]
    assert row(home, names[4])["detail"] == "cap"


def test_a_message_yields_to_a_better_one_that_comes_later_but_not_to_one_that_may_not_go(each_home: Home) -> None:
    home = shop(each_home, Rules(cap=1, cap_days=7, caps=(Cap(1, 7),)), names=("ann", "bob"))
    log, clock = Log(), Clock()
    poor = put(home, "ann", "1", worth=1, expires_at=START + 4 * DAY)
    rich = put(home, "ann", "2", worth=9, send_at=START + 2 * DAY, expires_at=START + 5 * DAY)
    lone = put(home, "bob", "1", worth=1, expires_at=START + 4 * DAY)
    hushed = put(home, "bob", "2", worth=9, channel="sms", send_at=START + 2 * DAY)  # nobody consented to text messages
    deliver(home, channels={"email": log}, now=clock)
    assert log.names == [lone]
    drain(home, log, clock, channels=("email", "sms"))
    assert log.names == [lone, rich]
    assert states(home) == {poor: "suppressed", rich: "accepted", lone: "accepted", hushed: "suppressed"}


def test_when_the_better_message_fails_the_other_one_goes(home: Home) -> None:
    shop(home, Rules(cap=1, cap_days=7))
    log, clock = Log(), Clock()
    poor = put(home, "ann", "1", worth=1, expires_at=START + 4 * DAY)
    rich = put(home, "ann", "2", worth=9, send_at=START + 2 * DAY)
    deliver(home, channels={"email": log}, now=clock)
    assert states(home)[poor] == "ready", "it waits for the better one"
    change(home, rich, state="failed")
    drain(home, log, clock)
    assert log.names == [poor]


def test_categories_channels_and_all_together_have_caps_of_their_own(each_home: Home) -> None:
    caps = (Cap(3, 10), Cap(1, 10, category="launch"), Cap(2, 10, per="category"))
    home = shop(each_home, Rules(cap=2, cap_days=5, caps=caps), channels=("email", "sms"))
    log, clock = Log(), Clock()
    kinds = [("email", "launch"), ("email", "launch"), ("email", "spring"), ("email", "spring"), ("sms", "spring"), ("sms", "autumn")]
    for number, (channel, category) in enumerate(kinds):
        put(home, "ann", str(number), worth=100 - number, channel=channel, category=category, expires_at=START + 3 * DAY)
    drain(home, log, clock, channels=("email", "sms"))
    done = {name: row(home, name) for name in log.names}
    assert sorted((each["channel"], each["category"]) for each in done.values()) == [
        ("email", "launch"),
        ("email", "spring"),
        ("sms", "spring"),
    ]


def test_a_cap_of_nothing_stops_a_category(home: Home) -> None:
    shop(home, Rules(caps=(Cap(0, 1, category="launch"),)))
    name = put(home, "ann", "1", category="launch")
    other = put(home, "ann", "2", category="spring")
    done = deliver(home, channels={"email": Log()}, now=Clock())
    assert states(home) == {name: "suppressed", other: "accepted"}, done.to_text()


def test_a_capped_message_moves_past_the_night_to_the_next_allowed_moment(home: Home) -> None:
    """The cap ends at 23:00, in the quiet hours: the message goes at eight the next morning, or never if it expires before."""
    shop(home, Rules(cap=1, cap_days=1))
    log, clock = Log(), Clock(datetime(2026, 3, 1, 21, 30, tzinfo=UTC))
    first = put(home, "ann", "1", send_at=clock.at, worth=9, headers={"zone": "UTC"})
    later = put(home, "ann", "2", send_at=clock.at, worth=5, headers={"zone": "UTC"}, expires_at=datetime(2026, 3, 3, 8, 1, tzinfo=UTC))
    never = put(home, "ann", "3", send_at=clock.at, worth=1, headers={"zone": "UTC"}, expires_at=datetime(2026, 3, 3, 8, 0, tzinfo=UTC))
    deliver(home, channels={"email": log}, now=clock)
    assert log.names == [first]
    clock.at = datetime(2026, 3, 2, 21, 30, tzinfo=UTC)
    blocker = put(home, "ann", "0", send_at=clock.at - timedelta(minutes=1), worth=99, headers={"zone": "UTC"})
    deliver(home, channels={"email": log}, now=clock)
    assert log.names == [first, blocker]
    drain(home, log, clock)
    assert states(home)[never] == "suppressed"
    assert states(home)[later] == "suppressed", "the better message took its place for another day"


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_no_window_ever_holds_too_many_and_nothing_that_fits_is_thrown_away(data: st.DataObject) -> None:
    most, days = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.5, 1.0, 2.0]))
    total = Cap(data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1.0, 3.0])))
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder) / "shop") as home:
        shop(home, Rules(cap=most, cap_days=days, caps=(total,), quiet=()), names=("ann", "bob"), channels=("email", "sms"))
        about = {}
        for number in range(data.draw(st.integers(2, 9))):
            customer, channel = data.draw(st.sampled_from(["ann", "bob"])), data.draw(st.sampled_from(["email", "sms"]))
            send_at = START + timedelta(hours=data.draw(st.integers(0, 60)))
            ends = send_at + timedelta(hours=data.draw(st.integers(1, 60)))
            worth = data.draw(st.integers(0, 3))
            name = put(home, customer, str(number), worth=worth, channel=channel, send_at=send_at, expires_at=ends)
            about[name] = (customer, channel, send_at, ends)
        log = Log()
        drain(home, log, Clock(), channels=("email", "sms"))
        for cap, key in ((Cap(most, days), lambda name: about[name][:2]), (total, lambda name: about[name][0])):
            times = defaultdict(list)
            for name, at in log.seen:
                times[key(name)].append(at)
            for moments in times.values():
                for first, last in zip(sorted(moments), sorted(moments)[cap.most :], strict=False):
                    assert last - first >= timedelta(days=cap.days)
        left = set(about) - set(log.names)
        assert {states(home)[name] for name in left} <= {"suppressed"}
        for customer in ("ann", "bob"):  # who was never near a cap got everything
            mine = [name for name in about if about[name][0] == customer]
            if len(mine) <= min(most, total.most):
                assert set(mine) <= set(log.names)


def test_racing_workers_never_break_a_cap_and_the_best_go(tmp_path: Path, postgres_url: str) -> None:
    url = f"{postgres_url}&root={tmp_path / 'shop'}"
    names = tuple(f"c{number}" for number in range(12))
    channels = ("email", "sms", "push")
    best: dict[str, set[str]] = {}
    with Home.open(url) as home:
        shop(home, Rules(cap=2, cap_days=7, caps=(Cap(3, 7),), batch=4), names=names, channels=channels)
        for customer in names:
            made = {}
            for number in range(9):
                channel = channels[number % 3]
                made[
                    put(home, customer, str(number), channel=channel, worth=(number * 37 + len(customer)) % 11, expires_at=START + DAY)
                ] = number
            ranked = sorted(made, key=lambda name: (-int(str(row(home, name)["worth"])), name))
            taken: list[str] = []
            for name in ranked:
                same = [one for one in taken if made[one] % 3 == made[name] % 3]
                if len(taken) < 3 and len(same) < 2:
                    taken.append(name)
            best[customer] = set(taken)
    logs = [Log() for _ in range(4)]
    clock = Clock()

    def work(number: int) -> None:
        with Home.open(url) as mine:
            deliver(mine, channels=dict.fromkeys(channels, logs[number]), now=clock, owner=f"w{number}")

    for _ in range(3):  # who yielded looks again a minute later
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.forward(minutes=2)
    seen = [name for log in logs for name in log.names]
    assert len(seen) == len(set(seen))
    assert set(seen) == set().union(*best.values()), "the same messages as if one had chosen with everything in view"


def test_a_withdrawn_channel_gives_its_place_to_the_next_best(home: Home) -> None:
    shop(home, Rules(cap=5, caps=(Cap(1, 7),)), channels=("email", "sms"))
    rich = put(home, "ann", "1", channel="sms", worth=9)
    poor = put(home, "ann", "2", worth=1)
    consent(home, ["ann"], channel="sms", granted=False, at=START)
    log = Log()
    deliver(home, channels={"email": log, "sms": log}, now=Clock())
    assert log.names == [poor]
    assert states(home)[rich] == "suppressed"


def test_what_never_leaves_gives_its_money_back(each_home: Home) -> None:
    home = shop(each_home, Rules(cap=1, cap_days=7))
    ends = START + DAY
    items = [message("ann", step=str(number), expires_at=ends) for number in range(3)]
    for name, worth in zip(queue(home, items), (5, 9, 1), strict=True):
        change(home, name, worth=worth)
    held = [{"decision_id": one.decision_id, "budget": "b", "amount": 40, "state": "held", "spent": 0} for one in items]
    with home.ledger.write() as conn:
        insert_new(conn, budgets, [{"budget": "b", "currency": "EUR", "amount": 200, "reserved": 120, "spent": 0}])
        insert_new(conn, reservations, held)
        insert_new(conn, stock, [{"thing": "item:tea", "reserved": 3}])
        insert_new(conn, promises, [{"decision_id": one.decision_id, "thing": "item:tea", "until": 2**60} for one in items])
    drain(home, Log(), Clock())
    with home.ledger.read() as conn:
        states_now = dict(conn.execute(select(reservations.c.decision_id, reservations.c.state)).all())
        assert [states_now[one.decision_id] for one in items] == ["released", "held", "released"]
        assert conn.execute(select(budgets.c.reserved)).scalar_one() == 40
        assert conn.execute(select(stock.c.reserved)).scalar_one() == 1


def test_what_an_operator_holds_back_takes_no_place(home: Home) -> None:
    shop(home, Rules(cap=5, caps=(Cap(1, 7),)), channels=("email", "sms"))
    rich = put(home, "ann", "1", channel="sms", worth=9)
    poor = put(home, "ann", "2", worth=1)
    gates.stop(home, "sms", why="wrong price", now=START)
    log = Log()
    deliver(home, channels={"email": log, "sms": log}, now=Clock())
    assert log.names == [poor]
    assert states(home)[rich] == "ready"


def test_caps_that_say_nothing_are_refused(home: Home) -> None:
    for bad in (Cap(-1, 1), Cap(1, 0), Cap(1, 1, per="moon"), Cap(1, 1, channel="fax")):
        with pytest.raises(InputError):
            rules.save(home, Rules(caps=(bad,)))
    kept = Rules(caps=(Cap(3, 7), Cap(1, 30, per="category", channel="sms")))
    rules.save(home, kept)
    assert rules.load(home) == kept
