"""The recommender's shortlist as a matrix: customers x ranks, numbers of items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 50


@dataclass(frozen=True)
class Shortlist:
    """``item`` (customers, ranks): row of the item table, -1 where the list ends; ``row``: row of the given table.

    ``popular`` (items): the weight of each item over all customers, ``1 / log2(2 + rank)`` per listing: what is taken when a
    customer's own list holds nothing that an offer allows. ``unknown``: rows that named no known customer or item.
    """

    item: np.ndarray
    row: np.ndarray
    popular: np.ndarray
    unknown: int


def affinity(rank: np.ndarray) -> np.ndarray:
    """How well an item of this rank (0 first) fits, in (0, 1]: the discount of DCG, whatever scale the scores have."""
    return np.asarray(1.0 / np.log2(2.0 + rank))


def shortlist(table: pa.Table | None, *, customers: pa.ChunkedArray, items: pa.ChunkedArray, impersonal: np.ndarray) -> Shortlist:
    """Order each customer's items by score (ties by item row); an impersonal customer gets the most popular ones."""
    n = len(customers)
    if table is None or table.num_rows == 0:
        empty = np.full((n, 1), -1, dtype=np.int64)
        return Shortlist(empty, empty, np.zeros(len(items)), 0)
    who = _index(table["customer"], customers)
    what = _index(table["item"], items)
    score = table["score"].cast(pa.float64()).fill_null(-np.inf).to_numpy()
    known = np.flatnonzero((who >= 0) & (what >= 0) & ~np.isnan(score))
    order = ranked(known, who, what, score, len(items))
    start = np.concatenate([[0], np.cumsum(np.bincount(who[order], minlength=n))])[:-1]
    rank = np.arange(len(order)) - start[who[order]]
    order, rank = order[rank < LONGEST], rank[rank < LONGEST]
    width = int(rank.max()) + 1 if len(rank) else 1
    item, row = np.full((n, width), -1, dtype=np.int64), np.full((n, width), -1, dtype=np.int64)
    item[who[order], rank], row[who[order], rank] = what[order], order
    personal = ~impersonal[who[order]]
    popular = np.bincount(what[order][personal], weights=affinity(rank[personal]), minlength=len(items))
    if impersonal.any():
        best = most_popular(popular, width)
        item[impersonal], row[impersonal] = -1, -1
        item[impersonal, : len(best)] = best
    return Shortlist(item, row, popular, table.num_rows - len(known))


def ranked(known: np.ndarray, who: np.ndarray, what: np.ndarray, score: np.ndarray, items: int) -> np.ndarray:
    """The ``known`` rows by customer, then best score first; an item listed twice counts once."""
    order = known[np.lexsort((what[known], -score[known], who[known]))]
    _, first = np.unique(who[order] * items + what[order], return_index=True)
    return np.asarray(order[np.sort(first)])


def most_popular(popular: np.ndarray, most: int) -> np.ndarray:
    """Up to ``most`` items that anybody has on the list, most listed first."""
    best = np.argsort(-popular, kind="stable")[:most]
    return np.asarray(best[popular[best] > 0])


def _index(column: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    found = pc.index_in(column.cast(pa.string()), value_set=known.cast(pa.string()).combine_chunks())
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)
