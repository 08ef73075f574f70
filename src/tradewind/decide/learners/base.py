"""The contract of an effect learner. One file per learner; its ``PLUGIN`` is a subclass of :class:`Learner`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind import plugins
from tradewind.decide.learners import _linear
from tradewind.decide.learners.trial import Trial, Values
from tradewind.errors import InputError, NotFitted
from tradewind.params import OneOf, check

Predict = Callable[[Values], Values]
NUISANCE_FOLDS = 3


class Learner(ABC):
    """Effects of each arm over nothing per customer, learned from a randomised trial.

    ``inside`` is "linear" (logistic for 0/1 outcomes where outcomes are modelled) or "lightgbm" (trees on what the linear model
    leaves). ``shrink`` lets the evidence choose how far each regression is pulled to its mean: in S, R and DR the differences
    between customers go to the mean of the arm, in T and X only those of the regressions inside do.
    """

    name: ClassVar[str]
    rules: ClassVar[dict[str, OneOf]] = {"inside": OneOf(("linear", "lightgbm"))}

    def __init__(self, *, inside: str = "linear", shrink: bool = True) -> None:
        self.inside, self.shrink = inside, shrink
        self._effects: Predict | None = None
        self._features = 0

    @property
    def label(self) -> str:
        """Name for tables: learner, what is inside, and whether it shrinks."""
        return f"{self.name}-{self.inside}{'' if self.shrink else '-plain'}"

    def fit(self, x: ArrayLike, arm: ArrayLike, y: ArrayLike, propensity: ArrayLike | None, *, seed: int) -> Self:
        """Learn from ``x`` [n, features], ``arm`` int [n] (0 nothing), ``y`` [n] and ``propensity`` [n, arms + 1].

        Raises
        ------
        InputError
            A parameter or the trial is not valid; see :meth:`Trial.of`.
        """
        return self.fit_trial(Trial.of(x, arm, y, propensity), seed=seed)

    def fit_trial(self, trial: Trial, *, seed: int) -> Self:
        """As :meth:`fit`, for a trial that is checked already."""
        check(type(self).__name__, {"inside": self.inside}, self.rules)
        self._features = trial.x.shape[1]
        self._effects = self._fit(trial, seed)
        return self

    def effects(self, x: ArrayLike) -> Values:
        """Estimated effect of each arm over nothing, in units of ``y``, float64 [n, arms].

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if self._effects is None:
            raise NotFitted(f"{type(self).__name__}: call fit before effects.")
        features = np.asarray(x, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != self._features:
            raise InputError(f"{type(self).__name__}: x must have the {self._features} columns of fit; got shape {features.shape}.")
        return self._effects(features)

    @abstractmethod
    def _fit(self, trial: Trial, seed: int) -> Predict:
        """The function from features [n, features] to effects [n, arms]."""

    def _regress(self, x: Values, y: Values, *, binary: bool, seed: int, weight: Values | None = None) -> Predict:
        """A regression of ``y`` on ``x`` of the kind that is ``inside``; predictions are means (probabilities when binary)."""
        scale = _linear.Scale.of(x)
        groups = np.zeros(x.shape[1] + 1, dtype=np.int64)
        groups[0] = -1
        beta = _linear.fit(_with_one(scale(x)), y, groups, binary=binary, shrink=self.shrink, weight=weight)
        trees = None
        if self.inside == "lightgbm":
            trees = _linear.boosted(x, y, _with_one(scale(x)) @ beta, binary=binary, seed=seed, weight=weight)

        def predict(new: Values) -> Values:
            eta = _with_one(scale(new)) @ beta
            if trees is not None:
                eta = eta + trees.predict(new, raw_score=True)
            return _linear.sigmoid(eta) if binary else eta

        return predict

    def outcomes(self, trial: Trial, seed: int) -> Predict:
        """Mean outcome under every arm, one regression per arm: features -> [n, arms + 1]."""
        parts = [
            self._regress(trial.x[rows], trial.y[rows], binary=trial.binary, seed=seed)
            for rows in (trial.arm == arm for arm in range(trial.arms + 1))
        ]
        return lambda x: np.column_stack([part(x) for part in parts])

    def _crossed(self, trial: Trial, seed: int) -> Values:
        """Predictions of :meth:`outcomes` for customers that the regression has not seen, [n, arms + 1]."""
        return crossed(self.outcomes, trial, seed)


def crossed(fit: Callable[[Trial, int], Predict], trial: Trial, seed: int, folds: int = NUISANCE_FOLDS) -> Values:
    """Cross-fitted predictions [n, arms + 1]: those of a fold by a fit of the other folds."""
    fold = trial.folds(folds, seed)
    found = np.empty(trial.propensity.shape)
    for one in range(folds):
        found[fold == one] = fit(trial.part(fold != one), seed)(trial.x[fold == one])
    return found


def learner(name: str, *, inside: str = "linear", shrink: bool = True) -> Learner:
    """The learner ``name`` ("s", "t", "x", "r", "dr", or one that a third party ships).

    Raises
    ------
    NotFound
        No such learner.
    """
    made: Learner = plugins.load("decide.learners", name, what="learner")(inside=inside, shrink=shrink)
    return made


def monotone(effects: Values, levels: ArrayLike) -> Values:
    """``effects`` [n, arms] made non-decreasing in ``levels`` [arms] per customer, and not below 0: isotonic regression.

    For arms that are levels of one discount: more money off never sells less. Least squares, by pooling neighbours that are out of
    order. When not to use: arms that are different things, or levels where too much can annoy.

    >>> monotone(np.array([[2.0, 1.0, 5.0]]), [5, 10, 20]).tolist()
    [[1.5, 1.5, 5.0]]
    """
    order = np.argsort(np.asarray(levels, dtype=np.float64), kind="stable")
    values = np.asarray(effects, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(order):
        raise InputError(f"monotone: effects must be [n, arms] with one level per arm; got {values.shape} and {len(order)} levels.")
    values = values[:, order]
    arms = values.shape[1]
    # Min-max form of isotonic regression: arms are few, so all blocks are looked at.
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    found = np.empty_like(values)
    for at in range(arms):
        lows = [
            np.min([(sums[:, end + 1] - sums[:, start]) / (end + 1 - start) for end in range(at, arms)], axis=0) for start in range(at + 1)
        ]
        found[:, at] = np.max(lows, axis=0)
    back = np.empty_like(found)
    back[:, order] = np.maximum(found, 0.0)
    return back


def _with_one(x: Values) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(x)), x])
