"""What a ranking figure does not tell: whether lists keep the customer's mix of categories, and whether the data are too easy.

Calibration: Steck, "Calibrated recommendations" (RecSys 2018). Shortcuts: Han et al., "An embarrassingly simple graph heuristic
reveals shortcut-solvable benchmarks for sequential recommendation" (2026, arXiv 2605.07125).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tradewind.learn.sequences import Sequences
from tradewind.stats import bootstrap
from tradewind.types import Estimate

SMOOTH = 0.01  # share of the taste that is mixed into the list: a category that the list lacks is unlikely, not impossible
UNTRAINED = ("graph", "popular", "recent")  # they count, and fit nothing
SHORTCUT = 0.95  # share of the trained model's figure from which counting is "about as good"


def miscalibration(lists: NDArray[np.int32], shelf: NDArray[np.int32], histories: Sequences) -> NDArray[np.float64]:
    """KL divergence from each history's categories to its list's, in nats, [U]; 0 is perfect calibration.

    ``lists`` int [U, k] (-1: nothing), ``shelf`` int [I] the category of each item (-1: none). A list's shares are of all
    its items. NaN without a category in the history, or without a list.
    """
    users, width = len(histories), max(len(histories.categories), 1)
    tells = (histories.item >= 0) & (histories.category >= 0)
    cells, events = np.unique(histories.owner[tells] * width + histories.category[tells], return_counts=True)
    owner = cells // width
    total = np.bincount(owner, events, minlength=users)
    taste = events / total[owner]
    shown = lists >= 0
    row, _ = np.nonzero(shown)
    category = shelf[lists[shown]]
    listed, places = np.unique((row * width + category)[category >= 0], return_counts=True)
    held = np.zeros(len(cells))
    if len(listed):
        place = np.minimum(np.searchsorted(listed, cells), len(listed) - 1)
        held = np.where(listed[place] == cells, places[place], 0) / np.maximum(shown.sum(axis=1), 1)[owner]
    parts = taste * np.log(taste / ((1 - SMOOTH) * held + SMOOTH * taste))
    found: NDArray[np.float64] = np.where((total > 0) & shown.any(axis=1), np.bincount(owner, parts, minlength=users), np.nan)
    return found


def low_branching(past: Sequences, histories: Sequences, k: int) -> float:
    """Share of ``histories`` whose latest item was followed in ``past`` by one to ``k`` different items: a list of k holds them all.

    Followed: by the next event of the same customer on another item. NaN when no history holds an item.
    """
    known = past.item >= 0
    owner, item = past.owner[known], past.item[known].astype(np.int64)
    step = (owner[1:] == owner[:-1]) & (item[1:] != item[:-1])
    pairs = np.unique(item[:-1][step] * len(past.items) + item[1:][step])
    branches = np.bincount(pairs // max(len(past.items), 1), minlength=len(past.items))
    latest = np.full(len(histories), -1)
    held = histories.item >= 0
    latest[histories.owner[held]] = histories.item[held]  # the last write of each customer wins
    asked = branches[latest[latest >= 0]]
    return float(((asked > 0) & (asked <= k)).mean()) if len(asked) else float("nan")


def shortcut(values: Mapping[str, NDArray[np.float64]], trained: set[str], *, seed: int) -> tuple[str, str, Estimate] | None:
    """The best model that only counts, the best trained one, and the ratio of their means with its paired interval.

    ``values`` is one figure per user (NaN: not asked) by model. None when either side is missing or the trained one is at 0.
    """
    means = {name: float(np.nanmean(each)) for name, each in values.items() if np.isfinite(each).any()}
    simple, deep = ([name for name in means if name in group] for group in (UNTRAINED, trained))
    if not simple or not deep:
        return None
    plain, best = (max(group, key=lambda name: means[name]) for group in (simple, deep))
    top, bottom = values[plain], values[best]
    both = np.isfinite(top) & np.isfinite(bottom)
    if not bottom[both].sum() > 0:
        return None
    return plain, best, bootstrap.ratio(top[both], bottom[both], name=f"{plain} / {best}", seed=seed)
