"""Estimators against textbook values and against their own promise: intervals cover at the stated rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats.experiment import cuped, mean_difference, proportion, proportion_difference, sample_ratio


def test_welch_equals_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(7)
    a, b = rng.normal(3, 2, 90), rng.normal(2, 5, 40)
    found = mean_difference(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_newcombe_reproduces_the_published_example() -> None:
    """56/70 against 48/80: Newcombe (1998), table II, method 10: .0524 to .3339."""
    found = proportion_difference((56, 70), (48, 80))
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


def test_wilson_reproduces_the_published_example() -> None:
    """81/263: Newcombe (1998a), .2553 to .3662."""
    found = proportion(81, 263)
    assert found.low == pytest.approx(0.2553, abs=5e-5)
    assert found.high == pytest.approx(0.3662, abs=5e-5)


def test_intervals_cover_the_truth_at_their_rate_on_skewed_money() -> None:
    rng = np.random.default_rng(1)
    rounds, covered, covered_cuped, widths = 400, 0, 0, [0.0, 0.0]
    for _ in range(rounds):
        before = rng.gamma(0.5, 40, 3000)
        outcome = 0.8 * before + rng.gamma(0.3, 50, 3000)
        treated = rng.random(3000) < 0.9
        outcome = outcome + 2.0 * treated
        plain = mean_difference(outcome[treated], outcome[~treated])
        adjusted = cuped(outcome, before)
        better = mean_difference(adjusted[treated], adjusted[~treated])
        covered += plain.covers(2.0)
        covered_cuped += better.covers(2.0)
        widths[0] += plain.high - plain.low  # type: ignore[operator]
        widths[1] += better.high - better.low  # type: ignore[operator]
    # Binomial(400, .95): 1 in 10,000 falls outside 93 +- 4 points.
    assert 0.905 <= covered / rounds <= 0.985
    assert 0.905 <= covered_cuped / rounds <= 0.985
    assert widths[1] < 0.85 * widths[0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=40), st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=40))
@settings(max_examples=60, deadline=None)
def test_swapping_the_groups_mirrors_the_interval(a: list[float], b: list[float]) -> None:
    one, other = mean_difference(a, b), mean_difference(b, a)
    assert one.value == pytest.approx(-other.value)
    assert one.low == pytest.approx(-other.high)  # type: ignore[operator]


def test_cuped_keeps_the_mean_and_ignores_constants() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=50)
    assert cuped(y, rng.normal(size=(50, 2))).mean() == pytest.approx(y.mean())
    assert (cuped(y, np.ones(50)) == y).all()


def test_sample_ratio_finds_a_broken_split_and_ignores_a_zero_weight_arm() -> None:
    assert sample_ratio([5000, 5000, 0], [0.5, 0.5, 0.0]) == pytest.approx(1.0)
    assert sample_ratio([5300, 4700], [0.5, 0.5]) < 1e-8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_difference([1.0], [1.0, 2.0]), "at least two units"),
        (lambda: mean_difference([1.0, np.nan], [1.0, 2.0]), "not finite"),
        (lambda: proportion(5, 3), "between 0 and n"),
        (lambda: sample_ratio([10], [1.0]), "at least two arms"),
    ],
)
def test_bad_input_is_refused_with_words(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
