"""Effects by scikit-uplift and causalml on the halves that bench/uplift.py wrote; run by the python of bench/peers/.venv-uplift.

    .venv-uplift/bin/python uplift_peer.py TRIAL.npz EFFECTS.npz   ->   one JSON line: CPU seconds, models left out and why, Qini

TRIAL.npz: x [n, features], arm [n] (0 nothing), y [n], halves [splits, n] (True: learn from it), ours_<name> [splits, n, arms]: effects
of our own learners, which get scikit-uplift's Qini here too. EFFECTS.npz: one array [splits, n, arms] per peer, NaN where learned
from; written after each peer, and peers that it already holds are not learned again. Every peer learns each arm against nothing
alone, untuned; trees get the same modest settings everywhere.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")
TREES = {"n_estimators": 100, "learning_rate": 0.05, "num_leaves": 15, "min_child_samples": 200, "n_jobs": 1, "verbose": -1}


def linear(binary):
    last = LogisticRegression(max_iter=2000) if binary else Ridge(1.0)
    return make_pipeline(StandardScaler(), last)


def trees(binary):
    return LGBMClassifier(**TREES) if binary else LGBMRegressor(**TREES)


def sklift(make):
    """Peers of scikit-uplift share fit(X, y, treatment) and predict(X)."""

    def effects(x, t, y, new):
        return make().fit(x, y, t).predict(new)

    return effects


def causal(make, *, propensity=False):
    """Peers of causalml share fit(X, treatment, y) and predict(X)."""

    def effects(x, t, y, new):
        model, chance = make(), float(t.mean())
        told = {"p": np.full(len(x), chance)} if propensity else {}
        model.fit(X=x, treatment=t, y=y, **told)
        asked = {"p": np.full(len(new), chance)} if propensity else {}
        return np.asarray(model.predict(new, **asked)).ravel()

    return effects


def forest(x, t, y, new):
    from causalml.inference.tree import UpliftRandomForestClassifier

    model = UpliftRandomForestClassifier(
        n_estimators=20, max_depth=5, min_samples_leaf=200, evaluationFunction="KL", control_name="0", n_jobs=1, random_state=7
    )
    model.fit(x, treatment=t.astype(int).astype(str), y=y.astype(int))
    return np.asarray(model.predict(new)).ravel()


def peers(binary):
    from causalml.inference import meta
    from sklift.models import ClassTransformation, SoloModel, TwoModels

    simple = meta.BaseSClassifier if binary else meta.BaseSRegressor
    two = meta.BaseTClassifier if binary else meta.BaseTRegressor
    found = {
        "sklift-solo-linear": sklift(lambda: SoloModel(linear(binary), method="treatment_interaction")),
        "sklift-solo-lightgbm": sklift(lambda: SoloModel(trees(binary))),
        "sklift-two-linear": sklift(lambda: TwoModels(linear(binary), linear(binary))),
        "sklift-two-lightgbm": sklift(lambda: TwoModels(trees(binary), trees(binary))),
        "causalml-s-lightgbm": causal(lambda: simple(learner=trees(binary))),
        "causalml-t-lightgbm": causal(lambda: two(learner=trees(binary))),
        "causalml-t-linear": causal(lambda: two(learner=linear(binary))),
        "causalml-x-lightgbm": causal(lambda: meta.BaseXRegressor(learner=LGBMRegressor(**TREES)), propensity=True),
        "causalml-x-linear": causal(lambda: meta.BaseXRegressor(learner=LinearRegression()), propensity=True),
        "causalml-r-lightgbm": causal(lambda: meta.BaseRRegressor(learner=LGBMRegressor(**TREES), random_state=7), propensity=True),
        "causalml-r-linear": causal(lambda: meta.BaseRRegressor(learner=LinearRegression(), random_state=7), propensity=True),
        "causalml-dr-lightgbm": causal(lambda: meta.BaseDRRegressor(learner=LGBMRegressor(**TREES)), propensity=True),
        "causalml-dr-linear": causal(lambda: meta.BaseDRRegressor(learner=LinearRegression()), propensity=True),
    }
    if binary:
        found["sklift-class-linear"] = sklift(lambda: ClassTransformation(linear(True)))
        found["sklift-class-lightgbm"] = sklift(lambda: ClassTransformation(trees(True)))
        found["causalml-forest"] = forest
    return found


def main():
    told, answer = sys.argv[1], sys.argv[2]
    with np.load(told) as stored:
        trial = {name: stored[name] for name in stored.files}
    x, arm, y, halves = trial["x"], trial["arm"], trial["y"], trial["halves"]
    arms, binary = int(arm.max()), bool(np.isin(y, (0, 1)).all())
    x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)  # the linear peers know no missing values
    found = {name[len("ours_") :]: values for name, values in trial.items() if name.startswith("ours_")}
    seconds, left_out = {}, {}
    kept = {}
    if Path(answer).exists():
        with np.load(answer) as stored:
            kept = {name: stored[name] for name in stored.files}
    for name, effects in peers(binary).items():
        if name in kept:
            continue
        table, started = np.full((len(halves), len(y), arms), np.nan), time.process_time()
        try:
            for split, half in enumerate(halves):
                for one in range(1, arms + 1):
                    rows = half & np.isin(arm, (0, one))
                    table[split, ~half, one - 1] = effects(x[rows], (arm[rows] == one).astype(int), y[rows], x[~half])
        except Exception as error:  # noqa: BLE001 - a peer that does not run on this trial is named, not hidden
            left_out[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        kept[name], seconds[name] = table, time.process_time() - started
        np.savez(answer + ".part.npz", **kept)
        Path(answer + ".part.npz").replace(answer)
    found |= kept
    print(json.dumps({"cpu": seconds, "left_out": left_out, "qini": scored(found, arm, y, halves) if binary else {}}))


def scored(found, arm, y, halves):
    """scikit-uplift's Qini of every model, [arm][split]."""
    from sklift.metrics import qini_auc_score

    values = {}
    for name, table in found.items():
        values[name] = [
            [
                float(qini_auc_score(y[rows], table[split, rows, one - 1], (arm[rows] == one).astype(int)))
                for split, rows in enumerate(~half & np.isin(arm, (0, one)) for half in halves)
            ]
            for one in range(1, int(arm.max()) + 1)
        ]
    return values


main()
