"""Personalise only where it pays: candidates against the best constant policy at equal spend, on customers they have not seen.

The choice among candidates is by held-out gain at the operating point, not by prediction loss; the first one stays unless the lower
bound of another's lead over it is positive. Because the best of several looks better than it is, the whole procedure - choose, fit,
decide - is repeated without each fold and judged on that fold: what is reported is the value of the procedure, free of the
winner's luck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.decide.learners.base import Learner, crossed, learner
from tradewind.decide.learners.trial import Trial, Values
from tradewind.errors import InputError
from tradewind.stats.cost_curve import path
from tradewind.stats.policy_value import scores, value
from tradewind.types import Estimate

Make = Callable[[], Learner]
FOLDS = 3
# The first is the incumbent: a regression with every product of arm and feature, and small trees on what it leaves.
CANDIDATES: tuple[Make, ...] = (
    lambda: learner("blend", inside="lightgbm"),
    lambda: learner("s"),
    lambda: learner("dr"),
    lambda: learner("dr", inside="lightgbm"),
)


@dataclass(frozen=True)
class Point:
    """Where the policy will operate: mean cost per customer that may be spent, or the price of one unit of cost.

    With several ``budgets`` the value is their average (the area under the cost curve). Without any, an arm is given where
    its effect exceeds ``price`` times its cost.
    """

    budgets: tuple[float, ...] = ()
    price: float = 0.0

    def check(self) -> None:
        """Raise :class:`InputError` when the point is not valid."""
        if any(not budget > 0 for budget in self.budgets):
            raise InputError(f"gate: budgets must be above 0, in cost per customer; got {self.budgets}.")
        if not 0 <= self.price < np.inf:
            raise InputError(f"gate: the price must be 0 or more, in outcome per unit of cost; got {self.price}.")
        if self.budgets and self.price:
            raise InputError("gate: give budgets or a price, not both; a budget has its own price.")

    def __str__(self) -> str:
        if self.budgets:
            return f"a budget of {' / '.join(f'{budget:g}' for budget in self.budgets)} per customer"
        return f"a price of {self.price:g}" if self.price else "no budget"


@dataclass(frozen=True)
class Gate:
    """What ships, and why. ``ships`` is "personal", "constant" or "nothing"; estimates are in units of the outcome per customer.

    ``gain`` is personal minus constant at equal spend; ``personal`` and ``constant`` are over nothing (cost at the price deducted,
    if there is one); all three are of the procedure, on customers it had not seen. ``arm`` is the constant policy's main arm.
    ``candidates`` are the gains by which the winner was chosen (they flatter the winner; ``gain`` does not).
    """

    ships: str
    winner: str
    arm: int
    gain: Estimate
    personal: Estimate
    constant: Estimate
    candidates: tuple[tuple[str, Estimate], ...]
    point: Point
    model: Learner = field(repr=False, compare=False)
    effects: Values = field(repr=False, compare=False)  # mean effect of each arm, [arms]
    costs: Values = field(repr=False, compare=False)  # mean cost of each arm, [arms]

    @property
    def verdict(self) -> str:
        """The decision in a sentence or two."""
        gain = f"{self.gain.value:+.4g} per customer ({self.gain.low:+.4g} to {self.gain.high:+.4g})"
        if self.ships == "personal":
            return f"Personalise with {self.winner}: at {self.point} it earns {gain} more than the best constant policy at equal spend."
        targeting = f"targeting does not pay: at {self.point} the gain of {self.winner} over the best constant policy is {gain}"
        if self.ships == "constant":
            held = f"{self.constant.value:+.4g} ({self.constant.low:+.4g} to {self.constant.high:+.4g})"
            return f"Give everybody the same, mainly arm {self.arm} ({held} over nothing); {targeting}."
        return f"Give nothing: no arm is shown to have a positive effect, and {targeting}."

    def policy(self, x: ArrayLike) -> Values:
        """Probabilities of the arms for customers ``x`` [n, features], [n, arms + 1], column 0 nothing; several budgets are averaged."""
        features = np.asarray(x, dtype=np.float64)
        n = len(features)
        if self.ships == "nothing":
            return np.tile(np.eye(len(self.effects) + 1)[0], (n, 1))
        costs = np.tile(self.costs, (n, 1))
        if self.ships == "constant":
            return np.tile(np.mean(_policies(self.effects[None], costs[:1], self.point), axis=0), (n, 1))
        return np.asarray(np.mean(_policies(self.model.effects(features), costs, self.point), axis=0))


def gate(
    trial: Trial,
    cost: ArrayLike,
    *,
    point: Point | None = None,
    candidates: Sequence[Make] = CANDIDATES,
    folds: int = FOLDS,
    level: float = 0.99,
    seed: int = 0,
) -> Gate:
    """Decide whether to personalise, to give everybody the same, or nothing.

    Parameters
    ----------
    trial
        The randomised log; see :meth:`Trial.of`.
    cost
        What each customer cost, [n], in the unit of ``point``: 0 for nothing and so on.
    candidates
        Functions that make unfitted learners; the first is the incumbent.
    level
        Two-sided level of every interval; a claim needs a lower bound above 0. The folds share customers, which makes the
        intervals up to a quarter too narrow where there is nothing to find; hence 0.99 and not 0.95.

    Raises
    ------
    InputError
        The point is not valid, there is no candidate, costs are not finite or negative, or folds or level are out of range.

    When not to use: logs whose propensities are not known.
    """
    return gates(trial, cost, points=(point or Point(),), candidates=candidates, folds=folds, level=level, seed=seed)[0]


def gates(
    trial: Trial,
    cost: ArrayLike,
    *,
    points: Sequence[Point],
    candidates: Sequence[Make] = CANDIDATES,
    folds: int = FOLDS,
    level: float = 0.99,
    seed: int = 0,
) -> list[Gate]:
    """As :func:`gate` at several points, for little more than the work of one: learners do not depend on the point."""
    world = _World(trial, cost, points, candidates, folds, level, seed)
    fold = trial.folds(folds, seed)
    apart = [(fold != one, fold == one) for one in range(folds)]
    everybody = np.ones(len(trial), dtype=bool)
    within = [world.fits(seen) for seen, _ in apart]
    whole = world.fits(everybody)
    found = []
    for point in points:
        parts = np.empty((len(trial), 3))
        for (seen, fresh), fits in zip(apart, within, strict=True):
            _, model = world.choose(fits, point)
            parts[fresh] = world.judge(model.effects(trial.x[fresh]), seen, fresh, point)
        gain, personal, constant = (_estimate(parts[:, at], name, level) for at, name in enumerate(("gain", "personal", "constant")))
        table, model = world.choose(whole, point)
        effects, costs = world.means(everybody)
        main = int(np.mean(_policies(effects[None], costs[None], point), axis=0)[0, 1:].argmax()) + 1
        ships = "personal" if _positive(gain) and _positive(personal) else "constant" if _positive(constant) else "nothing"
        found.append(Gate(ships, model.label, main, gain, personal, constant, table, point, model, effects, costs))
    return found


def choose(
    trial: Trial,
    cost: ArrayLike,
    *,
    point: Point,
    candidates: Sequence[Make] = CANDIDATES,
    folds: int = FOLDS,
    level: float = 0.99,
    seed: int = 0,
) -> tuple[tuple[tuple[str, Estimate], ...], Learner]:
    """The gate's first half: each candidate's cross-fitted gain, and the chosen one, fitted on all of ``trial``.

    The gain of the winner is flattered by having been chosen; :func:`gate` says what it is worth. Arguments and errors as there.
    """
    world = _World(trial, cost, (point,), candidates, folds, level, seed)
    return world.choose(world.fits(np.ones(len(trial), dtype=bool)), point)


@dataclass(frozen=True)
class _Fits:
    """Candidates cross-fitted among the customers ``rows``: effects of each on those it has not seen."""

    folds: tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], ...]  # (seen, fresh) among all customers
    effects: tuple[tuple[Values, ...], ...]  # [candidate][fold], [fresh, arms]
    whole: Trial


class _World:
    """A trial with its cross-fitted scores of outcome and cost: what any policy earns and spends on it."""

    def __init__(
        self, trial: Trial, cost: ArrayLike, points: Sequence[Point], candidates: Sequence[Make], folds: int, level: float, seed: int
    ) -> None:
        spent = np.asarray(cost, dtype=np.float64)
        for point in points:
            point.check()
        _check(trial, spent, candidates, folds, level)
        self.trial, self.candidates, self.folds, self.level, self.seed = trial, candidates, folds, level, seed
        self.scored = scores(trial.y, trial.arm, trial.propensity, crossed(learner("t").outcomes, trial, seed))
        means = np.array([spent[trial.arm == arm].mean() for arm in range(trial.arms + 1)])
        self.spent = scores(spent, trial.arm, trial.propensity, np.tile(means, (len(trial), 1)))

    def means(self, rows: NDArray[np.bool_]) -> tuple[Values, Values]:
        """Mean effect and mean extra cost of each arm over nothing among ``rows``, each [arms]."""
        effects, costs = (each[rows, 1:].mean(axis=0) - each[rows, 0].mean() for each in (self.scored, self.spent))
        return effects, np.maximum(costs, 0.0)

    def judge(self, effects: Values, seen: NDArray[np.bool_], fresh: NDArray[np.bool_], point: Point) -> Values:
        """Per customer of ``fresh``: gain over the constant at equal spend, personal and constant over nothing; [fresh, 3].

        ``effects`` [fresh, arms] come from a model of ``seen``, and so do the constant policy and the expected costs.
        """
        means, costs = self.means(seen)
        scored, spent = self.scored[fresh], self.spent[fresh]
        table = np.tile(costs, (len(scored), 1))
        personal, constant = _policies(effects, table, point), _policies(means[None], costs[None], point)
        net = scored - point.price * spent
        parts = np.zeros((len(scored), 3))
        for own, same in zip(personal, constant, strict=True):
            equal, slope = _mix(means, costs, float((own[:, 1:] @ costs).mean())) if point.budgets else (same, point.price)
            parts[:, 0] += ((own - equal) * (scored - slope * spent)).sum(axis=1)
            parts[:, 1] += (own * net).sum(axis=1) - net[:, 0]
            parts[:, 2] += (same * net).sum(axis=1) - net[:, 0]
        return parts / len(personal)

    def fits(self, rows: NDArray[np.bool_]) -> _Fits:
        """Every candidate, fitted without each fold of ``rows``."""
        part, inside = self.trial.part(rows), np.flatnonzero(rows)
        fold = part.folds(self.folds, self.seed + 1)
        pairs = []
        effects: list[list[Values]] = [[] for _ in self.candidates]
        for one in range(self.folds):
            seen, fresh = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
            seen[inside[fold != one]], fresh[inside[fold == one]] = True, True
            pairs.append((seen, fresh))
            told = self.trial.part(seen)
            for make, own in zip(self.candidates, effects, strict=True):
                own.append(make().fit_trial(told, seed=self.seed).effects(self.trial.x[fresh]))
        return _Fits(tuple(pairs), tuple(tuple(own) for own in effects), part)

    def choose(self, fits: _Fits, point: Point) -> tuple[tuple[tuple[str, Estimate], ...], Learner]:
        """Cross-fitted gain of each candidate, and the chosen one fitted on all of its customers.

        The best of several noisy figures is mostly luck, so the incumbent stays unless the lower bound of a challenger's
        paired gain over it is positive; of such challengers the one with the highest bound is chosen.
        """
        gains = [
            np.concatenate([self.judge(own, *pair, point)[:, 0] for own, pair in zip(effects, fits.folds, strict=True)])
            for effects in fits.effects
        ]
        labels = (make().label for make in self.candidates)
        table = tuple((label, _estimate(each, "gain", self.level)) for label, each in zip(labels, gains, strict=True))
        ahead = [_estimate(each - gains[0], "ahead", self.level) for each in gains]
        best = int(np.argmax([float(estimate.low or 0.0) for estimate in ahead]))  # the incumbent's own is 0
        return table, self.candidates[best]().fit_trial(fits.whole, seed=self.seed)


def _policies(effects: Values, costs: Values, point: Point) -> list[Values]:
    """One matrix of probabilities [n, arms + 1] per budget, or the one of the price."""
    if point.budgets:
        way = path(effects, costs)
        return [way.policy(budget) for budget in point.budgets]
    net = np.column_stack([np.zeros(len(effects)), effects - point.price * costs])
    return [np.eye(net.shape[1])[net.argmax(axis=1)]]


def _mix(effects: Values, costs: Values, spend: float) -> tuple[Values, float]:
    """The best treatment of everybody alike at ``spend`` per customer, [1, arms + 1], and its outcome per further unit of cost."""
    way = path(effects[None], costs[None])
    at = int(np.searchsorted(np.cumsum(way.cost), spend, side="left"))
    slope = float(way.value[at] / way.cost[at]) if at < len(way.cost) and way.cost[at] > 0 else 0.0
    return way.policy(spend), slope


def _estimate(each: Values, name: str, level: float) -> Estimate:
    return value(np.ones((1, 1)), each[:, None], name=name, level=level)


def _positive(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.low > 0


def _check(trial: Trial, cost: Values, candidates: Sequence[Make], folds: int, level: float) -> None:
    if cost.shape != trial.y.shape or not np.isfinite(cost).all() or (cost < 0).any():
        raise InputError(f"gate: cost must be one finite number, 0 or more, for each of {len(trial)} customers; got shape {cost.shape}.")
    if not candidates:
        raise InputError("gate: there is no candidate; pass at least one function that makes a learner.")
    if not 2 <= folds <= 20:
        raise InputError(f"gate: folds must be 2 to 20; got {folds}.")
    if not 0.5 <= level < 1:
        raise InputError(f"gate: level must be from 0.5 to below 1; got {level}.")
    fewest = int(np.bincount(trial.arm, minlength=trial.arms + 1).min())
    if fewest < 10 * folds:
        raise InputError(f"gate: the smallest arm has {fewest} customers; {folds} folds need at least {10 * folds}.")
