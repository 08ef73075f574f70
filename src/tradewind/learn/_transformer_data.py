"""Histories as batches of integer codes: windows of events, grouped by length, one target per position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.sequences import CHANNELS, KINDS, Sequences

GAPS = 34  # log2 of seconds since the event before; 0 for the first
LATER, TOGETHER = 1, 0  # whether what comes next is at a later moment, or another line of the same order


def tables(items: int, categories: int) -> tuple[int, ...]:
    """Rows of each embedding table, in the order of ``FEATURES``."""
    return (items + 1, len(KINDS), 6, categories + 1, len(CHANNELS) + 1, GAPS, 2)


def codes(log: Sequences, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """All events as codes int64 [features, N]; an item that was never trained on reads as "none"."""
    events = np.empty((7, len(log.at)), dtype=np.int64)
    none = len(log.items)
    events[0] = np.where((log.item >= 0) & np.append(known, False)[log.item], log.item, none)
    events[1], events[2], events[3], events[4] = log.kind, log.band + 1, log.category + 1, log.channel + 1
    gap = np.diff(log.at, prepend=0)
    events[5] = np.minimum(np.log2(np.maximum(gap, 0) / 1e6 + 1).astype(np.int64) + 1, GAPS - 1)
    events[6] = LATER
    if len(log.at):
        starts = log.offsets[:-1][log.lengths > 0]
        events[5, starts] = 0
        same = np.zeros(len(log.at), dtype=bool)
        same[:-1] = (log.at[1:] == log.at[:-1]) & (np.diff(log.owner) == 0)
        events[6, same] = TOGETHER
    return events


@dataclass(frozen=True)
class Windows:
    """Training windows: ``start`` and ``length`` into the flat ``events``; per event the next item (-1: none) and its weight."""

    events: NDArray[np.int64]  # [features, N]
    target: NDArray[np.int64]  # [N]
    weight: NDArray[np.float32]  # [N]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, log: Sequences, known: NDArray[np.bool_], weights: NDArray[np.float64], *, longest: int) -> Windows:
        """Cut every history, from its end backwards, into windows of at most ``longest`` events that have a next one."""
        target, weight = np.full(len(log.at), -1, np.int64), np.zeros(len(log.at), np.float32)
        inner = np.ones(len(log.at), dtype=bool)
        inner[log.offsets[1:][log.lengths > 0] - 1] = False  # the last event of a history has no next one
        here = np.flatnonzero(inner)
        # The next event on the same item (view, then cart) is no recommendation; it teaches nothing.
        tells = (log.item[here + 1] >= 0) & (log.item[here + 1] != log.item[here])
        target[here] = np.where(tells, log.item[here + 1], -1)
        weight[here] = np.where(tells, weights[log.kind[here + 1]], 0)
        start, length = _cut(log.offsets[:-1], np.maximum(log.lengths - 1, 0), longest)
        told = np.concatenate(([0], np.cumsum(weight > 0)))
        useful = told[start + length] > told[start]
        return cls(codes(log, known), target, weight, start[useful], length[useful])

    def batches(self, tokens: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Windows of like length, about ``tokens`` padded events each, in random order: int64 window numbers."""
        order = rng.permutation(len(self.start))
        order = order[np.argsort(self.length[order], kind="stable")]
        groups = grouped(self.length[order], tokens)
        for number in rng.permutation(len(groups)):
            yield order[groups[number]]

    @cached_property
    def _told(self) -> NDArray[np.float64]:
        return np.concatenate(([0.0], np.cumsum(self.weight, dtype=np.float64)))

    def mass(self, index: NDArray[np.int64]) -> float:
        """Summed weight of all targets of some windows."""
        start = self.start[index]
        return float((self._told[start + self.length[index]] - self._told[start]).sum())

    def padded(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Codes [features, B, L], lengths [B], targets [B, L] (-1: none) and weights [B, L] of some windows."""
        events, lengths, take, real = gather(self.events, self.start[index], self.length[index])
        return events, lengths, np.where(real, self.target[take], -1), np.where(real, self.weight[take], 0).astype(np.float32)


def gather(
    events: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pad slices of the flat codes behind: codes [features, B, L], lengths [B], flat positions [B, L], real [B, L]."""
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
