"""Customer value: what each customer will spend within a horizon, and whether she will buy at all.

Four candidates - BG/NBD with Gamma-Gamma where its parameters can be trusted, trees in one stage, trees in two, and the mean of
BG/NBD and the two stages - are compared on the latest horizon before the cut, which none of them has seen; the best by Tweedie
deviance (a proper score for a mean with many zeros) is fitted again up to the cut. A season factor from the shop's own year
brings the horizon that was learned from to the level of the one that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn import _season, _store
from tradewind.learn._btyd import BGNBD, GammaGamma, Histories
from tradewind.learn._orderbook import OrderBook
from tradewind.learn._value_trees import ValueTrees
from tradewind.params import Number, Rule, check
from tradewind.types import micros

__all__ = ["CANDIDATES", "CustomerValue", "Forecast"]

Values = NDArray[np.float64]
DAY = 86_400_000_000
CANDIDATES = ("btyd", "tweedie", "two_stage", "blend")
WINDOWS, STEP = 4, 1 / 6  # horizons of the past to learn from, each this share of a horizon earlier
ENOUGH = 100  # customers of a window, below which trees are not grown
POWER = 1.5  # of the Tweedie deviance


@dataclass(frozen=True)
class Forecast:
    """Of N customers, by name: ``value`` expected within the horizon (units of the orders), ``buys`` the chance to buy at all,
    ``alive`` the chance still to be a customer by BG/NBD (NaN where its parameters cannot be trusted); float64 [N] each.
    """

    names: NDArray[np.object_]
    value: Values
    buys: Values
    alive: Values

    @property
    def churn(self) -> Values:
        """Chance of no purchase within the horizon, float64 [N]."""
        return np.asarray(1.0 - self.buys)


@dataclass(frozen=True)
class _Fitted:
    """What was learned up to one cut: BG/NBD and Gamma-Gamma where they can be fitted, trees where there were enough rows.

    ``problem``: why there is no BG/NBD, or why its chance to be alive means nothing (without leaving it still predicts orders).
    """

    bgnbd: BGNBD | None
    worth: GammaGamma | None
    trees: ValueTrees | None
    problem: str
    index: Values | None  # of the season; None: the history is too short to know one

    @property
    def candidates(self) -> tuple[str, ...]:
        """Which of ``CANDIDATES`` can answer."""
        needs = {"btyd": self.bgnbd, "tweedie": self.trees, "two_stage": self.trees, "blend": self.bgnbd and self.trees}
        return tuple(name for name in CANDIDATES if needs[name])

    def level(self, cut: float, days: float) -> float:
        """The season factor of the ``days`` from ``cut`` on; 1 where no season is known."""
        return 1.0 if self.index is None else _season.over(self.index, cut, days)

    def value(self, name: str, book: OrderBook, cut: float, days: float) -> Values:
        """Expected value within ``days`` of day ``cut`` by one candidate, float64 [names of the book]."""
        found = []
        if name in ("btyd", "blend"):
            assert self.bgnbd is not None
            assert self.worth is not None
            seen = book.histories(cut)
            found.append(self.bgnbd.orders(seen, days) * self.worth.worth(seen))
        if name != "btyd":
            assert self.trees is not None
            found.append(self.trees.predict("two_stage" if name == "blend" else name, book.features(cut)))
        return np.asarray(np.mean(found, axis=0) * self.level(cut, days))


class CustomerValue:
    """Expected value and chance to buy of every customer who ever bought.

    ``horizon_days`` is how far it looks; two horizons of history are the least. ``seasonal`` applies the season factor. When
    not to use: for customers who never bought (they have no row).
    """

    rules: ClassVar[dict[str, Rule]] = {"horizon_days": Number(7, 730, whole=True), "seed": Number(0, 2**31, whole=True)}

    def __init__(self, *, horizon_days: int = 91, seasonal: bool = True, seed: int = 0) -> None:
        self.horizon_days, self.seasonal, self.seed = horizon_days, seasonal, seed
        self.chosen = ""
        self.deviance: dict[str, float] = {}
        self._fitted: _Fitted | None = None

    def fit(self, book: OrderBook, *, as_of: datetime, choose: str | None = None) -> Self:
        """Learn from the orders before ``as_of``; ``choose`` names a candidate instead of the comparison.

        Raises
        ------
        InputError
            Nobody bought within the last horizon, the history is shorter than two horizons, or ``choose`` cannot answer.
        """
        check(type(self).__name__, {"horizon_days": self.horizon_days, "seed": self.seed}, self.rules)
        now, days = micros(as_of) / DAY, float(self.horizon_days)
        known = book.before(now)
        length = now - known.day.min() if len(known.day) else 0.0
        if length < 2 * days:
            raise InputError(
                f"CustomerValue: there are {length:.0f} days of orders before {as_of:%Y-%m-%d}; a horizon of {self.horizon_days} days "
                f"needs {2 * self.horizon_days}. Collect a longer history, or choose a shorter horizon."
            )
        self.deviance = self._compared(known, now - days)
        self._fitted = self._learned(known, now)
        able = [name for name in self._fitted.candidates if name in self.deviance]
        if choose is not None and choose not in self._fitted.candidates:
            why = self._fitted.problem or "too few customers"
            raise InputError(f"CustomerValue: {choose!r} cannot answer here ({why}); these can: {', '.join(able)}.")
        self.chosen = choose or min(able, key=lambda name: self.deviance[name])
        return self

    def _compared(self, known: OrderBook, cut: float) -> dict[str, float]:
        """Deviance of every candidate on the horizon from ``cut`` on, learned from what came before it."""
        seen = known.before(cut)
        _, spent = known.after(cut, self.horizon_days, seen.names)
        if not spent.any():
            raise InputError(f"CustomerValue: no customer bought again in the last {self.horizon_days} days. Choose a longer horizon.")
        fitted = self._learned(seen, cut)
        return {name: deviance(spent, fitted.value(name, seen, cut, self.horizon_days)) for name in fitted.candidates}

    def _learned(self, book: OrderBook, cut: float) -> _Fitted:
        """Everything from the orders before ``cut``, which are all that ``book`` has."""
        index = _season.season(book.day, book.value, now=cut) if self.seasonal else None
        bgnbd, worth, problem = _buy_till_you_die(book.histories(cut))
        fitted = _Fitted(bgnbd, worth, None, problem, index)
        inputs, targets, days = [], [], float(self.horizon_days)
        for back in range(WINDOWS):
            start = cut - days * (1 + back * STEP)
            seen = book.before(start)
            if len(seen.names) >= ENOUGH:
                inputs.append(seen.features(start))
                targets.append(book.after(start, days, seen.names)[1] / fitted.level(start, days))
        if not inputs or (np.concatenate(targets) > 0).sum() < ENOUGH:
            return fitted
        return replace(fitted, trees=ValueTrees(seed=self.seed).fit(np.vstack(inputs), np.concatenate(targets)))

    def predict(self, book: OrderBook, *, as_of: datetime) -> Forecast:
        """The next horizon of everybody who bought before ``as_of``.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if self._fitted is None:
            raise NotFitted("CustomerValue")
        now, days, fitted = micros(as_of) / DAY, float(self.horizon_days), self._fitted
        known = book.before(now)
        seen = known.histories(now)
        value = fitted.value(self.chosen, known, now, days)
        alive = fitted.bgnbd.alive(seen) if fitted.bgnbd and not fitted.problem else np.full(len(known.names), np.nan)
        if fitted.trees is not None:
            buys = fitted.trees.predict("buys", known.features(now))
        else:
            assert fitted.bgnbd is not None  # without trees only BG/NBD can have been chosen
            buys = fitted.bgnbd.buys(seen, days)
        return Forecast(known.names, value, buys, alive)

    @property
    def season(self) -> bool:
        """Whether a season is known."""
        return self._fitted is not None and self._fitted.index is not None

    @property
    def card(self) -> dict[str, Any]:
        """What was chosen, why, and with which parameters; for people and for the registry."""
        if self._fitted is None:
            raise NotFitted("CustomerValue")
        fitted = self._fitted
        return {
            "chosen": self.chosen,
            "deviance": self.deviance,
            "problem": fitted.problem,
            "bgnbd": fitted.bgnbd.to_json() if fitted.bgnbd else None,
            "gamma_gamma": fitted.worth.to_json() if fitted.worth else None,
            "season": self.season,
        }

    def save(self, path: Path) -> None:
        """Write the fitted model into the folder ``path``."""
        fitted = self._fitted
        values = {"horizon_days": self.horizon_days, "seasonal": self.seasonal, "seed": self.seed, **self.card}
        assert fitted is not None
        trees = fitted.trees.to_json() if fitted.trees else {}
        index = fitted.index if fitted.index is not None else np.empty(0)
        _store.write(path / "value", {**values, "trees": trees}, {"index": index})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`."""
        values, arrays = _store.read(path / "value")
        made = cls(horizon_days=values["horizon_days"], seasonal=values["seasonal"], seed=values["seed"])
        made.chosen, made.deviance = values["chosen"], values["deviance"]
        made._fitted = _Fitted(
            BGNBD(**values["bgnbd"]) if values["bgnbd"] else None,
            GammaGamma(**values["gamma_gamma"]) if values["gamma_gamma"] else None,
            ValueTrees.from_json(values["trees"]) if values["trees"] else None,
            values["problem"],
            arrays["index"] if len(arrays["index"]) else None,
        )
        return made


def _buy_till_you_die(seen: Histories) -> tuple[BGNBD | None, GammaGamma | None, str]:
    """Both models, or why they cannot be used: the sanity gate."""
    try:
        bgnbd, worth = BGNBD.fit(seen), GammaGamma.fit(seen)
    except InputError as error:
        return None, None, str(error)
    if problem := worth.problem():
        return None, None, problem
    return bgnbd, worth, bgnbd.problem()


def deviance(spent: Values, expected: Values) -> float:
    """Mean Tweedie deviance at power 1.5 of what was spent; 0 is perfect. ``expected`` below a billionth of its mean counts as that."""
    mean = np.maximum(expected, 1e-9 * max(float(expected.mean()), 1e-9))
    one, two = 1 - POWER, 2 - POWER
    terms = np.maximum(spent, 0.0) ** two / (one * two) - spent * mean**one / one + mean**two / two
    return float(2 * terms.mean())
