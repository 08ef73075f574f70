"""The shop's six verbs as one loop: what one hands to the next, and what is meant when something is left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

import tradewind as tw
from tradewind import asked
from tradewind.demo import Clock, contacts_of, play
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn.registry import active, learned
from tradewind.simulate.world import World
from tradewind.types import Event


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tw.Shop, World, Clock]]:
    """A tiny shop whose clock stands at the end of its history; one turn of the loop is done."""
    folder = tmp_path_factory.mktemp("loop")
    world = World.make(60, seed=5, start=date(2026, 1, 5), days=45)
    world.write(folder / "export")
    clock = Clock(world.end)
    with tw.Shop.open(folder / "shop", now=clock) as shop:
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        shop.learn(as_of=world.end, recommend="popular")
        _, after = play(shop, world, clock, seed=1)
        yield shop, after, clock


def test_the_second_plan_learns_from_the_outcomes_of_the_first(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, clock = loop
    outcomes = shop.home.tables.to_arrow(shop.home.tables.get("outcomes"))
    assert outcomes.num_rows == len(shop.plan())
    report = shop.learn(as_of=clock.at, recommend="popular")
    assert report.meta["value_rows"] > 0
    value = active(shop.home, "value")
    assert value.as_of <= clock.at
    before, plan = shop.plan(), shop.decide(budget="60 CNY", as_of=clock.at, seed=2)
    assert before.meta["model_rows"] == 0
    assert plan.meta["model_rows"] == report.meta["value_rows"], "the plan says from how many rows its value model learned"


def test_outcomes_that_lie_ahead_teach_nothing(loop: tuple[tw.Shop, World, Clock], tmp_path: Path) -> None:
    """A replay of the past does not know how plans ended, and what was learned from them is not used any more."""
    shop, world, clock = loop
    shop.learn(as_of=clock.at, recommend="recent")
    assert learned(shop.home, "value")
    with pytest.raises(StateError, match="it knows the future"):
        shop.decide(budget="60 CNY", as_of=world.end)
    report = shop.learn(as_of=world.end, recommend="recent")
    assert report.meta["value_rows"] == 0
    assert not learned(shop.home, "value"), "a model of later outcomes would refuse every decision of the replay"
    assert not learned(shop.home, "answers") or report.meta["contacted"]
    shop.learn(as_of=clock.at, recommend="recent")


def test_what_was_handed_off_is_what_the_customers_receive(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, _ = loop
    with shop.home.ledger.read() as connection:
        rows = connection.execute(select(books.plans.c.plan_id).order_by(books.plans.c.as_of)).scalars().all()
        first = shop.plan(rows[0])
        accepted = set(
            connection.execute(
                select(books.outbox.c.decision_id).where(books.outbox.c.plan_id == first.plan_id, books.outbox.c.state == "accepted")
            ).scalars()
        )
    contacts = contacts_of(shop, first)
    assert accepted
    assert set(contacts["decision_id"].to_pylist()) == accepted
    assert contacts.num_rows == len(accepted)


def test_plans_are_found_by_the_beginning_of_their_id(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, _ = loop
    newest = shop.plan()
    assert shop.plan(newest.plan_id).plan_id == newest.plan_id
    assert shop.plan(newest.plan_id[:12]).plan_id == newest.plan_id


def test_which_plan_is_meant(home: Home) -> None:
    known = ["ab12", "ab34", "cd56"]
    assert asked.one_plan(known, None, home=home) == "ab12"
    assert asked.one_plan(known, "cd", home=home) == "cd56"
    with pytest.raises(NotFound, match='2 plans begin with "ab": ab12, ab34'):
        asked.one_plan(known, "ab", home=home)
    with pytest.raises(NotFound, match='There is no plan "ef"'):
        asked.one_plan(known, "ef", home=home)
    with pytest.raises(NotFound, match='There is no plan ""'):
        asked.one_plan(known, "", home=home)
    with pytest.raises(StateError, match="no plan yet"):
        asked.one_plan([], None, home=home)


def test_the_newest_plan_is_the_one_made_last(tmp_path: Path) -> None:
    with tw.Shop.open(tmp_path / "shop") as shop:
        with shop.home.ledger.write() as connection:
            for number, name in enumerate(("old", "new", "middle")):
                made = {"old": 1, "middle": 2, "new": 3}[name]
                row = {"plan_id": name, "created_at": made, "as_of": number, "path": f"plans/{name}", "sha256": "", "meta": "{}"}
                connection.execute(insert(books.plans), [row])
        with pytest.raises(StateError, match="The file of plan new is gone"):
            shop.plan()


def test_channels_and_their_costs() -> None:
    assert asked.channels(None) == asked.CHANNEL_COSTS
    assert asked.channels([]) == asked.CHANNEL_COSTS
    assert asked.channels(["sms"]) == {"sms": asked.CHANNEL_COSTS["sms"]}
    assert asked.channels("email") == {"email": asked.CHANNEL_COSTS["email"]}
    assert asked.channels({"email": 0, "push": 7}) == {"email": 0, "push": 7}
    with pytest.raises(NotFound, match='There is no channel "fax"'):
        asked.channels({"fax": 1})


def test_the_costs_of_channels_reach_the_plan(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, clock = loop
    plan = shop.decide(budget="60 CNY", as_of=clock.at, channels={"email": 3}, seed=9)
    assert plan.meta["channel_costs"] == {"email": 3}
    assert set(plan.table["channel"].to_pylist()) <= {None, "email"}


def test_money_of_a_plan() -> None:
    assert asked.budget("20.50 CNY", currency="CNY") == (2050, "CNY")
    assert asked.budget("0", currency="CNY") == (0, "CNY")
    assert asked.budget("300 JPY", currency="JPY") == (300, "JPY")
    with pytest.raises(StateError, match="no currency yet"):
        asked.budget("1 CNY", currency=None)


def test_as_of_is_just_after_the_last_event_and_counts_the_inbox(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    last = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    with Home.open(tmp_path / "shop") as home:
        home.log.append([Event("a", last - timedelta(days=1), "view", "web"), Event("b", last, "view", "web")], now=now)
        assert asked.cut(home, None, now=now) == last + timedelta(microseconds=1)
        assert asked.cut(home, "2026-02-03", now=now) == datetime(2026, 2, 3, tzinfo=UTC)
        assert asked.cut(home, now, now=now) == now, "now itself is not the future"
        with pytest.raises(InputError, match="lies in the future"):
            asked.cut(home, now + timedelta(microseconds=1), now=now)
        with pytest.raises(InputError, match="nothing happened before"):
            asked.cut(home, last - timedelta(days=1), now=now)


def test_an_unsubscribe_that_waits_in_the_inbox_is_heeded_by_the_next_plan(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, clock = loop
    before = shop.decide(budget="60 CNY", as_of=clock.at, seed=11)
    reached = next(row for row in before.table.to_pylist() if row["channel"] and row["variant"] == "treat")
    gone = Event("bye", clock.at - timedelta(hours=1), "unsubscribe", "web", customer=reached["customer"], channel=reached["channel"])
    shop.home.log.append([gone], now=clock.at)
    after = shop.decide(budget="60 CNY", as_of=clock.at, seed=11).row(reached["customer"])
    assert reached["channel"] not in [name.split("|")[-1] for name in after["candidates"]]


def test_a_collect_that_was_killed_before_its_withdrawals_makes_up_for_them(tmp_path: Path) -> None:
    from tradewind import schema

    now = datetime(2026, 3, 1, tzinfo=UTC)
    consent = {"customer": "ann", "channel": "email", "granted": True, "at": datetime(2026, 1, 1, tzinfo=UTC), "source": "form"}
    event = {
        "id": "u",
        "at": datetime(2026, 2, 1, tzinfo=UTC),
        "kind": "unsubscribe",
        "source": "web",
        "customer": "ann",
        "channel": "email",
    }
    import pyarrow as pa

    from tradewind.collect.consent import Consents
    from tradewind.collect.memory import collect_table

    events = schema.conform(pa.Table.from_pylist([event]), schema.EVENTS)
    with tw.Shop.open(tmp_path / "shop", now=lambda: now) as shop:
        shop.collect(schema.conform(pa.Table.from_pylist([consent]), schema.CONSENTS))
        collect_table(shop.home, events, now=now)  # and here the process died
        assert Consents(shop.home).sendable().num_rows == 1
        assert shop.collect(events).already_done
        assert Consents(shop.home).sendable().num_rows == 0


def test_a_closed_shop_says_so(tmp_path: Path) -> None:
    shop = tw.Shop.open(tmp_path / "shop")
    shop.close()
    shop.close()
    assert repr(shop) == "Shop(closed)"
    with pytest.raises(StateError, match="closed"):
        shop.learn()


def test_measure_ends_with_the_window_or_now(loop: tuple[tw.Shop, World, Clock]) -> None:
    shop, _, _ = loop
    with shop.home.ledger.read() as connection:
        first = connection.execute(select(books.plans.c.plan_id).order_by(books.plans.c.as_of)).scalars().first()
    plan = shop.plan(first)
    start = datetime.fromisoformat(plan.meta["as_of"])
    assert shop.measure(plan).at == start + timedelta(days=plan.meta["window_days"])
    early = tw.Shop(shop.home, now=lambda: start + timedelta(days=3))
    assert early.measure(plan).at == start + timedelta(days=3)
    with pytest.raises(InputError, match="lies in the future"):
        early.measure(plan, as_of=start + timedelta(days=4))
    with pytest.raises(InputError, match="nothing can follow earlier"):
        early.measure(plan, as_of=start)
