"""The risk of an order or a claim, 0-100: from what is unusual where no fraud is known, from known fraud where there is enough.

Without labels: points of plain signals (``SIGNALS``) plus up to ``RARE_POINTS`` for a row that an isolation forest finds rare; 60 points
make a score of 60, 120 one of 84. From 60 on an order is worth a look, from 85 a stop; that is a convention, no probability.
With labels: LightGBM on the features of :mod:`tradewind.learn.risk_features`, calibrated on later rows than it learned from, so
that the score is 100 times the probability of fraud. Identifiers themselves are never features: they would be learned by heart.

An order is labelled only once ``delay_days`` have passed, the time that a chargeback takes; younger known fraud is left out as
well, because good orders of that age are not known yet and the rate would be too high. What comes out even later is made up for in the
calibration by ``ripe``, the share of frauds that is known at an order's age.

When not to use: with fewer than a few dozen known frauds expect little more than the signals give. A score is one field of a rule
(``risk_rules``), not the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted, SchemaError
from tradewind.learn import _store
from tradewind.learn._risk_outliers import Outliers
from tradewind.learn.response import centred_isotonic
from tradewind.learn.risk_features import MODELLED, Columns, matrix
from tradewind.params import Number, Rule, check
from tradewind.stats.maturity import LEAST, Maturity
from tradewind.types import Reason, micros

_DAY = 86_400_000_000  # microseconds
Floats = NDArray[np.float64]

NAME = "risk"  # in the registry
HALF = 45.0  # points that make a score of 50; so that more points always make a higher score
RARE_POINTS, RARE_FROM = 40.0, 0.9  # for the rarest tenth of rows, rising to the rarest
LEAST_FRAUD = 20  # in the earlier part and 5 in the later one
LEAST_DELAYS = 30  # to know how late fraud comes out
MORE = 50  # trees that an update adds


@dataclass(frozen=True)
class Signal:
    """Points for a field at or above ``least``."""

    field: str
    least: float
    points: float


SIGNALS = (
    Signal("device_cards", 3, 35),
    Signal("customer_new_cards_24h", 2, 30),
    Signal("card_customers", 3, 30),
    Signal("device_orders_1h", 2, 30),
    Signal("device_new_customers_24h", 2, 30),
    Signal("address_new_cards_7d", 3, 20),
    Signal("device_customers", 4, 25),
    Signal("component_customers", 4, 15),
    Signal("amount_ratio", 4, 15),
    Signal("new_device", 1, 10),
    Signal("new_card", 1, 10),
)


class Risk:
    """Scores orders and claims. ``fit`` without known fraud gives the score of signals and rarity, with it the calibrated probability.

    ``trees``, ``leaves``, ``rate`` and ``min_leaf`` are LightGBM's; how many trees are used is settled on the latest ``calibrate`` share of
    the labelled rows by time, as the calibration is; then the trees learn again on all rows.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "trees": Number(1, 5000, whole=True),
        "leaves": Number(2, 1000, whole=True),
        "rate": Number(1e-4, 1.0),
        "min_leaf": Number(1, 10**6, whole=True),
        "calibrate": Number(0.1, 0.5),
        "seed": Number(0, 2**31, whole=True),
    }

    def __init__(
        self, *, trees: int = 200, leaves: int = 15, rate: float = 0.05, min_leaf: int = 10, calibrate: float = 0.3, seed: int = 0
    ) -> None:
        self.trees, self.leaves, self.rate, self.min_leaf, self.calibrate, self.seed = trees, leaves, rate, min_leaf, calibrate, seed
        self._outliers: Outliers | None = None
        self._booster: Any = None
        self._centres: Floats = np.empty((0, 2))

    @property
    def labelled(self) -> bool:
        """Whether it learned from known fraud: then a score is 100 times a probability."""
        return self._booster is not None

    def fit(self, columns: Columns, at: NDArray[np.int64], fraud: Floats | None = None, *, ripe: Floats | None = None) -> Self:
        """Learn from the features of m orders and claims at microseconds ``at``; ``fraud`` is 1, 0 or NaN (not known yet).

        ``ripe`` (:func:`ripeness`): the share of the frauds of each row's age that is known by now, 1 where it is not given.

        Raises
        ------
        InputError
            A parameter is out of its bounds, or there are too few rows, or known frauds in the earlier or the later part.
        """
        check("Risk", {name: getattr(self, name) for name in self.rules}, self.rules)
        x = matrix(columns)
        outliers = Outliers.fit(x, seed=self.seed)
        if fraud is not None:
            self._learn(x, at, np.asarray(fraud, dtype=np.float64), ripe)
        self._outliers = outliers
        return self

    def update(self, columns: Columns, at: NDArray[np.int64], fraud: Floats, *, ripe: Floats | None = None) -> Self:
        """Learn ``MORE`` trees on top of what is known, from rows as of :meth:`fit` (the recent ones), and calibrate anew on the latest.

        Raises
        ------
        InputError
            There are too few known frauds among the rows.
        NotFitted
            It did not learn from labels before.
        """
        if self._booster is None:
            raise NotFitted("Risk.update: there is nothing to go on from. Call fit with known fraud first.")
        self._learn(matrix(columns), at, np.asarray(fraud, dtype=np.float64), ripe, before=self._booster)
        return self

    def score(self, columns: Columns) -> Floats:
        """0-100 per row, float64 [m].

        Raises
        ------
        NotFitted
            ``fit`` or ``load`` was not called.
        """
        return self.of(matrix(columns))

    def of(self, x: Floats) -> Floats:
        """The same for rows of :func:`matrix`."""
        if self._booster is not None:
            raw = self._booster.predict(x, raw_score=True, num_threads=1)
            return np.asarray(100 * np.interp(raw, self._centres[:, 0], self._centres[:, 1]))
        return np.asarray(100 * (1 - 0.5 ** ((points(x) + self.rare(x)) / HALF)))

    def rare(self, x: Floats) -> Floats:
        """Points for being unlike the others, float64 [m]."""
        if self._outliers is None:
            raise NotFitted("Risk has not learned yet. Call fit(columns, at) or Risk.load(path) first.")
        return np.asarray(RARE_POINTS * np.maximum(self._outliers.rarity(x) - RARE_FROM, 0.0) / (1 - RARE_FROM))

    def reasons(self, columns: Columns, *, most: int = 3) -> list[tuple[Reason, ...]]:
        """What raised the score of each row most, greatest first; ``risk_words.sentence`` says it.

        With labels the weight is what the feature adds to the log-odds (SHAP values of the trees), without it is points.
        """
        x = matrix(columns)
        if self._booster is not None:
            weight = np.asarray(self._booster.predict(x, pred_contrib=True, num_threads=1))[:, :-1]
        else:
            weight = np.zeros_like(x)
            for signal in SIGNALS:
                weight[:, MODELLED.index(signal.field)] = signal.points * (x[:, MODELLED.index(signal.field)] >= signal.least)
        told = []
        for row, (adds, rare) in enumerate(zip(weight, self.rare(x), strict=True)):
            best = [one for one in np.argsort(-adds, kind="stable")[:most] if adds[one] > 0]
            found = [Reason(MODELLED[one], {"value": float(x[row, one]), "weight": float(adds[one])}) for one in best]
            if self._booster is None and rare > 0:
                found = sorted([*found, Reason("rare", {"weight": float(rare)})], key=lambda reason: -reason.details["weight"])[:most]
            told.append(tuple(found))
        return told

    def save(self, path: Path) -> None:
        """Write the forest, the trees (LightGBM's text) and the calibration into the folder ``path``."""
        if self._outliers is None:
            raise NotFitted("Risk has not learned yet. Call fit(columns, at) first.")
        arrays = {f"outliers.{name}": value for name, value in vars(self._outliers).items()}
        values = {"features": list(MODELLED), "parameters": {name: getattr(self, name) for name in self.rules}}
        trees = self._booster.model_to_string() if self._booster is not None else ""
        _store.write(path / "risk", {**values, "trees": trees}, {**arrays, "centres": self._centres})

    @classmethod
    def load(cls, path: Path) -> Risk:
        """The inverse of :meth:`save`; equal scores to the bit. Raises SchemaError for features that this version does not compute."""
        import lightgbm

        values, arrays = _store.read(path / "risk")
        if values["features"] != list(MODELLED):
            raise SchemaError(f"The risk model in {path} was learned from other features than this version computes. Learn it again.")
        model = cls(**values["parameters"])
        model._outliers = Outliers(**{name.removeprefix("outliers."): one for name, one in arrays.items() if name.startswith("outliers.")})
        model._centres = arrays["centres"]
        model._booster = lightgbm.Booster(model_str=values["trees"]) if values["trees"] else None
        return model

    def _learn(self, x: Floats, at: NDArray[np.int64], fraud: Floats, ripe: Floats | None, *, before: Any = None) -> None:
        known = np.isfinite(fraud)
        x, y, at = x[known], fraud[known], np.asarray(at)[known]
        weight = np.ones(len(y)) if ripe is None else np.asarray(ripe, dtype=np.float64)[known]
        late = at > np.quantile(at, 1 - self.calibrate, method="lower") if len(at) else np.zeros(0, dtype=bool)
        for part, name, least in ((~late, "earlier", LEAST_FRAUD), (late, "later", 5)):
            if y[part].sum() < least or (1 - y[part]).sum() < least:
                raise InputError(
                    f"Risk: of the {name} {part.sum()} rows whose truth is known {int(y[part].sum())} are fraud; {least} frauds and "
                    f"{least} good ones are needed. Learn without labels until there are more."
                )
        rounds = MORE if before is not None else self.trees
        trial = self._grow(x[~late], y[~late], rounds, before)
        start = before.num_trees() if before is not None else 0
        steps = sorted({*range(start + 10, trial.num_trees(), 10), trial.num_trees()})
        used = min(steps, key=lambda count: _log_loss(y[late], trial.predict(x[late], raw_score=True, num_iteration=count, num_threads=1)))
        raw = trial.predict(x[late], raw_score=True, num_iteration=used, num_threads=1)
        self._centres = np.minimum(centred_isotonic(np.asarray(raw), y[late], weight[late]), [np.inf, 1.0])
        self._booster = self._grow(x, y, used - start, before)

    def _grow(self, x: Floats, y: Floats, rounds: int, before: Any) -> Any:
        import lightgbm

        settings = {
            "objective": "binary", "num_leaves": self.leaves, "learning_rate": self.rate, "min_data_in_leaf": self.min_leaf,
            "feature_fraction": 0.4, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 10.0,
            "seed": self.seed, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(x, y, feature_name=list(MODELLED), free_raw_data=False)
        return lightgbm.train(settings, data, num_boost_round=rounds, init_model=before)


def points(x: Floats) -> Floats:
    """Points of the signals that fire, float64 [m], for rows of :func:`matrix`; a field that is not known gives none."""
    return np.asarray(sum(signal.points * (x[:, MODELLED.index(signal.field)] >= signal.least) for signal in SIGNALS))


def truth(ids: list[str], at: NDArray[np.int64], labels: pa.Table, *, as_of: datetime, delay_days: int) -> Floats:
    """What is known of each order at ``as_of``: 1 fraud, 0 good, NaN younger than the delay; float64 [m].

    ``labels``: ``id`` (of the order, or of the event where it has none) and ``known_at``. A fraud that becomes known later
    than ``delay_days`` after its order is taken for good until then, as in life.

    Raises
    ------
    InputError
        A column is missing, or the delay is negative.
    """
    check("truth", {"delay_days": delay_days}, {"delay_days": Number(0, 366, whole=True)})
    for name in ("id", "known_at"):
        if name not in labels.column_names:
            raise InputError(f'Labels need the columns "id" and "known_at"; got {", ".join(labels.column_names)}.')
    when = labels["known_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    now = micros(as_of)
    bad = {name for name, known in zip(labels["id"].to_pylist(), when, strict=True) if known < now}
    found = np.fromiter((name in bad for name in ids), np.float64, len(ids))
    return np.where(at <= now - timedelta(days=delay_days) / timedelta(microseconds=1), found, np.nan)


def ripeness(ids: list[str], at: NDArray[np.int64], labels: pa.Table, *, as_of: datetime, delay_days: int) -> Floats:
    """The share of the frauds of each order's age that is known at ``as_of``, in (0, 1]; float64 [m].

    From the delays of frauds on orders that are twice ``delay_days`` old; what comes out later than that is not made up for. 1 where
    fewer than 30 such delays are known.
    """
    now, window = micros(as_of), 2.0 * delay_days
    when = labels["known_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    known = {name: told for name, told in zip(labels["id"].to_pylist(), when, strict=True) if told < now}
    age = (now - at) / _DAY
    old = [
        (known[name] - begun) / _DAY for name, begun, days in zip(ids, at.tolist(), age, strict=True) if name in known and days >= window
    ]
    delays = [days for days in old if 0 <= days <= window]
    if len(delays) < LEAST_DELAYS:
        return np.ones(len(ids))
    return np.maximum(Maturity.of(delays, window=window).seen(age), LEAST)


def _log_loss(y: Floats, score: Any) -> float:
    return float(np.mean(np.logaddexp(0.0, score) - y * score))
