"""Always-valid intervals, small samples, quantiles, bandits and power: each keeps its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tradewind.errors import InputError
from tradewind.stats import quantiles, randomised, sequential, skewed
from tradewind.stats.adaptive import contrast
from tradewind.stats.experiment import mean_difference
from tradewind.stats.power import Design


def test_the_published_half_width_and_split_are_reproduced() -> None:
    assert sequential.widening(10_000) / math.sqrt(10_000) == pytest.approx(0.03061477, abs=1e-8)
    ratios = [sequential.widening(n) / 1.959964 for n in (1_000, 5_000, 20_000)]
    assert ratios == pytest.approx([1.72, 1.55, 1.60], abs=0.005)


def test_looking_often_does_not_find_what_is_not_there() -> None:
    """300 equal pairs of arms, 30 looks: 5 % at most, give or take luck (binomial, 1 in 10,000); a fixed test finds far more."""
    rng = np.random.default_rng(1)
    at = np.linspace(100, 3_000, 30).astype(int)
    wide = np.array([sequential.widening(2 * int(n)) for n in at])
    always = fixed = 0
    for _ in range(300):
        a, b = rng.exponential(size=(2, 3_000))
        gap = (np.cumsum(a) - np.cumsum(b))[at - 1] / at
        spread = np.array([math.sqrt((a[:n].var() + b[:n].var()) / n) for n in at])
        always += bool((np.abs(gap) > wide * spread).any())
        fixed += bool((np.abs(gap) > 1.96 * spread).any())
    assert always <= 0.10 * 300
    assert fixed >= 0.15 * 300


def test_the_p_value_and_the_sequence_agree() -> None:
    for value in (0.5, 1.0, 2.0, 4.0):
        inside = sequential.confidence_sequence(value, 0.5, 4_000, "x").covers(0.0)
        assert inside == (sequential.p_value(value, 0.5, 4_000) > 0.05)
    assert sequential.p_value(0.0, 0.0, 10) == 1.0


def test_a_broken_split_is_found_while_units_come_in_and_a_sound_one_is_not() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        counts = np.cumsum(rng.multinomial(500, [0.5, 0.3, 0.2], 20), axis=0)
        wrong += min(sequential.sample_ratio([*row, 0], [5, 3, 2, 0]) for row in counts.tolist()) < 0.05
    assert wrong <= 20
    assert sequential.sample_ratio([5_600, 4_400], [1, 1]) < 1e-6
    assert sequential.sample_ratio([4_400, 5_600], [1, 1]) == pytest.approx(sequential.sample_ratio([5_600, 4_400], [1, 1]))
    with pytest.raises(InputError, match="two arms"):
        sequential.sample_ratio([10, 0], [1, 0])


def test_a_small_holdout_of_skewed_money_is_covered() -> None:
    """33 held-out units, five in six of whom buy nothing: Welch's interval is too confident, the redrawn one is not."""
    rng = np.random.default_rng(3)
    held = {"welch": 0, "redrawn": 0}
    rounds = 200
    for _ in range(rounds):
        money = np.where(rng.random(333) < 0.16, rng.lognormal(8, 0.8, 333), 0.0)
        a, b = money[:300] + 50.0, money[300:]
        held["welch"] += mean_difference(a, b).covers(50.0)
        held["redrawn"] += randomised.difference(a, b).covers(50.0)
    assert held["welch"] / rounds < 0.92
    assert 0.90 <= held["redrawn"] / rounds <= 0.985  # binomial(200, .95)


def test_the_redrawn_interval_is_itself_again_and_mirrors() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.exponential(size=120), rng.exponential(size=40)
    one, again, other = randomised.difference(a, b), randomised.difference(a, b), randomised.difference(b, a)
    turned = randomised.difference(-a, -b)
    assert one == again
    assert one.value == pytest.approx(-other.value)
    assert other.low == pytest.approx(-one.high, rel=0.2)  # type: ignore[operator]
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low))  # type: ignore[operator]
    assert randomised.difference([1.0] * 20, [0.0] * 20).low == 1.0
    with pytest.raises(InputError, match="20 in each arm"):
        randomised.difference(a, b[:19])
    assert randomised.difference(a, b, level=0.9995).high > one.high  # type: ignore[operator]


def test_the_redrawn_interval_holds_exactly_the_effects_that_are_not_rejected() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.lognormal(0, 1.2, 90) + 0.4, rng.lognormal(0, 1.2, 30)
    found = randomised.difference(a, b)
    assert found.low is not None
    assert found.high is not None
    error = (a.var(ddof=1) / 90 + b.var(ddof=1) / 30) ** 0.5
    for effect, tail in ((found.low, 1.0), (found.high, -1.0)):
        told, drawn = np.concatenate([a - effect, b]), []
        for _ in range(4_000):
            mixed = rng.permutation(told)
            one, other = mixed[:90], mixed[90:]
            drawn.append((one.mean() - other.mean()) / (one.var(ddof=1) / 90 + other.var(ddof=1) / 30) ** 0.5)
        beyond = np.mean(tail * np.array(drawn) >= tail * (found.value - effect) / error)
        assert beyond == pytest.approx(0.025, abs=0.012)  # of 1,999 draws against 4,000


def test_arms_of_very_different_sizes_are_redrawn_with_replacement() -> None:
    rng = np.random.default_rng(9)
    many = randomised.difference(rng.exponential(size=30_000), rng.exponential(size=100))
    assert many.covers(0.0)
    assert many.high - many.low == pytest.approx(4 / 100**0.5, rel=0.3)  # type: ignore[operator]


def test_large_arms_take_the_skewness_out_by_formula() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.exponential(size=900), rng.lognormal(0, 1.5, 450)
    assert randomised.difference(a, b) == skewed.difference(a, b)
    plain, found = mean_difference(a, b), skewed.difference(a, b)
    assert found.low < plain.low  # type: ignore[operator]
    assert found.high < plain.high  # type: ignore[operator]
    for skew in (-0.4, 0.0, 0.7):
        x = skewed.inverse(1.3, skew)
        assert x + skew * x**2 / 3 + skew**2 * x**3 / 27 + skew / 6 == pytest.approx(1.3)
    with pytest.raises(InputError, match="finite"):
        skewed.inverse(1.0, math.nan)


def test_quantiles_cover_and_say_when_a_sample_is_too_small() -> None:
    rng = np.random.default_rng(6)
    held, rounds = 0, 400
    for _ in range(rounds):
        sides = []
        for n in (300, 150):
            values, at = np.sort(rng.lognormal(size=n)), quantiles.ranks(n, 0.5)
            sides.append((float(np.median(values)), float(values[at.low - 1]), float(values[at.high - 1])))
        held += quantiles.difference(sides[0], sides[1], "median", n=450).covers(0.0)
    assert held / rounds >= 0.92
    assert not quantiles.ranks(20, 0.99).enough
    assert quantiles.difference((1, 0, 2), (1, 0, 2), "x", n=2, enough=False).note
    with pytest.raises(InputError, match="between 0 and 1"):
        quantiles.ranks(10, 1.0)


def greedy(rng: np.random.Generator, n: int, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outcome, arm, chance = rng.exponential(size=n), np.zeros(n, dtype=np.int64), np.full((n, 2), 0.5)
    total, count = np.zeros(2), np.zeros(2)
    for at in range(n):
        if at >= 20:
            chance[at] = 0.1
            chance[at, int(np.argmax(total / np.maximum(count, 1)))] = 0.9
        arm[at] = rng.random() < chance[at, 1]
        outcome[at] += gap * arm[at]
        total[arm[at]] += outcome[at]
        count[arm[at]] += 1
    return outcome, arm, chance


def test_a_bandits_arms_are_compared_without_bias() -> None:
    rng = np.random.default_rng(7)
    naive, weighed, held, rounds = [], [], 0, 200
    for _ in range(rounds):
        outcome, arm, chance = greedy(rng, 400, 0.0)
        naive.append(outcome[arm == 0].mean() - 1)
        found = contrast(outcome, arm, chance, one=1, other=0)
        weighed.append(found.value)
        held += found.covers(0.0)
    assert np.mean(naive) < -3 * np.std(naive) / math.sqrt(rounds), "an arm with bad luck is given up, so its mean stays low"
    assert abs(np.mean(weighed)) < 3.5 * np.std(weighed) / math.sqrt(rounds)
    assert held / rounds >= 0.88
    mirrored = contrast(outcome, arm, chance, one=0, other=1)
    assert (mirrored.value, mirrored.low) == pytest.approx((-found.value, -found.high))  # type: ignore[operator]
    with pytest.raises(InputError, match="propensity above 0"):
        contrast(outcome, arm, np.zeros_like(chance), one=1, other=0)


def test_power_is_what_simulation_finds_and_its_inverses_agree() -> None:
    design = Design(sd=2.0, share=0.25)
    units = design.units_needed(0.4)
    assert design.power(0.4, units) == pytest.approx(0.8, abs=0.005)
    assert design.smallest_effect(units) == pytest.approx(0.4, rel=0.01)
    rng = np.random.default_rng(8)
    cut = round(units * 0.25)
    found = [(e.low or 0) > 0 for e in (mean_difference(rng.normal(0.4, 2, units - cut), rng.normal(0, 2, cut)) for _ in range(500))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)
    assert Design(sd=2.0, share=0.25, always_valid=True).units_needed(0.4) > 1.7 * units
    assert Design(sd=2.0, share=0.25, explained=0.5).units_needed(0.4) == pytest.approx(units / 2, rel=0.02)
    assert Design(sd=2.0, share=0.25, cluster=2.0).units_needed(0.4) == pytest.approx(units * 2, rel=0.02)
    with pytest.raises(InputError, match="share"):
        Design(sd=1.0, share=1.5).smallest_effect(100)
