"""Off-policy estimates of the Open Bandit Pipeline on the logs that bench/offpolicy.py wrote; run by bench/peers/.venv-obp.

    .venv-obp/bin/python obp_peer.py LOGS.npz OUT.npz

LOGS.npz holds stacked logs [runs, n, ...]: x, arm, reward, propensity [.., arms], policy; or those of ranked lists: clicks, propensity,
policy [runs, n, places]. OUT.npz: one array [runs, 3] per estimator (value, low, high of its own bootstrap interval) and the
predictions of its own cross-fitted regression, q [runs, n, arms].
"""

import sys
import warnings

import numpy as np
from obp import ope
from sklearn.linear_model import LinearRegression, LogisticRegression

warnings.filterwarnings("ignore")
LIMITS = [1, 5, 10, 50, 100, 500, 1000, 5000, np.inf]
ESTIMATORS = {
    "ips": ope.InverseProbabilityWeighting(),
    "clipped": ope.InverseProbabilityWeightingTuning(lambdas=LIMITS),
    "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
    "dm": ope.DirectMethod(),
    "dr": ope.DoublyRobust(),
    "sndr": ope.SelfNormalizedDoublyRobust(),
    "switch": ope.SwitchDoublyRobustTuning(lambdas=LIMITS),
    "shrunk": ope.DoublyRobustWithShrinkageTuning(lambdas=LIMITS),
}
SLATES = {
    "whole": ope.SlateStandardIPS(len_list=3),
    "cascade": ope.SlateRewardInteractionIPS(len_list=3),
    "position": ope.SlateIndependentIPS(len_list=3),
}


def triple(estimator, seed, **given):
    bounds = estimator.estimate_interval(**given, alpha=0.05, n_bootstrap_samples=200, random_state=seed)
    return [estimator.estimate_policy_value(**given), *(bounds[f"95.0% CI ({side})"] for side in ("lower", "upper"))]


def bandits(logs):
    runs, n, arms = logs["policy"].shape
    found = {name: np.empty((runs, 3)) for name in ESTIMATORS}
    found["q"] = np.empty((runs, n, arms))
    binary = np.isin(logs["reward"], (0.0, 1.0)).all()
    for run in range(runs):
        arm, reward = logs["arm"][run], logs["reward"][run]
        pscore = logs["propensity"][run][np.arange(n), arm]
        base = LogisticRegression(random_state=12345, max_iter=1000) if binary else LinearRegression()
        model = ope.RegressionModel(n_actions=arms, base_model=base)
        q = model.fit_predict(context=logs["x"][run], action=arm, reward=reward, n_folds=3, random_state=12345)
        found["q"][run] = q[:, :, 0]
        told = {"reward": reward, "action": arm, "pscore": pscore, "action_dist": logs["policy"][run][:, :, None]}
        told |= {"estimated_rewards_by_reg_model": q}
        for name, estimator in ESTIMATORS.items():
            found[name][run] = triple(estimator, run, **told)
    return found


def slates(logs):
    runs, n, places = logs["clicks"].shape
    found = {name: np.empty((runs, 3)) for name in SLATES}
    shared = {"slate_id": np.repeat(np.arange(n), places), "position": np.tile(np.arange(places), n)}
    for run in range(runs):
        pscore, policy = logs["propensity"][run], logs["policy"][run]
        told = {"reward": logs["clicks"][run].ravel(), **shared}
        weights = {
            "whole": ("pscore", "evaluation_policy_pscore", np.prod, False),
            "cascade": ("pscore_cascade", "evaluation_policy_pscore_cascade", np.cumprod, True),
            "position": ("pscore_item_position", "evaluation_policy_pscore_item_position", None, True),
        }
        for name, (first, second, fold, per_place) in weights.items():
            if fold is None:
                pair = pscore, policy
            elif per_place:
                pair = fold(pscore, axis=1), fold(policy, axis=1)
            else:
                pair = (np.repeat(fold(each, axis=1), places).reshape(n, places) for each in (pscore, policy))
            one, two = pair
            found[name][run] = triple(SLATES[name], run, **told, **{first: one.ravel(), second: two.ravel()})
    return found


logs = dict(np.load(sys.argv[1]))
np.savez(sys.argv[2], **(slates(logs) if "clicks" in logs else bandits(logs)))
