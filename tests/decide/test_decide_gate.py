"""The gate: it personalises where that pays, gives everybody the same where it does not, and nothing where nothing works."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tradewind.decide.gate import Point, choose, gate, gates
from tradewind.decide.learners.base import Learner, Predict, learner
from tradewind.decide.learners.dr import DoublyRobust
from tradewind.decide.learners.trial import Trial, shares
from tradewind.errors import InputError

LINEAR = (lambda: learner("s"), lambda: learner("dr"))


def trial(seed: int, *, n: int = 2_000, mean: float = 0.0, spread: float = 0.0, second: float = 0.0) -> tuple[Trial, np.ndarray]:
    """Arm 1 works by mean + spread * x0, arm 2 by ``second``; arm 2 costs twice as much. The trial and its cost."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    arm = rng.integers(0, 3, n)
    effect = np.column_stack([np.zeros(n), mean + spread * x[:, 0], np.full(n, second)])
    y = x[:, 1] + effect[np.arange(n), arm] + rng.normal(size=n)
    return Trial.of(x, arm, y, np.full((n, 3), 1 / 3)), arm.astype(float)


def test_differences_are_used() -> None:
    told, cost = trial(1, mean=0.1, spread=0.6, second=-0.5)
    found = gate(told, cost, candidates=LINEAR)
    assert found.ships == "personal"
    assert found.verdict.startswith("Personalise with ")
    fresh = np.random.default_rng(2).normal(size=(20_000, 3))
    policy = found.policy(fresh)
    assert np.allclose(policy.sum(axis=1), 1)
    earned = (policy[:, 1] * (0.1 + 0.6 * fresh[:, 0]) - 0.5 * policy[:, 2]).mean()
    assert earned > 0.9 * np.maximum(0.1 + 0.6 * fresh[:, 0], 0).mean()
    assert found.gain.covers(earned - 0.1)


def test_one_arm_that_works_for_all_is_given_to_all() -> None:
    told, cost = trial(3, mean=0.4, second=0.1)
    found = gate(told, cost)
    assert (found.ships, found.arm) == ("constant", 1)
    assert "targeting does not pay" in found.verdict
    assert found.policy(told.x[:5])[:, 1].tolist() == [1.0] * 5
    assert found.constant.covers(0.4)


def test_a_trial_without_effect_gets_nothing() -> None:
    """A trial has two claims (personal, constant) at each of two points, and each may err in a hundredth or two of the trials."""
    wrong, empty = 0, []
    for seed in range(12):
        told, cost = trial(seed, n=600)
        found = gates(told, cost, points=(Point(), Point((0.3,))), candidates=LINEAR, seed=seed)
        wrong += any(each.ships != "nothing" for each in found)
        empty += [each for each in found if each.ships == "nothing"]
    assert wrong <= 2
    assert empty[0].verdict.startswith("Give nothing")
    assert empty[0].policy(told.x)[:, 0].min() == 1.0


def test_harm_is_not_an_effect_to_use() -> None:
    told, cost = trial(4, mean=-0.4, second=-0.3)
    assert gate(told, cost, candidates=LINEAR).ships == "nothing"


class Lot(Learner):
    """Ranks customers by a direction drawn by lot."""

    name = "lot"

    def __init__(self, number: int) -> None:
        super().__init__()
        self.direction = np.random.default_rng(number).normal(size=(3, 2))

    def _fit(self, trial: Trial, seed: int) -> Predict:
        return lambda x: 1 + 0.1 * x @ self.direction


def test_what_is_reported_is_free_of_the_winners_luck() -> None:
    """Without differences between customers no policy gains; the best of nine seems to, its fresh folds do not."""
    candidates = [partial(Lot, number) for number in range(9)]
    flattered, reported = [], []
    for seed in range(20):
        told, cost = trial(100 + seed, n=600, mean=0.3, second=0.3)
        found = gate(told, cost, point=Point((0.3,)), candidates=candidates, seed=seed)
        flattered.append(max(estimate.value for _, estimate in found.candidates))
        reported.append(found.gain.value)
    error = np.std(reported) / 20**0.5
    assert abs(np.mean(reported)) < 3 * error
    assert np.mean(flattered) > 2 * error


def test_a_budget_is_kept_and_the_constant_spends_the_same() -> None:
    told, cost = trial(5, mean=0.3, spread=0.5, second=0.35)
    found = gate(told, cost, point=Point((0.2,)), candidates=LINEAR)
    assert found.ships == "personal"
    assert found.policy(told.x)[:, 1:] @ [1.0, 2.0] == pytest.approx(0.2, abs=1.0)
    assert (found.policy(told.x)[:, 1:] @ found.costs).mean() <= 0.2 + 1e-9
    # The best constant puts arm 1 to a fifth of the customers: 0.06 over nothing.
    assert found.arm == 1
    assert found.constant.covers(0.06)
    # Targeted, the fifth with the largest x0 has mean x0 1.40: 0.2 * (0.3 + 0.5 * 1.40) = 0.2.
    assert found.personal.covers(0.2)
    assert found.gain.covers(0.14)


def test_a_price_takes_the_place_of_a_budget() -> None:
    told, cost = trial(6, mean=0.3, second=0.3)
    assert gate(told, cost, point=Point(price=0.05), candidates=LINEAR).ships == "constant"
    dear = gate(told, cost, point=Point(price=0.5), candidates=LINEAR)
    assert dear.ships == "nothing"


class Loud(DoublyRobust):
    """Ranks customers well with effects a hundred times too large."""

    name = "loud"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        effects = super()._fit(trial, seed)
        return lambda x: 100 * effects(x)


class Flat(Learner):
    """The right mean effect for everybody: a far smaller error than Loud's, and no help in choosing whom."""

    name = "flat"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        return lambda x: np.tile([0.2, 0.0], (len(x), 1))


def test_candidates_are_chosen_by_what_their_policy_earns() -> None:
    told, cost = trial(7, mean=0.2, spread=0.5)
    table, winner = choose(told, cost, point=Point((0.3,)), candidates=(Flat, Loud))
    assert winner.name == "loud"
    assert choose(told, cost, point=Point((0.3,)), candidates=(Loud, Flat))[1].name == "loud"
    assert [label for label, _ in table] == ["flat-linear", "loud-linear"]


def test_many_points_are_the_single_ones() -> None:
    told, cost = trial(8, n=600, mean=0.2, spread=0.3)
    points = (Point(), Point((0.1, 0.5)), Point(price=0.1))
    assert gates(told, cost, points=points, candidates=LINEAR) == [gate(told, cost, point=point, candidates=LINEAR) for point in points]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"point": Point((0.0,))}, "budgets must be above 0"),
        ({"point": Point(price=-1)}, "price must be 0 or more"),
        ({"point": Point((1.0,), price=1.0)}, "not both"),
        ({"candidates": ()}, "no candidate"),
        ({"folds": 1}, "folds must be 2 to 20"),
        ({"level": 1.0}, "level must be"),
        ({"folds": 20}, "20 folds need at least 200"),
        ({"cost": np.full(90, np.nan)}, "cost must be one finite number"),
        ({"cost": np.zeros(3)}, "cost must be one finite number"),
    ],
)
def test_bad_input_says_what_is_allowed(changes: dict[str, object], said: str) -> None:
    rng = np.random.default_rng(9)
    arm = np.repeat([0, 1], 45)
    told = Trial.of(rng.normal(size=(90, 2)), arm, rng.normal(size=90), shares(arm))
    arguments: dict[str, object] = {"cost": arm.astype(float)} | changes
    with pytest.raises(InputError, match=said):
        gate(told, **arguments)  # type: ignore[arg-type]
