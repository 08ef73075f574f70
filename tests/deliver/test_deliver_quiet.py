"""Quiet hours on the recipient's clock, across every change of the clocks, checked minute by minute by code of its own."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from deliver_kit import Clock, message, people, queue, row, states
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.decide.law import Law, laws
from tradewind.deliver import rules
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.deliver import deliver
from tradewind.deliver.quiet import Hours, hours, places
from tradewind.deliver.rules import Quiet, Rules
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.types import Message, Receipt, from_micros, micros

# Whole and half hours, changes at 0, 1, 2 and 3 o'clock, both hemispheres, half an hour of summer time, none, and a day that was skipped.
CHANGES = {
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "America/St_Johns": (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)),
    "America/Havana": (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)),
    "Europe/Paris": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, tzinfo=UTC)),
    "Atlantic/Azores": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Pacific/Apia": (datetime(2011, 12, 30, 10, tzinfo=UTC),),
    "Asia/Shanghai": (datetime(2026, 5, 1, tzinfo=UTC),),
}
clock_times = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02d}:{minute % 60:02d}")


def disturbed(moment: datetime, zone: str, start: str, end: str) -> bool:
    """What a clock on the wall shows, and whether that is in the quiet hours."""
    shown = moment.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    return start <= shown < end if start < end else shown >= start or shown < end


@settings(max_examples=60, deadline=None)
@given(data=st.data(), start=clock_times, end=clock_times, names=st.sets(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3))
def test_the_next_moment_is_the_first_that_disturbs_nobody(data: st.DataObject, start: str, end: str, names: set[str]) -> None:
    if start == end:
        return
    near = data.draw(st.sampled_from([moment for name in sorted(names) for moment in CHANGES[name]]))
    at = near + timedelta(minutes=data.draw(st.integers(-26 * 60, 26 * 60)))
    own = Hours(frozenset(names), (Quiet(start, end).minutes,))
    found = own.opens(micros(at))
    step, moment = timedelta(minutes=1), at
    while moment < at + timedelta(days=3) and any(disturbed(moment, name, start, end) for name in names):
        moment += step
    if moment == at + timedelta(days=3):
        assert found is None or found >= micros(moment)
        return
    assert found == micros(moment)
    closes = from_micros(own.closes(found))
    assert not any(disturbed(closes - step, name, start, end) for name in names) or closes == moment
    last = moment
    while last < moment + timedelta(days=1) and not any(disturbed(last, name, start, end) for name in names):
        last += step
    assert closes >= last, "nothing between now and the deadline is thrown away"
    assert closes == last or last == moment + timedelta(days=1)


class Wall(Channel):
    """Writes down who was reached when."""

    idempotent = True

    def __init__(self) -> None:
        self.seen: dict[str, datetime] = {}

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        self.seen[message.message_id] = at
        return accepted(message, at=at)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_nobody_is_disturbed_and_what_can_go_before_it_expires_goes(data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(sorted(CHANGES)))
    begin = data.draw(st.sampled_from(CHANGES[zone])) - timedelta(hours=30)
    quiet = Quiet(*data.draw(st.sampled_from([("22:00", "08:00"), ("00:30", "03:30"), ("01:15", "00:45"), ("21:00", "09:30")])))
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder) / "shop") as home:
        rules.save(home, Rules(cap=100, quiet=(quiet,)))
        people(home, ["ann"])
        items = [
            message(
                "ann",
                step=str(number),
                send_at=begin + timedelta(minutes=data.draw(st.integers(0, 60 * 60))),
                headers={"zone": zone},
            )
            for number in range(4)
        ]
        items = [
            message("ann", step=str(number), send_at=one.send_at, headers={"zone": zone}, expires_at=one.send_at + timedelta(minutes=life))
            for number, (one, life) in enumerate(zip(items, data.draw(st.lists(st.integers(1, 900), min_size=4, max_size=4)), strict=True))
        ]
        people(home, ["ann"])
        queue(home, items)
        wall, clock = Wall(), Clock(begin)
        while left := [name for name, state in states(home).items() if state == "ready"]:
            clock.at = max(clock.at, min(from_micros(int(str(row(home, name)["next_at"]))) for name in left))
            deliver(home, channels={"email": wall}, now=clock)
        for one in items:
            assert one.expires_at is not None
            minutes = range(int((one.expires_at - one.send_at).total_seconds() // 60))
            free = [m for m in minutes if not disturbed(one.send_at + timedelta(minutes=m), zone, quiet.start, quiet.end)]
            if one.message_id in wall.seen:
                moment = wall.seen[one.message_id]
                assert not disturbed(moment, zone, quiet.start, quiet.end)
                assert one.send_at <= moment < one.expires_at
            assert (one.message_id in wall.seen) == bool(free), "it goes if and only if there is a moment"


def test_an_unknown_zone_is_every_zone_of_the_country_or_of_the_shop() -> None:
    shop = Rules(zones=("Europe/Paris", "Asia/Kolkata"))
    assert hours(shop, "email", zone_name=None, country=None).zones == {"Europe/Paris", "Asia/Kolkata"}
    assert hours(shop, "email", zone_name="Mars/Base", country=None).zones == {"Europe/Paris", "Asia/Kolkata"}
    assert hours(shop, "email", zone_name="Asia/Tokyo", country="US").zones == {"Asia/Tokyo"}
    america = hours(shop, "email", zone_name=None, country="us")
    assert {"America/New_York", "Pacific/Honolulu"} <= america.zones == places()[0]["US"]
    noon_in_new_york = datetime(2026, 6, 1, 16, tzinfo=UTC)  # six in Honolulu
    opens = america.opens(micros(noon_in_new_york))
    assert opens is not None
    assert from_micros(opens) == datetime(2026, 6, 1, 18, tzinfo=UTC), "eight in Honolulu, fourteen in New York"


def test_channels_and_countries_have_hours_of_their_own() -> None:
    night = datetime(2026, 6, 2, 1, 30, tzinfo=UTC)  # half past nine in New York
    assert hours(Rules(), "email", zone_name="America/New_York", country=None).opens(micros(night)) == micros(night)
    text = hours(Rules(), "sms", zone_name="America/New_York", country=None).opens(micros(night))
    assert text == micros(datetime(2026, 6, 2, 12, tzinfo=UTC)), "eight in the morning"
    tokyo = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)  # half past nine there, and no law profile
    assert hours(Rules(), "sms", zone_name="Asia/Tokyo", country=None).opens(micros(tokyo)) == micros(tokyo)
    assert hours(Rules(), "inapp", zone_name="Europe/Paris", country=None).windows == (), "who opens the shop is awake"


@pytest.mark.parametrize("channel", ["email", "sms", "push"])
@pytest.mark.parametrize("law", laws().values(), ids=laws())
def test_a_new_shop_keeps_the_hours_of_every_law_profile(law: Law, channel: str) -> None:
    told = law.hours(channel)
    for region in law.regions if told else ():
        for name in places()[0][region]:
            for hour in range(24):
                at = datetime(2026, 6, 2, hour, 30, tzinfo=UTC)
                local = at.astimezone(ZoneInfo(name))
                if told and not told.start <= local.hour < told.end:
                    assert hours(Rules(), channel, zone_name=name, country=None).opens(micros(at)) != micros(at), (name, local)


def test_what_is_sent_late_in_a_run_does_not_slip_into_the_night(home: Home) -> None:
    """The deadline is checked again before every message, not only when it was marked."""
    clock = Clock(datetime(2026, 3, 1, 21, 59, 58, tzinfo=UTC))

    class Slow(Wall):
        def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
            clock.forward(seconds=1)
            return super().send(message, address=address, at=at)

    people(home, ["ann", "bob", "cat", "dan"])
    queue(home, [message(name, headers={"zone": "UTC"}) for name in ("ann", "bob", "cat", "dan")])
    wall = Slow()
    deliver(home, channels={"email": wall}, now=clock)
    assert len(wall.seen) == 2
    assert sorted(states(home).values()) == ["accepted", "accepted", "ready", "ready"]
    clock.at = datetime(2026, 3, 2, 8, tzinfo=UTC)
    deliver(home, channels={"email": wall}, now=clock)
    assert set(states(home).values()) == {"accepted"}


def test_rules_that_could_never_be_kept_are_refused(home: Home) -> None:
    with pytest.raises(InputError, match="Name fewer zones"):
        rules.save(home, Rules(zones=("Pacific/Auckland", "Europe/London", "America/Los_Angeles")))
    with pytest.raises(InputError, match="no IANA time zone"):
        rules.save(home, Rules(zones=("Mars/Base",)))
    for bad in (
        Quiet("22", "08:00"),
        Quiet("08:00", "08:00"),
        Quiet("22:00", "08:00", channels=("fax",)),
        Quiet("22:00", "08:00", countries=("usa",)),
    ):
        with pytest.raises(InputError):
            rules.save(home, Rules(quiet=(bad,)))
    kept = Rules(quiet=(Quiet("20:00", "09:00", channels=("sms",), countries=("FR",)),), zones=("Europe/Paris",))
    rules.save(home, kept)
    assert rules.load(home) == kept
