"""Customer value: the published fit, formulas against simulation, nothing of the future, and what thin data give."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tradewind as tw
from tradewind.demo import Clock
from tradewind.errors import InputError, NotFitted
from tradewind.learn import _season, _value_trees
from tradewind.learn._btyd import BGNBD, GammaGamma, Histories
from tradewind.learn._orderbook import INPUTS, OrderBook
from tradewind.learn.lifetime import CANDIDATES, CustomerValue, deviance
from tradewind.simulate.world import World
from tradewind.types import micros

DAY = 86_400_000_000
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
NOW = micros(AS_OF) / DAY


@pytest.fixture(autouse=True, scope="module")
def _small_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_value_trees, "BAGS", 2)
        patch.setattr(_value_trees, "ROUNDS", 60)
        yield


MODEL = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426, likelihood=0.0)


def histories(n: int = 400, seed: int = 1) -> tuple[Histories, NDArray[np.float64]]:
    """Customers who behave as BG/NBD says, 40 weeks long, and how often they buy in the 30 after."""
    rng = np.random.default_rng(seed)
    x, last, age, later = np.zeros(n), np.zeros(n), rng.uniform(20, 40, n), np.zeros(n)
    for i in range(n):
        rate, leave = rng.gamma(MODEL.r, 1 / MODEL.alpha), rng.beta(MODEL.a, MODEL.b)
        at = rng.exponential(1 / rate)
        while at <= age[i] + 30:
            if at <= age[i]:
                x[i], last[i] = x[i] + 1, at
            else:
                later[i] += 1
            if rng.random() < leave:  # after any order but the first
                break
            at += rng.exponential(1 / rate)
    return Histories(x, last, age, np.where(x > 0, 10.0, 0.0)), later


def book(n: int = 300, days: int = 400, seed: int = 3, *, season: bool = False) -> OrderBook:
    """Steady and occasional buyers, ``days`` long up to AS_OF and half as long after it."""
    rng = np.random.default_rng(seed)
    who, day, value = [], [], []
    for i in range(n):
        rate, worth = rng.gamma(0.8, 1 / 40), rng.lognormal(3, 0.5)
        at = float(rng.uniform(0, days * 0.6))
        while at < days * 1.5:
            calendar = NOW - days + at
            if not season or rng.random() < 0.5 + 0.5 * np.sin(2 * np.pi * calendar / _season.YEAR):
                who.append(f"c{i:04}")
                day.append(calendar)
                value.append(worth * rng.lognormal(0, 0.3))
            at += rng.exponential(1 / max(rate, 1e-3))
    return OrderBook.from_arrays(who, np.array(day), np.array(value))


def test_cdnow_has_its_published_parameters(data_dir: Path) -> None:
    rows = [line.split() for line in (data_dir / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()]
    days = [(date(int(r[2][:4]), int(r[2][4:6]), int(r[2][6:])) - date(1970, 1, 1)).days for r in rows]
    whole = OrderBook.from_arrays([r[1] for r in rows], np.array(days), np.array([float(r[4]) for r in rows]))
    last = (date(1997, 9, 30) - date(1970, 1, 1)).days
    in_days = whole.before(last + 1).histories(last)
    seen = Histories(in_days.repeats, in_days.recency / 7, in_days.age / 7, in_days.worth)
    model, worth = BGNBD.fit(seen), GammaGamma.fit(seen)
    assert [round(v, 3) for v in (model.r, model.alpha, model.a, model.b)] == [0.243, 4.414, 0.793, 2.426]
    assert round(model.likelihood, 1) == -9582.4
    assert [round(v, 2) for v in (worth.p, worth.q, worth.v)] == [6.25, 3.74, 15.44]
    assert not model.problem()


def test_expected_orders_and_chances_equal_a_simulation() -> None:
    seen, later = histories(20_000)
    for name, found, truth in (
        ("orders", MODEL.orders(seen, 30.0), later),
        ("buys", MODEL.buys(seen, 30.0), (later > 0).astype(float)),
    ):
        for group in (seen.repeats == 0, seen.repeats == 1, seen.repeats > 4):
            error = truth[group].std() / np.sqrt(group.sum())
            assert abs(found[group].mean() - truth[group].mean()) < 4 * error, name


def test_a_hundred_orders_do_not_overflow() -> None:
    seen = Histories(np.array([0.0, 800.0]), np.array([0.0, 729.0]), np.array([730.0, 730.0]), np.array([0.0, 5.0]))
    found = MODEL.orders(seen, 90.0)
    assert np.isfinite(found).all()
    assert 60 < found[1] < 110
    near = [BGNBD(0.5, 4.0, a, 2.0, 0.0).orders(seen, 90.0) for a in (1 - 1e-4, 1.0, 1 + 1e-4)]
    assert np.allclose(near[0], near[1], rtol=1e-3), "the formula has a removable pole at a = 1"
    assert np.allclose(near[1], near[2], rtol=1e-3)


def test_worth_moves_from_everybodys_mean_to_the_own_one() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    n = np.array([0.0, 1.0, 10.0, 1000.0])
    found = model.worth(Histories(n, n, n, np.where(n > 0, 100.0, 0.0)))
    assert found[0] == pytest.approx(model.p * model.v / (model.q - 1))
    assert (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(100.0, rel=1e-2)


def test_orders_of_one_day_are_one() -> None:
    small = OrderBook.from_arrays(["b", "a", "a", "a"], np.array([5.2, 1.1, 1.9, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert small.names.tolist() == ["a", "b"]
    assert small.day.tolist() == [1.0, 4.0, 5.0]
    assert small.value.tolist() == [5.0, 4.0, 1.0]
    seen = small.histories(6.0)
    assert (seen.repeats.tolist(), seen.recency.tolist(), seen.age.tolist(), seen.worth.tolist()) == ([1, 0], [3, 0], [5, 1], [4, 0])
    orders, spent = small.after(4.0, 1.0, np.array(["a", "z"], dtype=object))
    assert (orders.tolist(), spent.tolist()) == ([1.0, 0.0], [4.0, 0.0])
    features = dict(zip(INPUTS, small.features(6.0).T, strict=True))
    assert features["gap"][0] == 3.0
    assert np.isnan(features["gap"][1])
    assert features["spent_30"].tolist() == [9.0, 1.0]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31))
def test_the_future_changes_nothing(seed: int) -> None:
    one = book(150, 200, seed=2)
    rng = np.random.default_rng(seed)
    late = one.day >= NOW
    other = OrderBook(one.names, one.who, one.day, np.where(late, one.value * rng.uniform(0, 100, len(one.value)), one.value))
    first, second = (CustomerValue(horizon_days=28).fit(each, as_of=AS_OF).predict(each, as_of=AS_OF).value for each in (one, other))
    assert np.array_equal(first, second)


def test_the_choice_is_the_best_on_the_last_span_and_answers_are_sane(tmp_path: Path) -> None:
    whole = book()
    model = CustomerValue(horizon_days=91).fit(whole, as_of=AS_OF)
    assert set(model.deviance) <= set(CANDIDATES)
    assert model.chosen == min(model.deviance, key=lambda name: model.deviance[name])
    found = model.predict(whole, as_of=AS_OF)
    _, spent = whole.after(NOW, 91, found.names)
    assert (found.value >= 0).all()
    assert ((found.buys >= 0) & (found.buys <= 1)).all()
    assert 0.7 < found.value.sum() / spent.sum() < 1.4
    assert deviance(spent, found.value) < deviance(spent, np.full(len(spent), spent.mean())), "better than everybody's mean"
    assert np.corrcoef(found.value, spent)[0, 1] > 0.4
    model.save(tmp_path)
    again = CustomerValue.load(tmp_path).predict(whole, as_of=AS_OF)
    assert np.array_equal(again.value, found.value)
    assert np.array_equal(again.churn, found.churn)


def test_a_season_is_found_and_bridged() -> None:
    days = np.arange(NOW - 1000, NOW)
    level = 1.5 + np.sin(2 * np.pi * days / _season.YEAR)
    index = _season.season(days, level, now=NOW)
    assert index is not None
    truth = 1.5 + np.sin(2 * np.pi * np.arange(365) / _season.YEAR)
    assert np.abs(index / index.mean() - truth / truth.mean()).max() < 0.1
    part = _season.season(days[-300:], level[-300:], now=NOW)
    assert part is not None
    missing = np.floor(np.arange(NOW - 365, NOW - 300) % _season.YEAR).astype(int)
    ends = part[[missing[0] - 2, (missing[-1] + 2) % 365]]
    assert ends.min() * 0.99 <= part[missing].min()
    assert part[missing].max() <= ends.max() * 1.01
    assert _season.season(days[-200:], level[-200:], now=NOW) is None


def test_growth_is_not_read_as_season() -> None:
    days = np.arange(NOW - 4 * 365.25, NOW)
    index = _season.season(days, np.floor((days - days[0]) / _season.YEAR) + 1.0, now=NOW)
    assert index is not None
    assert np.abs(index - 1).max() < 0.02


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nobody", "0 days of orders"),
        ("short", "Collect a longer history"),
        ("never again", "no customer bought again"),
    ],
)
def test_too_little_says_what_is_missing(case: str, message: str) -> None:
    whole = book()
    made = {
        "nobody": lambda: OrderBook.from_arrays([], np.array([]), np.array([])),
        "short": lambda: OrderBook.from_arrays(["a"], np.array([NOW - 20]), np.array([1.0])),
        "never again": lambda: OrderBook(whole.names, whole.who, np.minimum(whole.day, NOW - 200), whole.value),
    }[case]()
    with pytest.raises(InputError, match=message):
        CustomerValue(horizon_days=91).fit(made, as_of=AS_OF)


def test_wrong_histories_and_questions_are_refused() -> None:
    one = np.array([1.0])
    with pytest.raises(InputError, match="customer 0 has repeats 1, recency 3 and age 2"):
        Histories(one, 3 * one, 2 * one, one)
    with pytest.raises(InputError, match="equally long"):
        Histories(one, one, one, np.array([]))
    with pytest.raises(InputError, match="more than once"):
        BGNBD.fit(Histories(0 * one, 0 * one, one, 0 * one))
    with pytest.raises(InputError, match="bought again"):
        GammaGamma.fit(Histories(0 * one, 0 * one, one, 0 * one))
    with pytest.raises(InputError, match="one of each per purchase"):
        OrderBook.from_arrays(["a"], np.array([1.0, 2.0]), one)
    with pytest.raises(InputError, match="not a number"):
        OrderBook.from_arrays(["a"], np.array([np.nan]), one)
    with pytest.raises(InputError, match="horizon_days"):
        CustomerValue(horizon_days=0).fit(book(), as_of=AS_OF)
    with pytest.raises(InputError, match="magic"):
        CustomerValue(horizon_days=91).fit(book(), as_of=AS_OF, choose="magic")
    with pytest.raises(NotFitted):
        CustomerValue().predict(book(), as_of=AS_OF)


def test_customers_who_never_leave_are_named_and_still_predicted() -> None:
    rng = np.random.default_rng(0)
    days = np.concatenate([NOW - 400 + np.cumsum(rng.exponential(20, 20)) for _ in range(150)])
    steady = OrderBook.from_arrays(np.repeat([f"c{i:03}" for i in range(150)], 20), np.minimum(days, NOW - 1), np.full(len(days), 50.0))
    model = CustomerValue(horizon_days=60).fit(steady, as_of=AS_OF, choose="btyd")
    assert "do not leave" in model.card["problem"]
    assert np.isnan(model.predict(steady, as_of=AS_OF).alive).all()
    assert np.isfinite(model.predict(steady, as_of=AS_OF).value).all()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    folder = tmp_path_factory.mktemp("value")
    world = World.make(200, seed=5, start=date(2026, 1, 5), days=60)
    world.write(folder / "export")
    with tw.Shop.open(folder / "shop", now=Clock(world.end)) as opened:
        opened.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        text = str(opened.learn(recommend="popular"))
        assert "What customers will spend" in text
    return folder / "shop", world


def test_the_shop_has_one_row_per_customer_and_tags(shop: tuple[Path, World]) -> None:
    with tw.Shop.open(shop[0], now=Clock(shop[1].end)) as opened:
        table, tags = opened.customers(), opened.customers(tags=True)
    rows = table.to_pylist()
    assert len({row["customer"] for row in rows}) == len(rows)
    for row in rows:
        assert (row["expected_value"] is None) == (row["frequency"] == 0), "buyers have a value, and only they"
        assert row["churn"] is None or 0 <= row["churn"] <= 1
    stated = tags.to_pylist()
    assert {row["tag"] for row in stated} >= {"segment", "stage", "value", "churn"}
    assert "price_sensitivity" not in {row["tag"] for row in stated}, "two hundred customers took too few discounts in sixty days"
    assert all(0 <= row["confidence"] <= 1 and row["expires_at"] > row["updated_at"] for row in stated)
    assert {row["source"].split("@")[0] for row in stated} == {"events", "customer_value"}
    own = {row["customer"]: row["value"] for row in stated if row["tag"] == "segment"}
    assert own == {row["customer"]: row["segment"] for row in rows}


def test_a_model_that_knows_the_future_is_refused(shop: tuple[Path, World]) -> None:
    with (
        tw.Shop.open(shop[0], now=Clock(shop[1].end)) as opened,
        pytest.raises(tw.errors.StateError, match="knows the future"),
    ):
        opened.customers(as_of=shop[1].end - timedelta(days=20))


def test_a_stranger_at_the_command_line(shop: tuple[Path, World], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from tradewind.cli import app

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["customers", "--shop", str(shop[0]), *words])
        assert done.exit_code == 0, done.output
        return done.output

    assert "expected_value" in said()
    for words in ((), ("--customer", "C0000001"), ("--tags", "--out", str(tmp_path / "said.csv"))):
        assert "Simulated:" in said(*words), "nobody may take these customers for real ones"
    assert "tags.csv" in said("--tags", "--out", str(tmp_path / "tags.csv"))
    assert (tmp_path / "tags.csv").read_text().startswith('"customer","tag"')
    assert "C0000001" in said("--customer", "C0000001")
    bad = CliRunner().invoke(app, ["customers", "--shop", str(shop[0]), "--out", "x.xlsx"])
    assert "must end in .parquet or .csv" in str(bad.exception)
    lost = CliRunner().invoke(app, ["customers", "--shop", str(shop[0]), "--customer", "nobody"])
    assert "no customer" in str(lost.exception)
