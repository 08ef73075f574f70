"""How probable it is that a customer answers a campaign, from what was known when it started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted, NotFound, SchemaError
from tradewind.learn._contacts import FEATURES, campaign_rows, training_rows
from tradewind.learn._linear import Linear, transform
from tradewind.params import Number, Rule, check

Values = NDArray[np.float64]
STEP = 20  # trees are counted out in steps of so many

__all__ = ["FEATURES", "Response", "campaign_rows", "training_rows"]


class Response:
    """Probability of a binary response per (customer, campaign): a ridge logistic regression, boosted and calibrated.

    LightGBM learns what the regression leaves. How many of its trees are used, from none to ``trees``, and the
    calibration are settled on the latest ``calibrate`` share of the rows by time, by a model of the earlier ones (whole
    campaigns stay on one side); then both parts learn again on all rows. Calibration is centred isotonic regression
    (Oron and Flournoy 2017): monotone, and strictly rising between the centres, so that it keeps the ranking.

    When not to use: to decide whom a message *moves*. It says who redeems, not who redeems because of the message, and
    where the audience was not drawn at random it only holds for customers like those who were targeted. With fewer than
    a few hundred responses expect little more than the rate of the campaign's kind and who redeemed before.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "trees": Number(low=0, whole=True),
        "leaves": Number(low=2, whole=True),
        "rate": Number(low=1e-4, high=1.0),
        "min_leaf": Number(low=1, whole=True),
        "calibrate": Number(low=0.05, high=0.9),
        "seed": Number(low=0, whole=True),
    }

    def __init__(
        self, *, trees: int = 200, leaves: int = 8, rate: float = 0.05, min_leaf: int = 40, calibrate: float = 0.3, seed: int = 0
    ) -> None:
        self.trees, self.leaves, self.rate, self.min_leaf, self.calibrate, self.seed = trees, leaves, rate, min_leaf, calibrate, seed
        self._model: _Boosted | None = None
        self._centres: Values = np.empty((0, 2))

    def fit(self, rows: pa.Table) -> Self:
        """Learn from rows of :func:`training_rows`: ``at``, ``label`` (0 or 1) and ``FEATURES``.

        Raises
        ------
        InputError
            A parameter is out of range, a label is missing, or there are not both answers in both slices of time.
        """
        check("Response", {name: getattr(self, name) for name in self.rules}, self.rules)
        x, y, at = matrix(rows), rows["label"].to_numpy().astype(np.float64), rows["at"].cast(pa.int64()).to_numpy()
        if not np.isin(y, (0.0, 1.0)).all():
            raise InputError("Response.fit: every label must be 0 or 1; rows of an open campaign have none. Give rows with `until` set.")
        late = _late(at, self.calibrate)
        for part, name in ((~late, "earlier"), (late, "later")):
            if len(np.unique(y[part])) < 2:
                raise InputError(
                    f"Response.fit: the {name} slice has {part.sum()} rows with {int(y[part].sum())} responses; it needs responses "
                    "and silences from at least two times. Give more campaigns."
                )
        trial = _Boosted.fit(x[~late], y[~late], self._settings(), self.trees)
        used = trial.best(x[late], y[late])
        self._centres = centred_isotonic(trial.score(x[late], used), y[late])
        self._model = _Boosted.fit(x, y, self._settings(), used)
        return self

    def predict(self, rows: pa.Table) -> Values:
        """Calibrated probability of a response, float64 [N] in [0, 1].

        Raises
        ------
        NotFitted
            ``fit`` or ``load`` was not called.
        SchemaError
            A feature is missing.
        """
        probability: Values = np.interp(self._fitted().score(matrix(rows)), self._centres[:, 0], self._centres[:, 1])
        return probability

    def importance(self, rows: pa.Table) -> dict[str, float]:
        """Mean absolute contribution of each feature to the log-odds of ``rows``, greatest first."""
        size = np.abs(self._fitted().parts(matrix(rows))).mean(axis=0)
        return {FEATURES[i]: float(size[i]) for i in np.argsort(-size, kind="stable")}

    def save(self, path: Path) -> None:
        """Write ``trees.txt`` (LightGBM's text) and ``response.json`` into the folder ``path``."""
        model = self._fitted()
        path.mkdir(parents=True, exist_ok=True)
        (path / "trees.txt").write_text(model.trees.model_to_string() if model.trees else "", encoding="utf-8")
        about = {
            "parameters": {name: getattr(self, name) for name in self.rules},
            "features": list(FEATURES),
            "linear": model.linear.to_json(),
            "centres": self._centres.tolist(),
        }
        (path / "response.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Response:
        """The inverse of :meth:`save`; equal predictions to the bit.

        Raises
        ------
        NotFound
            There is no saved model.
        SchemaError
            It was learned from other features than this version computes.
        """
        import lightgbm

        if not (path / "response.json").is_file():
            raise NotFound(f"There is no response model in {path}. Learn one first.")
        about = json.loads((path / "response.json").read_text(encoding="utf-8"))
        if about["features"] != list(FEATURES):
            raise SchemaError(f"The response model in {path} was learned from other features than this version computes. Learn it again.")
        text = (path / "trees.txt").read_text(encoding="utf-8")
        model = cls(**about["parameters"])
        model._model = _Boosted(Linear.from_json(about["linear"]), lightgbm.Booster(model_str=text) if text else None)
        model._centres = np.asarray(about["centres"], dtype=np.float64)
        return model

    def _fitted(self) -> _Boosted:
        if self._model is None:
            raise NotFitted("Response has not learned yet. Call fit(rows) or Response.load(path) first.")
        return self._model

    def _settings(self) -> dict[str, Any]:
        return {
            "objective": "binary", "num_leaves": self.leaves, "learning_rate": self.rate, "min_data_in_leaf": self.min_leaf,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 20.0, "boost_from_average": False,
            "seed": self.seed, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
        }  # fmt: skip


@dataclass(frozen=True)
class _Boosted:
    """The regression, and the trees (LightGBM, or None for no tree) that learned from what it leaves."""

    linear: Linear
    trees: Any

    @classmethod
    def fit(cls, x: Values, y: Values, settings: dict[str, Any], rounds: int) -> _Boosted:
        import lightgbm

        linear = Linear.fit(transform(x, FEATURES), y)
        if not rounds:
            return cls(linear, None)
        data = lightgbm.Dataset(x, y, init_score=linear.score(transform(x, FEATURES)), feature_name=list(FEATURES))
        return cls(linear, lightgbm.train(settings, data, num_boost_round=rounds))

    def score(self, x: Values, rounds: int | None = None) -> Values:
        """Log-odds before calibration, float64 [N], by the first ``rounds`` trees (None: all)."""
        base = self.linear.score(transform(x, FEATURES))
        if self.trees is None or rounds == 0:
            return base
        added: Values = self.trees.predict(x, raw_score=True, num_iteration=rounds, num_threads=1)
        return base + added

    def best(self, x: Values, y: Values) -> int:
        """How many trees give the smallest log loss on later rows; fewer where equal."""
        total: int = self.trees.num_trees() if self.trees else 0
        choices = sorted({0, *range(STEP, total + 1, STEP), total})
        found: int = min(choices, key=lambda rounds: _log_loss(y, self.score(x, rounds)))
        return found

    def parts(self, x: Values) -> Values:
        """What each feature adds to the log-odds, float64 [N, F] (SHAP values for the trees)."""
        parts = self.linear.parts(transform(x, FEATURES))
        if self.trees is not None:
            parts = parts + self.trees.predict(x, pred_contrib=True, num_threads=1)[:, :-1]
        return parts


def _late(at: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """The latest times that hold at least one row and about ``share`` of all; a time is never cut in two."""
    late = at > np.quantile(at, 1 - share, method="lower")
    return late if late.any() else at == at.max()


def _log_loss(y: Values, score: Values) -> float:
    return float(np.mean(np.logaddexp(0.0, score) - y * score))


def matrix(rows: pa.Table) -> Values:
    """``FEATURES`` of the rows as float64 [N, F]; NaN stands for unknown."""
    missing = [name for name in FEATURES if name not in rows.column_names]
    if missing:
        raise SchemaError(f"The rows lack the features {', '.join(missing)}. Make them with campaign_rows or training_rows.")
    return np.column_stack([rows[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in FEATURES])


def centred_isotonic(score: Values, y: Values, weight: Values | None = None) -> Values:
    """Centres (score, rate) of the isotonic blocks of ``y`` by ``score``, float64 [B, 2], both rising.

    The rate of a block is shrunk by one pseudo-observation at the overall rate, so that no answer is ever certain. ``weight``
    (default 1) is how much of a row's answer can be known by now: the rate of a block is answers over weight.
    """
    from sklearn.isotonic import isotonic_regression

    points, place = np.unique(score, return_inverse=True)  # equal scores get one rate
    mass = np.bincount(place, weights=weight, minlength=len(points)).astype(np.float64)
    answers = np.bincount(place, weights=y)
    fitted = isotonic_regression(answers / mass, sample_weight=mass)
    starts = np.flatnonzero(np.concatenate(([True], np.diff(fitted) > 0)))
    counts = np.add.reduceat(mass, starts)
    rate = (np.add.reduceat(answers, starts) + answers.sum() / mass.sum()) / (counts + 1)
    centre = np.add.reduceat(points * mass, starts) / counts
    return np.column_stack([centre, np.maximum.accumulate(rate)])
