"""Re-ranking against definitions worked out by hand and by trying every list."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.learn.rerank import SMOOTH, calibrated, divergence, mmr

SCORES = np.array([1.0, 0.9, 0.8, 0.2, 0.1])
SHELF = np.array([0, 0, 0, 1, 2])


@pytest.mark.parametrize("seed", range(5))
def test_dial_zero_is_the_order_of_the_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, shelf, vectors = rng.standard_normal(20), rng.integers(-1, 4, 20), rng.standard_normal((20, 3))
    order = np.argsort(-scores, kind="stable")[:8].tolist()
    assert mmr(scores, 8, dial=0, vectors=vectors, category=shelf).tolist() == order
    assert calibrated(scores, 8, dial=0, category=shelf, taste=np.ones(4)).tolist() == order


def test_mmr_by_hand() -> None:
    # Stretched scores are 1, 8/9, 7/9, 1/9, 0. After item 0, the others of its shelf lose 0.5: 3 is worth .5/9, 1 is worth 4/9 - .5.
    assert mmr(SCORES, 3, dial=0.5, category=SHELF).tolist() == [0, 3, 4]
    assert mmr(SCORES, 3, dial=0.3, category=SHELF).tolist() == [0, 1, 2]
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [0, 1], [-1, 0]], float)
    assert mmr(SCORES, 3, dial=0.6, vectors=vectors).tolist() == [0, 2, 4]


def test_mmr_at_full_dial_takes_a_new_shelf_while_there_is_one() -> None:
    chosen = mmr(SCORES, 5, dial=1, category=SHELF)
    assert set(SHELF[chosen[:3]].tolist()) == {0, 1, 2}
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]


def test_items_without_a_shelf_are_like_nothing() -> None:
    assert mmr(SCORES, 3, dial=0.9, category=np.full(5, -1)).tolist() == [0, 1, 2]


def test_more_diversity_never_repeats_shelves_more() -> None:
    rng = np.random.default_rng(1)
    scores, shelf = rng.standard_normal(60), rng.integers(0, 6, 60)
    kinds = [len(set(shelf[mmr(scores, 6, dial=dial, category=shelf)].tolist())) for dial in (0, 0.3, 0.6, 0.95)]
    assert kinds == sorted(kinds)
    assert kinds[-1] == 6


def value(scores: np.ndarray, shelf: np.ndarray, taste: np.ndarray, dial: float, chosen: list[int]) -> float:
    """Steck's objective, from its definition."""
    stretched = (scores - scores.min()) / np.ptp(scores)
    wanted = taste / taste.sum()
    held = np.array([(shelf[chosen] == code).mean() for code in range(len(taste))])
    shares = (1 - SMOOTH) * held + SMOOTH * wanted
    told = wanted > 0
    apart = (wanted[told] * np.log(wanted[told] / shares[told])).sum()
    return float((1 - dial) * stretched[chosen].sum() - dial * len(chosen) * apart)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), dial=st.sampled_from([0.2, 0.5, 0.8]), k=st.integers(1, 3))
def test_calibration_is_close_to_the_best_of_all_lists(seed: int, dial: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores, shelf, taste = rng.random(7), rng.integers(0, 3, 7), rng.random(3) + 0.05
    chosen = calibrated(scores, k, dial=dial, category=shelf, taste=taste).tolist()
    every = [value(scores, shelf, taste, dial, list(each)) for each in permutations(range(7), k)]
    reached = value(scores, shelf, taste, dial, chosen)
    assert len(set(chosen)) == k
    # The greedy list of a submodular objective reaches 1 - 1/e of the way up from the worst list.
    assert reached >= min(every) + (1 - 1 / np.e) * (max(every) - min(every)) - 1e-9
    if k == 1:
        assert reached == pytest.approx(max(every))


def test_calibration_follows_the_taste() -> None:
    scores = np.linspace(1, 0, 40)
    shelf = np.repeat([0, 1], 20)
    chosen = calibrated(scores, 10, dial=0.99, category=shelf, taste=np.array([7.0, 3.0]))
    assert np.bincount(shelf[chosen]).tolist() == [7, 3]
    lists = [calibrated(scores, 10, dial=dial, category=shelf, taste=np.array([7.0, 3.0])) for dial in (0, 0.5, 0.99)]
    apart = [divergence(np.array([7.0, 3.0]), shelf[each]) for each in lists]
    assert apart[0] > apart[2]
    assert apart == sorted(apart, reverse=True)
    assert divergence(np.array([7.0, 3.0]), np.array([0] * 7 + [1] * 3)) == pytest.approx(0, abs=1e-6)


def test_no_taste_is_the_order_of_the_scores_and_short_lists_are_whole() -> None:
    assert calibrated(SCORES, 3, dial=0.9, category=SHELF, taste=np.zeros(3)).tolist() == [0, 1, 2]
    assert sorted(calibrated(SCORES, 50, dial=0.9, category=SHELF, taste=np.ones(3)).tolist()) == [0, 1, 2, 3, 4]
    assert sorted(mmr(SCORES, 50, dial=0.9, category=SHELF).tolist()) == [0, 1, 2, 3, 4]
    assert mmr(np.array([]), 3, dial=0.5, category=np.array([], int)).tolist() == []
    assert calibrated(np.array([]), 3, dial=0.5, category=np.array([], int), taste=np.ones(2)).tolist() == []


def test_bad_input_is_refused() -> None:
    calls: list[Callable[[], object]] = [
        lambda: mmr(SCORES, 3, dial=2, category=SHELF),
        lambda: mmr(SCORES, 3, dial=0.5),
        lambda: mmr(SCORES, 0, dial=0.5, category=SHELF),
        lambda: mmr(SCORES, 3, dial=0.5, category=SHELF[:2]),
        lambda: mmr(np.array([np.nan]), 3, dial=0.5, category=SHELF[:1]),
        lambda: calibrated(SCORES, 3, dial=0.5, category=SHELF, taste=np.ones(2)),
        lambda: calibrated(SCORES, 3, dial=0.5, category=SHELF, taste=np.array([1, -1, 1.0])),
        lambda: calibrated(SCORES, 3, dial=-0.1, category=SHELF, taste=np.ones(3)),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
