"""Demand of every item ahead, with quantiles: kernels and a boosted model, averaged per class of demand as rolling origins say.

    panel = regular(sales, end=date(2026, 3, 1))
    model = Demand(horizon=28).fit(panel)
    model.mean()                          # [items, 28] pieces
    model.quantiles([0.5, 0.95], periods=14)  # [2, items] of the sum of the first 14 days

When not to use: for items that were never sold (there is nothing to forecast from), or where demand is a handful of large customers, whose
orders should be asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted, SchemaError
from tradewind.learn import _demand_select as select
from tradewind.learn import _demand_trees as trees
from tradewind.learn._demand_blend import CLASSES, blended, classes
from tradewind.learn._demand_calendar import holidays
from tradewind.learn._demand_grid import Floats, Panel, after
from tradewind.learn._demand_quantiles import WINDOW, Spread
from tradewind.learn._demand_quantiles import learn as learn_spread
from tradewind.learn._demand_sparse import tsb
from tradewind.learn._store import read, write
from tradewind.params import Number, check

FOLDS = 3
KEPT = 3  # seasons, or windows of quantiles, of history that a stored model keeps
PARAMETERS = {"horizon": Number(1, 366, whole=True), "folds": Number(1, 12, whole=True), "seed": Number(0, 2**31 - 1, whole=True)}


@dataclass
class Demand:
    """A forecaster of panels. ``region`` names a holiday calendar (cn, eu, us); ``weigh`` is "series" or "value" (what a series earns).

    After :meth:`fit`: ``panel`` (the history), ``kinds`` [n] numbers in ``CLASSES``, ``weights`` by class, ``spreads`` by span,
    ``expected`` [n, horizon] pieces.
    """

    horizon: int = 28
    region: str | None = None
    boosted: bool = True
    weigh: str = "series"
    folds: int = FOLDS
    seed: int = 0
    panel: Panel | None = field(default=None, init=False, repr=False)
    kinds: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8), init=False, repr=False)
    weights: tuple[dict[str, float], ...] = field(default=(), init=False, repr=False)
    correction: Floats = field(default_factory=lambda: np.ones(len(CLASSES)), init=False, repr=False)
    spreads: tuple[Spread, ...] = field(default=(), init=False, repr=False)
    factors: Floats = field(default_factory=lambda: np.ones(0), init=False, repr=False)
    expected: Floats = field(default_factory=lambda: np.zeros((0, 0)), init=False, repr=False)

    def fit(self, panel: Panel) -> Self:
        """Choose on rolling origins of the panel, then forecast from all of it.

        Raises
        ------
        InputError
            A parameter is out of bounds, the calendar is unknown, or the panel has no series.
        """
        check("Demand", {name: getattr(self, name) for name in PARAMETERS}, PARAMETERS)
        if self.weigh not in ("series", "value"):
            raise InputError(f'Demand: weigh must be "series" or "value"; got {self.weigh!r}.')
        if self.region is not None:
            holidays(self.region, range(2020, 2021))
        if not panel.items:
            raise InputError("Demand: the panel has no series. Collect purchases first.")
        some = select.sample(panel, self.seed)
        kinds = classes(some.y)
        folds = select.folds_of(some, self.horizon, folds=self.folds, region=self.region, boosted=self.boosted, seed=self.seed)
        priced = some.value if self.weigh == "value" and some.value is not None and (some.value > 0).any() else None
        self.correction = select.corrections(folds, kinds)
        folds = select.corrected(folds, kinds)
        self.weights = select.choose(folds, kinds, weigh=priced)
        self.panel, self.kinds = panel, classes(panel.y)
        self.factors = select.promotion_factors(panel)
        self.spreads = self._spread(folds, kinds)
        self.expected = self._forecast(panel)
        return self

    def mean(self) -> Floats:
        """Expected pieces [n, horizon] of every period after the panel."""
        self._fitted()
        return self.expected.copy()

    def quantiles(self, levels: Sequence[float], *, periods: int = 1, by: str = "scaled", first: int = 0) -> Floats:
        """[levels, n] of the demand over ``periods`` periods from the ``first`` on, which is 0 for the next one.

        ``by``: "scaled" judged every series alike when methods were chosen, "pieces" by what it sells (for orders).

        Raises
        ------
        InputError
            A level is not between 0 and 1, or the span does not lie within the horizon.
        """
        panel = self._fitted()
        for tau in levels:
            check("quantiles", {"level": tau}, {"level": Number(0.001, 0.999)})
        if periods < 1 or first < 0 or first + periods > self.horizon:
            raise InputError(
                f"quantiles: {periods} periods from {first} on do not lie within the horizon of {self.horizon}. "
                "Learn demand with a longer horizon."
            )
        near = min(self.spreads, key=lambda one: abs(np.log(one.periods / periods)))
        told = replace(near, periods=periods)
        mean = self.expected[:, first : first + periods].sum(axis=1)
        return told.quantiles(panel.y, mean, levels, kinds=self.kinds, by=by)

    def dates(self) -> NDArray[np.datetime64]:
        """The first day of every period of the forecast, [horizon]."""
        panel = self._fitted()
        return after(panel.start, panel.y.shape[1] + self.horizon, panel.step)[-self.horizon :]

    def totals(self, groups: Sequence[str]) -> dict[str, Floats]:
        """Bottom-up: the forecasts of the series of each group added up, [horizon] by name. ``groups`` names one for every series."""
        if len(groups) != len(self.expected):
            raise InputError(f"totals: give one group for each of the {len(self.expected)} series; got {len(groups)}.")
        names, at = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
        out = np.zeros((len(names), self.horizon))
        np.add.at(out, at, self.expected)
        return {str(name): row for name, row in zip(names, out, strict=True)}

    def with_extra(self, extra: Floats) -> Self:
        """A copy that expects ``extra`` [n, horizon] pieces more than it learned: what a plan is expected to sell."""
        self._fitted()
        if extra.shape != self.expected.shape or not np.isfinite(extra).all():
            raise InputError(f"with_extra: extra must be finite and {list(self.expected.shape)}; got {list(extra.shape)}.")
        other = type(self)(**{name: getattr(self, name) for name in ("horizon", "region", "boosted", "weigh", "folds", "seed")})
        for name in ("panel", "kinds", "weights", "correction", "spreads", "factors"):
            setattr(other, name, getattr(self, name))
        other.expected = np.maximum(self.expected + extra, 0.0)
        return other

    def save(self, path: Path) -> None:
        """Write the model into a folder, without pickle: forecast, choices, and as much history as its quantiles need."""
        panel = self._fitted()
        keep = min(panel.y.shape[1], max(KEPT * panel.season, 8 * WINDOW[panel.step], 2 * self.horizon))
        begin = after(panel.start, panel.y.shape[1], panel.step)[-keep].item()
        values: dict[str, Any] = {
            "settings": {name: getattr(self, name) for name in ("horizon", "region", "boosted", "weigh", "folds", "seed")},
            "items": list(panel.items),
            "stores": None if panel.stores is None else list(panel.stores),
            "start": begin.isoformat(),
            "step": panel.step,
            "left_out": panel.left_out,
            "weights": list(self.weights),
            "spreads": [{"periods": one.periods, "window": one.window, "weights": one.weights, "whole": one.whole} for one in self.spreads],
        }
        arrays: dict[str, NDArray[Any]] = {
            "y": panel.y[:, -keep:], "mean": self.expected, "kinds": self.kinds, "correction": self.correction, "factors": self.factors,
            "errors": np.stack([one.errors for one in self.spreads]),
            "value": np.zeros(0) if panel.value is None else panel.value,
        }  # fmt: skip
        write(path, json.loads(json.dumps(values)), arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote; raises InputError or SchemaError for anything else."""
        told, arrays = read(path)
        try:
            model = cls(**told["settings"])
            value = arrays["value"] if len(arrays["value"]) else None
            stores = None if told["stores"] is None else tuple(told["stores"])
            model.panel = Panel(
                tuple(told["items"]), date.fromisoformat(told["start"]), arrays["y"], told["step"], stores, value=value,
                left_out=told["left_out"],
            )  # fmt: skip
            model.kinds, model.correction, model.factors = arrays["kinds"], arrays["correction"], arrays["factors"]
            model.weights, model.expected = tuple(told["weights"]), arrays["mean"]
            model.spreads = tuple(
                Spread(one["periods"], one["window"], errors, one["weights"], one["whole"])
                for one, errors in zip(told["spreads"], arrays["errors"], strict=True)
            )
        except (KeyError, TypeError) as error:
            raise SchemaError(f"The model in {path} is no demand model of this version: {error}. Learn demand again.") from error
        return model

    # -- parts of fit -------------------------------------------------------------------------------------------------

    def _forecast(self, panel: Panel) -> Floats:
        parts = select.kernels(panel, self.horizon)
        if any(name in told for told in self.weights for name in (select.TREES, select.CORRECTED)):
            booster = trees.fit(panel, self.horizon, region=self.region, seed=self.seed)
            if booster is None:
                raise InputError("Demand: the history is too short for the boosted model that was chosen. Fit with boosted=False.")
            parts[select.TREES] = trees.predict(booster, panel, self.horizon, region=self.region)
            parts[select.CORRECTED] = parts[select.TREES] * self.correction[self.kinds][:, None]
        mean = np.maximum(blended(parts, self.weights, self.kinds), 0.0)
        silent = (mean.sum(axis=1) <= 0) & (panel.y > 0).any(axis=1)  # what was ever sold is never forecast as nothing
        if silent.any():
            mean[silent] = tsb(panel.y[silent], self.horizon)
        return mean

    def _spread(self, folds: Sequence[select.Fold], kinds: NDArray[np.int8]) -> tuple[Spread, ...]:
        assert self.panel is not None
        window = WINDOW[self.panel.step]
        known = self.panel.y[np.isfinite(self.panel.y)]
        whole = bool((known == np.rint(known)).all())
        if not folds:
            flat = [[{"nb": 1.0} for _ in CLASSES] for _ in range(5)]
            return (Spread(1, window, np.zeros((len(CLASSES), 199)), {"scaled": flat, "pieces": flat}, whole),)
        past = [(fold.known.y, blended(fold.said, self.weights, kinds), fold.sold) for fold in folds]
        ahead = folds[0].sold.shape[1]
        spans = sorted({1, min(self.panel.season, ahead), max(1, ahead // 2), ahead})
        return tuple(learn_spread(past, kinds, periods=span, window=window, whole=whole) for span in spans)

    def _fitted(self) -> Panel:
        if self.panel is None:
            raise NotFitted("Demand has learned nothing yet. Call fit(panel) first.")
        return self.panel
