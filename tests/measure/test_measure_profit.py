"""Incremental profit against a known truth, and the sums in the table engine against sums made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tradewind import schema
from tradewind.decide.plan import Plan
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError
from tradewind.measure.measure import measure
from tradewind.measure.profit import Sample, health, incremental, outcomes, sample
from tradewind.measure.report import to_html, to_json, to_markdown, to_text
from tradewind.types import Event

START = datetime(2026, 3, 1, tzinfo=UTC)


def drawn(seed: int, *, effect: float = 300.0, n: int = 3000, acts: float = 0.5) -> Sample:
    """A sample whose true incremental profit is ``effect`` per treated acting customer."""
    rng = np.random.default_rng(seed)
    treated, acted = rng.random(n) < 0.9, rng.random(n) < acts
    habit = rng.gamma(0.5, 4000, n)
    margin = np.where(rng.random(n) < 0.3, habit + rng.gamma(1.0, 2000, n), 0.0)
    margin = margin + effect * (treated & acted)
    names = np.array([f"c{i:05d}" for i in range(n)], dtype=object)
    zeros = np.zeros(n)
    return Sample(
        decision=np.array([f"d{i:05d}" for i in range(n)], dtype=object),
        customer=names,
        unit=names,
        treated=treated,
        acted=acted,
        sent=treated & acted,
        margin=margin,
        contact=np.where(treated & acted, 5.0, 0.0),
        discount=zeros,
        revenue=margin * 2,
        orders=(margin > 0).astype(np.int64),
        clicked=np.zeros(n, dtype=bool),
        before=np.column_stack([habit + rng.normal(0, 500, n), habit]),
        start=START,
        end=START + timedelta(days=14),
        now=START + timedelta(days=14),
        foreign=0,
    )


def test_the_interval_covers_the_truth_at_its_rate() -> None:
    rounds, covered = 300, 0
    for seed in range(rounds):
        found = drawn(seed)
        truth = (300.0 - 5.0) * int((found.treated & found.acted).sum())
        total = {e.name: e for e in incremental(found)}["incremental profit"]
        covered += total.covers(truth)
    assert 0.905 <= covered / rounds <= 0.99  # binomial(300, .95): outside once in 10,000


def test_customers_for_whom_the_policy_does_nothing_do_not_move_the_estimate() -> None:
    found = drawn(3)
    noise = found.margin.copy()
    noise[~found.acted] += 1e7
    assert incremental(found)[0] == incremental(replace(found, margin=noise))[0]


def test_a_household_counts_once() -> None:
    found = drawn(4, n=400)
    pairs = np.array([f"h{i // 2:04d}" for i in range(400)], dtype=object)
    arms = found.treated[(np.arange(400) // 2) * 2]
    doubled = replace(found, unit=pairs, treated=arms, sent=arms & found.acted)
    each = {e.name: e for e in incremental(doubled)}["incremental profit per customer"]
    assert each.n == len({unit for unit, acts in zip(pairs, found.acted, strict=True) if acts})


def test_without_a_holdout_nothing_is_said() -> None:
    found = drawn(5)
    assert incremental(replace(found, treated=np.ones(len(found.unit), dtype=bool))) == ()


def test_a_contaminated_holdout_and_a_broken_split_are_found() -> None:
    found = drawn(6)
    dirty = replace(found, sent=np.ones(len(found.unit), dtype=bool))
    assert health(dirty, share=0.1).contaminated == int((~found.treated).sum())
    assert health(found, share=0.3).split < 1e-6
    assert health(found, share=0.1).split > 1e-3


def test_outcomes_are_one_row_per_decision() -> None:
    found = drawn(7, n=100)
    table = outcomes(found, plan_id="p")
    assert table.schema.equals(schema.OUTCOMES)
    assert table["decision_id"].to_pylist() == list(found.decision)
    assert table["margin"].to_pylist() == [round(m) for m in found.margin]


@pytest.fixture
def shop(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "shop")
    items = schema.conform(pa.table({"item": ["mug", "pot"], "cost": pa.array([400, None], pa.int64())}), schema.ITEMS)
    staging = home.log.begin("items", source="test", now=START)
    assert staging is not None
    with staging:
        import duckdb

        con = duckdb.connect()
        con.register("rows", items)
        staging.replace("items", con, "SELECT * FROM rows")
        staging.commit({}, now=START)
    return home


def line(
    number: int, customer: str, day: float, *, kind: str = "purchase", item: str = "mug", value: int = 1000, currency: str = "CNY"
) -> Event:
    return Event(
        id=f"e{number}",
        at=START + timedelta(days=day),
        kind=kind,
        source="test",
        customer=customer,
        item=item,
        quantity=2.0,
        value=value,
        discount=100,
        currency=currency,
        order_id=f"o{number}",
        offer="ten" if number == 1 else None,
    )


def plan_of(customers: list[str], *, holdout: list[str]) -> Plan:
    n = len(customers)
    acts = ["ten|mug|email"] * n
    table = pa.table(
        {
            "decision_id": [f"d-{c}" for c in customers],
            "plan_id": ["p1"] * n,
            "customer": customers,
            "unit": customers,
            "at": pa.array([START] * n, schema.TIME),
            "variant": ["holdout" if c in holdout else "treat" for c in customers],
            "action": acts,
            "offer": ["ten"] * n,
            "channel": ["email"] * n,
            "propensity": [0.9] * n,
            "mode": ["policy"] * n,
            "value": [0.0] * n,
            "cost": [0.0] * n,
            "reserved": pa.array([0] * n, pa.int64()),
            "candidates": [["nothing", acts[0]]] * n,
            "propensities": [[0.1, 0.9]] * n,
            **{name: [[0.0, 0.0]] * n for name in ("values", "sds", "costs", "scores")},
            "reasons": [["[]", "[]"]] * n,
            "suppressed": ["{}"] * n,
            "price": [0.0] * n,
            "policy": ["test"] * n,
            "model": ["test"] * n,
            "features": [""] * n,
            "seed": pa.array([1] * n, pa.int64()),
        }
    )
    meta = {
        "plan_id": "p1",
        "as_of": START.isoformat(),
        "window_days": 14,
        "currency": "CNY",
        "holdout": 0.5,
        "channel_costs": {"email": 2},
        "budget": 1000,
    }
    return Plan(schema.conform(table, schema.PLAN), meta)


def test_margin_is_value_minus_goods_in_the_window_and_refunds_are_taken_off(shop: Home) -> None:
    with shop:
        shop.log.append(
            [
                line(1, "a", 1),  # 1000 - 2 * 400 = 200
                line(2, "a", 2, kind="refund"),  # takes the same 200 off
                line(3, "b", 3, value=3000),  # 2200
                line(4, "b", 20),  # after the window
                line(5, "b", -1),  # before it
                line(6, "b", 4, currency="USD"),  # another currency: left out and counted
            ],
            now=START,
        )
        shop.log.compact(now=START)
        found = sample(shop, plan_of(["a", "b", "c"], holdout=["c"]), as_of=START + timedelta(days=30))
    assert found.margin.tolist() == [0.0, 2200.0, 0.0]
    assert found.discount.tolist() == [100.0, 0.0, 0.0]
    assert found.orders.tolist() == [1, 1, 0]
    assert found.before[:, 0].tolist() == [0.0, 200.0, 0.0]
    assert found.foreign == 1
    assert found.matured


def test_lines_without_cost_are_refused_unless_a_margin_is_declared(shop: Home) -> None:
    with shop:
        shop.log.append([line(1, "a", 1, item="pot")], now=START)
        shop.log.compact(now=START)
        plan = plan_of(["a", "b"], holdout=["b"])
        with pytest.raises(StateError, match=r"1 order lines have no cost.*margin = 0\.4"):
            sample(shop, plan, as_of=START + timedelta(days=30))
        shop.save_settings(replace(shop.settings, margin=0.5))
        found = sample(shop, plan, as_of=START + timedelta(days=30))
    assert found.margin[0] == pytest.approx(1000 - 0.5 * 1100)


def test_the_report_prints_itself_in_every_form(shop: Home) -> None:
    customers = [f"c{i:02d}" for i in range(200)]
    with shop:
        shop.log.append([line(i, customer, 1 + i % 9, value=2000 + i) for i, customer in enumerate(customers[:150])], now=START)
        shop.log.compact(now=START)
        report = measure(shop, plan_of(customers, holdout=customers[::2]), as_of=START + timedelta(days=20), truth=1234.0)
        few = measure(shop, plan_of(customers, holdout=customers[:19]), as_of=START + timedelta(days=20))
    with pytest.raises(InputError, match="incremental profit"):  # 19 held out: nothing is said rather than something wrong
        few["incremental profit"]
    text, page = to_text(report), to_html(report)
    assert "true incremental profit (simulated)" in text
    assert "CNY 12.34" in text
    assert report["incremental profit"].low is not None
    assert report.simulated
    assert "Simulated" in page
    assert "Simulated" in to_markdown(report)
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace("http://creativecommons.org", "")
    assert '"true incremental profit (simulated)"' in to_json(report)


def test_hostile_names_stay_text_in_the_page(shop: Home) -> None:
    with shop:
        plan = plan_of(["a", "b"], holdout=["b"])
        rows = plan.table.set_column(
            plan.table.schema.get_field_index("offer"), schema.PLAN.field("offer"), pa.array(["<script>alert(1)</script>"] * 2)
        )
        report = measure(shop, Plan(rows, plan.meta), as_of=START + timedelta(days=20))
    assert "<script" not in to_html(report)


def test_a_log_that_ends_before_the_window_has_not_seen_it(shop: Home) -> None:
    """Whoever forgets to collect must not teach the next policy that nobody bought anything."""
    with shop:
        plan = plan_of(["a", "b"], holdout=["b"])
        shop.log.append([line(1, "a", -1)], now=START)
        shop.log.compact(now=START)
        nothing = measure(shop, plan, as_of=START + timedelta(days=30))
        shop.log.append([line(2, "a", 5)], now=START)
        shop.log.compact(now=START)
        half = sample(shop, plan, as_of=START + timedelta(days=30))
        sent = Event("s", START + timedelta(days=13, hours=20), "sent", "deliver", customer="a", channel="email")
        shop.log.append([sent], now=START)
        shop.log.compact(now=START)
        own = sample(shop, plan, as_of=START + timedelta(days=30))
        shop.log.append([line(3, "b", 13)], now=START)
        shop.log.compact(now=START)
        whole = sample(shop, plan, as_of=START + timedelta(days=30))
    assert not any(nothing.outcomes["matured"].to_pylist())
    assert "Not final" in to_text(nothing)
    assert "Collect what happens until" in to_text(nothing)
    assert (half.matured, own.matured) == (False, False), "our own messages do not prove that the shop's events were collected"
    assert half.margin[0] > 0, "the last event counts"
    assert whole.matured
