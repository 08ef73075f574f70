"""What the shop bought, carted and viewed in the last seven days: a mandatory yardstick that beats many models."""

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


class Recent(Recommender):
    """The same list for everybody: weighted events per item in the last ``days`` days before the cut.

    When not to use: in a shop with few events a week, where the list is noise; ``popular`` decays more gently.
    """

    name: ClassVar[str] = "recent"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "incremental"})
    rules: ClassVar[dict[str, Rule]] = {"days": Number(0.01, 10_000)}

    def __init__(self, *, days: float = 7.0, weights: Mapping[str, float] | None = None) -> None:
        self.days = days
        self.weights = weights

    def _fit(self, log: Sequences) -> None:
        self._item, self._weight, self._at = np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int64)
        self._update(log)

    def _update(self, log: Sequences) -> None:
        found = signal(log, table(self.weights))
        at = np.concatenate((self._at, found.at))
        keep = at >= self.as_of - self.days * DAY
        self._at = at[keep]
        self._item = np.concatenate((self._item, found.item))[keep]
        self._weight = np.concatenate((self._weight, found.weight))[keep]
        self._counts = np.bincount(self._item, self._weight, minlength=len(self.items))

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        row = np.where(self._counts > 0, self._counts, -np.inf).astype(np.float32)
        return np.tile(row, (len(histories), 1))

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:  # noqa: ARG002 - the same for everybody
        if not self._counts[item] > 0:
            return ()
        rank = int((self._counts > self._counts[item]).sum()) + 1
        return (Reason("recent", {"rank": rank, "days": self.days}),)

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {}, {"item": self._item, "weight": self._weight, "at": self._at}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        self._item, self._weight, self._at = arrays["item"], arrays["weight"], arrays["at"]
        self._counts = np.bincount(self._item, self._weight, minlength=len(self.items))


PLUGIN = Recent
