"""Popularity of the whole shop, decayed: every event counts half as much after each ``half_life`` days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._signal import signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

DAY = 86_400_000_000


class Popular(Recommender):
    """The same list for everybody: weighted events per item, with exponential decay.

    ``half_life`` in days. When not to use: alone, where customers differ; it is the yardstick and the last resort.
    """

    name: ClassVar[str] = "popular"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "incremental"})
    rules: ClassVar[dict[str, Rule]] = {"half_life": Number(0.01, 100_000)}

    def __init__(self, *, half_life: float = 30.0, weights: Mapping[str, float] | None = None) -> None:
        self.half_life = half_life
        self.weights = weights

    def _fit(self, log: Sequences) -> None:
        self._origin = self.as_of
        self._counts = np.zeros(len(self.items))
        self._update(log)

    def _update(self, log: Sequences) -> None:
        found = signal(log, table(self.weights))
        decayed = found.weight * np.exp2((found.at - self._origin) / (self.half_life * DAY))
        self._counts = np.append(self._counts, np.zeros(len(self.items) - len(self._counts)))
        self._counts += np.bincount(found.item, decayed, minlength=len(self.items))
        # Counts are relative to the origin; moving it keeps them finite however long updates go on.
        self._counts *= np.exp2((self._origin - self.as_of) / (self.half_life * DAY))
        self._origin = self.as_of

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        row = np.where(self._counts > 0, self._counts, -np.inf).astype(np.float32)
        return np.tile(row, (len(histories), 1))

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:  # noqa: ARG002 - the same for everybody
        if not self._counts[item] > 0:
            return ()
        rank = int((self._counts > self._counts[item]).sum()) + 1
        return (Reason("popular", {"rank": rank, "half_life_days": self.half_life}),)

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {"origin": self._origin}, {"counts": self._counts}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        self._origin, self._counts = int(values["origin"]), arrays["counts"]


PLUGIN = Popular
