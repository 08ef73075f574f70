"""The index against a brute-force answer: exact is exact, approximate goes on until k or all, and a filter holds on every path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._quantised import Query, closed, integer_product, quantise, unquantised
from tradewind.learn.index import FEW, Approximate, Exact, Index, overlap

KERNELS = ["float32", *(["int8"] if integer_product() else [])]
Floats = NDArray[np.float32]


def world(items: int, dim: int, seed: int, *, kind: str = "clusters") -> tuple[Floats, Floats, Floats]:
    """Vectors, bias and 20 queries: clusters, or hard ones - equal rows, zeros, and lengths over six orders of magnitude."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((max(2, items // 50), dim))
    vectors = centre[rng.integers(len(centre), size=items)] + 0.5 * rng.standard_normal((items, dim))
    if kind == "lengths":
        vectors *= 10.0 ** rng.uniform(-3, 3, (items, 1))
    if kind == "equal":
        vectors = np.rint(vectors)[rng.integers(0, max(1, items // 4), items)]
    queries = centre[rng.integers(len(centre), size=20)] + 0.5 * rng.standard_normal((20, dim))
    queries[0] = 0
    return vectors.astype(np.float32), rng.standard_normal(items).astype(np.float32), queries.astype(np.float32)


def brute(vectors: Floats, bias: Floats, query: Floats, k: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
    """The k best by the definition: double precision, rounded, ties by the lower number."""
    scores = (np.einsum("nd,d->n", vectors, query.astype(np.float64)) + bias).astype(np.float32)
    scores[~allowed] = -np.inf
    order = np.lexsort((np.arange(len(scores)), -scores))[: min(k, int(allowed.sum()))]
    return order, scores[order]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["clusters", "lengths", "equal"])
@settings(max_examples=10, deadline=None)
@given(
    items=st.integers(1, 700),
    dim=st.integers(1, 70),
    k=st.integers(1, 800),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    barred=st.integers(0, 40),
    seed=st.integers(0, 10_000),
)
def test_exact_is_the_brute_force_answer_under_any_filter(
    kernel: str, kind: str, items: int, dim: int, k: int, share: float, barred: int, seed: int
) -> None:
    vectors, bias, queries = world(items, dim, seed, kind=kind)
    rng = np.random.default_rng(seed)
    usable, allowed = rng.random(items) < 0.9, rng.random(items) < share
    out = rng.integers(0, items, barred)
    index = Exact(vectors, bias, usable=usable, kernel=kernel)
    free = usable & allowed
    free[out] = False
    for query in queries[:3]:
        found = index.search(query, k, allowed=allowed, barred=out)
        items_right, scores_right = brute(vectors, bias, query, k, free)
        assert found.items.tolist() == items_right.tolist()
        assert found.scores.tolist() == scores_right.tolist()
    places, scores = index.batch(queries[:3], k, allowed=allowed, barred=[out, out[:0], out])
    for row, each in enumerate((out, out[:0], out)):
        one = index.search(queries[row], k, allowed=allowed, barred=each)
        assert places[row][places[row] >= 0].tolist() == one.items.tolist()
        assert scores[row][: len(one.items)].tolist() == one.scores.tolist()
        assert np.isneginf(scores[row][len(one.items) :]).all()


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=10, deadline=None)
@given(
    items=st.integers(1, 3000),
    k=st.integers(1, 120),
    share=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    barred=st.integers(0, 60),
    seed=st.integers(0, 10_000),
    near=st.booleans(),
)
def test_approximate_goes_on_until_k_or_all_allowed_are_found(
    kernel: str, items: int, k: int, share: float, barred: int, seed: int, near: bool
) -> None:
    vectors, bias, queries = world(items, 8, seed)
    rng = np.random.default_rng(seed)
    usable, allowed = rng.random(items) < 0.9, rng.random(items) < share
    if near:  # what is allowed lies where the query does not look first
        allowed = vectors @ queries[1] < np.quantile(vectors @ queries[1], share)
    out = rng.integers(0, items, barred)
    index = Approximate(vectors, bias, usable=usable, probes=1, seed=seed, kernel=kernel)
    free = usable & allowed
    free[out] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tradewind.learn.index.FEW", 0)  # the cells must do it, too, and not only the scan of few allowed items
        for few in (0, FEW):
            patch.setattr("tradewind.learn.index.FEW", few)
            for query in queries[:4]:
                found = index.search(query, k, allowed=allowed, barred=out)
                assert len(found.items) == len(set(found.items.tolist())) == min(k, int(free.sum()))
                assert free[found.items].all()
                assert found.scores.tolist() == brute_scores(vectors, bias, query)[found.items].tolist()
                assert (np.diff(found.scores) <= 0).all()
                if few:
                    assert found.items.tolist() == brute(vectors, bias, query, k, free)[0].tolist()


def brute_scores(vectors: Floats, bias: Floats, query: Floats) -> Floats:
    scores: Floats = (np.einsum("nd,d->n", vectors, query.astype(np.float64)) + bias).astype(np.float32)
    return scores


@pytest.mark.parametrize("kernel", KERNELS)
def test_approximate_is_exact_when_it_reads_every_cell(kernel: str) -> None:
    vectors, bias, queries = world(2500, 16, 3)
    index = Approximate(vectors, bias, probes=1, kernel=kernel)
    assert index.tune(queries, k=10, recall=1.0) == 1.0
    few = index.probes
    index.probes = 10**6
    exact = Exact(vectors, bias)
    assert overlap(index.batch(queries, 10)[0], exact.batch(queries, 10)[0]) == 1.0
    index.probes = few
    assert overlap(index.batch(queries, 10)[0], exact.batch(queries, 10)[0]) == 1.0


def test_tuning_reads_more_cells_for_more_recall_and_keeps_its_promise_on_other_queries() -> None:
    vectors, bias, queries = world(6000, 16, 5)
    other = (vectors[::300] + 0.1).astype(np.float32)
    index, exact = Approximate(vectors, bias), Exact(vectors, bias)
    index.tune(queries, k=20, recall=0.5)
    low, before = overlap(index.batch(other, 20)[0], exact.batch(other, 20)[0]), index.probes
    index.tune(queries, k=20, recall=0.99)
    high = overlap(index.batch(other, 20)[0], exact.batch(other, 20)[0])
    assert index.probes > before
    assert high > max(low, 0.9)


def test_unusable_items_are_never_found_and_an_index_without_usable_items_finds_nothing() -> None:
    vectors, bias, queries = world(500, 4, 1)
    for index in (Exact(vectors, bias, usable=np.zeros(500, bool)), Approximate(vectors, bias, usable=np.zeros(500, bool))):
        assert len(index.search(queries[1], 5).items) == 0
        assert (index.batch(queries[:2], 5)[0] == -1).all()


def test_the_bound_holds_for_every_row_and_is_not_loose() -> None:
    for kind in ("clusters", "lengths", "equal"):
        vectors, bias, queries = world(900, 33, 2, kind=kind)
        codes, scale, bound = quantise(vectors, bias)
        for values in queries:
            query = Query.of(values)
            truth = vectors.astype(np.float64) @ query.exact + bias
            first = (codes.astype(np.int32) @ query.codes.astype(np.int32)).astype(np.float32) * scale * np.float32(query.scale) + bias
            wrong = np.abs(first - truth)
            assert (wrong <= bound.of(query)).all()
            assert (np.abs((vectors @ query.plain + bias) - truth) <= unquantised(vectors, bias).of(query)).all()
        if kind == "clusters":
            assert bound.of(query).mean() < 0.05 * np.abs(truth).std() * 3


def test_a_closed_mask_is_zero_or_minus_infinity() -> None:
    mask = np.random.default_rng(0).random(1000) < 0.5
    assert (closed(mask)[mask] == 0).all()
    assert np.isneginf(closed(mask)[~mask]).all()


@pytest.mark.parametrize("kind", [Exact, Approximate])
def test_bad_input_says_what_to_do(kind: type[Index]) -> None:
    vectors, bias, queries = world(70, 4, 1)
    index = kind(vectors, bias)  # type: ignore[call-arg]
    for call in (
        lambda: index.search(queries[0], 0),
        lambda: index.search(queries[0][:3], 5),
        lambda: index.search(np.full(4, np.nan, np.float32), 5),
        lambda: index.search(queries[0], 5, allowed=np.ones(3, bool)),
        lambda: index.search(queries[0], 5, allowed=np.ones(70, np.int8)),
        lambda: kind(vectors[0], bias),  # type: ignore[call-arg]
        lambda: kind(vectors, bias[:3]),  # type: ignore[call-arg]
        lambda: kind(np.full((3, 2), np.inf, np.float32)),  # type: ignore[call-arg]
        lambda: kind(vectors, bias, kernel="int4"),  # type: ignore[call-arg]
        lambda: kind(vectors[:0], bias[:0]),  # type: ignore[call-arg]
    ):
        with pytest.raises(InputError):
            call()


def test_vectors_that_are_not_finite_may_be_left_out() -> None:
    vectors = np.array([[1.0, 0.0], [np.nan, 1.0], [0.5, 0.5]], np.float32)
    for kind in (Exact, Approximate):
        index = kind(vectors, usable=np.array([True, False, True]))
        assert index.search(np.array([1, 1], np.float32), 3).items.tolist() == [0, 2]
