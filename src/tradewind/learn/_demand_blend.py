"""Which forecasts are averaged: greedy selection on rolling origins, for each class of demand by itself.

Forward selection with replacement (Caruana et al. 2004): begin with the best candidate, add the one that lowers the loss of the
average most, stop when nothing does. Candidates that expect less than half of what was sold are never taken, so that "nothing sells",
which has nearly the best squared error where most periods are zero, cannot win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._demand_kernels import Floats

CLASSES = ("smooth", "erratic", "intermittent", "lumpy")
INTERVAL, VARIATION = 1.32, 0.49  # the cut-offs of Syntetos, Boylan & Croston (2005)
LEAST = 30  # series of a class from which it may choose for itself
PICKS = 8
GAIN = 1e-4  # of the loss, relative, below which another candidate is not worth its while
SOLD = 0.5  # of what was sold, that a candidate must expect at least


def classes(y: Floats) -> NDArray[np.int8]:
    """Number in ``CLASSES`` by mean interval between sales and squared variation of their size; never sold: intermittent."""
    sold, known = y > 0, np.isfinite(y)
    count = sold.sum(axis=1)
    interval = known.sum(axis=1) / np.maximum(count, 1)
    size = np.where(sold, y, 0.0).sum(axis=1) / np.maximum(count, 1)
    spread = np.where(sold, (np.nan_to_num(y) - size[:, None]) ** 2, 0.0).sum(axis=1) / np.maximum(count, 1)
    varied = np.divide(spread, size**2, out=np.zeros_like(size), where=size > 0) >= VARIATION
    return np.asarray(2 * ((interval >= INTERVAL) | (count == 0)) + varied, dtype=np.int8)


Judge = Callable[[Sequence[int]], Floats]  # the losses of the plain average of some candidates, one for each case


def greedy(names: Sequence[str], judge: Judge, allowed: Sequence[bool]) -> dict[str, float]:
    """Weights of the candidates, summing to 1: the least mean loss over the cases."""
    picks: list[int] = []
    best = np.inf
    while len(picks) < PICKS:
        found, number = min((float(judge([*picks, number]).mean()), number) for number, fine in enumerate(allowed) if fine)
        if found >= best * (1 - GAIN):
            break
        best = found
        picks.append(number)
    return {names[number]: times / len(picks) for number, times in sorted(Counter(picks).items())}


def by_class(
    kinds: NDArray[np.int8],
    names: Sequence[str],
    judge: Callable[[NDArray[np.bool_]], tuple[Judge, Sequence[bool]]],
    spare: Mapping[str, float],
) -> tuple[dict[str, float], ...]:
    """Weights for each of ``CLASSES``: its own where they beat what is best for all series by more than a standard error, else those.

    ``judge(mine)`` gives the losses of some of the series and which candidates are allowed; ``spare`` is taken where none is.
    """

    def best(mine: NDArray[np.bool_]) -> tuple[dict[str, float], Judge]:
        losses, allowed = judge(mine)
        return (greedy(names, losses, allowed) if any(allowed) else dict(spare)), losses

    common, _ = best(np.ones(len(kinds), dtype=bool))
    told = [common] * len(CLASSES)
    for kind in range(len(CLASSES)):
        if (kinds == kind).sum() >= LEAST:
            own, losses = best(kinds == kind)
            gain = losses(_picks(common, names)) - losses(_picks(own, names))
            if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
                told[kind] = own
    return tuple(told)


def _picks(weights: Mapping[str, float], names: Sequence[str]) -> list[int]:
    """Candidates whose plain average has (nearly) these weights."""
    return [names.index(name) for name, weight in weights.items() for _ in range(max(1, round(weight * 840)))]


def blended(parts: Mapping[str, Floats], weights: Sequence[Mapping[str, float]], kinds: NDArray[np.int8]) -> Floats:
    """The weighted mean of candidates [n, ...] with the weights of each row's class."""
    first = next(iter(parts.values()))
    total = np.zeros_like(first)
    for kind, told in enumerate(weights):
        mine = kinds == kind
        for name, weight in told.items():
            total[mine] += weight * parts[name][mine]
    return total
