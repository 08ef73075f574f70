"""Matrix factorisation against the normal equations written out, and the cases at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from recommend_worlds import CUT, END, log, of
from scipy.sparse import csr_array

from tradewind.errors import InputError
from tradewind.learn import _als
from tradewind.learn.als import Als


def slow(rows: NDArray[np.float64], y: NDArray[np.float64], penalty: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equation 4 of Hu, Koren and Volinsky, row by row with all items."""
    found = np.zeros((len(rows), y.shape[1]))
    for row, extra in enumerate(rows):
        confidence = np.diag(1 + extra)
        matrix = y.T @ confidence @ y + penalty[row] * np.eye(y.shape[1])
        found[row] = np.linalg.solve(matrix, y.T @ confidence @ (extra > 0))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000), st.sampled_from([0.05, 0.4, 0.95]))
def test_solutions_are_those_of_the_normal_equations(items: int, factors: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((25, items)) < density, rng.uniform(0.5, 30, (25, items)), 0)
    y, penalty = rng.normal(size=(items, factors)), rng.uniform(0.5, 5, 25)
    rows, basis = csr_array(dense.astype(np.float32)), _als.Basis(y.astype(np.float32))
    got = _als.solve(rows, basis, penalty)
    np.testing.assert_allclose(got, slow(dense, y, penalty), rtol=5e-3, atol=5e-4)
    np.testing.assert_array_equal(_als.solve(rows, basis, penalty, threads=3), got)


@pytest.mark.parametrize("steps", [_als.STEPS, 1])
@pytest.mark.parametrize("factors", [8, 300])
def test_long_rows_are_solved_by_descent_or_else_directly(monkeypatch: pytest.MonkeyPatch, factors: int, steps: int) -> None:
    rng = np.random.default_rng(4)
    dense = np.where(rng.random((6, 120)) < 0.8, rng.uniform(1, 100, (6, 120)), 0)
    y, penalty = rng.normal(size=(120, factors)) / 10, np.full(6, 200.0)
    reached = []
    descend = _als._descend

    def watched(*stack: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
        found = descend(*stack)
        reached.append(found[1])
        return found

    monkeypatch.setattr(_als, "STEPS", steps)
    monkeypatch.setattr(_als, "_descend", watched)
    rows, basis = csr_array(dense.astype(np.float32)), _als.Basis(y.astype(np.float32))
    got = _als.solve(rows, basis, penalty)
    np.testing.assert_allclose(got, slow(dense, y, penalty), rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(_als.solve(rows, basis, penalty, turned=False) @ basis.turn.T, got, rtol=1e-5, atol=1e-6)
    assert set(reached) == {steps > 1}


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 64))
def test_every_row_with_entries_is_in_one_stack(lengths: list[int], factors: int) -> None:
    counted = np.array(lengths, dtype=np.int64)
    parts = list(_als.stacks(counted, factors))
    members = [int(row) for part in parts for row in part]
    assert sorted(members) == np.flatnonzero(counted > 0).tolist()
    assert all(counted[part].max() <= _als.PADDING * counted[part].min() for part in parts)


def objective(model: Als) -> float:
    """What the model minimises, with the customers' vectors solved."""
    rows = model._confidences(log().before(CUT))
    x = model._solve(rows, model._basis)
    extra = rows.toarray()
    error = ((1 + extra) * ((extra > 0) - x @ model._factors.T) ** 2).sum()
    penalties = (model._penalty(np.diff(rows.indptr)) * (x**2).sum(axis=1)).sum()
    return float(error + penalties + (model._penalty(np.diff(csr_array(rows.T).indptr)) * (model._factors**2).sum(axis=1)).sum())


def test_every_iteration_lowers_the_objective() -> None:
    values = [objective(Als(factors=6, iterations=count, alpha=10, regularization=0.2).fit(log(), as_of=CUT)) for count in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_two_tastes_are_told_apart() -> None:
    rows = [(f"a{n}", item, n) for n in range(12) for item in ("tea", "cup", "pot") if (n + len(item)) % 4 or item == "tea"]
    rows += [(f"b{n}", item, n) for n in range(12) for item in ("hat", "scarf", "glove") if (n + len(item)) % 4 or item == "hat"]
    model = Als(factors=2, iterations=10, alpha=10).fit(of(*rows), as_of=END)
    scores = dict(zip(model.items, model.score(of(("new", "tea", 1)))[0], strict=True))
    assert min(scores["cup"], scores["pot"]) > max(scores["hat"], scores["scarf"], scores["glove"]) + 0.2


def test_reasons_add_up_to_the_score() -> None:
    model = Als(factors=8, iterations=4).fit(log(), as_of=CUT)
    history = log().before(CUT).rows(np.array([3]))
    row = model._confidences(history)
    scores = model.score(history)[0]
    for item in range(len(model.items)):
        assert model._parts(row, item).sum() == pytest.approx(scores[item], abs=2e-4)
    top = int(scores.argmax())
    why = model.reasons(history, row=0, item=top)
    assert 1 <= len(why) <= 3
    assert {reason.details["item"] for reason in why} <= set(model.items[row.indices])
    shares = [reason.details["share"] for reason in why]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.001


def test_items_never_trained_and_empty_histories_get_no_score() -> None:
    world = of(("a", "x", 1), ("a", "y", 2), ("b", "x", 1), items=("silent",))
    model = Als(factors=4).fit(world, as_of=END)
    scores = model.score(of(("new", "x", 1), ("other", "silent", 1)))
    silent = list(model.items).index("silent")
    assert np.isneginf(scores[:, silent]).all()
    assert np.isneginf(scores[1]).all()
    assert np.isfinite(np.delete(scores[0], silent)).all()


def test_one_customer_and_more_factors_than_items() -> None:
    model = Als(factors=16, iterations=3).fit(of(("a", "x", 1), ("a", "y", 2)), as_of=END)
    assert np.isfinite(model.score(of(("b", "x", 1)))).all()


def test_threads_change_nothing_and_the_seed_does() -> None:
    one, two = (Als(factors=8, iterations=2, threads=threads).fit(log(), as_of=CUT)._factors for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    other = Als(factors=8, iterations=2, seed=1).fit(log(), as_of=CUT)._factors
    assert not np.array_equal(one, other)


def test_recent_events_weigh_more_when_asked_to() -> None:
    history, turned = of(("n", "i01", 1), ("n", "i20", 2)), of(("n", "i20", 1), ("n", "i01", 2))
    plain, recent = (Als(factors=8, iterations=3, recency=power).fit(log(), as_of=CUT) for power in (0.0, 2.0))
    np.testing.assert_allclose(plain.score(history), plain.score(turned), atol=1e-5)
    assert np.abs(recent.score(history) - recent.score(turned)).max() > 1e-3


def test_wrong_parameters_are_refused() -> None:
    for wrong, words in ((Als(factors=0), "factors"), (Als(alpha=0.0), "alpha"), (Als(regularization=0.0), "regularization")):
        with pytest.raises(InputError, match=words):
            wrong.fit(log(), as_of=CUT)
