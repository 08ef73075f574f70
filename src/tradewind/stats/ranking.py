"""Ranking metrics on full rankings: arrays in, one value per user out.

``ranked`` is int [U, k], best first, -1 where a list is shorter; relevant items come as CSR: ``offsets`` int64 [U + 1]
and ``items`` [R] (distinct within a user). A user without relevant items gets NaN: leave such users out or count them.
Metrics over whole lists (coverage, Gini, diversity) take ``ranked`` alone. Sampled metrics are not offered: they do not
keep the order of models (Krichene and Rendle, KDD 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError

Ranked = NDArray[np.integer[Any]]
Values = NDArray[np.float64]


def hits(ranked: Ranked, offsets: NDArray[np.int64], items: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which places of each list hold a relevant item, bool [U, k].

    Raises
    ------
    InputError
        The number of users differs, or a list holds an item twice.
    """
    if len(offsets) != len(ranked) + 1:
        raise InputError(f"hits: got {len(ranked)} rankings and {len(offsets) - 1} sets of relevant items; they must be the same users.")
    _distinct(ranked)
    width = int(max(ranked.max(initial=0), items.max(initial=0))) + 1
    owner = np.repeat(np.arange(len(ranked)), np.diff(offsets))
    wanted = owner * width + items
    keys = np.arange(len(ranked))[:, None] * width + np.maximum(ranked, 0)
    found: NDArray[np.bool_] = np.isin(keys, wanted) & (ranked >= 0)
    return found


def ndcg(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """Normalised discounted cumulative gain with binary gains and log2 discount, [U].

    The ideal list is as long as ``min(relevant, k)`` (Jarvelin and Kekalainen 2002).
    """
    discount = 1 / np.log2(np.arange(hit.shape[1]) + 2)
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(relevant, hit.shape[1])]
    return _ratio((hit * discount).sum(axis=1), ideal, relevant)


def recall(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """Share of the relevant items that the list holds, [U]."""
    return _ratio(hit.sum(axis=1), relevant, relevant)


def precision(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """Share of the k places that hold a relevant item, [U]."""
    return _ratio(hit.sum(axis=1), np.full(len(hit), hit.shape[1]), relevant)


def hit_rate(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """1 when the list holds any relevant item, else 0, [U]."""
    return _ratio(hit.any(axis=1), np.ones(len(hit)), relevant)


def reciprocal_rank(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """1 / place of the first relevant item, 0 when there is none in the list, [U]. Its mean is the MRR."""
    first = np.where(hit.any(axis=1), 1 / (hit.argmax(axis=1) + 1.0), 0.0)
    return _ratio(first, np.ones(len(hit)), relevant)


def average_precision(hit: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Values:
    """Mean of the precision at each hit over ``min(relevant, k)``, [U]. Its mean is the MAP."""
    at = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return _ratio((at * hit).sum(axis=1), np.minimum(relevant, hit.shape[1]), relevant)


def coverage(ranked: Ranked, catalogue: int) -> float:
    """Share of the catalogue that is recommended to anybody."""
    return len(np.unique(ranked[ranked >= 0])) / catalogue if catalogue else 0.0


def gini(ranked: Ranked, catalogue: int) -> float:
    """How unevenly recommendations fall on items: 0 all alike, towards 1 all on one. Items never shown count."""
    shown = np.sort(np.bincount(ranked[ranked >= 0].ravel(), minlength=catalogue))
    total = shown.sum()
    if not total:
        return 0.0
    place = np.arange(1, len(shown) + 1)
    return float((2 * place - len(shown) - 1) @ shown / (len(shown) * total))


def novelty(ranked: Ranked, owners: NDArray[np.integer[Any]], users: int) -> Values:
    """Mean surprise of a list, -log2 of the share of ``users`` who already have the item, bits, [U].

    ``owners`` [I] counts the users of each item; an item that nobody has counts as half a user. Empty lists are NaN.
    """
    surprise = -np.log2(np.maximum(owners, 0.5) / max(users, 1))
    return _mean(surprise[np.maximum(ranked, 0)], ranked >= 0)


def popularity(ranked: Ranked, counts: NDArray[np.integer[Any]]) -> Values:
    """Mean number of events of the recommended items, [U]. Against the same mean of the relevant items it is the popularity bias."""
    return _mean(counts[np.maximum(ranked, 0)].astype(np.float64), ranked >= 0)


def popularity_bias(ranked: Ranked, relevant: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]]) -> float:
    """Mean popularity of what is recommended over that of what was wanted: 1 is even, above 1 the list favours the known."""
    shown, wanted = counts[ranked[ranked >= 0]], counts[relevant]
    return float(shown.mean() / wanted.mean()) if len(shown) and len(wanted) and wanted.mean() > 0 else float("nan")


def diversity(ranked: Ranked, groups: NDArray[np.integer[Any]]) -> Values:
    """Intra-list diversity: share of pairs in a list whose ``groups`` (int [I], -1 unknown) differ, [U].

    Pairs with an unknown group are left out; a list without a known pair is NaN.
    """
    group = np.where(ranked >= 0, groups[np.maximum(ranked, 0)], -1)
    left, right = np.triu_indices(ranked.shape[1], 1)
    a, b = group[:, left], group[:, right]
    known = (a >= 0) & (b >= 0)
    return _mean((a != b).astype(np.float64), known)


def _ratio(top: Any, bottom: Any, relevant: NDArray[np.int64]) -> Values:
    values: Values = np.where(relevant > 0, np.asarray(top, np.float64) / np.maximum(bottom, 1e-300), np.nan)
    return values


def _mean(values: Values, mask: NDArray[np.bool_]) -> Values:
    counted = mask.sum(axis=1)
    means: Values = np.where(counted > 0, (values * mask).sum(axis=1) / np.maximum(counted, 1), np.nan)
    return means


def _distinct(ranked: Ranked) -> None:
    ordered = np.sort(ranked, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row = int(np.flatnonzero(twice.any(axis=1))[0])
        raise InputError(f"A ranking must not hold an item twice; row {row} does. Remove duplicates before measuring.")
