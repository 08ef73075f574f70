"""Allocation under one budget against an exact linear program, and its certificate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats.allocate import allocate, bisect, cost_curve, price_from_sample


def problem(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.uniform(0.5, 10, (rows, columns)), axis=1)
    return rng.normal(0.5, 1, (rows, 1)) + np.log1p(costs) * rng.uniform(0, 3, (rows, columns)), costs


def exact(values: np.ndarray, costs: np.ndarray, budget: float) -> float:
    """The optimum of the linear relaxation by HiGHS: an upper bound of every allocation."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, kron, vstack

    rows, columns = values.shape
    one = kron(csr_matrix(np.eye(rows)), np.ones((1, columns)))
    usable = np.where(np.isfinite(values), values, -1e6)
    found = linprog(
        -usable.ravel(), A_ub=vstack([one, csr_matrix(costs.reshape(1, -1))]), b_ub=[*np.ones(rows), budget], bounds=(0, 1), method="highs"
    )
    return float(-found.fun)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 60), columns=st.integers(1, 6), share=st.floats(0, 1.2))
def test_feasible_certified_and_as_good_as_the_linear_program(seed: int, rows: int, columns: int, share: float) -> None:
    values, costs = problem(seed, rows, columns)
    budget = share * costs.mean() * rows
    found = allocate(values, costs, budget=budget)
    chosen = found.choice >= 0
    at = np.flatnonzero(chosen), found.choice[chosen]
    assert np.isclose(costs[at].sum(), found.spend)
    assert np.isclose(values[at].sum(), found.value)
    assert found.spend <= budget * (1 + 1e-12)
    best = exact(values, costs, budget)
    assert found.value <= best + 1e-6
    assert best <= found.bound + 1e-6
    assert -1e-9 <= found.gap <= max(values.max(), 0.0) + 1e-6  # at most one fractional customer (Sinha and Zoltners)


def test_the_gap_vanishes_when_customers_are_many() -> None:
    values, costs = problem(1, 20_000, 10)
    found = allocate(values, costs, budget=20_000.0)
    assert found.gap / found.value < 1e-5
    assert found.spend > 0.9999 * 20_000


def test_edges() -> None:
    values, costs = problem(2, 5, 3)
    assert (allocate(-np.abs(values), costs, budget=10).choice == -1).all()
    nothing = allocate(values, costs, budget=0)
    assert nothing.spend == 0
    plenty = allocate(values, costs, budget=1e9)
    assert plenty.price == 0
    assert plenty.gap == 0
    free = allocate(values, np.zeros_like(costs), budget=0)
    assert np.isclose(free.value, np.maximum(values.max(axis=1), 0).sum())
    assert (allocate(np.full((3, 2), -np.inf), np.ones((3, 2)), budget=1).choice == -1).all()
    assert allocate(np.zeros((0, 4)), np.zeros((0, 4)), budget=1).value == 0
    assert allocate(np.zeros((4, 0)), np.zeros((4, 0)), budget=1).value == 0


@pytest.mark.parametrize(
    ("values", "costs", "budget", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), 1, "one shape"),
        (np.ones(2), np.ones(2), 1, "one shape"),
        (np.full((1, 1), np.nan), np.ones((1, 1)), 1, "not a number"),
        (np.ones((1, 1)), -np.ones((1, 1)), 1, "not negative"),
        (np.ones((1, 1)), np.full((1, 1), np.inf), 1, "finite"),
        (np.ones((1, 1)), np.ones((1, 1)), -1, "0 or more"),
        (np.ones((1, 1)), np.ones((1, 1)), float("nan"), "0 or more"),
    ],
)
def test_wrong_input_is_refused(values: np.ndarray, costs: np.ndarray, budget: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        allocate(values, costs, budget=budget)


def test_bisect_finds_the_smallest_price_that_fits() -> None:
    assert bisect(lambda price: 100 / price, target=5, low=1, high=1e6, passes=60) == pytest.approx(20, rel=1e-5)
    assert bisect(lambda price: 100 / price, target=500, low=1, high=1e6) == 1
    assert bisect(lambda _: 10, target=5, low=1, high=1e6) == 1e6


def test_the_curve_is_the_optimum_at_every_budget() -> None:
    values, costs = problem(4, 40, 4)
    curve = cost_curve(values, costs)
    assert (np.diff(curve.price) <= 0).all()
    assert (np.diff(curve.spend) > 0).all()
    for budget in np.linspace(0, curve.spend[-1] * 1.1, 9):
        assert curve.at(budget) == pytest.approx(exact(values, costs, budget), abs=1e-6)
        choice = curve.choice(budget)
        rows = np.flatnonzero(choice >= 0)
        assert costs[rows, choice[rows]].sum() <= budget + 1e-9
    assert cost_curve(np.zeros((0, 2)), np.zeros((0, 2))).at(3.0) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_tells_the_price_within_its_range(seed: int) -> None:
    values, costs = problem(seed, 20_000, 5)
    whole = allocate(values, costs, budget=30_000.0)
    part = np.random.default_rng(seed).choice(len(values), 1_000, replace=False)
    price = price_from_sample(values[part], costs[part], budget=30_000.0, rows=len(values), z=4)
    assert price.low < price.price < price.high
    assert price.low < whole.price < price.high
    assert price.high / price.low < 1.5


def test_a_misleading_sample_costs_time_and_not_the_optimum() -> None:
    """Every second row is worthless, and these are the rows that the sample sees."""
    values, costs = problem(6, 200_000, 2)
    for odd in (0, 1):
        skewed = values.copy()
        skewed[odd::4] = -1.0
        skewed[odd + 2 :: 4] *= 5
        found = allocate(skewed, costs, budget=20_000.0)
        assert found.bound == pytest.approx(cost_curve(skewed, costs).at(20_000.0))
        assert 0 <= found.gap <= skewed.max()
        assert found.spend <= 20_000


def test_single_precision_is_read_as_it_is() -> None:
    values, costs = problem(7, 5_000, 6)
    single, double = (allocate(values.astype(kind), costs.astype(kind), budget=5_000.0) for kind in (np.float32, np.float64))
    assert single.value == pytest.approx(double.value, rel=1e-6)
    assert single.gap >= 0


def test_the_sample_must_be_a_part() -> None:
    with pytest.raises(InputError, match="5 rows of 3"):
        price_from_sample(np.ones((5, 2)), np.ones((5, 2)), budget=1, rows=3)
