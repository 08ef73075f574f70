"""Several limits at once against an exact linear program: no limit is ever broken, and the certificate holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats.allocate import allocate
from tradewind.stats.allocate_many import AllocationMany, Resource, allocate_many


def problem(seed: int, rows: int, columns: int, tightness: float) -> tuple[np.ndarray, list[Resource]]:
    """A budget, two channels and the stock of one offer."""
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.uniform(0.5, 10, (rows, columns)), axis=1)
    values = rng.normal(0.5, 1, (rows, 1)) + np.log1p(costs) * rng.uniform(0, 3, (rows, columns))
    channel = np.arange(columns) % 2
    return values, [
        Resource("budget", tightness * rows * 3, costs),
        Resource("email", np.floor(tightness * rows * 0.6), (channel == 0).astype(float)),
        Resource("push", np.floor(tightness * rows * 0.5), (channel == 1).astype(float)),
        Resource("stock", np.floor(tightness * rows * 0.2), (np.arange(columns) == columns - 1).astype(float)),
    ]


def exact(values: np.ndarray, resources: list[Resource]) -> float:
    """The optimum of the linear relaxation by HiGHS: an upper bound of every allocation."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, kron, vstack

    rows, columns = values.shape
    one = kron(csr_matrix(np.eye(rows)), np.ones((1, columns)))
    uses = [csr_matrix(np.broadcast_to(each.use, values.shape).reshape(1, -1)) for each in resources]
    found = linprog(
        -values.ravel(),
        A_ub=vstack([one, *uses]),
        b_ub=[*np.ones(rows), *(each.limit for each in resources)],
        bounds=(0, 1),
        method="highs",
    )
    return float(-found.fun)


def check(values: np.ndarray, resources: list[Resource], found: AllocationMany) -> None:
    """Every limit is kept, and what is said about the choice is so."""
    rows = np.flatnonzero(found.choice >= 0)
    at = found.choice[rows]
    for each in resources:
        used = float(np.broadcast_to(each.use, values.shape)[rows, at].sum())
        assert used <= each.limit * (1 + 1e-12)
        assert found.used[each.name] <= each.limit
        assert np.isclose(used, found.used[each.name])
    assert np.isclose(values[rows, at].sum(), found.value)
    assert found.gap >= 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 60), columns=st.integers(1, 6), tightness=st.floats(0, 1.5))
def test_feasible_certified_and_near_the_linear_program(seed: int, rows: int, columns: int, tightness: float) -> None:
    values, resources = problem(seed, rows, columns, tightness)
    found = allocate_many(values, resources)
    check(values, resources, found)
    best = exact(values, resources)
    assert found.value <= best + 1e-6
    assert best * (1 - 1e-9) <= found.bound + 1e-6
    assert found.bound <= best * (1 + 1e-5) + 1e-6
    # A basic solution splits at most one customer per limit (Sinha and Zoltners); the repair may lose as much again.
    assert found.gap <= 2 * len(resources) * max(values.max(), 0.0) + 1e-6


def test_the_gap_is_small_when_customers_are_many_and_the_samples_settle_most() -> None:
    values, resources = problem(3, 40_000, 6, 0.4)
    found = allocate_many(values.astype(np.float32), resources)
    check(values.astype(np.float32).astype(float), resources, found)
    assert found.gap / found.value < 1e-4
    assert found.settled > 0.2
    assert "push" in found.certificate()


def test_one_budget_is_the_same_as_the_exact_path() -> None:
    values, resources = problem(5, 3_000, 5, 0.3)
    many = allocate_many(values, resources[:1], tolerance=1e-9)
    one = allocate(values, np.asarray(resources[0].use), budget=resources[0].limit)
    assert np.isclose(many.bound, one.bound, rtol=1e-8)
    assert many.value > one.value * (1 - 1e-5)


def test_equal_customers_are_no_trap() -> None:
    """Everybody ties at the right price: all change at once, and the repair must part them."""
    resources = [Resource("email", 30, np.array([1.0, 0.0])), Resource("cost", 50, np.array([1.0, 1.0]))]
    found = allocate_many(np.tile([3.0, 2.0], (100, 1)), resources)
    assert found.value == pytest.approx(30 * 3 + 20 * 2)
    assert found.gap == pytest.approx(0, abs=1e-2)


def test_ties_of_very_many_are_parted_by_a_mixture() -> None:
    """At the right prices three columns tie for all 40,000; the best value of the linear program is 148,000, worked out by hand."""
    rows = 40_000
    values, costs = np.tile([3.0, 5.0, 6.0], (rows, 1)), np.tile([1.0, 2.0, 4.0], (rows, 1))
    found = allocate_many(values, [Resource("budget", 1.5 * rows, costs), Resource("stock", 0.2 * rows, np.array([0.0, 1.0, 0.0]))])
    assert found.value == pytest.approx(148_000, rel=1e-4)
    assert found.gap <= 1e-4 * found.value


def test_edges() -> None:
    values, resources = problem(2, 8, 3, 1.0)
    budget = resources[0]
    closed = allocate_many(values, [budget, Resource("email", 0, np.array([1.0, 0.0, 0.0]))])
    assert not (closed.choice == 0).any()
    assert closed.prices["email"] == np.inf
    assert closed.used["email"] == 0
    open_ = allocate_many(values, [Resource("budget", np.inf, budget.use)])
    assert open_.value == pytest.approx(np.maximum(values.max(axis=1), 0).sum())
    assert open_.gap == pytest.approx(0)
    assert (allocate_many(-np.abs(values), [budget]).choice == -1).all()
    assert allocate_many(np.zeros((0, 3)), [Resource("stock", 2, np.ones(3))]).value == 0
    assert (allocate_many(np.full((4, 2), -np.inf), [Resource("stock", 2, np.ones(2))]).choice == -1).all()
    assert (allocate_many(np.zeros((4, 0)), [Resource("stock", 2, np.ones(0))]).choice == -1).all()
    contradictory = allocate_many(np.ones((5, 1)), [Resource("a", 0, np.ones(1)), Resource("b", 3, np.ones(1))])
    assert contradictory.value == 0


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ([], "at least one"),
        ([Resource("a", 1, np.ones(2)), Resource("a", 1, np.ones(2))], "name of its own"),
        ([Resource("a", 1, np.ones(3))], r"it must be \(2,\) or \(4, 2\)"),
        ([Resource("a", -1, np.ones(2))], "0 or more"),
        ([Resource("a", float("nan"), np.ones(2))], "0 or more"),
        ([Resource("a", 1, -np.ones(2))], "not negative"),
        ([Resource("a", 1, np.array([1, np.inf]))], "finite"),
    ],
)
def test_wrong_resources_are_refused(resources: list[Resource], message: str) -> None:
    with pytest.raises(InputError, match=message):
        allocate_many(np.ones((4, 2)), resources)


@pytest.mark.parametrize("values", [np.ones(3), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_wrong_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="values must be numbers"):
        allocate_many(values, [Resource("a", 1, np.ones(2))])
