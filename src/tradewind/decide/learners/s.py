"""S-learner: one model of the outcome with the arm as a feature; the effect is what changing the arm changes."""

from __future__ import annotations

import numpy as np

from tradewind.decide.learners import _linear
from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.trial import Trial, Values


class Single(Learner):
    """Arm, features and every interaction of both in one regression; shrinkage takes features and each arm's interactions apart.

    On the logit scale an arm without interactions moves customers in the middle most, which is often true of response.
    Source: S. Kunzel, J. Sekhon, P. Bickel, B. Yu, "Metalearners ...", PNAS 116 (2019).

    When not to use: confounded logs; the propensity is not used.
    """

    name = "s"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        scale, arms = _linear.Scale.of(trial.x), trial.arms
        given = np.eye(arms + 1)[:, 1:]  # one indicator per arm besides nothing
        middle = given[trial.arm].mean(axis=0)

        def design(x: Values, arm: Values) -> Values:
            z = scale(x)
            crosses = [z * arm[:, [one]] for one in range(arms)]
            return np.column_stack([np.ones(len(x)), arm, z, *crosses])

        features = trial.x.shape[1]
        groups = np.concatenate([np.full(1 + arms, -1), np.repeat(np.arange(1 + arms), features)])
        told = design(trial.x, given[trial.arm] - middle)
        beta = _linear.fit(told, trial.y, groups, binary=trial.binary, shrink=self.shrink)
        trees = None
        if self.inside == "lightgbm":
            trees = _linear.boosted(np.column_stack([trial.x, given[trial.arm]]), trial.y, told @ beta, binary=trial.binary, seed=seed)

        def outcome(x: Values, arm: int) -> Values:
            same = np.tile(given[arm], (len(x), 1))
            eta = design(x, same - middle) @ beta
            if trees is not None:
                eta = eta + trees.predict(np.column_stack([x, same]), raw_score=True)
            return _linear.sigmoid(eta) if trial.binary else eta

        def effects(x: Values) -> Values:
            nothing = outcome(x, 0)
            return np.column_stack([outcome(x, arm) - nothing for arm in range(1, arms + 1)])

        return effects


PLUGIN = Single
