"""The contract of every recommender: learn from a log, score a catalogue, rank, say why, update, save and load.

A model is one file of this room whose ``PLUGIN`` is a subclass of :class:`Recommender`; the contract checks in
``tests/learn`` find it by that and run it through one public suite. Write ``_fit``, ``_score``, ``_state`` and
``_restore``; everything around them is here.

Scores: minus infinity means "this model has nothing to say about this item for this customer". Such items are never
recommended; a short ranking ends in item -1. ``fallback`` is the model that always fills its rows.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind import plugins
from tradewind.errors import InputError, NotFitted
from tradewind.learn import _store
from tradewind.learn._rank import Ranking, seen_mask, top_k
from tradewind.learn._signal import ordered, recode, same
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule, check
from tradewind.types import Reason, micros

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Ranking", "Recommender", "load"]

TAGS = frozenset({"cold_customers", "cold_items", "incremental", "calibrated", "deep"})
BLOCK = 512  # customers scored at once: bounds memory to BLOCK x I floats


class Recommender(ABC):
    """Scores every item of a catalogue for customers from their histories.

    ``items`` (object [I]) is the catalogue that it learned: column j of a score is ``items[j]``.
    """

    name: ClassVar[str]
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {}

    items: NDArray[np.object_]
    categories: NDArray[np.object_]
    as_of: int  # microseconds; moves forward with update
    _known: set[str]

    # ---- the verbs -------------------------------------------------------------------------------------------------

    def fit(self, log: Sequences, *, as_of: datetime) -> Self:
        """Learn from the events of ``log`` with ``at < as_of``; later ones are never looked at.

        Raises
        ------
        InputError
            A parameter is out of its range, or the log has no item at all.
        """
        check(type(self).__name__, self.params(), self.rules)
        past = ordered(log.before(as_of))
        if not len(past.items):
            raise InputError(
                f"{type(self).__name__}: the log has no items, so there is nothing to recommend. Collect events or a catalogue."
            )
        self.items, self.categories, self.as_of = past.items, past.categories, micros(as_of)
        self._known = active(past)
        self._codes: dict[str, int] | None = None
        self._fit(past)
        return self

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Scores float32 [U, I], higher is better; minus infinity where the model has nothing to say.

        Histories may be newer than the fit and may come from another log: items are matched by their id.
        """
        self._fitted()
        return self._score(self._aligned(histories))

    def recommend(
        self,
        histories: Sequences,
        *,
        k: int = 10,
        exclude_seen: bool | Sequence[str] = True,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranking:
        """The ``k`` best items for each history, with where each came from.

        ``exclude_seen`` removes what is in the history: True every item of any event, a list of kinds (``["purchase"]``)
        items of these events, False nothing (right where people buy again). ``allowed`` is bool [I] or [U, I] over
        ``self.items``: stock, expiry, region; it holds on every path.

        Raises
        ------
        InputError
            ``k`` is not a whole number from 1, or ``allowed`` has the wrong shape.
        """
        self._fitted()
        check("recommend", {"k": k}, {"k": Number(1, 1_000_000, whole=True)})
        aligned = self._aligned(histories)
        shape = (len(aligned), len(self.items))
        if allowed is not None and allowed.shape not in (shape, shape[1:]):
            raise InputError(
                f"allowed: got the shape {allowed.shape}; it must be {shape[1:]} or {shape}, a bool for each of the model's items."
            )
        blocks = []
        for start in range(0, max(len(aligned), 1), BLOCK):
            block = aligned.rows(np.arange(start, min(start + BLOCK, len(aligned))))
            barred = seen_mask(block, exclude_seen)
            if allowed is not None:
                barred |= ~(allowed if allowed.ndim == 1 else allowed[start : start + BLOCK])
            blocks.append(self._rank(block, barred, min(k, len(self.items))))
        items, scores, sources = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return Ranking(aligned.customers, self.items, items, scores, sources, self.states(aligned)).padded(k)

    def reasons(self, histories: Sequences, *, row: int, item: int) -> tuple[Reason, ...]:
        """Why ``items[item]`` suits the customer in ``row``: at least one reason for what the model recommends; () for -1."""
        self._fitted()
        if item < 0:
            return ()
        return self._reasons(self._aligned(histories.rows(np.array([row]))), item)

    def explain(self, histories: Sequences, ranking: Ranking) -> pa.Table:
        """The table of ``ranking`` (see :meth:`Ranking.table`) with the reasons of every place filled in, row by row."""
        self._fitted()
        aligned = self._aligned(histories)
        rows = [aligned.rows(np.array([row])) for row in range(len(aligned))]
        return ranking.table(lambda row, item, source: self.why(rows[row], item, source))

    def why(self, history: Sequences, item: int, source: str) -> tuple[Reason, ...]:  # noqa: ARG002 - for models with several sources
        """Reasons for an item of a ranking; ``history`` is one row over this model's own catalogue, ``source`` is the ranking's."""
        return self._reasons(history, item)

    def update(self, log: Sequences, *, as_of: datetime | None = None) -> Self:
        """Learn from new events only; unknown items join the end of the catalogue.

        ``log`` holds what came after the last fit or update. The result equals a fit on everything up to ``as_of``
        (default: just after the last new event).

        Raises
        ------
        InputError
            The model cannot learn incrementally (no tag "incremental").
        """
        self._fitted()
        if "incremental" not in self.tags:
            raise InputError(f'The model "{self.name}" cannot learn from new events alone. Fit it again, or use one tagged "incremental".')
        fresh = ordered(log if as_of is None else log.before(as_of))
        if len(fresh.at):
            self.as_of = max(self.as_of, int(fresh.at.max()) + 1)
        if as_of is not None:
            self.as_of = max(self.as_of, micros(as_of))
        self._grow(fresh)
        self._known |= active(fresh)
        self._update(self._aligned(fresh))
        return self

    def states(self, histories: Sequences) -> NDArray[np.object_]:
        """Per history: "hot" (the model learned from this customer), "warm" (only the history is known), "cold" (no history)."""
        aligned = self._aligned(histories)
        usable = np.zeros(len(aligned), dtype=bool)
        usable[aligned.owner[aligned.item >= 0]] = True
        states = [
            "cold" if not has else "hot" if name in self._known else "warm" for name, has in zip(aligned.customers, usable, strict=True)
        ]
        return np.array(states, dtype=object)

    # ---- save and load ---------------------------------------------------------------------------------------------

    def params(self) -> dict[str, Any]:
        """The constructor's parameters and their values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def save(self, path: Path) -> None:
        """Write the fitted model to the folder ``path``: JSON and npz, no pickle. An old folder there is replaced."""
        _store.write(Path(path), *self.state())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model that :meth:`save` wrote; called on ``Recommender`` it returns whichever model is there.

        Raises
        ------
        InputError
            There is no model, it is another one than this class, or it cannot be read.
        """
        return cls.from_state(*_store.read(Path(path)))

    def state(self) -> tuple[dict[str, Any], _store.Arrays]:
        """All that was learned, as JSON values and plain arrays: what :meth:`save` writes."""
        self._fitted()
        values, arrays = self._state()
        arrays |= _store.pack("items", self.items) | _store.pack("categories", self.categories) | _store.pack("known", sorted(self._known))
        return {"name": self.name, "params": self.params(), "as_of": self.as_of, "state": values}, arrays

    @classmethod
    def from_state(cls, head: dict[str, Any], arrays: _store.Arrays) -> Self:
        """The inverse of :meth:`state`."""
        kind = plugins.load("learn", head["name"], what="model")
        if not issubclass(kind, cls):
            raise InputError(f'This is the model "{head["name"]}", not {cls.__name__}. Load it with Recommender.load.')
        model: Self = kind(**head["params"])
        model.items, model.categories, model.as_of = _store.unpack("items", arrays), _store.unpack("categories", arrays), int(head["as_of"])
        model._known = set(_store.unpack("known", arrays))
        model._codes = None
        model._restore(head["state"], arrays)
        return model

    # ---- what a model writes ---------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, log: Sequences) -> None:
        """Learn from ``log``: ordered, cut at ``as_of``."""

    @abstractmethod
    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        """Scores [U, I] of aligned histories."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        """What was learned, as JSON values and arrays."""

    @abstractmethod
    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        """The inverse of ``_state``."""

    @abstractmethod
    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """Reasons for one item and one aligned history."""

    def _update(self, log: Sequences) -> None:
        raise AssertionError(f"{self.name} is tagged incremental and has no _update for {len(log)} histories")

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        """Items int32 [U, k], scores [U, k] and source names [U, k] of one block; ``barred`` (bool [U, I]) never appears."""
        scores = self._score(histories)
        items, best = top_k(np.where(barred, -np.inf, scores), k)
        return items, best, np.where(items >= 0, self.name, "").astype(object)

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def _fitted(self) -> None:
        if not hasattr(self, "items"):
            raise NotFitted(f'The model "{self.name}" has learned nothing yet. Call fit(log, as_of=...) first.')

    def _index(self) -> dict[str, int]:
        if self._codes is None:
            self._codes = {name: code for code, name in enumerate(self.items)}
        return self._codes

    def _aligned(self, log: Sequences) -> Sequences:
        """``log`` in order and over this model's items and categories; what it does not know becomes -1."""
        log = ordered(log)
        if not same(log.items, self.items):
            log = replace(log, items=self.items, item=recode(log.item, log.items, self._index()))
        if not same(log.categories, self.categories):
            index = {name: code for code, name in enumerate(self.categories)}
            log = replace(log, categories=self.categories, category=recode(log.category, log.categories, index))
        return log

    def _grow(self, log: Sequences) -> None:
        for name in ("items", "categories"):
            known = set(getattr(self, name))
            new = [value for value in getattr(log, name) if value not in known]
            if new:
                setattr(self, name, np.append(getattr(self, name), np.array(new, dtype=object)))
                self._codes = None


def load(path: Path) -> Recommender:
    """The model in the folder ``path``, whichever it is."""
    return Recommender.load(path)


def active(log: Sequences) -> set[str]:
    """Customers with at least one event on an item."""
    owners = np.unique(log.owner[log.item >= 0])
    return set(log.customers[owners])
