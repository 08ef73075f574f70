"""How unlike the others a row is, without labels: an isolation forest kept as plain arrays.

Liu, Ting and Zhou, "Isolation Forest", ICDM 2008: rare rows are cut off by fewer random cuts. Scikit-learn grows the trees; they are
stored and read without it, so that a service answers for one row in well under a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TREES, SAMPLE, LEVELS = 100, 256, 1000  # LEVELS: quantiles that a score is told by
LEAST = 50  # rows
ROWS = 2_000  # at a time


@dataclass(frozen=True)
class Outliers:
    """T trees of at most N nodes as arrays [T, N]; ``feature`` -1 at a leaf. ``middle`` [F] stands for what is not known."""

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    depth: Floats  # at a leaf: its depth, and what an unbuilt tree below would add
    middle: Floats
    levels: Floats  # depths of the rows that it learned from, at LEVELS shares from shallow to deep

    @classmethod
    def fit(cls, x: Floats, *, seed: int) -> Outliers:
        """Grow the forest on rows ``x``, float64 [n, F], NaN where not known.

        Raises
        ------
        InputError
            There are fewer than ``LEAST`` rows.
        """
        from sklearn.ensemble import IsolationForest

        if len(x) < LEAST:
            raise InputError(f"Outliers: {len(x)} orders and claims are too few to say what is usual; {LEAST} are needed.")
        known = np.isfinite(x).any(axis=0)
        middle = np.zeros(x.shape[1])
        middle[known] = np.nanmedian(x[:, known], axis=0)
        forest = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLE, len(x)), random_state=seed, n_jobs=1).fit(_filled(x, middle))
        grown = [one.tree_ for one in forest.estimators_]
        size = max(tree.node_count for tree in grown)

        def stacked(values: list[NDArray[np.float64]], fill: float) -> Floats:
            return np.stack([np.pad(one, (0, size - len(one)), constant_values=fill) for one in values]).astype(np.float64)

        depth = [_depths(tree) + _unbuilt(tree.n_node_samples) for tree in grown]
        feature = stacked([np.where(tree.children_left < 0, -1, tree.feature) for tree in grown], -1).astype(np.int64)
        left, right = (stacked([getattr(tree, f"children_{side}") for tree in grown], -1).astype(np.int64) for side in ("left", "right"))
        made = cls(feature, stacked([tree.threshold for tree in grown], 0.0), left, right, stacked(depth, 0.0), middle, np.zeros(1))
        levels = np.quantile(made.depths(x), np.linspace(0, 1, LEVELS))
        return cls(**{**vars(made), "levels": levels})

    def depths(self, x: Floats) -> Floats:
        """Mean depth at which each row is alone, float64 [n]; smaller is rarer."""
        compared = _filled(x, self.middle).astype(np.float32)  # as the trees did
        return np.concatenate([self._some(compared[begin : begin + ROWS]) for begin in range(0, len(x), ROWS)] or [np.zeros(0)])

    def _some(self, x: NDArray[np.float32]) -> Floats:
        rows, trees = np.arange(len(x))[:, None], np.arange(len(self.feature))[None, :]
        node = np.zeros((len(x), len(self.feature)), dtype=np.int64)
        while True:
            which = self.feature[trees, node]
            inner = which >= 0
            if not inner.any():
                return np.asarray(self.depth[trees, node].mean(axis=1))
            goes = x[rows, np.maximum(which, 0)] <= self.threshold[trees, node]
            node = np.where(inner, np.where(goes, self.left[trees, node], self.right[trees, node]), node)

    def rarity(self, x: Floats) -> Floats:
        """Share of what it learned from that is less rare than each row, 0-1."""
        return 1 - np.searchsorted(self.levels, self.depths(x), side="left") / len(self.levels)


def _filled(x: Floats, middle: Floats) -> Floats:
    return np.where(np.isfinite(x), x, middle)


def _unbuilt(rows: Ints) -> Floats:
    """Mean depth of an unsuccessful search in a binary tree of so many rows (equation 1 of the paper)."""
    count = np.maximum(rows, 2).astype(np.float64)
    mean = 2 * (np.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, mean))


def _depths(tree: object) -> Floats:
    """Depth of every node of a tree."""
    left, right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    depth = np.zeros(len(left))
    for node in range(len(left)):  # parents come before children
        if left[node] >= 0:
            depth[left[node]] = depth[right[node]] = depth[node] + 1
    return depth
