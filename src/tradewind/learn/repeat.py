"""Buying again: what the customer keeps buying, and whether it is due.

The base is the personal item frequency of TIFU-kNN (Hu et al., SIGIR 2020): the share of the customer's baskets that hold the item,
newer baskets heavier. It is weighed by how often buyers of the item come back to it, and by time: intervals are log-normal, as in
"Buy It Again" (Bhagat et al., KDD 2018), so the weight is greatest when the typical interval has passed. Few intervals of an item
lean on its category, these on the shop, and the customer's own on the item's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._signal import Signal, signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

DAY = 86_400_000_000
SHORTEST = 0.25  # days: shorter intervals and waits count as this long
OWN = 2.0  # the item's interval weighs as much as this many of the customer's own
ANY_DAYS, ANY_SPREAD = 30.0, 1.0  # interval and log spread of a shop in which nothing was bought twice
HALF_LIFE = 30 * DAY  # of the shop's popularity

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Each customer's distinct bought items, P in all: ``owner``, ``item`` [P]; ``share`` of the baskets, newer ones heavier;
    ``last`` microseconds; ``gaps``, ``log_gap``, ``log_gap2``: number, mean log length (days) and mean square of it of the intervals."""

    owner: NDArray[np.int64]
    item: NDArray[np.int64]
    share: Floats
    last: NDArray[np.int64]
    gaps: NDArray[np.int64]
    log_gap: Floats
    log_gap2: Floats


class Repeat(Recommender):
    """Score of item i: share(customer, i) x back(i)^``loyalty`` x (1 - timing + timing x due) + ``explore`` x share(shop, i).

    due = exp(-(ln wait - ln interval)^2 / 2 spread^2), 1 when the customer's typical interval has just passed at ``as_of``;
    back(i): share of buyers who bought i again; share(shop, i): share of the shop's baskets with i, half as much every 30 days.
    ``decay`` per basket back, ``timing`` 0 (never mind when) to 1, ``shrink``: how many intervals or buyers the wider group counts.
    ``weights``: kinds of event that count, None for purchases alone.

    Rank with ``exclude_seen=False``: otherwise only the shop's share is left. When not to use: where nobody buys a thing twice.
    Intervals come from what the log holds, so a log of few weeks makes them too short.
    """

    name: ClassVar[str] = "repeat"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers"})
    rules: ClassVar[dict[str, Rule]] = {
        "decay": Number(0.01, 1),
        "timing": Number(0, 1),
        "loyalty": Number(0, 5),
        "explore": Number(0, 100),
        "shrink": Number(0.01, 100_000),
    }

    def __init__(
        self,
        *,
        decay: float = 0.95,
        timing: float = 0.2,
        loyalty: float = 0.5,
        explore: float = 0.8,
        shrink: float = 10.0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.decay, self.timing, self.loyalty, self.explore = decay, timing, loyalty, explore
        self.shrink, self.weights = shrink, weights

    # ---- learning --------------------------------------------------------------------------------------------------

    def _fit(self, log: Sequences) -> None:
        found = self._signal(log)
        pairs = self._pairs(found)
        size, shelf = len(self.items), self._shelves(log)
        again = (pairs.gaps > 0).astype(np.float64)
        self._back = self._pooled(shelf, np.bincount(pairs.item, again, size), np.bincount(pairs.item, minlength=size), 0.0)
        counts = np.bincount(pairs.item, pairs.gaps, size)
        self._interval = self._pooled(shelf, np.bincount(pairs.item, pairs.gaps * pairs.log_gap, size), counts, np.log(ANY_DAYS))
        own = self._own(pairs)
        squares = float((pairs.gaps * (pairs.log_gap2 - 2 * own * pairs.log_gap + own**2)).sum())
        self._spread = max(np.sqrt(squares / pairs.gaps.sum()), 0.1) if pairs.gaps.any() else ANY_SPREAD
        # One basket is one customer at one moment; lines on the same item count once.
        fresh = np.exp2((found.at - self.as_of) / HALF_LIFE)
        line, basket = _first(found.owner, found.at, found.item), _first(found.owner, found.at)
        self._shop = np.bincount(found.item[line], fresh[line], size) / max(float(fresh[basket].sum()), 1e-300)

    def _signal(self, log: Sequences) -> Signal:
        """The purchases, each customer's by time and then by item."""
        found = signal(log, table({"purchase": 1.0} if self.weights is None else self.weights))
        order = np.lexsort((found.item, found.at, found.owner))
        return Signal(found.offsets, found.item[order], found.weight[order], found.at[order])

    def _shelves(self, log: Sequences) -> NDArray[np.int32]:
        """The category of each item by its latest event, int32 [I], -1 for none."""
        shelf = np.full(len(self.items), -1, np.int32)
        has = np.flatnonzero((log.item >= 0) & (log.category >= 0))
        by_time = has[np.argsort(log.at[has], kind="stable")]
        shelf[log.item[by_time]] = log.category[by_time]
        return shelf

    def _pooled(self, shelf: NDArray[np.int32], total: NDArray[Any], count: NDArray[Any], start: float) -> Floats:
        """Mean per item, leaning on the mean of its category and that on the shop's; ``start`` where the shop has no count at all."""
        shop = float(total.sum() / count.sum()) if count.sum() > 0 else start
        known = shelf >= 0
        groups = len(self.categories)
        top, bottom = np.bincount(shelf[known], total[known], groups), np.bincount(shelf[known], count[known], groups)
        wide = np.append((top + self.shrink * shop) / (bottom + self.shrink), shop)[shelf]
        found: Floats = (total + self.shrink * wide) / (count + self.shrink)
        return found

    # ---- answering -------------------------------------------------------------------------------------------------

    def _pairs(self, found: Signal) -> Pairs:
        owner, back = found.owner, found.moments_back()
        order = np.lexsort((found.at, found.item, owner))
        order = order[_first(owner[order], found.item[order], found.at[order])]
        who, what, when = owner[order], found.item[order].astype(np.int64), found.at[order]
        starts = np.flatnonzero(_first(who, what))
        ends = np.append(starts, len(who))[1:] - 1
        baskets = np.zeros(len(found.offsets) - 1)
        moments = _first(owner, found.at)
        np.add.at(baskets, owner[moments], self.decay ** back[moments].astype(np.float64))
        taken = np.add.reduceat(self.decay ** back[order].astype(np.float64), starts) if len(starts) else np.empty(0)
        gap = np.zeros(len(who))
        inside = np.flatnonzero(~_first(who, what))
        gap[inside] = np.log(np.maximum((when[inside] - when[inside - 1]) / DAY, SHORTEST))
        number = ends - starts
        mean, square = (np.add.reduceat(each, starts) / np.maximum(number, 1) if len(starts) else np.empty(0) for each in (gap, gap**2))
        return Pairs(who[starts], what[starts], taken / baskets[who[starts]], when[ends], number, mean, square)

    def _own(self, pairs: Pairs) -> Floats:
        """Log interval of each pair: the customer's own, leaning on the item's."""
        own: Floats = (pairs.gaps * pairs.log_gap + OWN * self._interval[pairs.item]) / (pairs.gaps + OWN)
        return own

    def _waits(self, pairs: Pairs, histories: Sequences) -> Floats:
        """Days since the last purchase, at ``as_of`` or at the customer's latest event when that is later."""
        now = np.full(len(histories), self.as_of)
        if len(histories.at):
            np.maximum.at(now, histories.owner, histories.at)
        waits: Floats = np.maximum((now[pairs.owner] - pairs.last) / DAY, SHORTEST)
        return waits

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        pairs = self._pairs(self._signal(histories))
        late = np.log(self._waits(pairs, histories)) - self._own(pairs)
        due = np.maximum(np.exp(-0.5 * (late / self._spread) ** 2), 1e-6)  # far from due is unlikely, not impossible
        scores = np.tile((self.explore * self._shop).astype(np.float32), (len(histories), 1))
        mine = pairs.share * self._back[pairs.item] ** self.loyalty * (1 - self.timing + self.timing * due)
        scores[pairs.owner, pairs.item] += mine.astype(np.float32)
        return np.where(scores > 0, scores, np.float32(-np.inf))

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """How often the customer buys the item and when last; for an item that the customer never bought, its place in the shop."""
        pairs = self._pairs(self._signal(history))
        place = np.flatnonzero(pairs.item == item)
        if len(place):
            every, wait = np.exp(self._own(pairs)[place[0]]), self._waits(pairs, history)[place[0]]
            details = {"every_days": round(float(every), 1), "last_days": round(float(wait), 1), "times": int(pairs.gaps[place[0]]) + 1}
            return (Reason("repeat", details),)
        if not self._shop[item] > 0:
            return ()
        return (Reason("popular", {"rank": int((self._shop > self._shop[item]).sum()) + 1, "half_life_days": 30.0}),)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {"spread": self._spread}, {"back": self._back, "interval": self._interval, "shop": self._shop}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        self._spread = float(values["spread"])
        self._back, self._interval, self._shop = arrays["back"], arrays["interval"], arrays["shop"]


def _first(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a sorted table has a row that differs from the one before in any column, bool [n]."""
    first = np.ones(len(columns[0]), dtype=bool)
    if len(first):
        first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return first


PLUGIN = Repeat
