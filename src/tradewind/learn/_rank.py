"""Rankings as arrays: the best k of a score matrix, what a history already holds, and the table that other rooms read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.sequences import Sequences, kind_codes
from tradewind.types import Reason

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Ranking:
    """The best k items for U customers, best first.

    ``customers`` object [U]; ``catalogue`` object [I]; ``items`` int32 [U, k] indexes the catalogue, -1 where nothing
    is left; ``scores`` float32 [U, k] (comparable within one row and source); ``sources`` object [U, k]: the name of
    the model that each item came from; ``states`` object [U]: "hot", "warm" or "cold".
    """

    customers: NDArray[np.object_]
    catalogue: NDArray[np.object_]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    sources: NDArray[np.object_]
    states: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.customers)

    def padded(self, k: int) -> Ranking:
        """The same with exactly ``k`` columns; missing ones hold item -1, score minus infinity, source ""."""
        short = k - self.items.shape[1]
        if short <= 0:
            return self
        pad = ((0, 0), (0, short))
        return replace(
            self,
            items=np.pad(self.items, pad, constant_values=-1),
            scores=np.pad(self.scores, pad, constant_values=-np.inf),
            sources=np.pad(self.sources, pad, constant_values=""),
        )

    def table(self, reasons: Callable[[int, int, str], Sequence[Reason]] | None = None) -> pa.Table:
        """One row per recommended item: customer, item, rank (from 1), score, source, state, reasons (JSON list).

        ``reasons(row, item, source)`` explains one cell; ``model.explain(histories, ranking)`` passes the model's own.
        """
        import pyarrow as pa

        row, column = np.nonzero(self.items >= 0)
        items = self.items[row, column]
        sources = self.sources[row, column]
        said = [
            json.dumps([{"code": why.code, **why.details} for why in (reasons(int(u), int(i), name) if reasons else ())], ensure_ascii=True)
            for u, i, name in zip(row, items, sources, strict=True)
        ]
        return pa.table(
            {
                "customer": pa.array(self.customers[row], pa.string()),
                "item": pa.array(self.catalogue[items], pa.string()),
                "rank": pa.array(column + 1, pa.int32()),
                "score": pa.array(self.scores[row, column], pa.float64()),
                "source": pa.array(sources, pa.string()),
                "state": pa.array(self.states[row], pa.string()),
                "reasons": pa.array(said, pa.string()),
            }
        )


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best columns of each row, best first, ties by the lower column; -1 where the score is minus infinity."""
    users, width = scores.shape
    if not users:
        return np.empty((0, k), np.int32), np.empty((0, k), np.float32)
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < width else np.tile(np.arange(width), (users, 1))
    best.sort(axis=1)
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    items = np.where(np.isneginf(values), -1, np.take_along_axis(best, order, axis=1))
    return items.astype(np.int32), values.astype(np.float32)


def seen_mask(histories: Sequences, exclude: bool | Sequence[str]) -> NDArray[np.bool_]:
    """Bool [U, I]: the items that each history holds, by events of any kind (True) or of the kinds named."""
    mask = np.zeros((len(histories), len(histories.items)), dtype=bool)
    if exclude is False:
        return mask
    hit = histories.item >= 0
    if exclude is not True:
        hit &= np.isin(histories.kind, kind_codes(list(exclude)))
    mask[histories.owner[hit], histories.item[hit]] = True
    return mask
