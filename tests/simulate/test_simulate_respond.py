"""The environment: coupled potential outcomes, rows that fit the schema, fatigue, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tradewind import schema
from tradewind.errors import InputError
from tradewind.simulate.respond import CONTACTS, respond
from tradewind.simulate.truth import true_profit
from tradewind.simulate.world import World

Build = Callable[..., pa.Table]
COUPON = '{"percent": 20}'


def test_the_same_seed_gives_the_same_bytes(world: World, contacts: Build) -> None:
    sent = contacts(world, range(300), terms=COUPON)
    first = respond(world, sent, start=world.end, days=7, seed=4)
    assert first.schema.equals(schema.EVENTS)
    assert first.equals(respond(world, sent, start=world.end, days=7, seed=4))
    assert not first.equals(respond(world, sent, start=world.end, days=7, seed=5))
    moments = first["at"].to_pylist()
    assert moments == sorted(moments)
    assert world.end <= moments[0]
    assert moments[-1] < world.end + timedelta(days=7)
    assert set(first["source"].to_pylist()) == {"simulated"}
    assert pc.count_distinct(first["id"]).as_py() == first.num_rows


def test_who_gets_nothing_behaves_as_without_contacts(world: World, contacts: Build) -> None:
    with_some = respond(world, contacts(world, range(0, 1500, 2), terms=COUPON), start=world.end, days=14, seed=4)
    none = respond(world, CONTACTS.empty_table(), start=world.end, days=14, seed=4)
    untouched = pa.array([f"C{number:07d}" for number in range(1, 1500, 2)])
    first, second = (table.filter(pc.is_in(table["customer"], untouched)).sort_by("id") for table in (with_some, none))
    assert first.equals(second)
    assert with_some.num_rows > none.num_rows


def test_the_order_of_the_contacts_does_not_matter(world: World, contacts: Build) -> None:
    sent = pa.concat_tables([contacts(world, range(200), day=day) for day in (0.5, 3.5)])
    backwards = sent.take(list(range(sent.num_rows))[::-1])
    assert respond(world, sent, start=world.end, days=7, seed=1).equals(respond(world, backwards, start=world.end, days=7, seed=1))


def test_answers_and_coupons_name_their_decision(world: World, contacts: Build) -> None:
    events = respond(world, contacts(world, range(1500), terms=COUPON), start=world.end, days=14, seed=4)
    for kind in ("open", "click", "redeem", "unsubscribe"):
        rows = events.filter(pc.field("kind") == kind)
        assert rows.num_rows
        assert rows["decision_id"].null_count == 0
        assert rows["channel"].null_count == 0
    bought = events.filter(pc.field("kind") == "purchase")
    cut = bought.filter(pc.field("discount") > 0)
    assert cut.num_rows
    assert cut["decision_id"].null_count == 0
    assert set(cut["offer"].to_pylist()) == {"coupon"}
    assert bought["decision_id"].null_count > 0
    redeemed = set(events.filter(pc.field("kind") == "redeem")["order_id"].to_pylist())
    assert redeemed == set(cut["order_id"].to_pylist())
    clicked = {row["decision_id"]: row["at"] for row in events.filter(pc.field("kind") == "click").to_pylist()}
    assert all(row["at"] > clicked[row["decision_id"]] for row in cut.to_pylist())
    off = pc.sum(cut["discount"]).as_py() / (pc.sum(cut["value"]).as_py() + pc.sum(cut["discount"]).as_py())
    assert off == pytest.approx(0.2, abs=0.001)


def test_credit_by_click_is_more_than_what_messages_cause(contacts: Build) -> None:
    indifferent = World.make(1_500, seed=5, start=date(2026, 1, 5), days=28, effects=0)
    events = respond(indifferent, contacts(indifferent, range(1500)), start=indifferent.end, days=14, seed=4)
    credited = events.filter(pc.field("kind") == "purchase").filter(pc.field("decision_id").is_valid())
    assert credited.num_rows > 0  # although no message causes anything here


def test_a_coupon_below_its_threshold_is_not_used(world: World, contacts: Build) -> None:
    sent = contacts(world, range(1500), terms='{"fixed": 2000, "threshold": 19900}')
    events = respond(world, sent, start=world.end, days=14, seed=4)
    used = events.filter(pc.field("kind") == "redeem")
    assert used.num_rows
    assert min(row["value"] + row["discount"] for row in used.to_pylist()) >= 19_900
    assert set(used["discount"].to_pylist()) == {2000}


def test_earlier_contacts_tire(world: World, contacts: Build) -> None:
    first, later = contacts(world, range(1500)), contacts(world, range(1500), day=15)
    tired = world.after(first)
    start = world.end + timedelta(days=14)
    fresh, after = (true_profit(state, later, start=start, days=14)["p_open"] for state in (world, tired))
    assert pc.all(pc.less_equal(after, fresh)).as_py()
    assert pc.sum(after).as_py() < 0.97 * pc.sum(fresh).as_py()
    much_later = contacts(world, range(1500), day=120)
    start = world.end + timedelta(days=119)
    rested = [pc.sum(true_profit(state, much_later, start=start, days=14)["p_open"]).as_py() for state in (world, tired)]
    assert rested[1] == pytest.approx(rested[0], rel=1e-3)


def test_returns_and_reviews_stay_inside_and_follow_a_purchase(world: World) -> None:
    events = respond(world, CONTACTS.empty_table(), start=world.end, days=14, seed=9)
    bought = {row["order_id"]: row["at"] for row in events.filter(pc.field("kind") == "purchase").to_pylist()}
    back = events.filter(pc.field("kind") == "refund").to_pylist()
    assert back
    assert all(row["at"] > bought[row["order_id"]] for row in back)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("customer", "C9999999", "does not exist"),
        ("customer", "bob", "no customer of this simulated shop"),
        ("channel", "e-mail", 'Did you mean "email"'),
        ("item", "P99999", "There is no item"),
        ("offer_kind", "ad", "product"),
    ],
)
def test_contacts_that_cannot_be_are_refused(world: World, contacts: Build, column: str, value: str, message: str) -> None:
    sent = contacts(world, [1])
    sent = sent.set_column(sent.column_names.index(column), column, pa.array([value]))
    with pytest.raises(InputError, match=message):
        respond(world, sent, start=world.end, days=7, seed=1)


def test_contacts_outside_the_window_are_refused(world: World, contacts: Build) -> None:
    with pytest.raises(InputError, match="outside the window"):
        respond(world, contacts(world, [1], day=8), start=world.end, days=7, seed=1)
