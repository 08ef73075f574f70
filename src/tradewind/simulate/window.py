"""A stretch of days in which customers order on their own: the intensity, its integrals and its draws."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate import people as folk
from tradewind.simulate import rng, season
from tradewind.simulate.people import People
from tradewind.simulate.shelf import Shelf

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """``days`` 24-hour blocks from ``start``; ``x`` counts hours from ``start``, ``day`` days from the start of the history."""

    start: datetime
    day: float
    days: int
    shelf: Shelf
    seed: int  # of the world: what is fixed about its customers

    @property
    def hours(self) -> float:
        """Length in hours."""
        return 24.0 * self.days


class Flow:
    """Poisson flow of a chunk's own orders (or visits) in a window: piecewise constant per hour.

    Day rates are full activity x life cycle x season; within a day the hours follow the customer's habit.
    """

    def __init__(self, people: People, window: Window, rate: Floats) -> None:
        blocks = window.day + np.arange(window.days, dtype=np.float64)
        self.rate: Floats = np.asarray(rate[:, None] * folk.alive(people, blocks) * season.demands(window.start, window.days)[None, :])
        self.window = window
        self.peak = (people.peak - season.offsets(window.start)[people.zone]) % 24
        by_hour = np.roll(season.profile(), -window.start.hour, axis=1)  # blocks begin at the hour of ``start``
        self.by_hour = np.concatenate([np.zeros((24, 1)), np.cumsum(by_hour, axis=1)], axis=1)
        self.by_hour[:, -1] = 1.0
        self.later = np.concatenate([np.cumsum(self.rate[:, ::-1], axis=1)[:, ::-1], np.zeros((len(rate), 1))], axis=1)

    def after(self, rows: Ints, x: Floats) -> Floats:
        """Expected number from hour ``x`` to the end of the window, per entry; ``x`` beyond the end gives 0."""
        x = np.clip(x, 0.0, self.window.hours)
        block = np.minimum((x // 24).astype(np.int64), self.window.days - 1)
        inside = x - 24.0 * block
        hour = np.minimum(inside.astype(np.int64), 23)
        curve = self.by_hour[self.peak[rows]]
        entry = np.arange(len(rows))
        done = curve[entry, hour] + (curve[entry, hour + 1] - curve[entry, hour]) * (inside - hour)
        return np.asarray(self.rate[rows, block] * (1 - done) + self.later[rows, block + 1])

    def draw(self, luck: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw the moments: rows and hours, sorted by row, then hour."""
        count = luck.poisson(self.later[:, 0])
        rows = np.repeat(np.arange(len(count)), count)
        block = rng.Choice(self.rate).pick(rows, luck.random(len(rows)))
        hour = rng.Choice(np.diff(self.by_hour, axis=1)).pick(self.peak[rows], luck.random(len(rows)))
        x = 24.0 * block + hour + luck.random(len(rows))
        order = np.lexsort((x, rows))
        return rows[order], x[order]


def repeats(people: People, window: Window) -> tuple[Ints, Floats, Ints]:
    """Return rows, hours and items of the regular re-orders of consumables that fall into the window.

    They belong to the world, not to the draw: no message and no seed of a response moves them.
    """
    found: list[tuple[Ints, Floats, Ints]] = []
    rows = np.flatnonzero(people.repeat_item >= 0)
    every = people.repeat_days[rows]
    first = np.floor(window.day / every).astype(np.int64) - 1
    for step in range(int(window.days / 7) + 4):
        turn = first + step
        shake = 0.3 * (rng.uniforms(window.seed, people.first + rows, turn + 10**6) - 0.5)
        day = (people.repeat_phase[rows] + turn + shake) * every
        item = people.repeat_item[rows]
        keep = (day >= np.maximum(window.day, people.signup[rows])) & (day < window.day + window.days)
        keep &= (day < people.churn[rows]) & window.shelf.open[item]
        found.append((rows[keep], (day[keep] - window.day) * 24, item[keep]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]
