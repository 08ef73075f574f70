"""Popularity within the categories that the customer buys from: the first step from "everybody" to "you"."""

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


class Category(Recommender):
    """Score of item i: sum over categories c of share(customer, c) x decayed popularity of i within c.

    ``half_life`` in days applies to the shop's popularity and to the customer's taste alike. An item's category is that of
    its latest event. When not to use: for customers without a history, and in a catalogue without categories.
    """

    name: ClassVar[str] = "category"
    tags: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[dict[str, Rule]] = {"half_life": Number(0.01, 100_000)}

    def __init__(self, *, half_life: float = 60.0, weights: Mapping[str, float] | None = None) -> None:
        self.half_life = half_life
        self.weights = weights

    def _fit(self, log: Sequences) -> None:
        found = signal(log, table(self.weights))
        counts = np.bincount(found.item, self._decayed(found.weight, found.at), minlength=len(self.items))
        self._shelf = np.full(len(self.items), -1, np.int32)
        has = np.flatnonzero((log.item >= 0) & (log.category >= 0))
        by_time = has[np.argsort(log.at[has], kind="stable")]
        self._shelf[log.item[by_time]] = log.category[by_time]
        known = self._shelf >= 0
        totals = np.bincount(self._shelf[known], counts[known], minlength=len(self.categories))
        self._share = np.where(known & (counts > 0), counts / np.maximum(totals[self._shelf] if len(totals) else 1.0, 1e-300), 0.0)

    def _decayed(self, weight: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
        decayed: NDArray[np.float64] = weight * np.exp2(np.minimum(at - self.as_of, 0) / (self.half_life * DAY))
        return decayed

    def _taste(self, histories: Sequences) -> NDArray[np.float64]:
        """Share of each category in each history, float64 [U, C]; rows of zeros where nothing is known."""
        found = signal(histories, table(self.weights))
        shelf = self._shelf[found.item]
        weight = self._decayed(found.weight, found.at)
        # Taste decays but never to nothing: an old history is still better than none.
        weight = np.maximum(weight, 1e-9)[shelf >= 0]
        taste = np.zeros((len(histories), len(self.categories)))
        np.add.at(taste, (found.owner[shelf >= 0], shelf[shelf >= 0]), weight)
        shares: NDArray[np.float64] = taste / np.maximum(taste.sum(axis=1, keepdims=True), 1e-300)
        return shares

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        if not len(self.categories):
            return np.full((len(histories), len(self.items)), -np.inf, np.float32)
        scores = self._taste(histories)[:, self._shelf] * self._share
        return np.where(scores > 0, scores, -np.inf).astype(np.float32)

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        shelf = int(self._shelf[item])
        if shelf < 0:
            return ()
        share = float(self._taste(history)[0, shelf])
        return (Reason("category", {"category": self.categories[shelf], "share": round(share, 4)}),)

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {}, {"shelf": self._shelf, "share": self._share}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        self._shelf, self._share = arrays["shelf"], arrays["share"]


PLUGIN = Category
