"""Effect learners on simulated trials: known effects come back, noise does not become an effect, bad input is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind import plugins
from tradewind.decide.learners.base import Learner, crossed, learner, monotone
from tradewind.decide.learners.trial import Trial, shares
from tradewind.errors import InputError, NotFitted, NotFound
from tradewind.stats.policy_value import scores

NAMES = tuple(plugins.names("decide.learners"))
INSIDES = ("linear", "lightgbm")


@dataclass(frozen=True)
class Made:
    """A trial of two arms; propensities depend on x1, and so does the outcome: without care the arms look different."""

    x: np.ndarray
    arm: np.ndarray
    y: np.ndarray
    propensity: np.ndarray
    effects: np.ndarray  # the truth [n, 2]


def made(seed: int, n: int = 4_000, *, effect: float = 1.0, curved: bool = False, binary: bool = False) -> Made:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    high = x[:, 1] > 0
    chance = np.column_stack([np.full(n, 0.4), np.where(high, 0.45, 0.15), np.where(high, 0.15, 0.45)])
    arm = (rng.random(n)[:, None] > chance.cumsum(axis=1)).sum(axis=1)
    base = 2.0 * (x[:, 1] > 0.7) - 2.0 * (x[:, 1] < -1) * x[:, 1] if curved else 1.5 * x[:, 1]
    effects = effect * np.column_stack([x[:, 0], np.full(n, 0.5)])
    shift = np.column_stack([np.zeros(n), effects])[np.arange(n), arm]
    if binary:
        chances = 1 / (1 + np.exp(-np.column_stack([0.5 * base, 0.5 * base + effects[:, 0], 0.5 * base + effects[:, 1]])))
        y = (rng.random(n) < chances[np.arange(n), arm]).astype(float)
        return Made(x, arm, y, chance, chances[:, 1:] - chances[:, :1])
    return Made(x, arm, base + shift + rng.normal(size=n), chance, effects)


def fitted(trial: Made, name: str, *, inside: str = "linear", shrink: bool = True) -> Learner:
    return learner(name, inside=inside, shrink=shrink).fit(trial.x, trial.arm, trial.y, trial.propensity, seed=1)


def test_the_five_are_there() -> None:
    assert {"s", "t", "x", "r", "dr"} <= set(NAMES)


@pytest.mark.parametrize("inside", INSIDES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("binary", [False, True], ids=["number", "binary"])
def test_known_effects_come_back_despite_confounding(name: str, inside: str, binary: bool) -> None:
    trial, new = made(1, binary=binary), made(2, binary=binary)
    found = fitted(trial, name, inside=inside).effects(new.x)
    assert found.shape == (len(new.x), 2)
    # A difference of raw means would be wrong by about 0.7 for numbers.
    assert abs(found.mean(axis=0) - new.effects.mean(axis=0)).max() < (0.05 if binary else 0.12)
    assert np.corrcoef(found[:, 0], new.effects[:, 0])[0, 1] > 0.85


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_effects_and_unknown_features_are_average(name: str) -> None:
    trial = made(3, n=600)
    once, again = (fitted(trial, name, inside="lightgbm").effects(trial.x) for _ in range(2))
    assert np.array_equal(once, again)
    holes = np.where(np.random.default_rng(0).random(trial.x.shape) < 0.1, np.nan, trial.x)
    model = learner(name).fit(holes, trial.arm, trial.y, trial.propensity, seed=1)
    assert np.isfinite(model.effects(holes)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_outcome_does_not_matter(name: str) -> None:
    trial = made(8, n=800)
    once = fitted(trial, name).effects(trial.x)
    cents = learner(name).fit(trial.x, trial.arm, 1e4 * trial.y, trial.propensity, seed=1).effects(trial.x)
    assert cents == pytest.approx(1e4 * once, rel=1e-3, abs=1.0)


@pytest.mark.parametrize("name", ["s", "r", "dr"])
def test_without_differences_everybody_gets_the_mean_of_the_arm(name: str) -> None:
    trial = made(4, effect=0.0)
    shrunk, plain = (fitted(trial, name, shrink=shrink).effects(trial.x).std(axis=0).mean() for shrink in (True, False))
    assert shrunk < 0.5 * plain
    assert abs(fitted(trial, name).effects(trial.x).mean()) < 0.12


def average(trial: Made, propensity: np.ndarray, *, predicted: bool) -> np.ndarray:
    told = Trial.of(trial.x, trial.arm, trial.y, propensity)
    found = scores(told.y, told.arm, told.propensity, crossed(learner("t").outcomes, told, 0) if predicted else None)
    return np.asarray((found[:, 1:] - found[:, :1]).mean(axis=0))


def test_doubly_robust_needs_only_one_nuisance() -> None:
    """Mean effects over 20 trials; truth (0, 0.5)."""
    errors: dict[str, list[np.ndarray]] = {}
    for seed in range(20):
        bent, straight = made(seed, n=2_000, curved=True), made(seed, n=2_000)
        wrong, off = shares(bent.arm), shares(straight.arm)
        doubly = learner("dr").fit(straight.x, straight.arm, straight.y, off, seed=0)
        for name, found in {
            "wrong outcome model": fitted(bent, "dr").effects(bent.x).mean(axis=0),
            "wrong propensity": doubly.effects(straight.x).mean(axis=0),
            "both wrong": average(bent, wrong, predicted=True),
            "only a wrong outcome model": fitted(bent, "t").effects(bent.x).mean(axis=0),
            "only a wrong propensity": average(straight, off, predicted=False),
        }.items():
            errors.setdefault(name, []).append(found - np.array([0.0, 0.5]))
    bias = {name: float(np.abs(np.mean(each, axis=0)).max()) for name, each in errors.items()}
    assert bias["wrong outcome model"] < 0.05
    assert bias["wrong propensity"] < 0.05
    assert bias["both wrong"] > 0.1
    assert bias["only a wrong outcome model"] > 0.1
    assert bias["only a wrong propensity"] > 0.5


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), arms=st.integers(1, 6))
def test_monotone_is_isotonic_regression(seed: int, arms: int) -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(seed)
    effects, levels = rng.normal(0.3, 1, (5, arms)), rng.permutation(arms) * 5.0
    found = monotone(effects, levels)
    for row, own in zip(found, effects, strict=True):
        assert row == pytest.approx(np.maximum(IsotonicRegression().fit_transform(levels, own), 0.0))
    assert np.array_equal(monotone(found, levels), found) or monotone(found, levels) == pytest.approx(found)


def bad(**changes: object) -> dict[str, object]:
    trial = made(5, n=300)
    told: dict[str, object] = {"x": trial.x, "arm": trial.arm, "y": trial.y, "propensity": trial.propensity}
    return told | changes


N = 300
BAD: dict[str, tuple[dict[str, object], str]] = {
    "propensities missing": ({"propensity": None}, "propensities are missing.*shares"),
    "one arm": ({"arm": np.zeros(N, dtype=int), "propensity": np.ones((N, 1))}, "one arm only"),
    "all treated": ({"arm": np.ones(N, dtype=int), "propensity": np.full((N, 2), 0.5)}, "0 customers got nothing"),
    "an arm with few": ({"arm": np.repeat([0, 1, 2], [150, 145, 5])}, "arm 2 has 5 customers"),
    "an arm unknown to the propensities": ({"arm": np.repeat([0, 3], 150)}, "arms must be 0 to 2"),
    "outcome unknown": ({"y": np.full(N, np.nan)}, "300 outcomes are not finite"),
    "nothing varies": ({"x": np.ones((N, 3))}, "none of the 3 features varies"),
    "infinite feature": ({"x": np.full((N, 1), np.inf)}, "infinite"),
    "probabilities that are none": ({"propensity": np.full((N, 3), 0.5)}, "sum to 1"),
    "impossible arm": ({"arm": np.repeat([0, 1], 150), "propensity": np.tile([1.0, 0.0], (N, 1))}, "whose propensity is 0"),
    "fractions of arms": ({"arm": np.full(N, 0.5)}, "whole numbers"),
    "lengths": ({"y": np.zeros(N - 1)}, r"x must be \[n, features\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_to_do(case: str) -> None:
    changes, said = BAD[case]
    with pytest.raises(InputError, match=said):
        learner("s").fit(**bad(**changes), seed=0)  # type: ignore[arg-type]


def test_wrong_use_says_what_to_do() -> None:
    with pytest.raises(NotFound, match="blend, dr, r, s, t, x"):
        learner("forest")
    with pytest.raises(NotFitted, match="call fit"):
        learner("s").effects(np.zeros((1, 1)))
    with pytest.raises(InputError, match='"linear", "lightgbm"'):
        learner("s", inside="linaer").fit(**bad(), seed=0)  # type: ignore[arg-type]
    trial = made(6, n=300)
    with pytest.raises(InputError, match="4 columns of fit"):
        fitted(trial, "t").effects(trial.x[:, :2])
    with pytest.raises(InputError, match="one level per arm"):
        monotone(np.zeros((2, 3)), [1, 2])
