"""X-learner: each group's effects are imputed by the other group's model, regressed, and averaged by the propensity."""

from __future__ import annotations

import numpy as np

from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.trial import Trial, Values


class Crossed(Learner):
    """Good when one arm is much smaller than the other. Source: Kunzel et al., PNAS 116 (2019).

    The two regressions of an arm are averaged by the mean propensities, since a new customer has none.
    """

    name = "x"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        outcomes = self.outcomes(trial, seed)(trial.x)
        nothing = trial.arm == 0
        parts: list[tuple[float, Predict, Predict]] = []
        for arm in range(1, trial.arms + 1):
            given = trial.arm == arm
            treated = self._regress(trial.x[given], trial.y[given] - outcomes[given, 0], binary=False, seed=seed)
            untreated = self._regress(trial.x[nothing], outcomes[nothing, arm] - trial.y[nothing], binary=False, seed=seed)
            chance, other = trial.propensity[:, arm].mean(), trial.propensity[:, 0].mean()
            parts.append((float(chance / (chance + other)), treated, untreated))

        def effects(x: Values) -> Values:
            return np.column_stack([(1 - share) * treated(x) + share * untreated(x) for share, treated, untreated in parts])

        return effects


PLUGIN = Crossed
