"""R-learner: what outcome and arm leave after their expectations, regressed on each other."""

from __future__ import annotations

import numpy as np

from tradewind.decide.learners import _linear
from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.trial import Trial, Values


class Residual(Learner):
    """Robinson's residual-on-residual regression for several arms, with the cross-fitted mean outcome and known propensities.

        y - m(x) = sum over arms a of (1{arm = a} - e_a(x)) * effect_a(x) + noise

    Source: X. Nie and S. Wager, "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 108 (2021).
    """

    name = "r"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        left = trial.y - (trial.propensity * self._crossed(trial, seed)).sum(axis=1)
        surprise = np.eye(trial.arms + 1)[trial.arm, 1:] - trial.propensity[:, 1:]
        scale, features = _linear.Scale.of(trial.x), trial.x.shape[1]

        def design(x: Values) -> Values:
            return np.column_stack([np.ones(len(x)), scale(x)])

        told = np.column_stack([design(trial.x) * surprise[:, [arm]] for arm in range(trial.arms)])
        groups = np.concatenate([np.append(-1, np.full(features, arm)) for arm in range(trial.arms)])
        beta = _linear.fit(told, left, groups, binary=False, shrink=self.shrink).reshape(trial.arms, features + 1)
        trees = []
        if self.inside == "lightgbm":
            left = left - ((design(trial.x) @ beta.T) * surprise).sum(axis=1)
            for arm in range(trial.arms):
                own = surprise[:, arm]
                target = np.divide(left, own, out=np.zeros(len(left)), where=own != 0)  # an arm that was impossible weighs nothing
                grown = _linear.boosted(trial.x, target, np.zeros(len(left)), binary=False, seed=seed, weight=own**2)
                left = left - own * grown.predict(trial.x)
                trees.append(grown)

        def effects(x: Values) -> Values:
            found = design(x) @ beta.T
            return found + np.column_stack([grown.predict(x) for grown in trees]) if trees else found

        return effects


PLUGIN = Residual
