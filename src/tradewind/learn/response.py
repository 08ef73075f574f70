"""How probable it is that a customer answers a campaign: gradient-boosted trees over what was known at its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted, NotFound, SchemaError
from tradewind.learn._contacts import FEATURES, campaign_rows, training_rows
from tradewind.params import Number, Rule, check

__all__ = ["FEATURES", "Response", "campaign_rows", "training_rows"]


class Response:
    """Probability of a binary response per (customer, campaign): LightGBM, calibrated on a later slice of time.

    The trees learn on the earlier rows, the calibration on the latest ``calibrate`` share of them by time; whole
    campaigns stay on one side. Calibration is centred isotonic regression (Oron and Flournoy 2017): monotone, and
    strictly rising between the centres, so that it keeps the ranking.

    When not to use: to decide whom a message *moves*. It says who redeems, not who redeems because of the message, and
    where the audience was not drawn at random it only holds for customers like those who were targeted. With fewer than
    a few hundred responses prefer the response rate of the campaign's kind.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "trees": Number(low=1, whole=True),
        "leaves": Number(low=2, whole=True),
        "rate": Number(low=1e-4, high=1.0),
        "min_leaf": Number(low=1, whole=True),
        "calibrate": Number(low=0.05, high=0.9),
        "seed": Number(low=0, whole=True),
    }

    def __init__(
        self, *, trees: int = 150, leaves: int = 8, rate: float = 0.05, min_leaf: int = 40, calibrate: float = 0.3, seed: int = 0
    ) -> None:
        self.trees, self.leaves, self.rate, self.min_leaf, self.calibrate, self.seed = trees, leaves, rate, min_leaf, calibrate, seed
        self._booster: Any = None
        self._centres: NDArray[np.float64] = np.empty((0, 2))

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
        late = at > np.quantile(at, 1 - self.calibrate, method="lower")
        if not late.any():
            late = at == at.max()
        for part, name in ((~late, "earlier"), (late, "later")):
            if len(np.unique(y[part])) < 2:
                raise InputError(
                    f"Response.fit: the {name} slice has {part.sum()} rows with {int(y[part].sum())} responses; it needs responses "
                    "and silences from at least two times. Give more campaigns."
                )
        self._booster = self._train(x[~late], y[~late])
        self._centres = centred_isotonic(self._raw(x[late]), y[late])
        return self

    def predict(self, rows: pa.Table) -> NDArray[np.float64]:
        """Calibrated probability of a response, float64 [N] in [0, 1].

        Raises
        ------
        NotFitted
            ``fit`` or ``load`` was not called.
        SchemaError
            A feature is missing.
        """
        if self._booster is None:
            raise NotFitted("Response has not learned yet. Call fit(rows) or Response.load(path) first.")
        probability: NDArray[np.float64] = np.interp(self._raw(matrix(rows)), self._centres[:, 0], self._centres[:, 1])
        return probability

    def importance(self) -> dict[str, float]:
        """Share of the total gain by feature, greatest first."""
        if self._booster is None:
            raise NotFitted("Response has not learned yet. Call fit(rows) or Response.load(path) first.")
        gain = self._booster.feature_importance("gain")
        order = np.argsort(-gain, kind="stable")
        return {FEATURES[i]: float(gain[i] / max(gain.sum(), 1e-12)) for i in order}

    def save(self, path: Path) -> None:
        """Write ``trees.txt`` (LightGBM's text) and ``response.json`` into the folder ``path``."""
        if self._booster is None:
            raise NotFitted("Response has not learned yet, so there is nothing to save. Call fit(rows) first.")
        path.mkdir(parents=True, exist_ok=True)
        (path / "trees.txt").write_text(self._booster.model_to_string(), encoding="utf-8")
        about = {
            "parameters": {name: getattr(self, name) for name in self.rules},
            "features": list(FEATURES),
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
        model = cls(**about["parameters"])
        model._booster = lightgbm.Booster(model_str=(path / "trees.txt").read_text(encoding="utf-8"))
        model._centres = np.asarray(about["centres"], dtype=np.float64)
        return model

    def _train(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        import lightgbm

        parameters = {
            "objective": "binary", "num_leaves": self.leaves, "learning_rate": self.rate, "min_data_in_leaf": self.min_leaf,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "seed": self.seed,
            "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
        }  # fmt: skip
        return lightgbm.train(parameters, lightgbm.Dataset(x, y, feature_name=list(FEATURES)), num_boost_round=self.trees)

    def _raw(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        score: NDArray[np.float64] = self._booster.predict(x, raw_score=True, num_threads=1)
        return score


def matrix(rows: pa.Table) -> NDArray[np.float64]:
    """``FEATURES`` of the rows as float64 [N, F]; NaN stands for unknown."""
    missing = [name for name in FEATURES if name not in rows.column_names]
    if missing:
        raise SchemaError(f"The rows lack the features {', '.join(missing)}. Make them with campaign_rows or training_rows.")
    return np.column_stack([rows[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in FEATURES])


def centred_isotonic(score: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres (score, rate) of the isotonic blocks of ``y`` by ``score``, float64 [B, 2], both rising.

    The rate of a block is shrunk by one pseudo-observation at the overall rate, so that no answer is ever certain.
    """
    from sklearn.isotonic import isotonic_regression

    points, place = np.unique(score, return_inverse=True)  # equal scores get one rate
    weight = np.bincount(place).astype(np.float64)
    answers = np.bincount(place, weights=y)
    fitted = isotonic_regression(answers / weight, sample_weight=weight)
    starts = np.flatnonzero(np.concatenate(([True], np.diff(fitted) > 0)))
    counts = np.add.reduceat(weight, starts)
    rate = (np.add.reduceat(answers, starts) + y.mean()) / (counts + 1)
    centre = np.add.reduceat(points * weight, starts) / counts
    return np.column_stack([centre, np.maximum.accumulate(rate)])
