"""DR-learner: doubly robust pseudo-outcomes, cross-fitted, regressed on the features."""

from __future__ import annotations

import numpy as np

from tradewind.decide.learners.base import Learner, Predict
from tradewind.decide.learners.trial import Trial, Values
from tradewind.stats.policy_value import scores


class DoublyRobust(Learner):
    """Unbiased when either the outcome model or the propensity is right.

    Source: E. Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects", 2023 (arXiv 2004.14497).

    When not to use: propensities near 0, which make the pseudo-outcomes wild (see ``docs/uplift.md``).
    """

    name = "dr"

    def _fit(self, trial: Trial, seed: int) -> Predict:
        scored = scores(trial.y, trial.arm, trial.propensity, self._crossed(trial, seed))
        parts = [self._regress(trial.x, scored[:, arm] - scored[:, 0], binary=False, seed=seed) for arm in range(1, trial.arms + 1)]

        def effects(x: Values) -> Values:
            return np.column_stack([part(x) for part in parts])

        return effects


PLUGIN = DoublyRobust
