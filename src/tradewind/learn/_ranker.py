"""The contract of models that answer "how probable is a click, and a purchase after it?" for (customer, item, moment).

Click and conversion are learned over all impressions: pCTCVR = pCTR x pCVR (ESMM, Ma et al. 2018), so that the conversion part is not
learned from clicks alone and used on everybody. Write ``_learn``, ``_raw``, ``_model_state`` and ``_model_restored``; labels as they
were known, features, the order of time, calibration and files are here, the same for all models.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn import _store
from tradewind.learn._ranker_calibration import Calibration, chance, latest
from tradewind.learn._ranker_features import Dense
from tradewind.learn._ranker_rows import DAY, NONE, Rows, Vocabulary, as_known, pieces
from tradewind.learn.impressions import candidates, impressions
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule, check
from tradewind.types import micros

if TYPE_CHECKING:
    import pyarrow as pa

Values = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Chances:
    """Probabilities per row, float64 [N]: ``click``, and ``conversion`` (a click and then a purchase), never above ``click``.

    ``conversion`` is None where the model has never been told about purchases.
    """

    click: Values
    conversion: Values | None


@dataclass(frozen=True)
class Raw:
    """Log-odds before calibration, float64 [N]: of a click, and of a click with a purchase (None: not learned)."""

    click: Values
    conversion: Values | None


@dataclass(frozen=True)
class Given:
    """Rows and their dense features."""

    rows: Rows
    dense: Features

    def take(self, index: NDArray[Any]) -> Given:
        return Given(self.rows.take(index), self.dense[index])


class ImpressionModel(ABC):
    """See the module. ``negatives``, ``calibrate``, ``window`` and ``seed`` mean the same for every model."""

    name: ClassVar[str]
    rules: ClassVar[dict[str, Rule]] = {}
    _shared: ClassVar[dict[str, Rule]] = {
        "negatives": Number(0.001, 1),
        "calibrate": Number(0.05, 0.9),
        "window": Number(0.01, 365),
        "seed": Number(0, 2**31, whole=True),
    }
    negatives: float
    calibrate: float
    window: float
    seed: int

    # ---- the verbs -------------------------------------------------------------------------------------------------

    def fit(self, shown: pa.Table, log: Sequences, *, as_of: datetime) -> Self:
        """Learn from ``shown`` (columns of ``impressions.IMPRESSIONS``) and from ``log``, both before ``as_of``.

        The weights learn from the earlier impressions. On the latest ``calibrate`` share by time the length of the training and
        the calibration are settled, and the weights do not learn from it again: what answers is what was calibrated. Rates, graph and
        everything else among the facts are as fresh as ``as_of``.

        Raises
        ------
        InputError
            A parameter is out of range; the table breaks a rule of ``impressions``; a slice of time has only one answer.
        """
        check(type(self).__name__, self.params(), self._shared | self.rules)
        table, delay = as_known(impressions(shown), micros(as_of), round(self.window * DAY))
        past = log.before(as_of)
        vocabulary = Vocabulary.of(past, table)
        rows = Rows.of(table, vocabulary.aligned(past), vocabulary)
        if delay is not None:
            rows = replace(rows, reach=np.where(rows.reach > NONE, delay.reach(micros(as_of) - rows.at), NONE))
        self._converts = bool((rows.reach > NONE).any() and rows.conversion.any())
        late = latest(rows.at, self.calibrate)
        self._both(rows, late)
        self._dense, dense = Dense.learn(rows, vocabulary, micros(as_of))
        given = Given(rows, dense)
        self.as_of = micros(as_of)
        self._steps = self._learn(given.take(~late), given.take(late))
        self._calibrate(given.take(late))
        return self

    def predict(self, shown: pa.Table, log: Sequences, *, as_shown: bool = False, calibrated: bool = True) -> Chances:
        """Probabilities for the rows of ``shown``: ``at``, ``customer``, ``item``, and ``channel`` where there is one.

        They are what a row would get at the first place, whatever its ``position`` says; ``as_shown`` takes the logged position
        into account, which only makes sense for comparing with what happened. ``log`` holds the histories; events at or after a
        row's ``at`` are not looked at, and customers who are not in it have no history. ``calibrated=False`` leaves the
        calibration out.

        Raises
        ------
        NotFitted
            ``fit`` or ``load`` was not called.
        """
        raw = self._raw(self._given(shown, log), as_shown=as_shown)
        click, bought = raw.click, raw.conversion
        if calibrated:
            click = self._of_click(click)
            bought = None if bought is None or self._of_conversion is None else self._of_conversion(bought)
        both = chance(click)
        return Chances(both, None if bought is None else np.minimum(chance(bought), both))

    def score(self, shown: pa.Table, log: Sequences) -> Values:
        """Log-odds of a click at the first place before calibration, float64 [N]: for ranking, without the ties of calibration."""
        return self._raw(self._given(shown, log), as_shown=False).click

    def position_effect(self, shown: pa.Table, log: Sequences, positions: int = 10) -> Values:
        """Mean predicted probability of a click at places 1..``positions``, relative to the first, float64 [positions].

        For the same rows everywhere: what the place alone does, under this model.
        """
        given = self._given(shown, log)
        levels = []
        for position in range(1, positions + 1):
            moved = replace(given, rows=replace(given.rows, position=np.full(len(given.rows), position)))
            levels.append(chance(self._of_click(self._raw(moved, as_shown=True).click)).mean())
        effect: Values = np.array(levels) / levels[0]
        return effect

    # ---- save and load ---------------------------------------------------------------------------------------------

    def params(self) -> dict[str, Any]:
        """The constructor's parameters and their values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def save(self, path: Path) -> None:
        """Write the fitted model to the folder ``path``: JSON and npz, no pickle. An old folder there is replaced."""
        self._fitted()
        values, arrays = self._model_state()
        about, facts = self._dense.state()
        head = {
            "name": self.name, "params": self.params(), "as_of": self.as_of, "steps": self._steps, "converts": self._converts,
            "state": values, "dense": about, "click": self._of_click.to_json(),
            "conversion": None if self._of_conversion is None else self._of_conversion.to_json(),
        }  # fmt: skip
        arrays = {f"model/{name}": array for name, array in arrays.items()}
        _store.write(Path(path), head, arrays | {f"dense/{name}": array for name, array in facts.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`: equal predictions to the bit.

        Raises
        ------
        InputError
            There is no model in ``path``, or it is another one than this class.
        """
        head, arrays = _store.read(Path(path))
        if head.get("name") != cls.name:
            raise InputError(f'{path} holds the model "{head.get("name")}", not "{cls.name}". Load it with the class that saved it.')
        model = cls(**head["params"])
        model.as_of, model._steps, model._converts = int(head["as_of"]), int(head["steps"]), bool(head["converts"])
        model._dense = Dense.restored(head["dense"], pieces(arrays, "dense/"))
        model._of_click = Calibration.from_json(head["click"])
        model._of_conversion = None if head["conversion"] is None else Calibration.from_json(head["conversion"])
        model._model_restored(head["state"], pieces(arrays, "model/"))
        return model

    # ---- what a model writes ---------------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, given: Given, later: Given) -> int:
        """Learn from ``given`` until it answers ``later`` best; returns the number of steps."""

    @abstractmethod
    def _raw(self, given: Given, *, as_shown: bool) -> Raw:
        """Log-odds for rows, at their position or at the first place; down-sampling is undone."""

    @abstractmethod
    def _model_state(self) -> tuple[dict[str, Any], _store.Arrays]:
        """What was learned, as JSON values and arrays."""

    @abstractmethod
    def _model_restored(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        """The inverse of ``_model_state``; vocabulary and parameters are already there."""

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def _given(self, shown: pa.Table, log: Sequences) -> Given:
        self._fitted()
        vocabulary = self._dense.vocabulary
        rows = Rows.of(candidates(shown), vocabulary.aligned(log), vocabulary)
        return Given(rows, self._dense.serve(rows))

    def _fitted(self) -> None:
        if not hasattr(self, "_of_click"):
            raise NotFitted(f"{type(self).__name__} has not learned yet. Call fit(shown, log, as_of=...) or load(path) first.")

    def _both(self, rows: Rows, late: NDArray[np.bool_]) -> None:
        """Refuse a slice of time that cannot be learned from or calibrated on."""
        wanted = [("click", rows.click)] + ([("conversion", rows.conversion)] if self._converts else [])
        for part, name in ((~late, "earlier"), (late, "later")):
            for label, values in wanted:
                found = int(values[part].sum())
                if not 0 < found < part.sum():
                    raise InputError(
                        f"{type(self).__name__}.fit: the {name} slice of time has {int(part.sum()):,} impressions with {found:,} "
                        f"{label}s; it needs some with and some without, at two times or more. Give more impressions, or choose "
                        f"calibrate (now {self.calibrate:g}) so that both slices have some."
                    )

    def _calibrate(self, late: Given) -> None:
        raw = self._raw(late, as_shown=True)
        self._of_click = Calibration.fit(raw.click, late.rows.click)
        self._of_conversion = None
        if raw.conversion is not None:
            known = late.rows.reach > NONE
            self._of_conversion = Calibration.fit(raw.conversion[known], late.rows.conversion[known], late.rows.reach[known])


def sampled(click: Values, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """All rows with a click and about ``share`` of the others, in order."""
    if share >= 1:
        return np.arange(len(click))
    return np.flatnonzero((click > 0) | (rng.random(len(click)) < share))


def held_loss(raw: Raw, rows: Rows) -> float:
    """Mean log loss of a click plus that of a conversion by what can be known of it by now: what lengths are chosen by."""
    total = float(np.mean(np.logaddexp(0, raw.click) - rows.click * raw.click))
    if raw.conversion is not None:
        p = np.clip(chance(raw.conversion) * rows.reach, 1e-12, 1 - 1e-12)
        y = rows.conversion
        total -= float(np.mean((rows.reach > NONE) * (y * np.log(p) + (1 - y) * np.log1p(-p))))
    return total
