"""Blend: the mean of the S-learner with and without shrinkage."""

from __future__ import annotations

import numpy as np

from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.s import Single
from tradewind.decide.learners.trial import Trial, Values


class Blend(Learner):
    """Shrinkage helps where effects follow the base rate and costs a little where they do not; the mean has most of both.

    Source: equal weights as in J. Bates and C. Granger, "The combination of forecasts", 1969.

    When not to use: confounded logs; the propensity is not used.
    """

    name = "blend"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        ways = (True, False) if self.shrink else (False,)
        parts = [Single(inside=self.inside, shrink=shrink).fit_trial(trial, seed=seed) for shrink in ways]

        def effects(x: Values) -> Values:
            return np.asarray(np.mean([part.effects(x) for part in parts], axis=0))

        return effects


PLUGIN = Blend
