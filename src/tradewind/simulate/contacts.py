"""Delivered messages as arrays, and how tired each customer was when one arrived."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate.deals import Deal

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contacts:
    """Messages, sorted by customer and time; ``x`` counts hours from the start of the window."""

    source: Ints  # row of the table they came from
    customer: Ints  # number of the customer
    x: Floats
    channel: Ints
    item: Ints  # -1: no item named
    deal: Ints  # index into ``deals``
    deals: tuple[Deal, ...]
    decision: list[str]  # by ``source``
    offer: list[str | None]  # by ``source``
    words: Ints | None = None  # index into ``wordings``, -1: not told; None: of no message
    wordings: tuple[tuple[int, ...], ...] = ()  # numbers of what a text is like
    copy: float = 0.0  # how much customers care

    def __len__(self) -> int:
        return len(self.customer)

    def part(self, first: int, count: int) -> Contacts:
        """Return those to customers ``first`` .. ``first + count - 1``."""
        low, high = np.searchsorted(self.customer, [first, first + count])
        cut = slice(int(low), int(high))
        return Contacts(
            source=self.source[cut],
            customer=self.customer[cut],
            x=self.x[cut],
            channel=self.channel[cut],
            item=self.item[cut],
            deal=self.deal[cut],
            deals=self.deals,
            decision=self.decision,
            offer=self.offer,
            words=None if self.words is None else self.words[cut],
            wordings=self.wordings,
            copy=self.copy,
        )

    def ordinal(self) -> Ints:
        """How many earlier messages of the window went to the same customer."""
        fresh = np.r_[True, self.customer[1:] != self.customer[:-1]] if len(self) else np.zeros(0, dtype=bool)
        start = np.maximum.accumulate(np.where(fresh, np.arange(len(self)), 0)) if len(self) else np.zeros(0, dtype=np.int64)
        return np.asarray(np.arange(len(self)) - start, dtype=np.int64)

    def until(self, end: float) -> Floats:
        """Hour of the next message to the same customer, or ``end``."""
        following = np.r_[self.x[1:], end] if len(self) else self.x
        same = np.r_[self.customer[1:] == self.customer[:-1], False] if len(self) else np.zeros(0, dtype=bool)
        return np.where(same, following, end)


@dataclass(frozen=True)
class Past:
    """Contacts that happened before: customer numbers and hours from the start of the history."""

    customer: Ints
    hour: Floats

    @classmethod
    def empty(cls) -> Past:
        """No contact yet."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0))

    def join(self, other: Past) -> Past:
        """Both together."""
        return Past(np.concatenate([self.customer, other.customer]), np.concatenate([self.hour, other.hour]))

    def part(self, first: int, count: int) -> Past:
        """Return those of customers ``first`` .. ``first + count - 1``."""
        keep = (self.customer >= first) & (self.customer < first + count)
        return Past(self.customer[keep], self.hour[keep])


def tiredness(past: Past, now: Past, rest: Floats) -> Floats:
    """Sum of exp(-(hours since)/rest) over every earlier contact, for each contact of ``now`` (in its order).

    ``rest`` is in hours, by row of ``now``'s and ``past``'s customer numbers, which here are rows of a chunk.
    """
    if not len(now.customer):
        return np.zeros(0)
    both = past.join(now)
    new = np.r_[np.zeros(len(past.customer), dtype=bool), np.ones(len(now.customer), dtype=bool)]
    order = np.lexsort((np.arange(len(new)), both.hour, both.customer))
    customer, hour = both.customer[order], both.hour[order]
    fresh = np.r_[True, customer[1:] != customer[:-1]]
    place = np.arange(len(order)) - np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    level = np.zeros(len(order))
    for turn in range(1, int(place.max(initial=0)) + 1):  # the n-th contact of everybody at once
        at = np.flatnonzero(place == turn)
        level[at] = (level[at - 1] + 1) * np.exp(-(hour[at] - hour[at - 1]) / rest[customer[at]])
    result = np.empty(len(order))
    result[order] = level
    return np.asarray(result[new])
