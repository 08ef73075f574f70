"""Histories as batches of integer codes: windows of events, grouped by length, and what came next at each moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.sequences import CHANNELS, KINDS, Sequences

GAPS = 34  # log2 of seconds since the event before; 0 for the first


def tables(items: int, categories: int) -> tuple[int, ...]:
    """Rows of each embedding table, in the order of ``FEATURES``."""
    return (items + 1, len(KINDS), 6, categories + 1, len(CHANNELS) + 1, GAPS)


def codes(log: Sequences, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """All events as codes int64 [features + 1, N], the last row in seconds; an item that was never trained on reads as "none"."""
    events = np.empty((7, len(log.at)), dtype=np.int64)
    events[0] = np.where((log.item >= 0) & np.append(known, False)[log.item], log.item, len(log.items))
    events[1], events[2], events[3], events[4] = log.kind, log.band + 1, log.category + 1, log.channel + 1
    gap = np.diff(log.at, prepend=0)
    events[5] = np.minimum(np.log2(np.maximum(gap, 0) / 1e6 + 1).astype(np.int64) + 1, GAPS - 1)
    events[5, log.offsets[:-1][log.lengths > 0]] = 0
    events[6] = log.at // 1_000_000
    return events


class Pairs(NamedTuple):
    """What follows some positions: ``row`` (into the positions that have anything), wanted ``item`` and ``weight``, all [P]."""

    places: NDArray[np.bool_]  # [B, L]
    row: NDArray[np.int64]
    item: NDArray[np.int64]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Training windows: ``start`` and ``length`` into the flat ``events``, and as CSR over events what came next.

    Asked is only at the end of a moment, and wanted is everything at the next moment, sharing a weight of one: lines of
    one order have no order of their own, and a model that guesses the next line never learns the next order.
    """

    events: NDArray[np.int64]  # [features + 1, N]
    offsets: NDArray[np.int64]  # [N + 1]
    item: NDArray[np.int64]  # [P]
    weight: NDArray[np.float32]  # [P]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    items: int  # of the catalogue

    @classmethod
    def of(cls, log: Sequences, known: NDArray[np.bool_], weights: NDArray[np.float64], *, longest: int) -> Windows:
        """Cut every history, from its last question backwards, into windows of at most ``longest`` events."""
        place, item, weight = _followers(log, weights)
        counts = np.bincount(place, minlength=len(log.at))
        weight = weight / counts[place]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        asked = np.flatnonzero(counts)
        last = np.zeros(len(log), np.int64)
        last[log.owner[asked]] = asked + 1 - log.offsets[log.owner[asked]]
        start, length = _cut(log.offsets[:-1], last, longest)
        useful = offsets[start + length] > offsets[start]
        return cls(codes(log, known), offsets, item, weight.astype(np.float32), start[useful], length[useful], len(log.items))

    @cached_property
    def _told(self) -> NDArray[np.float64]:
        return np.concatenate(([0.0], np.cumsum(self.weight, dtype=np.float64)))

    def mass(self, index: NDArray[np.int64]) -> float:
        """Summed weight of all that is wanted in some windows."""
        start = self.start[index]
        return float((self._told[self.offsets[start + self.length[index]]] - self._told[self.offsets[start]]).sum())

    def wanted(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """All that is wanted in some windows, int64 [Q]."""
        begin = self.offsets[self.start[index]]
        counts = self.offsets[self.start[index] + self.length[index]] - begin
        shift = np.concatenate(([0], np.cumsum(counts)))
        found: NDArray[np.int64] = self.item[np.arange(shift[-1]) + np.repeat(begin - shift[:-1], counts)]
        return found

    @cached_property
    def shares(self) -> NDArray[np.float32]:
        """How often each item is among what is wanted, float32 [I], sums to one."""
        counts = np.bincount(self.wanted(np.arange(len(self.start))), minlength=self.items)
        found: NDArray[np.float32] = (counts / max(counts.sum(), 1)).astype(np.float32)
        return found

    def batches(self, tokens: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Windows of like length, about ``tokens`` padded events each, in random order: int64 window numbers."""
        order = rng.permutation(len(self.start))
        order = order[np.argsort(self.length[order], kind="stable")]
        groups = grouped(self.length[order], tokens)
        for number in rng.permutation(len(groups)):
            yield order[groups[number]]

    def padded(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], Pairs]:
        """Codes [features + 1, B, L] and what is wanted of some windows."""
        events, _, take, real = gather(self.events, self.start[index], self.length[index])
        begin, end = self.offsets[take], self.offsets[take + 1]
        places = real & (end > begin)
        counts = (end - begin)[places]
        shift = np.concatenate(([0], np.cumsum(counts)))
        pairs = np.arange(shift[-1]) + np.repeat(begin[places] - shift[:-1], counts)
        return events, Pairs(places, np.repeat(np.arange(len(counts)), counts), self.item[pairs], self.weight[pairs])


def _followers(log: Sequences, weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For every positive event: the last event of the customer's moment before, the item, the weight; ascending by place."""
    owner = log.owner
    starts = np.ones(len(log.at), dtype=bool)
    starts[1:] = (log.at[1:] != log.at[:-1]) | (owner[1:] != owner[:-1])
    begin = np.flatnonzero(starts)[np.cumsum(starts) - 1] if len(owner) else np.empty(0, np.int64)
    weight = weights[log.kind]
    place = begin - 1
    wanted = (log.item >= 0) & (weight > 0) & (begin > log.offsets[owner])
    # View, cart and purchase of one item in a row are one wish; the step from one to the next teaches nothing.
    wanted &= ~((log.item == log.item[place]) & (log.kind != log.kind[place]))
    return place[wanted], log.item[wanted].astype(np.int64), weight[wanted]


def gather(
    events: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pad slices of the flat codes behind: codes [features + 1, B, L], lengths [B], flat positions [B, L], real [B, L]."""
    width = int(length.max(initial=1))
    step = np.arange(width)
    real = step < length[:, None]
    take = np.where(real, start[:, None] + step, 0)
    return events[:, take], length, take, real


def grouped(lengths: NDArray[np.int64], tokens: int) -> list[slice]:
    """Cut ascending ``lengths`` into runs whose padded size stays within ``tokens`` (one at least)."""
    groups, first = [], 0
    while first < len(lengths):
        last = first + 1
        rows = max(1, tokens // max(int(lengths[first]), 1))
        last = min(first + rows, len(lengths))
        while last > first + 1 and (last - first) * int(lengths[last - 1]) > tokens:
            last = first + max(1, tokens // int(lengths[last - 1]))
        groups.append(slice(first, last))
        first = last
    return groups


def _cut(start: NDArray[np.int64], length: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pieces = -(-length // longest)
    owner = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    end = start[owner] + length[owner] - number * longest
    begin = np.maximum(end - longest, start[owner])
    return begin, end - begin
