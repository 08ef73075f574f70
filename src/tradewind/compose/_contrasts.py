"""What one component earns against another in the same place: contrasts from logged probabilities, alone and shrunken.

    score(i) = (clicked(i) - guess(i)) * (1{c was said} / p(c) - 1{d was said} / p(d))

over the messages in which both could have been said. Its mean is the difference of the click rates of c and d in these messages, whatever
the messages were about, because the probabilities are known (inverse propensity weighting; Horvitz and Thompson 1952). The guess looks at
no words, so that it takes variance away and adds no bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind.compose.sent import Sent

Values = NDArray[np.float64]
NORMAL = NormalDist()


class Difference(NamedTuple):
    """Clicks per message of one component less those of another; ``sends`` and ``customers`` of the less often said of the two."""

    value: float
    error: float
    sends: int
    customers: int

    @property
    def confidence(self) -> float:
        """How sure the sign is, 0-1."""
        return 2 * NORMAL.cdf(abs(self.value) / self.error) - 1 if self.error > 0 else 0.0


@dataclass(frozen=True)
class Cell:
    """All messages of one place in which there was a choice."""

    names: tuple[str, ...]
    share: Values  # [messages, names], 0 where it did not fit
    said: NDArray[np.int64]  # [messages], number of the name
    left: Values  # [messages], clicked less the guess
    clicked: Values
    customer: NDArray[np.int64]

    def sends(self, name: str) -> int:
        """How many messages said it."""
        return int((self.said == self.names.index(name)).sum())

    def rate(self, name: str) -> float:
        """Click rate of a component where it fits, weighted by inverse propensity; NaN where it was never said."""
        place = self.names.index(name)
        mine = self.said == place
        weight = 1 / self.share[mine, place]
        return float((weight * self.clicked[mine]).sum() / weight.sum()) if mine.any() else float("nan")

    def against(self, name: str, other: str | None) -> Difference:
        """The difference of ``name`` to ``other``, or to all that was said in its place."""
        place = self.names.index(name)
        both = self.share[:, place] > 0
        if other is None:
            few = [self.said[both] == place]
            scale = few[0] / self.share[both, place] - 1.0
        else:
            there = self.names.index(other)
            both &= self.share[:, there] > 0
            few = [self.said[both] == place, self.said[both] == there]
            scale = few[0] / self.share[both, place] - few[1] / self.share[both, there]
        score = self.left[both] * scale
        sends = min(int(mine.sum()) for mine in few)
        people = min(len(np.unique(self.customer[both][mine])) for mine in few)
        if len(score) < 2:
            return Difference(0.0, float("inf"), sends, people)
        return Difference(float(score.mean()), float(score.std(ddof=1)) / len(score) ** 0.5, sends, people)


def cells(rows: Sequence[Sent], key: Mapping[str, bool] | None = None) -> Iterator[tuple[tuple[str, ...], Cell]]:
    """The places of ``rows`` (the control left out) where there was a choice: by locale and role, and by what ``key`` turns on.

    ``key``: ``{"channel": True, "segment": True}`` splits by those as well; the key of a cell then has them at its end, in this order.
    """
    from tradewind.compose.copy_value import guesses

    kept = [row for row in rows if not row.control]
    if len(kept) < 2:
        return
    clicked = np.array([float(row.clicked) for row in kept])
    left = clicked - guesses(kept, clicked)
    person = {name: number for number, name in enumerate(dict.fromkeys(row.customer for row in kept))}
    split = [name for name in ("channel", "segment") if (key or {}).get(name)]
    where: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(kept):
        for role, among in row.shares.items():
            if len(among) > 1:
                where.setdefault((row.locale, role, *(str(getattr(row, name)) for name in split)), []).append(number)
    for place, numbers in sorted(where.items()):
        yield place, _cell([kept[number] for number in numbers], place[1], left[numbers], clicked[numbers], person)


def _cell(rows: Sequence[Sent], role: str, left: Values, clicked: Values, person: Mapping[str, int]) -> Cell:
    names = tuple(sorted({name for row in rows for name in row.shares[role]}))
    column = {name: number for number, name in enumerate(names)}
    share = np.zeros((len(rows), len(names)))
    for number, row in enumerate(rows):
        for name, chance in row.shares[role].items():
            share[number, column[name]] = chance
    said = np.array([column[row.chosen[role]] for row in rows])
    return Cell(names, share, said, left, clicked, np.array([person[row.customer] for row in rows]))


def shrunken(found: Sequence[Difference]) -> list[tuple[float, float]]:
    """Differences shrunk towards zero, each with its posterior standard deviation: normal prior, its variance by moments.

    Where the differences vary no more than their errors do, all are zero. Source: DerSimonian and Laird 1986.
    """
    told = [one for one in found if np.isfinite(one.error) and one.error > 0]
    spread = max(float(np.mean([one.value**2 - one.error**2 for one in told])), 0.0) if told else 0.0
    result = []
    for one in found:
        keep = spread / (spread + one.error**2) if np.isfinite(one.error) and spread + one.error**2 > 0 else 0.0
        result.append((keep * one.value, (keep * one.error**2) ** 0.5 if keep else spread**0.5))
    return result
