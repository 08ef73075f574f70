"""What a history says about taste: events with an item and a positive weight, and helpers to line vocabularies up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.sequences import EVENT_ARRAYS, KINDS, Sequences
from tradewind.params import Number, check

# How much one event says that the customer wants the item; kinds that are not named say nothing.
WEIGHTS: Mapping[str, float] = {
    "view": 0.3,
    "click": 0.3,
    "wish": 0.5,
    "cart": 0.6,
    "checkout": 0.8,
    "review": 0.8,
    "purchase": 1.0,
}


@dataclass(frozen=True)
class Signal:
    """Positive events of U customers: ``offsets`` int64 [U + 1], ``item`` int32 [M], ``weight`` float64 [M], ``at`` int64 [M]."""

    offsets: NDArray[np.int64]
    item: NDArray[np.int32]
    weight: NDArray[np.float64]
    at: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @property
    def owner(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def moments_back(self) -> NDArray[np.int64]:
        """How many moments each event lies before its customer's last one, int64 [M]; lines of one order share a moment."""
        owner = self.owner
        if not len(owner):
            return np.empty(0, np.int64)
        starts = np.ones(len(owner), dtype=bool)
        starts[1:] = (self.at[1:] != self.at[:-1]) | (owner[1:] != owner[:-1])
        moment = np.cumsum(starts)
        last = np.zeros(len(self.offsets) - 1, np.int64)
        last[owner] = moment  # the last write of each customer wins
        back: NDArray[np.int64] = last[owner] - moment
        return back


def table(weights: Mapping[str, float] | None) -> NDArray[np.float64]:
    """Weight per kind code, float64 [kinds]; None means :data:`WEIGHTS`."""
    chosen = WEIGHTS if weights is None else weights
    rules = {name: Number(0, 1000) for name in chosen}
    check("weights", chosen, rules)
    for name in chosen:
        if name not in KINDS:
            from tradewind.errors import unknown

            raise unknown("event kind", name, KINDS)
    return np.array([float(chosen.get(kind, 0.0)) for kind in KINDS])


def signal(log: Sequences, weights: NDArray[np.float64], *, merge: bool = False) -> Signal:
    """The positive events of ``log``; ``merge`` joins neighbours on the same item (view, cart, purchase) to the strongest."""
    weight = weights[log.kind]
    keep = (log.item >= 0) & (weight > 0)
    counts = np.concatenate(([0], np.cumsum(keep)))
    found = Signal(counts[log.offsets].astype(np.int64), log.item[keep], weight[keep], log.at[keep])
    return _merged(found) if merge and len(found.item) else found


def _merged(found: Signal) -> Signal:
    owner = found.owner
    first = np.ones(len(found.item), dtype=bool)
    first[1:] = (found.item[1:] != found.item[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(first)
    counts = np.concatenate(([0], np.cumsum(first)))
    return Signal(counts[found.offsets].astype(np.int64), found.item[first], np.maximum.reduceat(found.weight, starts), found.at[first])


def ordered(log: Sequences) -> Sequences:
    """``log`` with every history in order of time; ties keep their order. The same object when it already is."""
    owner = log.owner
    if len(log.at) < 2 or not ((np.diff(log.at) < 0) & (np.diff(owner) == 0)).any():
        return log
    order = np.lexsort((log.at, owner))
    return replace(log, **{name: getattr(log, name)[order] for name in EVENT_ARRAYS})


def recode(codes: NDArray[Any], old: NDArray[np.object_], index: Mapping[str, int]) -> NDArray[np.int32]:
    """Codes over the vocabulary ``old`` as codes of ``index``; unknown names and -1 become -1."""
    lookup = np.fromiter((index.get(name, -1) for name in old), dtype=np.int32, count=len(old))
    found: NDArray[np.int32] = np.append(lookup, np.int32(-1))[codes]
    return found


def same(a: NDArray[np.object_], b: NDArray[np.object_]) -> bool:
    """Whether two vocabularies are equal, cheaply when they are one object."""
    return a is b or (len(a) == len(b) and bool((a == b).all()))
