"""Allocation under one budget against an exact linear program, and its certificate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats.allocate import allocate, bisect


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
