"""Prices of several limits: where the dual bound is least.

The bound is convex in the prices and made of planes; each pricing of the rows gives its value and one plane. With many rows it is nearly
smooth, and a quasi-Newton descent (L-BFGS-B: Byrd, Lu, Nocedal and Zhu 1995) needs a dozen pricings. What is left at its corners (few rows,
or many that tie) is found by a linear program over all planes seen, in a box that moves (Kelley 1960, The cutting-plane method; Marsten,
Hogan and Blankenship 1975, The boxstep method).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tradewind.stats._limits import Problem

_ROUNDS = 300
_GOLDEN = (5**0.5 - 1) / 2  # its multiples are spread evenly, so that a mixture needs no draw


@dataclass
class Search:
    """The best prices so far, the bound and the choice there, and every plane seen: the bound is at least ``height + slope @ prices``.

    ``weights`` says how much each plane carries the lowest point above them all, once a linear program was solved.
    """

    part: Problem
    prices: np.ndarray
    bound: float = float("inf")
    choice: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    slopes: list[np.ndarray] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def look(self, prices: np.ndarray) -> tuple[float, np.ndarray]:
        """The bound at ``prices`` and its slope there; remembered."""
        choice, height = self.part.priced(prices)
        slope = self.part.limits - self.part.used(choice)
        self.points.append(prices)
        self.slopes.append(slope)
        self.heights.append(height - float(slope @ prices))
        if height < self.bound:
            self.prices, self.bound, self.choice = prices, height, choice
        return height, slope

    def mixed(self) -> np.ndarray:
        """Choices at the prices of the planes that carry the lowest point, each by its part of the rows.

        Where many rows tie at the best prices, none of the choices there is near the limits, but this mixture of them is: its use is the
        mean of theirs by ``weights``, which the program keeps within the limits.
        """
        choice = self.choice.copy()
        place = np.arange(len(choice)) * _GOLDEN % 1.0
        edges = np.append(0.0, np.cumsum(self.weights) / self.weights.sum())
        for at in np.flatnonzero(self.weights > 1e-9):
            some = (place >= edges[at]) & (place < edges[at + 1])
            choice[some] = self.part.priced(self.points[at])[0][some]
        return choice


def descend(part: Problem, start: np.ndarray, boxes: np.ndarray, *, tolerance: float) -> Search:
    """A search that went down from ``start`` within ``boxes`` around it until a step gains less than ``tolerance`` of the bound."""
    from scipy.optimize import minimize

    search = Search(part, start)
    first, slope = search.look(start)
    # Prices in units of how far they may lie, else of value per limit; the bound so that the first stride is one such unit.
    scale = np.where(np.isfinite(boxes), boxes, abs(first) / part.whole)
    steep = float(np.linalg.norm(slope * scale))
    if steep == 0:
        return search

    def bound(at: np.ndarray) -> tuple[float, np.ndarray]:
        height, slope = search.look(at * scale)
        return (height - first) / steep, slope * scale / steep

    low, high = np.maximum(start - boxes, 0.0) / scale, (start + boxes) / scale
    minimize(
        bound,
        start / scale,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"ftol": tolerance * abs(first) / steep, "gtol": 0.0, "maxfun": _ROUNDS},
    )
    return search


def polish(search: Search, low: np.ndarray, high: np.ndarray, *, tolerance: float) -> None:
    """Go on between ``low`` and ``high`` until no prices there can lower the bound by ``tolerance`` of it, or ``_ROUNDS`` are over."""
    scale = 1 / search.part.whole
    high = np.minimum(high, np.maximum(search.bound * scale, search.prices))  # no price of a limit is worth more than all
    radius = 0.02 * search.prices + 1e-3 * search.bound * scale
    for _ in range(_ROUNDS):
        best, bound = search.prices, search.bound
        while True:
            bottom, top = np.maximum(low, best - radius), np.minimum(high, best + radius)
            at, lowest, search.weights = _lowest(search, bottom, top, scale)
            inside = (np.isclose(at, low) | (at > bottom)) & (np.isclose(at, high) | (at < top))
            if bound - lowest > tolerance * abs(bound) or inside.all():
                break
            radius = radius * 4
        if bound - lowest <= tolerance * abs(bound):
            break
        height, _ = search.look(at)
        # The stride grows where the planes foretold the bound well, and shrinks where they did not at all.
        share = (bound - height) / (bound - lowest)
        radius = radius * (2.0 if share > 0.5 else 0.5 if share < -1.0 else 1.0)


def _lowest(search: Search, bottom: np.ndarray, top: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """The lowest point above all planes within bounds: prices, height and weights of the planes; solved relative to the bound."""
    from scipy.optimize import linprog

    unit = max(abs(search.bound), 1e-300)
    found = linprog(
        np.append(np.zeros(len(scale)), 1.0),
        A_ub=np.column_stack([np.array(search.slopes) * scale, -np.ones(len(search.slopes))]),
        b_ub=-np.array(search.heights) / unit,
        bounds=[*zip(bottom / scale / unit, top / scale / unit, strict=True), (None, None)],
        method="highs-ds",
    )
    assert found.status == 0, found.message
    return np.clip(found.x[:-1] * scale * unit, bottom, top), float(found.fun) * unit, np.maximum(-found.ineqlin.marginals, 0.0)
