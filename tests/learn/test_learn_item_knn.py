"""Item neighbours, and the sparse ranking that both neighbour models share, against slow definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_worlds import CUT, END, log, of
from scipy.sparse import csr_array

from tradewind.errors import InputError
from tradewind.learn._rank import top_k
from tradewind.learn.item_knn import ItemKnn, kth_largest, largest, ranked, taste_of
from tradewind.learn.user_knn import UserKnn

WORLD = of(
    *[
        ("a", "tea", 1),
        ("a", "cup", 2),
        ("b", "tea", 1),
        ("b", "cup", 2),
        ("b", "pot", 3),
        ("c", "tea", 1),
        ("c", "hat", 2),
        ("d", "hat", 1),
    ]
)


def test_without_shrinkage_it_is_the_cosine() -> None:
    model = ItemKnn(shrinkage=0, activity=0, source=0.5, target=0.5, recency=0).fit(WORLD, as_of=END)
    scores = dict(zip(model.items, model.score(of(("new", "tea", 1)))[0], strict=True))
    assert scores["cup"] == pytest.approx(2 / np.sqrt(3 * 2))
    assert scores["pot"] == pytest.approx(1 / np.sqrt(3 * 1))
    assert scores["hat"] == pytest.approx(1 / np.sqrt(3 * 2))
    assert np.isneginf(scores["tea"])


def slow(world: csr_array, *, shrinkage: float, activity: float, source: float, target: float, sharpness: float) -> np.ndarray:
    taste = world.toarray().astype(np.float64)
    damped = taste * np.maximum((taste**2).sum(axis=1, keepdims=True), 1e-12) ** -activity
    together = taste.T @ damped
    size = np.diag(together) + shrinkage
    near: np.ndarray = (together / (size[:, None] ** source * size[None, :] ** target)) ** sharpness
    np.fill_diagonal(near, 0)
    return near


def test_the_definition_with_all_its_exponents() -> None:
    model = ItemKnn(recency=0, shrinkage=2.0, activity=0.7, source=0.6, target=0.2, sharpness=1.5).fit(log(), as_of=CUT)
    taste = taste_of(log().before(CUT), None, recency=0)
    expected = taste.toarray() @ slow(taste, shrinkage=2.0, activity=0.7, source=0.6, target=0.2, sharpness=1.5)
    got = model.score(log().before(CUT))
    np.testing.assert_allclose(np.where(np.isneginf(got), 0, got), expected, rtol=2e-4, atol=1e-6)


def test_only_the_nearest_are_kept() -> None:
    model = ItemKnn(neighbours=1, shrinkage=0, activity=0, recency=0).fit(WORLD, as_of=END)
    scores = dict(zip(model.items, model.score(of(("new", "tea", 1)))[0], strict=True))
    assert {name for name, score in scores.items() if np.isfinite(score)} == {"cup"}


def test_reasons_are_shares_of_the_score() -> None:
    model = ItemKnn(recency=0).fit(WORLD, as_of=END)
    history = of(("new", "cup", 1), ("new", "hat", 2))
    tea = list(model.items).index("tea")
    why = model.reasons(history, row=0, item=tea)
    assert [reason.code for reason in why] == ["because", "because"]
    assert sum(reason.details["share"] for reason in why) == pytest.approx(1, abs=1e-3)
    alone = [float(model.score(of(("new", name, 1)))[0, tea]) for name in ("cup", "hat")]
    shares = {reason.details["item"]: reason.details["share"] for reason in why}
    assert shares["cup"] == pytest.approx(alone[0] / sum(alone), abs=1e-4)


def test_two_steps_reach_the_neighbours_of_neighbours() -> None:
    # tea - cup and cup - pot are neighbours (cosine 1 / 2); nobody had tea and pot together.
    chain = of(("a", "tea", 1), ("a", "cup", 2), ("b", "cup", 1), ("b", "pot", 2))
    plain: dict[str, Any] = {"shrinkage": 0, "activity": 0, "source": 0.5, "target": 0.5, "recency": 0}
    asked = of(("new", "tea", 1))
    scores = {}
    for steps, itself in ((1, 0.0), (2, 0.0), (2, 0.5)):
        model = ItemKnn(steps=steps, itself=itself, **plain).fit(chain, as_of=END)
        scores[steps, itself] = dict(zip(model.items, np.maximum(model.score(asked)[0], 0).tolist(), strict=True))
    step = 1 / np.sqrt(2)
    assert scores[1, 0.0] == pytest.approx({"cup": step, "pot": 0, "tea": 0})
    assert scores[2, 0.0] == pytest.approx({"cup": 0, "pot": step**2, "tea": step**2})
    assert scores[2, 0.5] == pytest.approx({"cup": 2 * 0.5 * step, "pot": step**2, "tea": step**2 + 0.5**2})
    why = model.reasons(of(("new", "tea", 1), ("new", "cup", 2)), row=0, item=list(model.items).index("pot"))
    assert {reason.details["item"]: reason.details["share"] for reason in why} == pytest.approx(
        {"cup": 2 * 0.5 * step / (2 * 0.5 * step + step**2), "tea": step**2 / (2 * 0.5 * step + step**2)}, abs=1e-4
    )


def test_an_item_that_nobody_took_does_not_speak_for_itself() -> None:
    model = ItemKnn(itself=1.0).fit(of(("a", "tea", 1), items=("hat", "tea")), as_of=END)
    assert np.isneginf(model.score(of(("new", "hat", 1)))).all()
    assert np.isfinite(model.score(of(("new", "tea", 1)))[0]).tolist() == [False, True]


def test_wrong_parameters_are_refused() -> None:
    for wrong in ({"neighbours": 0}, {"shrinkage": -1.0}, {"sharpness": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ItemKnn(**wrong).fit(WORLD, as_of=END)


def test_popularity_of_user_knn_divides_by_the_size_of_the_item() -> None:
    plain, damped = (UserKnn(popularity=power).fit(WORLD, as_of=END).score(of(("new", "tea", 1)))[0] for power in (0.0, 0.5))
    sizes = np.array([len({"a", "b", "c"}) if name == "tea" else 1 if name == "pot" else 2 for name in WORLD.items])
    np.testing.assert_allclose(damped, plain / np.sqrt(sizes), rtol=1e-6)


MATRIX = st.lists(st.lists(st.integers(0, 6), min_size=9, max_size=9), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(MATRIX, st.integers(1, 9))
def test_sparse_ranking_equals_the_dense_one(rows: list[list[int]], k: int) -> None:
    dense = np.array(rows, dtype=np.float32)
    barred = np.random.default_rng(sum(map(sum, rows))).random(dense.shape) < 0.3
    items, values, sources = ranked(csr_array(dense), barred, k, "x")
    expected = top_k(np.where(barred | (dense <= 0), -np.inf, dense).astype(np.float32), k)
    np.testing.assert_array_equal(values, expected[1])
    assert ((items >= 0) == (expected[0] >= 0)).all()
    assert ((sources == "x") == (items >= 0)).all()
    for row, shown in enumerate(items):
        shown = shown[shown >= 0]
        assert len(set(shown.tolist())) == len(shown)
        assert not barred[row, shown].any()
        assert (dense[row, shown] == values[row, : len(shown)]).all()


@settings(max_examples=80, deadline=None)
@given(MATRIX, st.integers(1, 9))
def test_the_largest_of_each_row(rows: list[list[int]], k: int) -> None:
    dense = np.array(rows, dtype=np.float32)
    sparse = csr_array(dense)
    for row, bound in enumerate(kth_largest(sparse, k)):
        stored = np.sort(dense[row][dense[row] > 0])[::-1]
        assert bound == (stored[k - 1] if len(stored) > k else -np.inf)
    kept = largest(sparse, k).toarray()
    for row in range(len(dense)):
        stored = np.sort(dense[row][dense[row] > 0])[::-1]
        least = stored[min(k, len(stored)) - 1] if len(stored) else np.inf
        np.testing.assert_array_equal(kept[row], np.where(dense[row] >= least, dense[row], 0))


def test_long_sparse_rows_are_ranked_like_dense_ones() -> None:
    rng = np.random.default_rng(5)
    dense = np.where(rng.random((40, 3000)) < rng.random((40, 1)), rng.integers(0, 400, (40, 3000)), 0).astype(np.float32)
    barred = rng.random(dense.shape) < 0.2
    items, values, _ = ranked(csr_array(dense), barred, 10, "x")
    expected = top_k(np.where(barred | (dense <= 0), -np.inf, dense).astype(np.float32), 10)
    np.testing.assert_array_equal(values, expected[1])
    assert (dense[np.arange(40)[:, None], items] == values).all()
    assert not barred[np.arange(40)[:, None], items].any()
