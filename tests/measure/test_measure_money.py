"""Money of a plan: where it comes from, what was left out, what models cost, what lasts; and arms that never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import insert
from test_measure_profit import START, drawn, line, plan_of

from tradewind import schema
from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError
from tradewind.measure.experiments import Experiments
from tradewind.measure.faults import faults_of, model_cost
from tradewind.measure.measure import interference, measure
from tradewind.measure.profit import accounts, health, incremental, sample, units
from tradewind.measure.report import to_text
from tradewind.measure.surrogate import foreseen_section
from tradewind.types import Event, micros

NOW = START + timedelta(days=70)


@pytest.fixture
def shop(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "shop")
    home.save_settings(replace(home.settings, margin=0.5, currency="CNY"))
    return home


def test_profit_is_margin_minus_contacts_and_models_and_its_parts_add_up() -> None:
    found = replace(drawn(1), given=np.zeros(3000), redeemed=np.zeros(3000), model=900.0)
    parts = {each.name: each for each in accounts(found)}
    rows = units(found)
    arm = rows.treated
    gap = rows.parts["margin"][arm].mean() - rows.parts["margin"][~arm].mean()
    assert parts["incremental margin"].value == pytest.approx(gap * arm.sum())
    assert parts["model cost"].value == pytest.approx(900.0)
    plain = {each.name: each for each in incremental(found)}
    profit = plain["incremental profit per customer, unadjusted"].value * arm.sum()
    assert profit == pytest.approx(parts["incremental margin"].value - parts["contact cost"].value - 900.0)
    each = plain["incremental profit per assigned customer"]
    assert each.value * rows.assigned == pytest.approx(plain["incremental profit"].value)
    assert plain["incremental profit per customer, always valid"].low < plain["incremental profit per customer"].low  # type: ignore[operator]


def test_the_return_has_fiellers_interval_and_offers_used_by_sure_buyers_are_seen() -> None:
    rng = np.random.default_rng(2)
    found = drawn(2, effect=0.0, acts=1.0)
    used = np.where(found.treated, rng.random(3000) < 0.5, 0.0)
    found = replace(found, discount=used * 200.0, redeemed=used)
    values = {each.name: each for each in (*incremental(found), *accounts(found))}
    roi, moved = values["return on marketing cost"], values["extra orders for each offer used"]
    assert roi.low < roi.value < roi.high  # type: ignore[operator]
    assert moved.covers(0.0), "nobody ordered more, so every use was by somebody who would have ordered anyway"
    more = replace(found, orders=found.orders + used.astype(np.int64))
    again = {each.name: each for each in accounts(more)}["extra orders for each offer used"]
    assert again.covers(1.0)
    assert not again.covers(0.0)


def test_a_unit_in_two_arms_is_left_out_of_both() -> None:
    found = drawn(3, n=600)
    names = found.unit.copy()
    first, second = int(np.flatnonzero(found.treated & found.acted)[0]), int(np.flatnonzero(~found.treated & found.acted)[0])
    names[second] = names[first]
    mixed, clean = units(replace(found, unit=names)), units(found)
    assert mixed.treated.sum() == clean.treated.sum() - 1
    assert (~mixed.treated).sum() == (~clean.treated).sum() - 1
    assert health(replace(found, unit=names), share=0.1).holdout == health(found, share=0.1).holdout - 1


def message(number: int, decision: str, customer: str, *, plan: str = "p1", day: float = 1.0) -> dict[str, object]:
    at = micros(START + timedelta(days=day))
    known = {"message_id": f"m{number}", "decision_id": decision, "plan_id": plan, "customer": customer, "channel": "email"}
    return known | {"state": "accepted", "send_at": at, "attempts": 1, "next_at": at, "fence": 0, "updated_at": at}


def test_hand_made_errors_around_a_plan_are_named_and_counted(shop: Home) -> None:
    customers = [f"c{i:02d}" for i in range(88)]
    plan = plan_of(customers, holdout=customers[::4])
    rows = plan.table.set_column(
        plan.table.schema.get_field_index("unit"), schema.PLAN.field("unit"), pa.array(["c00", "c00", *customers[2:]])
    )
    twice = plan_of(["c05"], holdout=[]).table
    plan = Plan(pa.concat_tables([rows, twice]), plan.meta)
    with shop:
        early = Event("early", START - timedelta(days=1), "click", "test", customer="c01", decision_id="d-c01")
        foreign = [line(i, customers[i], 2, currency="USD") for i in range(3)]
        shop.log.append([early, line(9, "c09", 3), line(10, "c10", 13.9), *foreign], now=START)
        shop.log.compact(now=START)
        with shop.ledger.write() as connection:
            sent = [message(1, "d-c01", "c01"), message(2, "d-c01", "c01"), message(3, "d-c04", "c04"), message(4, "x", "c06", plan="p0")]
            for row in sent:
                connection.execute(insert(books.outbox).values(**row))
        found = {fault.code: fault.count for fault in faults_of(shop, plan, start=START, end=NOW)}
        report = measure(shop, plan, as_of=START + timedelta(days=14))
    assert found == {"two_arms": 1, "several_decisions": 1, "early": 1, "doubled": 1, "other_plans": 1}
    text = to_text(report)
    assert "Do not use these figures" in text
    assert "1 held-out customers got a message" in text
    assert "3 order lines in another currency were left out of all sums." in text
    assert "happened before it" in text
    assert "sent more than once on one channel" in text


def test_model_calls_count_in_the_plans_currency_and_are_told_in_another(shop: Home) -> None:
    plan = plan_of(["a", "b"], holdout=["b"])
    with shop:
        with shop.ledger.write() as connection:
            for name, at in (("p1", START), ("p2", START + timedelta(days=5))):
                values = {"plan_id": name, "created_at": micros(at), "as_of": micros(at), "path": "x", "sha256": "x", "meta": "{}"}
                connection.execute(insert(books.plans).values(**values))
            for name, currency in (("chat", "CNY"), ("other", "USD")):
                connection.execute(insert(books.model_budgets).values(budget=name, currency=currency, held=0, spent=0))
            for number, (name, day, state) in enumerate(
                (("chat", 1, "paid"), ("chat", 2, "held"), ("chat", 3, "free"), ("chat", 6, "paid"), ("other", 1, "paid"))
            ):
                call = {
                    "call_id": str(number),
                    "budget": name,
                    "model": "m",
                    "at": micros(START + timedelta(days=day)),
                    "state": state,
                }
                connection.execute(insert(books.model_calls).values(**call, amount=250_000_000, tokens_in=1, tokens_out=1))
        cost, told = model_cost(shop, plan, currency="CNY")
    assert cost == pytest.approx(50.0), "two calls of 0.25 CNY; one was free and one belongs to the next plan"
    assert [fault.code for fault in told] == ["model_currency"]


def test_orders_that_were_only_pulled_forward_are_seen_in_the_weeks_after(shop: Home) -> None:
    rng = np.random.default_rng(4)
    customers = [f"c{i:03d}" for i in range(300)]
    held = set(customers[::3])
    events = []
    for i, name in enumerate(customers):
        days = [rng.uniform(0, 14)] if name not in held else [rng.uniform(14, 28)]
        events += [line(10 * i + at, name, float(day), value=int(rng.integers(800, 1200))) for at, day in enumerate(days)]
    with shop:
        shop.log.append([*events, line(99_999, "somebody", 60)], now=START)
        shop.log.compact(now=START)
        plan = plan_of(customers, holdout=sorted(held))
        door = Experiments(shop, now=lambda: NOW)
        report = door.longer(plan, days=28)
        short = door.longer(plan, days=3)
    assert report["margin in the window"].low > 0  # type: ignore[operator]
    assert report["margin after it"].high < 0  # type: ignore[operator]
    assert report["margin in all"].covers(0.0)
    assert "pulled orders forward" in to_text(report)
    assert "week 6, after the window" in to_text(report)
    assert "Less than a week after the window" in to_text(short)


def test_what_follows_is_foreseen_from_history_and_says_what_it_rests_on(shop: Home) -> None:
    """Every order is followed, two to four weeks later, by another one in six cases of ten; the plan brings 0.6 orders a customer."""
    rng = np.random.default_rng(6)
    customers = [f"c{i:03d}" for i in range(500)]
    held = set(customers[::2])

    def followed(day: float) -> list[float]:
        return [day, *(followed(day + rng.uniform(14, 28)) if rng.random() < 0.6 else [])]

    orders = []
    for name in customers:
        begun = [*rng.uniform(-130, 42, rng.poisson(4)), *([rng.uniform(0, 14)] if name not in held and rng.random() < 0.6 else [])]
        orders += [(name, day) for first in begun for day in followed(first) if day < 60]
    with shop:
        shop.log.append([line(number, name, float(day)) for number, (name, day) in enumerate(orders)], now=START)
        shop.log.compact(now=START)
        plan = plan_of(customers, holdout=sorted(held))
        door = Experiments(shop, now=lambda: START + timedelta(days=15))
        report = door.foreseen(plan, days=28)
        early, ended = (sample(shop, plan, as_of=START + timedelta(days=days)) for days in (5, 15))
        said = [foreseen_section(shop, *case, currency="CNY").text[0] for case in ((early, 28), (ended, 300))]
    later = np.mean([sum(14 <= day < 42 for day in followed(rng.uniform(0, 14))) for _ in range(20_000)])
    found, truth = report["margin in the 28 days after the window, foreseen"], float(250 * 0.6 * 200 * later)
    assert found.covers(truth)
    assert found.low > 0.2 * truth  # type: ignore[operator]
    text = to_text(report)
    assert "A forecast, not a measurement" in text
    assert "Checked on the stretch from" in text
    assert "is foreseen when it is over" in said[0]
    assert "The log is too short" in said[1]


def test_arms_are_a_hash_recorded_and_never_changed(shop: Home) -> None:
    units_ = [f"u{i}" for i in range(4000)]
    with shop:
        door = Experiments(shop, now=lambda: NOW)
        one = door.arms("welcome", units_, {"new": 0.3, "old": 0.7, "never": 0.0})
        assert one == door.arms("welcome", units_, {"old": 0.7, "new": 0.3, "never": 0.0})
        assert set(one.values()) == {"new", "old"}
        assert sum(arm == "new" for arm in one.values()) / 4000 == pytest.approx(0.3, abs=0.03)
        other = door.arms("second", units_, {"new": 0.3, "old": 0.7})
        both = np.mean([one[unit] == other[unit] == "new" for unit in units_])
        assert both == pytest.approx(0.09, abs=0.02), "experiments are independent"
        with pytest.raises(StateError, match="would move units"):
            door.arms("welcome", units_, {"new": 0.5, "old": 0.5})
        with pytest.raises(InputError, match="two arms"):
            door.arms("third", units_, {"new": 1.0})
        with pytest.raises(InputError, match="1 to 48 letters"):
            door.arms("", units_, {"new": 1.0, "old": 1.0})


def test_power_is_read_off_the_shops_own_last_window(shop: Home) -> None:
    rng = np.random.default_rng(5)
    with shop:
        door = Experiments(shop, now=lambda: NOW)
        with pytest.raises(StateError, match="no events"):
            door.power()
        events = [line(i, f"c{i % 200:03d}", float(rng.uniform(0, 40)), value=int(rng.integers(500, 5000))) for i in range(600)]
        shop.log.append(events, now=START)
        shop.log.compact(now=START)
        rows = door.power(holdout=0.1).sections[0].rows
        fewer = door.power(holdout=0.1, acted=0.2).sections[0].rows
    assert [row["read"] for row in rows] == ["once", "always valid"] * 2
    effects = [float(str(row["smallest effect"]).replace(",", "").rstrip("%")) for row in (*rows, *fewer)]
    assert effects[0] < effects[1]
    assert effects[0] < effects[4]


def test_what_customers_share_is_said() -> None:
    plan = plan_of(["a", "b"], holdout=["b"])
    assert "household" in " ".join(interference(plan))
    scarce = Plan(plan.table, {**plan.meta, "offers": {"ten": {"terms": {"stock": 5}}}, "unit": "household"})
    assert "limited stock" in " ".join(interference(scarce))
