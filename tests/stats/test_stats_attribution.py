"""Attribution: by hand, and the properties that make it a sharing out: efficiency, symmetry, names do not matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.stats.attribution import (
    Paths,
    last_touch,
    markov,
    position_based,
    shapley,
    shapley_exact,
    shapley_rate,
    shapley_sampled,
)

JOURNEYS = Paths.of([["a", "b", "c"], ["a", "b"], ["c"], ["b", "b"]], [4, 0, 1, 2], [0, 3, 5, 1])
METHODS: dict[str, Callable[[Paths], NDArray[np.float64]]] = {
    "last": last_touch,
    "position": position_based,
    "markov": markov,
    "shapley": shapley,
    "rate": lambda paths: shapley_rate(paths)[0],
}

worlds = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12
)


def test_rules_by_hand() -> None:
    assert last_touch(JOURNEYS).tolist() == [0, 2, 5]
    assert position_based(JOURNEYS).tolist() == pytest.approx([1.6, 0.8 + 2, 1.6 + 1])
    assert position_based(JOURNEYS, first=0.5, last=0.0).tolist() == pytest.approx([2.0, 2.0 + 2.0, 1.0])


def test_the_short_cut_of_the_game_of_purchases_is_its_shapley_value() -> None:
    masks = [sum(1 << point for point in set(path)) for path in JOURNEYS.steps]
    worth = [sum(won for mask, won in zip(masks, JOURNEYS.won, strict=True) if mask & ~coalition == 0) for coalition in range(8)]
    assert shapley(JOURNEYS).tolist() == pytest.approx(shapley_exact(np.array(worth)).tolist())


def test_the_markov_chain_by_hand() -> None:
    """start -> a (1/2) or b (1/2); a -> b (1/2) or nothing; b -> purchase (2/3) or nothing."""
    paths = Paths.of([["a", "b"], ["a"], ["b"]], [1, 0, 1], [0, 1, 1])
    whole = 1 / 2 * 1 / 2 * 2 / 3 + 1 / 2 * 2 / 3
    effects = np.array([1 - (1 / 2 * 2 / 3) / whole, 1.0])
    assert markov(paths).tolist() == pytest.approx((2 * effects / effects.sum()).tolist())


def test_shapley_of_the_glove_game() -> None:
    """One left glove (player 0) and two right ones: 2/3, 1/6, 1/6."""
    worth = np.array([float(coalition & 1 and coalition >> 1 > 0) for coalition in range(8)])
    assert shapley_exact(worth).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    values, errors = shapley_sampled(lambda coalition: worth[coalition], 3, permutations=4000, seed=1)
    assert np.abs(values - [2 / 3, 1 / 6, 1 / 6]).max() < 4 * errors.max()


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_shares_add_up_and_names_do_not_matter(world: list[tuple[list[str], int, int]]) -> None:
    paths, won, lost = [row[0] for row in world], [row[1] for row in world], [row[2] for row in world]
    found = Paths.of(paths, won, lost)
    swap = {"a": "d", "b": "c", "c": "b", "d": "a"}
    named = Paths.of([[swap[name] for name in path] for path in paths], won, lost)
    for name, method in METHODS.items():
        shares, other = method(found), method(named)
        assert shares.sum() == pytest.approx(sum(won), abs=1e-9), name
        told = dict(zip(found.names, shares.tolist(), strict=True))
        again = dict(zip(named.names, other.tolist(), strict=True))
        assert {swap[key]: value for key, value in told.items()} == pytest.approx(again, abs=1e-9), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=16, max_size=16), st.lists(st.floats(-5, 5), min_size=16, max_size=16))
def test_shapley_is_efficient_symmetric_additive_and_gives_nothing_to_a_dummy(one: list[float], two: list[float]) -> None:
    worth, more = np.array(one), np.array(two)
    values = shapley_exact(worth)
    assert values.sum() == pytest.approx(worth[15] - worth[0], abs=1e-9)
    assert shapley_exact(worth + more) == pytest.approx(values + shapley_exact(more), abs=1e-9)
    idle = np.array([worth[coalition & 7] for coalition in range(16)])
    assert shapley_exact(idle)[3] == pytest.approx(0, abs=1e-9)
    twins = np.array([worth[(coalition & 3) | 4 * (((coalition >> 2) & 1) + ((coalition >> 3) & 1) == 2)] for coalition in range(16)])
    assert shapley_exact(twins)[2] == pytest.approx(shapley_exact(twins)[3], abs=1e-9)


def test_many_touch_points_are_sampled_and_say_how_well() -> None:
    rng = np.random.default_rng(3)
    names = [f"t{number:02d}" for number in range(14)]
    paths = [[names[number] for number in rng.choice(14, size=rng.integers(1, 4), replace=False)] for _ in range(60)]
    found = Paths.of(paths, rng.integers(0, 5, 60).tolist(), rng.integers(1, 9, 60).tolist())
    values, errors = shapley_rate(found, permutations=300)
    assert errors is not None
    assert values.sum() == pytest.approx(found.won.sum())
    again, _ = shapley_rate(found, permutations=300, seed=9)
    assert np.abs(values - again).max() < 6 * errors.max()


def test_nothing_won_gives_nothing_and_bad_counts_are_named() -> None:
    none = Paths.of([["a"], ["b"]], [0, 0], [3, 4])
    for method in METHODS.values():
        assert method(none).tolist() == [0, 0]
    with pytest.raises(InputError, match="0 or more"):
        Paths.of([["a"]], [-1], [0])
    with pytest.raises(InputError, match="one count"):
        Paths.of([["a"]], [1, 2], [0])
    with pytest.raises(InputError, match="at most 1"):
        position_based(none, first=0.8, last=0.4)
