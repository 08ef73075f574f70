"""Off-policy estimators: formulas by hand, invariances, coverage in a known world, refusals, lists, delays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError, NotFound
from tradewind.stats import offpolicy_slate, policy_value
from tradewind.stats.maturity import Maturity
from tradewind.stats.offpolicy import METHODS, Judged, Match, Refused, every, gain, judge
from tradewind.stats.reward_model import cross_fitted, fit
from tradewind.stats.support import Needs

ANY = Needs(0.0, 1.0, np.inf)
FOUR = Match(
    reward=np.array([1.0, 0.0, 1.0, 0.0]),
    weight=np.array([0.5, 2.0, 1.0, 0.5]),
    taken=np.array([0.5, 0.25, 0.5, 0.25]),
    expected=np.array([0.4, 0.4, 0.6, 0.6]),
    uncovered=0.0,
)


def world(
    seed: int, n: int = 2000, arms: int = 4, floor: float = 0.05
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, arm, reward, propensity of every arm, and a policy; its true value is TRUTH."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    logits = x @ np.array([[1.0, -1.0, 0.5, 0.0], [0.0, 0.5, -0.5, 1.0]]) + np.array([0.0, 0.3, 0.6, -0.3])
    policy, log = (floor + (1 - arms * floor) * np.exp(t * logits) / np.exp(t * logits).sum(axis=1, keepdims=True) for t in (1.5, -0.5))
    arm = (rng.random((n, 1)) >= np.cumsum(log, axis=1)).sum(axis=1).clip(0, arms - 1)
    reward = (rng.random(n) < 1 / (1 + np.exp(-logits[np.arange(n), arm]))).astype(np.float64)
    return x, arm, reward, log, policy


def truth() -> float:
    rng_x, _, _, _, policy = world(999, n=400_000)
    logits = rng_x @ np.array([[1.0, -1.0, 0.5, 0.0], [0.0, 0.5, -0.5, 1.0]]) + np.array([0.0, 0.3, 0.6, -0.3])
    return float((policy / (1 + np.exp(-logits))).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("method", "limit", "by_hand"),
    [
        ("ips", None, (0.5 + 1.0) / 4),
        ("clipped", 0.75, (0.5 + 0.75) / 4),
        ("snips", None, 1.5 / 4),
        ("dm", None, 0.5),
        ("dr", None, 0.5 + (0.25 - 0.5 + 0.5 - 0.125) / 4),
        ("sndr", None, 0.5 + (0.25 - 0.5 + 0.5 - 0.125) / 4),
        ("switch", 1.0, 0.5 + (0.25 + 0.5 - 0.125) / 4),
        ("shrunk", 4.0, 0.5 + (2 / 4.25 * 0.5 - 8 / 8 * 0.25 + 4 / 5 * 0.5 - 2 / 4.25 * 0.25) / 4),
    ],
)
def test_the_formulas_by_hand(method: str, limit: float | None, by_hand: float) -> None:
    found = judge(FOUR, method, limit=limit, needs=ANY)
    assert isinstance(found, Judged)
    assert found.estimate.value == pytest.approx(by_hand)
    assert (found.estimate.low is None) == (method == "dm")


def test_doubly_robust_is_what_the_gates_compute() -> None:
    x, arm, reward, log, policy = world(0)
    q = cross_fitted(x, arm, reward, arms=4)
    found = judge(Match.of(policy, arm, reward, log, q), "dr")
    gate = policy_value.value(policy, policy_value.scores(reward, arm, log, q))
    assert isinstance(found, Judged)
    assert found.estimate.value == pytest.approx(gate.value, abs=1e-12)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((gate.low, gate.high), abs=1e-12)


def test_intervals_cover_a_known_truth_and_predictions_make_them_shorter() -> None:
    value, hits, width = truth(), dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    runs = 80
    for seed in range(runs):
        x, arm, reward, log, policy = world(seed, n=600)
        for name, found in every(Match.of(policy, arm, reward, log, cross_fitted(x, arm, reward, arms=4, folds=3))).items():
            assert isinstance(found, Judged)
            hits[name] += found.estimate.covers(value)
            width[name] += (found.estimate.high or 0.0) - (found.estimate.low or 0.0)
    for name in ("ips", "snips", "dr", "sndr"):
        assert 0.89 <= hits[name] / runs <= 0.99, name
    assert width["dr"] < 0.95 * width["ips"]


def test_the_three_intervals_agree_in_kind_and_bernstein_is_the_widest() -> None:
    x, arm, reward, log, policy = world(1)
    match = Match.of(policy, arm, reward, log, cross_fitted(x, arm, reward, arms=4))
    wide = {how: judge(match, "dr", interval=how, heaviest=20.0) for how in ("asymptotic", "bootstrap", "bernstein")}
    spans = {}
    for how, found in wide.items():
        assert isinstance(found, Judged)
        assert found.estimate.low is not None
        assert found.estimate.high is not None
        spans[how] = found.estimate.high - found.estimate.low
    assert spans["bootstrap"] == pytest.approx(spans["asymptotic"], rel=0.1)
    assert spans["bernstein"] > spans["asymptotic"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-5, 5), st.floats(0.1, 5))
def test_shifting_and_scaling_rewards_shifts_and_scales_self_normalised_values(seed: int, shift: float, scale: float) -> None:
    _, arm, reward, log, policy = world(seed, n=60)
    one, two = (judge(Match.of(policy, arm, each, log), "snips", needs=ANY) for each in (reward, shift + scale * reward))
    assert isinstance(one, Judged)
    assert isinstance(two, Judged)
    assert two.estimate.value == pytest.approx(shift + scale * one.estimate.value, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_arms_may_be_named_otherwise_and_the_log_s_own_policy_is_worth_its_mean(seed: int) -> None:
    _, arm, reward, log, policy = world(seed, n=60)
    order = np.random.default_rng(seed).permutation(4)
    back = np.argsort(order)
    for method in ("ips", "snips"):
        plain, named = (judge(each, method, needs=ANY) for each in (
            Match.of(policy, arm, reward, log), Match.of(policy[:, order], back[arm], reward, log[:, order]),
        ))  # fmt: skip
        own = judge(Match.of(log, arm, reward, log), method, needs=ANY)
        assert isinstance(plain, Judged)
        assert isinstance(named, Judged)
        assert isinstance(own, Judged)
        assert named.estimate == plain.estimate
        assert own.estimate.value == pytest.approx(reward.mean())


def test_thin_support_is_refused_with_its_reasons_and_without_a_number() -> None:
    _, arm, reward, log, policy = world(2)
    never = log.copy()
    never[:, 0] = 0.0
    cases = {
        "could never choose": Match.of(policy, np.where(arm == 0, 1, arm), reward, never),
        "effective sample size": Match.of(np.eye(4)[[0]], arm[:60], reward[:60], log[:60]),
        "mean weight": Match.of(policy, arm, reward, np.minimum(log[np.arange(len(arm)), arm] * 1.3, 1.0)),
    }
    for said, match in cases.items():
        found = judge(match, "ips")
        assert isinstance(found, Refused)
        assert any(said in why for why in found.why), found.why
        assert not hasattr(found, "estimate")
        assert "No value by ips" in str(found)
    assert isinstance(judge(Match.of(policy, arm, reward, log), "ips"), Judged)


def test_luck_with_the_draw_does_not_pass_for_support() -> None:
    """The heavy weight was not drawn: the weights look fine, the propensities know better."""
    policy, log = np.tile([0.5, 0.5], (1000, 1)), np.tile([0.9999, 0.0001], (1000, 1))
    found = judge(Match.of(policy, np.zeros(1000, dtype=np.int64), np.ones(1000), log), "snips", needs=Needs(weight_z=np.inf))
    assert isinstance(found, Refused)
    assert found.support.effective == pytest.approx(1000)
    assert found.support.foreseen == pytest.approx(1000 / (0.25 / 0.9999 + 0.25 / 0.0001))


def test_the_bound_of_empirical_bernstein_holds_in_small_samples() -> None:
    value, held = truth(), 0
    for seed in range(100):
        _, arm, reward, log, policy = world(seed, n=80)
        found = judge(Match.of(policy, arm, reward, log), "ips", interval="bernstein", heaviest=20.0, needs=ANY)
        assert isinstance(found, Judged)
        held += found.estimate.covers(value)
    assert held >= 97


def test_the_gain_over_another_policy_is_paired() -> None:
    x, arm, reward, log, policy = world(3)
    q = cross_fitted(x, arm, reward, arms=4)
    near = 0.9 * policy + 0.1 * log
    one, two = Match.of(policy, arm, reward, log, q), Match.of(near, arm, reward, log, q)
    found, apart = gain(one, two), judge(one)
    assert isinstance(found, Judged)
    assert isinstance(apart, Judged)
    assert found.estimate.high is not None
    assert found.estimate.low is not None
    assert apart.estimate.high is not None
    assert apart.estimate.low is not None
    assert found.estimate.high - found.estimate.low < 0.3 * (apart.estimate.high - apart.estimate.low)
    with pytest.raises(InputError, match="same log"):
        gain(one, Match.of(policy, arm, 1 - reward, log, q))


def test_the_reward_model_finds_a_linear_truth_and_never_sees_its_own_row() -> None:
    rng = np.random.default_rng(4)
    x, arm = rng.standard_normal((4000, 3)), rng.integers(0, 6, 4000)
    slope = rng.standard_normal((6, 3))
    y = (x * slope[arm]).sum(axis=1) + arm + 0.1 * rng.standard_normal(4000)
    model = fit(x, arm, y, arms=7)  # nobody was given the seventh: it borrows from all
    assert np.abs(model.predict(x[:200])[:, :6] - (x[:200] @ slope.T + np.arange(6))).mean() < 0.15
    assert np.isfinite(model.predict(x[:5])).all()
    changed = y.copy()
    changed[0] += 1000.0
    before, after = (cross_fitted(x, arm, each, arms=6, folds=4) for each in (y, changed))
    assert after[0] == pytest.approx(before[0])
    assert not np.allclose(after[1:], before[1:])


def test_lists_by_three_assumptions_when_places_are_independent() -> None:
    rng = np.random.default_rng(5)
    n, log, judged = 20_000, np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    shown = rng.choice(3, size=(n, 2), p=log)
    rates = np.array([[0.1, 0.3, 0.5], [0.05, 0.1, 0.4]])
    clicks = (rng.random((n, 2)) < rates[np.arange(2), shown]).astype(np.float64)
    value = float((rates @ judged).sum())
    one = clicks, judged[shown], log[shown]
    told = {
        "whole": judge(offpolicy_slate.whole(*one), "ips", level=0.999),
        "cascade": offpolicy_slate.cascade(*one, level=0.999),
        "position": offpolicy_slate.position(*one, level=0.999),
        "doubly robust": offpolicy_slate.cascade(*one, (_below(rates, shown, judged), _down(rates, judged, n)), level=0.999),
        "additive": judge(offpolicy_slate.additive(clicks.sum(axis=1), *one[1:]), "ips", level=0.999),
    }
    half = {}
    for name, found in told.items():
        assert isinstance(found, Judged), name
        assert found.estimate.covers(value), name
        half[name] = (found.estimate.high or 0) - found.estimate.value
    assert half["position"] < half["cascade"] < half["whole"]
    assert half["doubly robust"] < half["cascade"]


def _below(rates: np.ndarray, shown: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """What place j brings as shown, and the places below it under the policy, [n, 2]."""
    return np.column_stack([rates[0, shown[:, 0]] + rates[1] @ judged, rates[1, shown[:, 1]]])


def _down(rates: np.ndarray, judged: np.ndarray, n: int) -> np.ndarray:
    return np.tile([float((rates @ judged).sum()), float(rates[1] @ judged)], (n, 1))


def test_weights_of_the_part_that_matters_are_less_noisy() -> None:
    rng = np.random.default_rng(6)
    n, arms = 20_000, 12
    part = np.arange(arms) % 3
    log, judged = (rng.dirichlet(np.full(arms, each), size=n) * 0.9 + 0.1 / arms for each in (2.0, 2.0))
    arm = (rng.random((n, 1)) >= np.cumsum(log, axis=1)).sum(axis=1).clip(0, arms - 1)
    reward = (rng.random(n) < np.array([0.1, 0.2, 0.4])[part[arm]]).astype(np.float64)
    value = float((judged @ np.array([0.1, 0.2, 0.4])[part]).mean())
    plain, marginal = (
        judge(Match.of(judged, arm, reward, log), "ips"),
        judge(offpolicy_slate.marginal(judged, log, arm, reward, part), "ips"),
    )
    assert isinstance(plain, Judged)
    assert isinstance(marginal, Judged)
    assert marginal.estimate.covers(value)
    assert marginal.support.effective > 1.3 * plain.support.effective


def test_rewards_that_take_days_are_weighted_for_maturity() -> None:
    rng = np.random.default_rng(7)
    n, rate = 40_000, 0.3
    delays, age = rng.exponential(4.0, n).clip(0, 13.9), rng.uniform(0, 20, n)
    seen = (rng.random(n) < rate) * (delays <= age)
    told = Maturity.of(rng.exponential(4.0, 4000).clip(0, 13.9), window=14)
    reward, usable = told.reward(seen, age)
    assert seen.mean() < 0.26
    assert reward[usable].mean() == pytest.approx(rate, abs=0.01)
    assert told.seen([0.0, 14.0, 99.0]).tolist() == pytest.approx([0.0, 1.0, 1.0], abs=1e-3)
    assert not usable[told.seen(age) < 0.1].any()
    with pytest.raises(InputError, match="30 outcomes"):
        Maturity.of([1.0, 2.0], window=14)


def test_bad_input_is_named() -> None:
    _, arm, reward, log, policy = world(8, n=50)
    match = Match.of(policy, arm, reward, log)
    with pytest.raises(NotFound, match='"drr"'):
        judge(match, "drr")
    with pytest.raises(InputError, match="needs predictions"):
        judge(match, "dr")
    with pytest.raises(InputError, match="ratio"):
        judge(match, "snips", interval="bernstein")
    with pytest.raises(InputError, match="heaviest"):
        judge(match, "ips", interval="bernstein", needs=ANY)
    with pytest.raises(InputError, match="sum to one"):
        Match.of(policy * 0.5, arm, reward, log)
    with pytest.raises(InputError, match="choices have no propensity"):
        Match.of(policy, arm, reward, np.zeros(50))
    with pytest.raises(InputError, match="limit is for"):
        judge(match, "ips", limit=3.0, needs=ANY)
    with pytest.raises(InputError, match="reward per place"):
        offpolicy_slate.position(reward, log, log)
