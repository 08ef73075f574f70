"""Ranking metrics against loops over Python sets, and their known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats import bootstrap, ranking

ITEMS = 12
CASES = st.lists(
    st.tuples(
        st.permutations(range(ITEMS)).map(lambda order: order[:5]), st.sets(st.integers(0, ITEMS - 1), max_size=8), st.integers(0, 5)
    ),
    min_size=1,
    max_size=8,
)


def arrays(cases: list[tuple[list[int], set[int], int]]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    ranked = np.array([[*shown[:length], *[-1] * (5 - length)] for shown, _, length in cases], dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum([len(wanted) for _, wanted, _ in cases]))).astype(np.int64)
    return ranked, offsets, np.array([item for _, wanted, _ in cases for item in sorted(wanted)], dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_metrics_equal_their_definitions(cases: list[tuple[list[int], set[int], int]]) -> None:
    ranked, offsets, items = arrays(cases)
    hit, relevant = ranking.hits(ranked, offsets, items), np.diff(offsets)
    got = {
        f.__name__: f(hit, relevant)
        for f in (ranking.ndcg, ranking.recall, ranking.precision, ranking.hit_rate, ranking.reciprocal_rank, ranking.average_precision)
    }
    for row, (shown, wanted, length) in enumerate(cases):
        if not wanted:
            assert all(math.isnan(values[row]) for values in got.values())
            continue
        places = [place for place, item in enumerate(shown[:length]) if item in wanted]
        ideal = sum(1 / math.log2(place + 2) for place in range(min(5, len(wanted))))
        assert got["ndcg"][row] == pytest.approx(sum(1 / math.log2(place + 2) for place in places) / ideal)
        assert got["recall"][row] == pytest.approx(len(places) / len(wanted))
        assert got["precision"][row] == pytest.approx(len(places) / 5)
        assert got["hit_rate"][row] == float(bool(places))
        assert got["reciprocal_rank"][row] == pytest.approx(1 / (places[0] + 1) if places else 0)
        precisions = [(number + 1) / (place + 1) for number, place in enumerate(places)]
        assert got["average_precision"][row] == pytest.approx(sum(precisions) / min(5, len(wanted)))


def test_a_perfect_list_scores_one_and_a_swap_scores_less() -> None:
    hit = ranking.hits(np.array([[3, 1], [3, 1]]), np.array([0, 2, 3]), np.array([1, 3, 1]))
    np.testing.assert_allclose(ranking.ndcg(hit, np.array([2, 1])), [1.0, 1 / np.log2(3)])


def test_whole_list_metrics() -> None:
    ranked = np.array([[0, 1], [0, 2], [0, -1]])
    assert ranking.coverage(ranked, 4) == 0.75
    assert ranking.gini(np.array([[0], [1], [2], [3]]), 4) == pytest.approx(0)
    assert ranking.gini(np.array([[0], [0], [0], [0]]), 4) == pytest.approx(0.75)
    np.testing.assert_allclose(ranking.diversity(ranked, np.array([0, 0, 1, 1])), [0, 1, np.nan])
    np.testing.assert_allclose(ranking.novelty(ranked, np.array([4, 2, 1, 0]), 4), [0.5, 1.0, 0.0])
    np.testing.assert_allclose(ranking.popularity(ranked, np.array([10, 4, 2, 0])), [7, 6, 10])
    assert ranking.popularity_bias(np.array([[0, 1]]), np.array([1]), np.array([10, 4])) == pytest.approx(7 / 4)
    assert ranking.gini(np.empty((0, 3), np.int64), 5) == 0.0
    assert ranking.coverage(np.empty((0, 3), np.int64), 0) == 0.0


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        ranking.hits(np.array([[1, 1]]), np.array([0, 1]), np.array([1]))
    with pytest.raises(InputError, match="same users"):
        ranking.hits(np.array([[1, 2]]), np.array([0, 1, 2]), np.array([1, 2]))


def test_bootstrap_intervals_cover_at_their_rate() -> None:
    rng = np.random.default_rng(0)
    covered = sum(bootstrap.mean(rng.exponential(2.0, 200), name="m", seed=run, draws=300, level=0.9).covers(2.0) for run in range(200))
    assert 0.83 <= covered / 200 <= 0.96


def test_bootstrap_of_pairs_is_narrower_and_of_a_ratio_is_right() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(5, 3, 400)
    better = base + rng.normal(0.2, 0.1, 400)
    paired = bootstrap.difference(better, base, name="d", seed=1)
    assert paired.low is not None
    assert paired.high is not None
    assert 0.17 < paired.low < 0.2 < paired.high < 0.23
    top, bottom = rng.poisson(6, 500).astype(float), rng.poisson(3, 500).astype(float)
    quotient = bootstrap.ratio(top, bottom, name="r", seed=1)
    assert quotient.value == pytest.approx(top.sum() / bottom.sum())
    assert quotient.covers(2.0)


def test_bootstrap_repeats_by_seed_and_refuses_nonsense() -> None:
    values = np.array([0.0, 1.0, np.nan, 1.0] * 20)
    first = bootstrap.mean(values, name="m", seed=4)
    assert first == bootstrap.mean(values, name="m", seed=4)
    assert first.n == 60
    assert bootstrap.mean(np.array([np.nan]), name="m", seed=0).n == 0
    assert math.isnan(bootstrap.ratio(np.zeros(3), np.zeros(3), name="r", seed=0).value)
    with pytest.raises(InputError, match="draws"):
        bootstrap.mean(np.ones(3), name="m", seed=0, draws=10)
    with pytest.raises(InputError, match="same users"):
        bootstrap.difference(np.ones(3), np.ones(4), name="d", seed=0)
