"""Price sensitivity: a planted law is recovered, confidence is a probability that holds, and what nobody could take counts for nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_kit import AS_OF, event, fill, random_events

from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFitted
from tradewind.learn import customers
from tradewind.learn.customers import tags
from tradewind.learn.price_sensitivity import CUTS, Exposure, PriceSensitivity, exposure, gamma, shape_of


def planted(n: int = 4_000, *, shape: float = 0.8, seed: int = 0) -> tuple[Exposure, Any]:
    """Customers of five kinds whose true ratios are gamma around the mean of their kind."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 5, n)
    ratio = rng.gamma(shape, np.array([0.3, 0.6, 0.9, 1.4, 2.0])[group] / shape)
    expected = rng.gamma(1.0, 2.0, n)
    taken = rng.poisson(expected * ratio).astype(float)
    expected *= taken.sum() / expected.sum()
    views = (group * 1_000 + rng.integers(0, 100, n)).astype(float)
    return Exposure(np.array([f"c{i}" for i in range(n)], dtype=object), taken, expected, views, np.zeros(n)), ratio


def test_a_planted_law_is_recovered() -> None:
    found, truth = planted()
    model = PriceSensitivity().fit(found)
    judged = model.predict(found)
    assert model.shape == pytest.approx(0.8, rel=0.15)
    assert (np.diff(model.groups) > 0).all()
    raw = found.taken / np.maximum(found.expected, 1e-9)
    error, plain = (np.abs(each - truth).mean() for each in (judged.ratio, raw))
    assert error < 0.8 * plain
    assert judged.ratio.mean() == pytest.approx(truth.mean(), rel=0.05)


def test_confidence_is_how_often_the_level_is_right() -> None:
    found, truth = planted(seed=1)
    judged = PriceSensitivity().fit(found).predict(found)
    right = np.digitize(truth, CUTS) == judged.level
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 1.0)):
        some = (judged.confidence >= low) & (judged.confidence < high)
        assert some.sum() > 100
        assert right[some].mean() == pytest.approx(judged.confidence[some].mean(), abs=0.06)


def test_who_was_never_offered_anything_is_like_the_group() -> None:
    found, _ = planted()
    model = PriceSensitivity().fit(found)
    nobody = Exposure(np.array(["x", "y"], dtype=object), np.zeros(2), np.zeros(2), np.array([0.0, 9_000.0]), np.zeros(2))
    judged = model.predict(nobody)
    assert judged.ratio == pytest.approx(model.groups[[0, 2]], rel=1e-9)  # the lowest and a higher fifth among these two


def test_the_prior_of_a_rate() -> None:
    rng = np.random.default_rng(2)
    exposed = rng.uniform(10, 30, 5_000)
    count = rng.poisson(rng.gamma(2.0, 0.1 / 2.0, 5_000) * exposed).astype(float)
    shape, mean = gamma(count, exposed)
    assert shape == pytest.approx(2.0, rel=0.2)
    assert mean == pytest.approx(0.1, rel=0.05)
    assert shape_of(np.full(500, 10.0), np.full(500, 10.0)) > 100  # all alike


def test_too_few_discounts_say_so() -> None:
    found, _ = planted(30)
    nothing = Exposure(found.names, np.zeros(30), np.zeros(30), found.views, found.orders)
    with pytest.raises(InputError, match="at a discount"):
        PriceSensitivity().fit(nothing)
    with pytest.raises(NotFitted):
        PriceSensitivity().predict(found)


def days(n: float) -> Any:
    return AS_OF - timedelta(days=n)


def test_what_a_shop_shows(tmp_path: Path) -> None:
    offers = [
        {"offer": "cut", "kind": "coupon", "terms": "{}"},
        {"offer": "plain", "kind": "product", "terms": "{}"},
    ]
    rows = [
        event(1, days(50), kind="sent", customer="taker", offer="cut"),
        event(2, days(49), kind="purchase", customer="taker", item="i1", order_id="o1", discount=50, offer="cut", value=450),
        event(3, days(49), kind="purchase", customer="taker", item="i2", order_id="o1", discount=50, offer="cut", value=450),
        event(4, days(50), kind="sent", customer="not", offer="cut"),
        event(5, days(48), kind="sent", customer="not", offer="cut"),
        event(6, days(60), kind="sent", customer="never", offer="plain"),
        event(7, days(20), kind="purchase", customer="public", item="i1", discount=10, value=400),
        event(8, days(20), kind="purchase", customer="beside", item="i1", discount=0, value=400),
        event(9, days(20), kind="purchase", customer="beside", item="i2", value=400),
        event(10, days(60), customer="not"),
        event(11, days(60), customer=None),
        event(12, AS_OF, kind="purchase", customer="public", item="i1", discount=10, value=400),  # the future
    ]
    with Home.open(tmp_path / "shop") as home:
        fill(home, rows, more={"offers": offers})
        found = exposure(home.tables, as_of=AS_OF)
    row = {name: n for n, name in enumerate(found.names.tolist())}
    assert set(row) == {"taker", "not", "never", "public", "beside"}
    assert found.taken[[row["taker"], row["not"], row["public"], row["beside"]]].tolist() == [1, 0, 1, 0]  # one order, not two lines
    assert found.orders[[row["taker"], row["beside"]]].tolist() == [1, 2]
    assert found.expected[row["never"]] == 0  # a message without a discount offers none
    assert found.expected[row["not"]] > found.expected[row["taker"]] > 0  # 2 + 4 days against 4
    assert found.expected[row["beside"]] > 0  # others of the week and the category had one
    assert found.expected[row["public"]] == 0  # nobody else had
    assert found.views[row["not"]] == 1
    assert found.expected.sum() == pytest.approx(found.taken.sum())


def test_tags_state_a_level_with_its_confidence(tmp_path: Path) -> None:
    rows = []
    for n in range(40):
        who = f"p{n:02d}"
        rows += [event(10 * n + k, days(80 - 10 * k), kind="sent", customer=who, offer="cut") for k in range(3)]
        rows += [event(10 * n + 5 + k, days(40 - k), kind="purchase", customer=who, item="i1", value=400) for k in range(2)]
        if n % 4 == 0:
            rows += [
                event(10 * n + 7 + k, days(79 - 10 * k), kind="purchase", customer=who, item="i1", value=350, discount=50, offer="cut")
                for k in range(3)
            ]
    with Home.open(tmp_path / "shop") as home:
        fill(home, rows, more={"offers": [{"offer": "cut", "kind": "coupon", "terms": "{}"}]})
        stated = [row for row in tags(home, as_of=AS_OF).to_pylist() if row["tag"] == "price_sensitivity"]
        row = customers.customers(home, as_of=AS_OF).slice(4, 1)
        one = customers.stated(home, row, as_of=AS_OF).to_pylist()
    who = row["customer"][0].as_py()
    assert {each["customer"] for each in one} == {who}, "what is said of one customer says nothing of others"
    assert [each for each in one if each["tag"] == "price_sensitivity"] == [each for each in stated if each["customer"] == who] != []
    level = {row["customer"]: row["value"] for row in stated}
    assert {level[f"p{n:02d}"] for n in range(0, 40, 4)} == {"high"}
    assert {level[f"p{n:02d}"] for n in range(1, 40, 4)} == {"low"}
    assert all(0.4 < row["confidence"] <= 1 and row["source"] == "events" for row in stated)
    assert {row["expires_at"] - row["updated_at"] for row in stated} == {timedelta(days=90)}


def test_rewriting_the_future_changes_nothing(tmp_path: Path) -> None:
    events = random_events(3, 400)
    past = [each for each in events if each["at"] < AS_OF]
    kept = []
    for name, rows in (("a", events), ("b", past)):
        with Home.open(tmp_path / name) as home:
            fill(home, rows)
            kept.append(exposure(home.tables, as_of=AS_OF))
    assert kept[0].names.tolist() == kept[1].names.tolist()
    for field in ("taken", "expected", "views", "orders"):
        assert np.array_equal(getattr(kept[0], field), getattr(kept[1], field))


def test_a_shop_without_events(tmp_path: Path) -> None:
    with Home.open(tmp_path / "shop") as home:
        found = exposure(home.tables, as_of=AS_OF)
    assert len(found.names) == 0
