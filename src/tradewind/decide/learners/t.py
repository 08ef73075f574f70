"""T-learner: one model of the outcome per arm; the effect is the difference of their predictions."""

from __future__ import annotations

from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.trial import Trial, Values


class Two(Learner):
    """Separate regressions per arm. Source: Kunzel et al., PNAS 116 (2019).

    When not to use: small arms, where the noise of two models exceeds the effect; confounded logs.
    """

    name = "t"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        outcomes = self.outcomes(trial, seed)

        def effects(x: Values) -> Values:
            found = outcomes(x)
            return found[:, 1:] - found[:, :1]

        return effects


PLUGIN = Two
