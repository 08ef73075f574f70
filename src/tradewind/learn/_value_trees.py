"""What a customer will spend, by gradient-boosted trees: in one stage (Tweedie), or in two (will she buy, and for how much)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ROUNDS = 200
BAGS = 5  # boosters per question, each with its own draws; their mean is steadier than any
SETTINGS = {
    "num_leaves": 15, "learning_rate": 0.04, "min_data_in_leaf": 40, "lambda_l2": 5.0, "feature_fraction": 0.7, "bagging_fraction": 0.8,
    "bagging_freq": 1, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip
LIMIT = 0.999  # quantile of the positive targets at which one target is cut: one order must not own the model


class ValueTrees:
    """LightGBM on the inputs of an order book: ``buys`` and ``spends`` within the horizon."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.boosters: dict[str, list[Any]] = {}

    def fit(self, inputs: Values, spent: Values) -> Self:
        """``inputs`` float64 [rows, features]; ``spent`` float64 [rows], 0 where nothing was bought."""
        some = spent > 0
        spent = np.minimum(spent, np.quantile(spent[some], LIMIT)) if some.any() else spent
        self.boosters = {
            "buys": self._train(inputs, some.astype(float), {"objective": "binary"}),
            "worth": self._train(inputs[some], spent[some], {"objective": "gamma"}),
            "tweedie": self._train(inputs, spent, {"objective": "tweedie", "tweedie_variance_power": 1.5}),
        }
        return self

    def _train(self, inputs: Values, target: Values, more: dict[str, Any]) -> list[Any]:
        import lightgbm

        least = min(int(SETTINGS["min_data_in_leaf"]), max(2, len(target) // 20))
        settings = {**SETTINGS, "min_data_in_leaf": least, **more}
        return [
            lightgbm.train({**settings, "seed": BAGS * self.seed + bag}, lightgbm.Dataset(inputs, target), num_boost_round=ROUNDS)
            for bag in range(BAGS)
        ]

    def predict(self, name: str, inputs: Values) -> Values:
        """``buys``: the chance to buy; ``two_stage`` and ``tweedie``: the value; float64 [rows]."""
        if name == "two_stage":
            return self.predict("buys", inputs) * self.predict("worth", inputs)
        return np.asarray(np.mean([booster.predict(inputs, num_threads=1) for booster in self.boosters[name]], axis=0), dtype=np.float64)

    def to_json(self) -> dict[str, list[str]]:
        """The boosters as LightGBM's text."""
        return {name: [booster.model_to_string() for booster in bag] for name, bag in self.boosters.items()}

    @classmethod
    def from_json(cls, texts: dict[str, list[str]]) -> Self:
        """The inverse of :meth:`to_json`."""
        import lightgbm

        made = cls()
        made.boosters = {name: [lightgbm.Booster(model_str=text) for text in bag] for name, bag in texts.items()}
        return made
