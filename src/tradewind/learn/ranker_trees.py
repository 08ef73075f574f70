"""The yardstick of response models: LightGBM on the same impressions and the same facts as the deep ranker."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._ranker import Features, Given, ImpressionModel, Raw, Values, held_loss, sampled
from tradewind.learn._ranker_features import DENSE
from tradewind.learn._ranker_rows import DAY, NONE
from tradewind.params import Number, Rule

HOUR = DAY // 24
CONTEXT = ("hour", "weekday", "channel", "category", "position")
STEP = 10  # fewest trees; they are counted out in twenty steps


class TreeRanker(ImpressionModel):
    """Two boosted models over all impressions: of a click, and of a click with a purchase.

    Position is one of the features while learning and the first place when answering. The facts about items, customers and
    pairs are those of ``_ranker_features``; hour, weekday, channel and category come in as they are. A conversion that was not
    known yet counts by how much of it could be known (the loss of p x reach), as in the deep ranker.

    When not to use: where what matters is which of many past events resembles the candidate; the deep ``Ranker`` sees
    the events one by one. Below a few hundred clicks expect little more than the item's and the customer's own rates.
    """

    name: ClassVar[str] = "ranker_trees"
    rules: ClassVar[dict[str, Rule]] = {
        "trees": Number(STEP, 100_000, whole=True),
        "leaves": Number(2, 1024, whole=True),
        "rate": Number(1e-4, 1),
        "min_leaf": Number(1, 1_000_000, whole=True),
        "threads": Number(1, 1024, whole=True),
    }

    def __init__(
        self,
        *,
        trees: int = 400,
        leaves: int = 15,
        rate: float = 0.05,
        min_leaf: int = 100,
        negatives: float = 1.0,
        calibrate: float = 0.15,
        window: float = 7.0,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.trees, self.leaves, self.rate, self.min_leaf, self.threads = trees, leaves, rate, min_leaf, threads
        self.negatives, self.calibrate, self.window, self.seed = negatives, calibrate, window, seed

    def _learn(self, given: Given, later: Given) -> int:
        rows, x = given.rows, _matrix(given, as_shown=True)
        chosen = sampled(rows.click, self.negatives, np.random.default_rng(self.seed))
        self._click = self._boost(x[chosen], rows.click[chosen], np.ones(len(chosen)))
        self._bought = self._boost(x, rows.conversion, rows.reach) if self._converts else None
        step = max(STEP, self.trees // 20)
        choices = range(step, self.trees + 1, step)
        found = min(choices, key=lambda count: held_loss(self._raw(later, as_shown=True, count=count), later.rows))
        self._click = self._click.shortened(found)
        self._bought = None if self._bought is None else self._bought.shortened(found)
        return found

    def _boost(self, x: Features, y: Values, reach: Values) -> _Trees:
        """A booster of log-odds; where an answer could only be known in part, the loss is that of p x reach."""
        import lightgbm

        known = reach > NONE
        x, y, reach = x[known], y[known], reach[known]
        settings: dict[str, Any] = {
            "objective": "binary", "num_leaves": self.leaves, "learning_rate": self.rate, "min_data_in_leaf": self.min_leaf,
            "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "seed": self.seed,
            "deterministic": True, "force_row_wise": True, "num_threads": self.threads, "verbosity": -1, "boost_from_average": False,
        }  # fmt: skip
        start = np.log(y.sum() / max(reach.sum() - y.sum(), 1e-9))
        if (reach < 1).any():
            settings["objective"] = _objective(y, reach)
        names = [*DENSE, *CONTEXT]
        data = lightgbm.Dataset(x, y, init_score=np.full(len(y), start), feature_name=names, categorical_feature=["category", "channel"])
        return _Trees(lightgbm.train(settings, data, num_boost_round=self.trees), float(start))

    def _raw(self, given: Given, *, as_shown: bool, count: int | None = None) -> Raw:
        x = _matrix(given, as_shown=as_shown)
        click = self._click.score(x, count, self.threads) + np.log(self.negatives)
        return Raw(click, None if self._bought is None else self._bought.score(x, count, self.threads))

    def importance(self) -> dict[str, float]:
        """Share of the gain of each feature in the model of clicks, greatest first."""
        self._fitted()
        gain = self._click.booster.feature_importance("gain")
        names = [*DENSE, *CONTEXT]
        return {names[i]: float(gain[i] / max(gain.sum(), 1e-12)) for i in np.argsort(-gain, kind="stable")}

    def _model_state(self) -> tuple[dict[str, Any], _store.Arrays]:
        parts = [self._click] + ([] if self._bought is None else [self._bought])
        return {"starts": [part.start for part in parts]}, _store.pack("trees", [part.booster.model_to_string() for part in parts])

    def _model_restored(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        import lightgbm

        texts = _store.unpack("trees", arrays)
        parts = [_Trees(lightgbm.Booster(model_str=text), float(start)) for text, start in zip(texts, values["starts"], strict=True)]
        self._click, self._bought = parts[0], parts[1] if len(parts) > 1 else None


class _Trees:
    """A LightGBM booster and the log-odds that it starts from."""

    def __init__(self, booster: Any, start: float) -> None:
        self.booster, self.start = booster, start

    def score(self, x: Features, count: int | None, threads: int) -> Values:
        found: Values = self.booster.predict(x, raw_score=True, num_iteration=count, num_threads=threads)
        return found + self.start

    def shortened(self, count: int) -> _Trees:
        """Its first ``count`` trees."""
        import lightgbm

        return _Trees(lightgbm.Booster(model_str=self.booster.model_to_string(num_iteration=count)), self.start)


def _objective(y: Values, reach: Values) -> Any:
    """Gradient and expected second derivative of the log loss of ``reach x sigmoid(score)`` where scores start at ``init_score``."""

    def gradients(score: Values, _: Any) -> tuple[Values, Values]:
        p = 1 / (1 + np.exp(-score))
        q = np.clip(p * reach, 1e-15, 1 - 1e-12)
        return (q - y) * (1 - p) / (1 - q), np.maximum(q * (1 - p) ** 2 / (1 - q), 1e-12)

    return gradients


def _matrix(given: Given, *, as_shown: bool) -> NDArray[np.float32]:
    rows = given.rows
    position = rows.position if as_shown else np.ones(len(rows))
    columns = (rows.at // HOUR % 24, rows.at // DAY % 7, rows.channel, rows.shelf, position)
    return np.column_stack([given.dense, *columns]).astype(np.float32)
