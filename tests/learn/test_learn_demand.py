"""The demand model: nothing of the future, nothing is never the answer, quantiles that cover, files without pickle."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError, NotFitted, SchemaError
from tradewind.learn import _demand_select as select
from tradewind.learn import _demand_trees as trees
from tradewind.learn._demand_blend import CLASSES, classes
from tradewind.learn._demand_grid import Panel
from tradewind.learn.demand import Demand

START = date(2025, 1, 6)


@pytest.fixture(autouse=True)
def _few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The boosted model learns from few examples, quickly."""
    monkeypatch.setattr(trees, "ROWS", 4000)
    monkeypatch.setattr(trees, "ROUNDS", 40)


def panel(n: int = 60, periods: int = 120, *, seed: int = 0, mean: float = 0.6, step: str = "day") -> Panel:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2, mean / 2, n)[:, None] * np.tile([0.2, 1, 1, 1, 1, 1.4, 1.4], -(-periods // 7))[:periods]
    return Panel(tuple(f"i{k}" for k in range(n)), START, rng.poisson(rate).astype(float), step, value=rng.uniform(100, 900, n))


def test_classes_are_those_of_syntetos_and_boylan() -> None:
    y = np.array([[5, 5, 5, 5, 5, 5.0], [1, 30, 1, 1, 40, 1], [0, 5, 0, 0, 5, 0], [1, 0, 0, 60, 0, 1], [0, 0, 0, 0, 0, 0]])
    assert [CLASSES[kind] for kind in classes(y)] == ["smooth", "erratic", "intermittent", "lumpy", "intermittent"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(30, 60))
def test_nothing_of_the_future_is_seen(seed: int, origin: int) -> None:
    """Rewriting everything from an origin on leaves what every candidate says at this origin bit-identical."""
    one = panel(12, 75, seed=seed)
    rng = np.random.default_rng(seed + 1)
    y = one.y.copy()
    y[:, origin:] = rng.poisson(9, y[:, origin:].shape)
    other = replace(one, y=y)
    said = [select.kernels(p.until(origin), 7) for p in (one, other)]
    for name in said[0]:
        assert said[0][name].tobytes() == said[1][name].tobytes(), name


def test_folds_and_the_boosted_model_see_nothing_of_what_they_are_judged_by() -> None:
    one = panel(80, 100)
    starts, ahead = select.origins(100, 14, 3)
    y = one.y.copy()
    y[:, min(starts) :] = np.random.default_rng(5).poisson(9, y[:, min(starts) :].shape)
    first = [select.folds_of(p, 14, folds=3, region="cn", boosted=True, seed=0)[-1] for p in (one, replace(one, y=y))]
    assert ahead == 14
    assert set(first[0].said) > {"ses", select.TREES}
    for name, said in first[0].said.items():
        assert said.tobytes() == first[1].said[name].tobytes(), name


def test_nothing_is_never_the_answer() -> None:
    """Where most periods are zero, "nothing sells" has nearly the best error; it is not taken, for the sum or for any series."""
    rng = np.random.default_rng(3)
    y = (rng.random((200, 60)) < 0.03) * rng.integers(1, 20, (200, 60)).astype(float)
    folds = select.folds_of(Panel(tuple(map(str, range(200))), START, y, "month"), 6, folds=3, region=None, boosted=False, seed=0)
    for fold in folds:
        fold.said["nothing"] = np.zeros_like(fold.sold)
        fold.said["hardly"] = 0.3 * fold.said["imapa"]
    chosen = select.choose(folds, classes(y), weigh=None)
    assert not {"nothing", "hardly"} & {name for told in chosen for name in told}
    model = Demand(horizon=6, boosted=False).fit(Panel(tuple(map(str, range(200))), START, y, "month"))
    ever = (y > 0).any(axis=1)
    assert (model.mean()[ever].sum(axis=1) > 0).all()
    assert (model.mean()[~ever] == 0).all()


@pytest.mark.parametrize(
    "y",
    [
        np.array([[3.0]]),
        np.array([[0.0, 0.0, 0.0]]),
        np.zeros((3, 40)),
        np.array([[np.nan] * 5, [np.nan, np.nan, np.nan, np.nan, 2.0]]),
        np.array([[np.nan, 3.0, np.nan, 0.0, 2.0, np.nan, 1.0, 0.0, np.nan, 4.0]]),
    ],
)
def test_odd_series_have_a_forecast(y: np.ndarray) -> None:
    model = Demand(horizon=5).fit(Panel(tuple(map(str, range(len(y)))), START, y))
    assert model.mean().shape == (len(y), 5)
    assert np.isfinite(model.mean()).all()
    ever = (np.nan_to_num(y) > 0).any(axis=1)
    assert ((model.mean().sum(axis=1) > 0) == ever).all()
    low, high = model.quantiles([0.5, 0.95], periods=5)
    assert (low <= high).all()
    assert (high[~ever] == 0).all()


def test_quantiles_cover_what_comes() -> None:
    """Of sums over a week and over two, on series whose truth goes on as it was."""
    whole = panel(400, 200, seed=1)
    model = Demand(horizon=14, boosted=False).fit(whole.until(186))
    for periods in (1, 7, 14):
        sold = whole.y[:, 186 : 186 + periods].sum(axis=1)
        for level, found in zip((0.5, 0.9, 0.95), model.quantiles([0.5, 0.9, 0.95], periods=periods), strict=True):
            below, upto = (sold < found).mean(), (sold <= found).mean()
            assert below - 0.06 <= level <= upto + 0.04, (periods, level, below, upto)
    assert model.mean().sum() == pytest.approx(whole.y[:, 186:].sum(), rel=0.1)


def test_promotions_are_known_ahead() -> None:
    rng = np.random.default_rng(0)
    promoted = np.zeros((60, 134))
    for row in promoted:
        for start in rng.integers(0, 116, 5):
            row[start : start + 4] = 1
    promoted[:30, 120:] = 1  # planned for half of the items
    promoted[30:, 120:] = 0
    y = rng.poisson(2.0 * (1 + 2 * promoted[:, :120])).astype(float)
    plain = Panel(tuple(map(str, range(60))), START, y, promoted=promoted)
    assert select.promotion_factors(plain) == pytest.approx(3.0, rel=0.35)
    assert select.promotion_factors(plain).mean() == pytest.approx(3.0, rel=0.05)
    mean = Demand(horizon=14).fit(plain).mean().mean(axis=1)
    assert mean[:30].mean() == pytest.approx(6.0, rel=0.2)
    assert mean[30:].mean() == pytest.approx(2.0, rel=0.2)


def test_totals_add_up_and_extra_is_added() -> None:
    model = Demand(horizon=7, boosted=False).fit(panel(20, 60))
    totals = model.totals(["a", "b"] * 10)
    np.testing.assert_allclose(totals["a"] + totals["b"], model.mean().sum(axis=0))
    extra = np.zeros((20, 7))
    extra[3, 2] = 11.0
    more = model.with_extra(extra)
    assert (more.mean() - model.mean())[3, 2] == pytest.approx(11.0)
    assert more.quantiles([0.9], periods=7)[0, 3] > model.quantiles([0.9], periods=7)[0, 3]


def test_a_stored_model_says_the_same(tmp_path: Path) -> None:
    model = Demand(horizon=7, region="eu").fit(panel(40, 90))
    model.save(tmp_path / "m")
    again = Demand.load(tmp_path / "m")
    assert again.mean().tobytes() == model.mean().tobytes()
    assert (again.dates() == model.dates()).all()
    for periods in (1, 7):
        assert (again.quantiles([0.5, 0.99], periods=periods) == model.quantiles([0.5, 0.99], periods=periods)).all()
    assert {path.suffix for path in (tmp_path / "m").iterdir()} == {".json", ".npz"}
    assert Demand(horizon=7, region="eu").fit(panel(40, 90)).mean().tobytes() == model.mean().tobytes()
    (tmp_path / "m" / "model.json").write_text('{"format": 1}')
    with pytest.raises(SchemaError):
        Demand.load(tmp_path / "m")


def test_what_is_asked_is_checked() -> None:
    with pytest.raises(NotFitted):
        Demand().mean()
    for wrong in ({"horizon": 0}, {"folds": 0}, {"weigh": "luck"}, {"region": "uk"}):
        with pytest.raises(InputError):
            Demand(**wrong).fit(panel(3, 20))
    model = Demand(horizon=5, boosted=False).fit(panel(3, 30))
    with pytest.raises(InputError, match="longer horizon"):
        model.quantiles([0.9], periods=6)
    with pytest.raises(InputError, match="level"):
        model.quantiles([1.0])
    with pytest.raises(InputError, match="one group"):
        model.totals(["a"])


def test_the_boosted_model_needs_examples() -> None:
    assert trees.fit(panel(2, 5), 3, region=None, seed=0) is None
