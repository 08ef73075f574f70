"""Qini and uplift curves by hand, policy values on trials whose truth is known, cost curves against brute force and allocate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.stats import policy_value
from tradewind.stats.allocate import allocate
from tradewind.stats.cost_curve import curve, path, untargeted
from tradewind.stats.uplift import qini, qini_curve, qini_gain, uplift_at, uplift_auc, uplift_curve

Y = np.array([1.0, 0, 1, 0, 1, 0])
S = np.array([6.0, 5, 4, 4, 2, 1])
T = np.array([1.0, 0, 1, 0, 0, 1])


def test_the_curves_are_the_ones_computed_by_hand() -> None:
    count, values = qini_curve(Y, S, T)
    assert count.tolist() == [0, 1, 2, 4, 5, 6]  # the third and fourth are tied
    # (Y_t, N_t, Y_c, N_c) = (1,1,0,0) (1,1,0,1) (2,2,0,2) (2,2,1,3) (2,3,1,3)
    assert values.tolist() == pytest.approx([0, 1, 1, 2, 2 - 2 / 3, 1])
    assert uplift_curve(Y, S, T)[1].tolist() == pytest.approx([0, 1, 2, 4, (1 - 1 / 3) * 5, (2 / 3 - 1 / 3) * 6])


def test_the_coefficient_is_area_over_perfect_area() -> None:
    # Area by trapezoids .5 + 1 + 3 + 5/3 + 7/6, line 3. Perfect order: the treated 1s, the 0s, the untreated 1:
    # points (0,0) (2,2) (5,2) (6,1), area 2 + 6 + 1.5.
    assert qini(Y, S, T) == pytest.approx((0.5 + 1 + 3 + 5 / 3 + 7 / 6 - 3) / (2 + 6 + 1.5 - 3))
    assert qini_gain(Y, S, T) == pytest.approx((0.5 + 1 + 3 + 5 / 3 + 7 / 6 - 3) / (6 * 3))
    assert qini(Y, Y * T - Y * (1 - T), T) == pytest.approx(1.0)
    assert uplift_at(Y, S, T, share=0.5) == 1.0
    assert uplift_auc(Y, 2 * (Y == T) + T, T) == pytest.approx(1.0)


def test_a_constant_score_has_no_rank() -> None:
    assert qini(Y, np.ones(6), T) == pytest.approx(0.0)
    assert qini_gain(Y * 7.5, np.ones(6), T) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((Y, S, np.ones(6)), "hold both"),
        ((Y[:5], S, T), "one length"),
        ((np.append(Y[:5], np.nan), S, T), "finite"),
        ((Y * 3, S, T), "0 and 1 only"),
        ((np.zeros(6), S, T), "nothing to rank"),
    ],
)
def test_what_measures_nothing_is_refused(arguments: tuple[np.ndarray, np.ndarray, np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=said):
        qini(*arguments)


def trial(seed: int, n: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, arm, y, propensity [n, 3]; the effects are x and 0.3, and the propensity depends on x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    chance = np.column_stack([np.full(n, 0.4), 0.1 + 0.4 * (x > 0), 0.5 - 0.4 * (x > 0)])
    arm = (rng.random(n)[:, None] > chance.cumsum(axis=1)).sum(axis=1)
    y = x + np.column_stack([np.zeros(n), x, np.full(n, 0.3)])[np.arange(n), arm] + rng.normal(size=n)
    return x, arm, y, chance


def test_values_of_a_policy_cover_the_truth_at_their_rate() -> None:
    """The policy gives arm 1 where x > 0.3 and arm 2 elsewhere; a wrong prediction must not bias DR, a good one narrows it."""
    from scipy.stats import norm

    truth = float(norm.pdf(0.3) + 0.3 * norm.cdf(0.3))  # E[x; x > c] = density at c
    hits, widths = np.zeros(3), np.zeros(3)
    for seed in range(100):
        x, arm, y, chance = trial(seed)
        policy = np.eye(3)[np.where(x > 0.3, 1, 2)]
        good = np.column_stack([x, 2 * x, x + 0.3])
        for at, predicted in enumerate((None, -5 + 0 * good, good)):
            found = policy_value.value(policy, policy_value.scores(y, arm, chance, predicted))
            hits[at] += found.covers(truth)
            assert found.high is not None
            widths[at] += found.high - found.value
    assert (hits >= 88).all()
    assert widths[2] < widths[0] < widths[1]


def test_a_paired_difference_is_the_difference_and_narrower() -> None:
    x, arm, y, chance = trial(3)
    scored = policy_value.scores(y, arm, chance)
    policy, base = np.eye(3)[np.where(x > 0.3, 1, 2)], np.eye(3)[np.where(x > 0.4, 1, 2)]
    found, one, two = policy_value.gain(policy, base, scored), policy_value.value(policy, scored), policy_value.value(base, scored)
    assert found.value == pytest.approx(one.value - two.value)
    assert found.high is not None
    assert one.high is not None
    assert found.high - found.value < (one.high - one.value) / 2


def test_spend_that_differs_by_noise_is_corrected() -> None:
    """Both policies give arm 1 to half the customers, by lot; where the effect is per unit of cost nothing is left to gain."""
    rng = np.random.default_rng(5)
    spent = np.column_stack([np.zeros(1_000), np.full(1_000, 2.0)])
    policy, base = np.eye(2)[rng.integers(0, 2, 1_000)], np.full((1_000, 2), 0.5)
    found = policy_value.gain_at_equal_spend(policy, base, 3 * spent, spent, slope=3.0)
    assert abs(found.value) < 1e-12
    assert abs(policy_value.gain(policy, base, 3 * spent).value) > 0.01


def test_scores_refuse_missing_propensities() -> None:
    with pytest.raises(InputError, match="no propensity above 0"):
        policy_value.scores(np.zeros(2), np.array([0, 1]), np.array([[0.5, 0.5], [1.0, 0.0]]))
    with pytest.raises(InputError, match="numbered 0 to 1"):
        policy_value.scores(np.zeros(2), np.array([0, 2]), np.full((2, 2), 0.5))
    with pytest.raises(InputError, match=r"propensity \[n, arms \+ 1\]"):
        policy_value.scores(np.zeros(2), np.array([0, 1]), np.full(2, 0.5))


def problem(seed: int, rows: int, arms: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 6, (rows, arms)).astype(float)
    effects = rng.normal(1, 2, (rows, arms))
    effects[rng.random((rows, arms)) < 0.1] = -np.inf
    return effects, costs


def best_of_all(effects: np.ndarray, costs: np.ndarray, budget: float) -> float:
    """The optimum with one divisible customer: over all pairs of allocations next to each other, here over the hull of all totals."""
    rows, arms = effects.shape
    totals = []
    for choice in itertools.product(range(-1, arms), repeat=rows):
        value = sum(effects[row, arm] for row, arm in enumerate(choice) if arm >= 0)
        totals.append((sum(costs[row, arm] for row, arm in enumerate(choice) if arm >= 0), value))
    inside = [value for cost, value in totals if cost <= budget]
    between = [
        low[1] + (budget - low[0]) / (high[0] - low[0]) * (high[1] - low[1])
        for low in totals
        for high in totals
        if low[0] <= budget < high[0] and np.isfinite(low[1]) and np.isfinite(high[1])
    ]
    return float(max(inside + between))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 3), arms=st.integers(1, 3), share=st.floats(0, 1.2))
def test_the_path_is_the_optimum_of_every_budget(seed: int, rows: int, arms: int, share: float) -> None:
    effects, costs = problem(seed, rows, arms)
    budget = share * 5 * rows
    way = path(effects, costs)
    assert way.predicted(budget / rows) * rows == pytest.approx(best_of_all(effects, costs, budget), abs=1e-9)
    policy = way.policy(budget / rows)
    assert policy.sum(axis=1) == pytest.approx(1.0)
    assert (policy >= 0).all()
    assert (policy[:, 1:] * costs).sum() <= budget + 1e-9
    worth = np.where(np.isfinite(effects), effects, 0)
    assert (policy[:, 1:] * worth).sum() == pytest.approx(way.predicted(budget / rows) * rows, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(50, 300), arms=st.integers(1, 6), share=st.floats(0.01, 1))
def test_the_path_and_the_allocation_agree(seed: int, rows: int, arms: int, share: float) -> None:
    effects, costs = problem(seed, rows, arms)
    found = allocate(effects, costs, budget=share * rows)
    total = path(effects, costs).predicted(share) * rows
    assert found.value <= total + 1e-9
    assert total <= found.bound + 1e-6


def test_the_curve_earns_what_the_policy_earns_and_its_bootstrap_is_paired() -> None:
    x, arm, y, chance = trial(11)
    scored = policy_value.scores(y, arm, chance)
    effects, costs = np.column_stack([x, np.full(len(x), 0.3)]), np.tile([1.0, 2.0], (len(x), 1))
    way = path(effects, costs)
    budgets = [0.0, 0.2, 0.5, 9.0]
    gain, drawn = curve(way, scored, budgets, draws=300, seed=1)
    for budget, at in zip(budgets, gain, strict=True):
        assert at == pytest.approx(((way.policy(budget) * scored).sum(axis=1) - scored[:, 0]).mean())
    flat, flat_drawn = untargeted(np.array([0.0, 0.3]), np.array([1.0, 2.0]), scored, budgets, draws=300, seed=1)
    assert flat[1] == pytest.approx(0.1 * (scored[:, 2] - scored[:, 0]).mean())  # .2 buys arm 2 for a tenth
    error = (drawn - flat_drawn).std(axis=0)
    truth = 0.5 * 0.7979 - 0.25 * 0.3  # at .5: the half with x > 0 gets arm 1; untargeted: a quarter gets arm 2
    assert abs(gain[2] - flat[2] - truth) < 4 * error[2]
    assert 0 < error[2] < 0.1


def test_an_empty_path_earns_nothing() -> None:
    way = path(-np.ones((3, 2)), np.ones((3, 2)))
    assert way.predicted(5.0) == 0.0
    assert way.policy(5.0)[:, 0].tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="one shape"):
        path(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(InputError, match="not negative"):
        path(np.ones((3, 2)), -np.ones((3, 2)))
    with pytest.raises(InputError, match="not a number"):
        path(np.full((3, 2), np.nan), np.ones((3, 2)))
