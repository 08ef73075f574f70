"""Triggers: what fires when, the same firings however events arrive, once per episode, and nothing lost or doubled by a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind import plugins, schema
from tradewind.collect.memory import collect_table
from tradewind.decide import triggers_run
from tradewind.decide.triggers.base import HOUR, Firing, Memory, Signal
from tradewind.decide.triggers_run import ROOM, Watch, observe, replay, run, step
from tradewind.engine import books_campaigns as books
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.types import Event, micros

T0 = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = sorted(plugins.names(ROOM))


def at(hours: float) -> int:
    return micros(T0) + round(hours * HOUR)


def told(
    kind: str, *events: tuple[float, str, str | None], until: float = 10_000, since: float = 0, **more: Any
) -> list[tuple[float, Any]]:
    """(hours after T0, items) of what fires for one customer."""
    watch = Watch.read({"kind": kind, "cooldown_days": 0, **more})
    signals = [Signal(at(hour), f"e{n}", what, "c", item, 100) for n, (hour, what, item) in enumerate(events)]
    _, found = step(watch, {}, signals, until=at(until), since=at(since))
    return [((one.at - at(0)) / HOUR, list(one.items)) for one in found]


def test_an_abandoned_cart_fires_once_and_a_purchase_or_an_empty_cart_ends_it() -> None:
    assert told("abandoned_cart", (0, "cart", "a"), (0.5, "cart", "b")) == [(1.5, ["b", "a"])]
    assert told("abandoned_cart", (0, "cart", "a"), (0.9, "purchase", "z")) == []
    assert told("abandoned_cart", (0, "cart", "a"), (1.0, "purchase", "a")) == [(1.0, ["a"])], "what is due at the moment comes first"
    assert told("abandoned_cart", (0, "cart", "a"), (0.5, "uncart", "a")) == []
    assert told("abandoned_cart", (0, "cart", "a"), (0.5, "checkout", None)) == [(1.5, ["a"])]
    assert told("abandoned_cart", (0, "cart", "a"), (5, "cart", "b")) == [(1.0, ["a"]), (6.0, ["b"])]
    assert told("abandoned_cart", (0, "cart", "a"), at_least=101) == []
    assert told("abandoned_cart", (0, "cart", "a"), (0.1, "cart", "b"), at_least=101) == [(1.1, ["b", "a"])]
    assert told("abandoned_cart", (0, "cart", "a"), until=1) == [], "not before its time"


def test_browsing_counts_views_that_lie_together() -> None:
    assert told("browse_abandonment", (0, "view", "a"), (1, "view", "b"), (2, "view", "b")) == [(6.0, ["b", "a"])]
    assert told("browse_abandonment", (0, "view", "a")) == []
    assert told("browse_abandonment", (0, "view", "a"), (5, "view", "a")) == [], "they lie too far apart"
    assert told("browse_abandonment", (0, "view", "a"), (1, "view", "a"), (2, "cart", "a")) == []


def test_win_back_first_purchase_and_replenishment_know_the_past() -> None:
    assert told("win_back", (0, "purchase", "a"), (24, "purchase", "a"), days=10) == [(264.0, [])]
    assert told("win_back", (0, "purchase", "a"), (480, "purchase", "b"), days=10) == [(240.0, []), (720.0, [])]
    assert told("first_purchase", (0, "purchase", "a"), (100, "purchase", "b")) == [(24.0, [])]
    assert told("first_purchase", (0, "purchase", "a"), (3, "refund", "a")) == []
    assert told("first_purchase", (0, "purchase", "a"), (100, "purchase", "b"), since=50) == [], "the first one was before the campaign"
    lines = ((0, "purchase", "a"), (0, "purchase", "a"), (240, "purchase", "a"), (480, "purchase", "a"))
    assert told("replenishment", *lines) == [(432.0, ["a"]), (672.0, ["a"])], "every ten days, told two days before"
    assert told("replenishment", (0, "purchase", "a")) == []
    assert told("replenishment", (0, "purchase", "a"), (0, "purchase", "b"), days=30) == [(28 * 24.0, ["a", "b"])]


def test_a_cooled_down_customer_is_left_alone() -> None:
    watch = Watch.read({"kind": "abandoned_cart", "cooldown_days": 1})
    signals = [Signal(at(hour), f"e{hour}", "cart", "c", "a", 1) for hour in (0, 10, 25, 60)]
    _, found = step(watch, {}, signals, until=at(100), since=0)
    assert [(one.at - at(0)) / HOUR for one in found] == [1, 26, 61]


WORDS = ("view", "cart", "uncart", "checkout", "purchase", "refund", "price_drop", "back_in_stock", "birthday")
SIGNALS = st.lists(
    st.builds(
        lambda hour, kind, who, item: (hour, kind, who, item),
        st.integers(0, 800), st.sampled_from(WORDS), st.sampled_from("xy"), st.sampled_from("ab"),
    ),
    max_size=25,
)  # fmt: skip


def in_batches(watch: Watch, arrivals: Sequence[Sequence[Signal]], ticks: Sequence[int], since: int) -> list[Firing]:
    """What a shop records: at every tick it hears what the log holds between two watermarks, and remembers as JSON."""
    log: dict[str, Signal] = {}
    memories: dict[str, Memory] = {}
    found: dict[str, Firing] = {}
    start = 0
    for batch, end in zip(arrivals, ticks, strict=True):
        log |= {signal.id: signal for signal in batch}  # the log keeps an id once
        heard = [one for one in log.values() if start <= one.at < end and one.kind in watch.machine.hears]
        due = {
            name: one
            for name, one in memories.items()
            if name in {signal.customer for signal in heard} or ((when := watch.machine.due(one.state)) is not None and when < end)
        }
        changed, fired = step(watch, due, heard, until=end, since=since)
        memories |= {name: Memory(**json.loads(json.dumps(one.to_json()))) for name, one in changed.items()}
        for one in fired:
            assert one.id("c", watch.kind) not in found
            found[one.id("c", watch.kind)] = one
        start = end
    return sorted(found.values(), key=lambda one: (one.at, one.customer, one.key))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_same_events_give_the_same_firings_however_they_arrive(kind: str, data: st.DataObject) -> None:
    """Batches of any cut, repeated events, events as late as the grace: the firings are those of the whole log read at once."""
    watch = Watch.read({"kind": kind, "cooldown_days": data.draw(st.sampled_from([0, 3]))})
    raw = data.draw(SIGNALS)
    signals = [Signal(at(hour), f"e{n:03d}", word, who, item, 100) for n, (hour, word, who, item) in enumerate(raw)]
    since, end = at(data.draw(st.integers(0, 400))), at(3_000)
    mine = [one for one in signals if one.kind in watch.machine.hears]
    _, whole = step(watch, {}, mine, until=end, since=since)
    cuts = [*sorted({at(hour) for hour in data.draw(st.lists(st.integers(1, 2_999), max_size=6))}), end]
    late = data.draw(st.lists(st.integers(0, 20), min_size=len(signals), max_size=len(signals)))
    arrivals: list[list[Signal]] = [[] for _ in cuts]
    for signal, hours in zip(signals, late, strict=True):
        place = next(n for n, cut in enumerate(cuts) if signal.at < cut)  # the first tick whose watermark lies behind it
        earlier = data.draw(st.integers(0, place))  # it may come before that, and again
        arrivals[earlier].append(signal)
        if hours > 10:
            arrivals[data.draw(st.integers(earlier, len(cuts) - 1))].append(signal)
    assert in_batches(watch, arrivals, cuts, since) == whole
    assert len({one.id("c", kind) for one in whole}) == len(whole)
    assert all(one.at >= since for one in whole)
    for one, other in ((a, b) for a in whole for b in whole if a.customer == b.customer and a.at < b.at):
        assert other.at >= one.at + watch.cooldown


# -- on a shop --------------------------------------------------------------------------------------------------------


def event(hours: float, kind: str, customer: str = "c", item: str | None = "a", name: str | None = None) -> Event:
    moment = T0 + timedelta(hours=hours)
    return Event(name or f"{kind}-{customer}-{item}-{hours}", moment, kind, "test", customer=customer, item=item, value=100)


def fired(home: Home) -> list[tuple[str, float]]:
    f = books.firings.c
    with home.ledger.read() as conn:
        return [(row.customer, (row.at - at(0)) / HOUR) for row in conn.execute(select(f.customer, f.at).order_by(f.at, f.customer))]


def tick(home: Home, hours: float, watch: Watch, since: float = 0) -> triggers_run.Ran:
    return run(home, watch, campaign="cart", since=T0 + timedelta(hours=since), now=T0 + timedelta(hours=hours))


CART = Watch.read({"kind": "abandoned_cart", "grace_minutes": 30})


def test_a_shop_fires_with_a_fake_clock_and_again_after_a_restart(each_home: Home) -> None:
    log = each_home.log
    log.append([event(0, "cart"), event(0, "cart", "d"), event(0.5, "purchase", "d")], now=T0)
    assert tick(each_home, 1.2, CART).firings == 0, "the hour has passed, the grace has not"
    assert tick(each_home, 1.6, CART).firings == 1
    assert tick(each_home, 1.6, CART).firings == 0
    log.append([event(0, "cart"), event(4, "cart")], now=T0)  # one is known already
    assert tick(each_home, 6, CART).firings == 0, "within the cool-down of a week"
    assert fired(each_home) == [("c", 1.0)]
    assert [one.at for one in replay(each_home, CART, since=T0, until=T0 + timedelta(hours=6))] == [at(1)]


def test_a_replay_of_many_days_is_what_a_running_trigger_would_have_done(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.log.append(
        [event(30 * n, "cart", f"c{n % 3}") for n in range(20)] + [event(30 * n + 0.5, "purchase", "c1") for n in range(20)], now=T0
    )
    tick(home, 0, CART)
    for hours in (50, 51, 400, 900):
        tick(home, hours, CART)
    monkeypatch.setattr(triggers_run, "MOST", 3)
    assert len(triggers_run._cuts(home, CART, at(0), at(800))) > 10
    found = replay(home, CART, since=T0, until=T0 + timedelta(hours=800))
    assert [(one.customer, (one.at - at(0)) / HOUR) for one in found] == fired(home)
    assert len(found) > 4


def test_what_comes_after_the_watermark_is_counted_and_not_heard(home: Home) -> None:
    home.log.append([event(0, "cart"), event(9, "view")], now=T0)
    assert tick(home, 3, CART).late == 0
    home.log.append([event(0.2, "purchase"), event(0.3, "cart", "late"), event(3.5, "cart", "d")], now=T0)
    ran = tick(home, 9, CART)
    assert ran.late == 2, "a purchase and a cart of before the watermark; the view is nothing that it hears"
    assert fired(home) == [("c", 1.0), ("d", 4.5)]
    assert tick(home, 10, CART).late == 2


def test_history_warms_up_and_does_not_fire(home: Home) -> None:
    home.log.append([event(-2_400, "purchase"), event(-10, "purchase", "d")], now=T0)
    watch = Watch.read({"kind": "win_back", "days": 30, "grace_minutes": 0})
    assert tick(home, 1, watch).firings == 0, "c was due long before the campaign"
    assert tick(home, 720, watch).firings == 1
    assert fired(home) == [("d", 710.0)]


@pytest.mark.parametrize("point", ["_moved", "_memories", "_remember", "insert_new", "upsert"])
def test_killed_in_the_middle_it_neither_loses_nor_doubles(home: Home, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    events = [event(hour, "cart", f"c{hour}") for hour in range(0, 400, 40)]
    home.log.append(events, now=T0)
    monkeypatch.setattr(triggers_run, "MOST", 3)
    tick(home, 0, CART)
    real = getattr(triggers_run, point)
    calls = 0

    class Killed(BaseException):
        pass

    def dies(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        done = real(*args, **more)
        if calls % 2:
            raise Killed
        return done

    monkeypatch.setattr(triggers_run, point, dies)
    for _ in range(12):
        try:
            tick(home, 1_000, CART)
        except Killed:
            continue
    monkeypatch.undo()
    tick(home, 1_000, CART)
    assert calls > 2
    assert fired(home) == [(f"c{hour}", hour + 1.0) for hour in range(0, 400, 40)]


def test_two_at_a_time_record_every_firing_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.log.append([event(0, "cart"), event(300, "cart", "d")], now=T0)
    tick(home, 0, CART)
    real = triggers_run._signals
    inside = False

    def overtaken(*args: Any) -> Any:
        nonlocal inside
        found = real(*args)
        if not inside:
            inside = True
            tick(home, 1_000, CART)
        return found

    monkeypatch.setattr(triggers_run, "_signals", overtaken)
    assert tick(home, 1_000, CART).firings == 0, "the other one was faster"
    assert fired(home) == [("c", 1.0), ("d", 301.0)]


def catalogue(home: Home, **items: tuple[int | None, int | None]) -> None:
    table = pa.table({"item": list(items), "price": [one[0] for one in items.values()], "stock": [one[1] for one in items.values()]})
    collect_table(home, schema.conform(table, schema.ITEMS), now=T0)


def test_a_price_that_falls_and_an_item_that_is_back_reach_who_cared(home: Home) -> None:
    hour = timedelta(hours=1)
    catalogue(home, a=(1_000, 0), b=(1_000, 5), c=(None, None))
    assert observe(home, now=T0) == 0
    home.log.append(
        [event(1, "view", "viewed"), event(1, "view", "bought"), event(2, "purchase", "bought"), event(1, "view", "other", "b"),
         event(1, "purchase", "again"), event(2, "wish", "again"), event(-2_000, "view", "long_ago")],
        now=T0,
    )  # fmt: skip
    drop = Watch.read({"kind": "price_drop", "percent": 10, "grace_minutes": 0})
    back = Watch.read({"kind": "back_in_stock", "grace_minutes": 0})
    catalogue(home, a=(901, 0), b=(1_000, 5), c=(500, 9))
    assert observe(home, now=T0 + 3 * hour) == 1, "a new price where there was none is no drop, unknown stock was not sold out"
    tick(home, 4, drop)
    assert fired(home) == [], "9.9 percent is no drop of ten"
    catalogue(home, a=(800, 7), b=(1_000, 5), c=(500, 9))
    assert observe(home, now=T0 + 5 * hour) == 2
    assert observe(home, now=T0 + 6 * hour) == 0
    assert tick(home, 7, drop).firings == 2
    assert [who for who, _ in fired(home)] == ["again", "viewed"]
    assert tick(home, 7, back).firings == 2


def test_birthdays_are_local_and_what_is_no_date_is_counted(home: Home) -> None:
    people = {
        "east": ("Asia/Shanghai", '{"birthday": "1990-03-02"}'), "west": ("America/New_York", '{"birthday": "03-02"}'),
        "leap": (None, '{"birthday": "2000-02-29"}'), "none": (None, None), "odd": (None, '{"birthday": "2 March"}'),
        "worse": ("Nowhere/None", '{"birthday": "13-40"}'), "list": (None, '["birthday"]'),
    }  # fmt: skip
    rows = {"customer": list(people), "zone": [one[0] for one in people.values()], "attributes": [one[1] for one in people.values()]}
    collect_table(home, schema.conform(pa.table(rows), schema.CUSTOMERS), now=T0)
    home.log.append([event(-60, "view")], now=T0)
    watch = Watch.read({"kind": "birthday", "grace_minutes": 0})
    ran = tick(home, 48, watch, since=-48)
    assert ran.unread == {"birthday": 2}
    assert fired(home) == [("leap", -15.0), ("east", 25.0), ("west", 38.0)], "28 February 9:00 UTC; 2 March 9:00 local"
    assert tick(home, 24 * 368, watch).firings == 3, "and next year again"


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({}, "kind must be one of abandoned_cart"),
        ({"kind": "abandoned_carts"}, 'Did you mean "abandoned_cart"'),
        ({"kind": 3}, "kind must be one of"),
        ({"kind": "win_back", "dais": 3}, 'no "dais" for the kind "win_back". Did you mean "days"'),
        ({"kind": "win_back", "days": -1}, "days must be a number from"),
        ({"kind": "win_back", "days": True}, "days must be a number from"),
        ({"kind": "win_back", "grace_minutes": "ten"}, "grace_minutes must be a number"),
        ({"kind": "birthday", "hour": 24}, "hour must be a whole number from 0 to 23"),
    ],
)
def test_a_setting_that_is_wrong_is_named(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Watch.read(given_)


def test_every_kind_forgets_nothing_through_json_and_ends() -> None:
    """A machine that stays due after it fired would never end; one with states that JSON cannot hold would not survive a restart."""
    for kind in KINDS:
        watch = Watch.read({"kind": kind})
        heard = sorted(watch.machine.hears)
        signals = [Signal(at(n), f"e{n}", word, "c", "a", 1) for n, word in enumerate(heard * 3)]
        memories, _ = step(watch, {}, signals, until=at(20_000), since=0)
        for memory in memories.values():
            due = watch.machine.due(memory.state)
            assert due is None or due >= at(20_000)
            assert Memory(**json.loads(json.dumps(memory.to_json()))).fired == memory.fired
