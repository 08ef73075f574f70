"""Comparison from sufficient statistics: against scipy, against published values, and what may never change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats.experiment import cuped, mean_difference
from tradewind.stats.fieller import ratio
from tradewind.stats.means import Shape, adjusted, compare, relative
from tradewind.stats.moments import Moments, pooled
from tradewind.stats.multiple import benjamini_hochberg

RNG = np.random.default_rng(5)


def drawn(n: int, shift: float = 0.0, *, seed: int = 1) -> np.ndarray:
    """Orders, sessions, orders before, sessions before."""
    rng = np.random.default_rng(seed)
    sessions, before = rng.poisson(4, n) + 1.0, rng.poisson(4, n) + 1.0
    taste = rng.gamma(2, 0.1, n)
    return np.column_stack([rng.poisson(sessions * (taste + shift)), sessions, rng.poisson(before * taste), before]).astype(float)


def test_moments_add_up_to_those_of_both_groups() -> None:
    a, b, c = RNG.normal(1e6, 1, (50, 3)), RNG.normal(1e6, 2, (7, 3)), RNG.normal(0, 1, (1, 3))
    whole, parts = Moments.of(np.concatenate([a, b, c])), pooled(map(Moments.of, (a, b, c)))
    assert parts.n == 58
    assert parts.mean == pytest.approx(whole.mean)
    assert parts.cov == pytest.approx(whole.cov)


def test_a_plain_mean_is_welch() -> None:
    a, b = RNG.gamma(1, 5, 80), RNG.gamma(1, 3, 200)
    found, expected = compare([Moments.of(a)], [Moments.of(b)], Shape(0)), mean_difference(a, b)
    assert found.estimate("x").low == pytest.approx(expected.low)
    assert found.estimate("x").high == pytest.approx(expected.high)


def test_published_vectors_are_reproduced() -> None:
    """Sums, sums of squares and counts of a test of gbstats, and the effects that it expects."""

    def side(total: float, squares: float, n: int) -> Moments:
        return Moments(n, np.array([total / n]), np.array([[(squares - total**2 / n) / (n - 1)]]))

    found = compare([side(2422.7, 134698.29, 3461)], [side(1396.87, 52377.9767, 3407)], Shape(0))
    each, share = found.estimate("x"), relative(found, "x", method="delta")
    assert (each.value, each.low, each.high) == pytest.approx((0.29, 0.04538, 0.53462), abs=6e-3)
    assert (share.value, share.low, share.high) == pytest.approx((0.70732, -0.03526, 1.44989), abs=1e-5)
    assert found.p == pytest.approx(0.02016, abs=1e-3)


def test_a_ratio_has_the_variance_of_its_linear_form() -> None:
    x, y = drawn(4000), drawn(5000, 0.02, seed=2)
    found = compare([Moments.of(y)], [Moments.of(x)], Shape(0, 1))
    rate = x[:, 0].sum() / x[:, 1].sum()
    linear = (x[:, 0] - rate * x[:, 1]) / x[:, 1].mean()
    assert found.control.mean == pytest.approx(rate)
    assert found.control.variance == pytest.approx(linear.var(ddof=1) / len(x), rel=1e-3)


def test_covariates_take_out_what_regression_takes_out() -> None:
    x, y = drawn(3000), drawn(3000, 0.02, seed=2)
    sides = ((2, None), (3, None))
    found = compare([Moments.of(y)], [Moments.of(x)], Shape(0, None, sides))
    both = np.concatenate([y, x])
    by_hand = cuped(both[:, 0], both[:, 2:])
    assert found.value == pytest.approx(by_hand[:3000].mean() - by_hand[3000:].mean())
    assert found.error == pytest.approx(mean_error(by_hand[:3000], by_hand[3000:]))
    assert 0 < found.explained < 1
    _, sd, left = adjusted(Moments.of(x), Shape(0, None, sides))
    assert sd == pytest.approx(x[:, 0].std(ddof=1))
    assert 0 < left < 1


def mean_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))


def test_strata_remove_a_difference_that_only_the_mix_makes() -> None:
    rng = np.random.default_rng(3)
    rich, poor = rng.normal(100, 1, 100), rng.normal(0, 1, 100)
    treat = [Moments.of(rich[:60]), Moments.of(poor[:40])]
    control = [Moments.of(rich[60:]), Moments.of(poor[40:])]
    mixed = compare([pooled(treat)], [pooled(control)], Shape(0))
    within = compare(treat, control, Shape(0))
    assert mixed.value > 10
    assert abs(within.value) < 1
    assert within.explained > 0.9


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=30), st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=30))
@settings(max_examples=50, deadline=None)
def test_relabelling_mirrors_and_a_sign_flips(a: list[float], b: list[float]) -> None:
    one, other = compare([Moments.of(a)], [Moments.of(b)], Shape(0)), compare([Moments.of(b)], [Moments.of(a)], Shape(0))
    turned = compare([Moments.of(-np.array(a))], [Moments.of(-np.array(b))], Shape(0))
    assert one.value == -other.value == -turned.value
    assert one.p == pytest.approx(other.p)
    assert one.p == pytest.approx(turned.p)
    assert one.error == pytest.approx(turned.error)


def test_relative_differences_by_three_methods_agree_where_noise_is_small() -> None:
    found = compare([Moments.of(RNG.normal(11, 0.5, 5000))], [Moments.of(RNG.normal(10, 0.5, 5000))], Shape(0))
    values = [relative(found, "x", method=method) for method in ("log", "delta", "fieller")]
    for each in values:
        assert (each.value, each.low, each.high) == pytest.approx((0.1, values[0].low, values[0].high), abs=2e-3)


def test_what_cannot_be_compared_is_refused() -> None:
    one, many = Moments.of([1.0]), Moments.of([1.0, 2.0, 0.0])
    with pytest.raises(InputError, match="two units"):
        compare([one], [many], Shape(0))
    with pytest.raises(InputError, match="denominator"):
        compare([Moments.of(np.zeros((3, 2)))], [Moments.of(np.zeros((3, 2)))], Shape(0, 1))
    nothing = compare([Moments.of([1.0, -1.0])], [Moments.of([1.0, -1.0])], Shape(0))
    with pytest.raises(InputError, match="mean is 0"):
        relative(nothing, "x")
    with pytest.raises(InputError, match="fieller"):
        relative(compare([many], [Moments.of([-1.0, -2.0])], Shape(0)), "x")
    with pytest.raises(InputError, match='"log", "delta"'):
        relative(compare([many], [many], Shape(0)), "x", method="guess")
    with pytest.raises(InputError, match="not finite"):
        Moments.of([1.0, np.nan])


def test_fieller_is_unbounded_where_the_denominator_may_be_zero() -> None:
    assert ratio(1.0, 0.1, 1.0, 1.0, 0.0) is None
    low, high = ratio(2.0, 1.0, 0.0, 0.0, 0.0) or (0, 0)
    assert low == high == 2.0


def test_false_discoveries_are_bounded_as_published() -> None:
    """Benjamini and Hochberg (1995), the 15 p-values of their table: four are rejected at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    shuffled = RNG.permutation(len(p))
    found = benjamini_hochberg([p[at] for at in shuffled])
    assert sum(q <= 0.05 for q in found) == 4
    assert [found[list(shuffled).index(at)] for at in range(15)] == pytest.approx(benjamini_hochberg(p))
    assert benjamini_hochberg([]) == []
    with pytest.raises(InputError, match="between 0 and 1"):
        benjamini_hochberg([1.2])


def test_no_variance_is_no_evidence_or_all_of_it() -> None:
    same = compare([Moments.of([1.0, 1.0])], [Moments.of([1.0, 1.0])], Shape(0))
    assert same.p == 1.0
    assert compare([Moments.of([2.0, 2.0])], [Moments.of([1.0, 1.0])], Shape(0)).p == 0.0
    assert replace(same, explained=0.5).n == 4
