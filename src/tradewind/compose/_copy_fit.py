"""The algebra of learning copy: a hierarchical linear model of clicks, from sums that add up over batches of messages.

    clicked = base(channel, locale, segment, how often written to) + sum over roles of (effect of what was said - its mean over what could
    have been said) + fatigue * (how often it was seen - the same mean) + noise

Because every regressor of a choice is centred by the logged probabilities, neither what a message was about nor who got it can pass for
an effect of its words (Robinson 1988; with known propensities the centring is exact). An effect is the sum of those of its traits and its
own, for all and for the segment; each of the four groups has a normal prior around zero whose variance is estimated with them (empirical
Bayes by EM; Dempster, Laird and Rubin 1977). Linear, not logistic: what is maximised is the number of clicks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log1p
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from tradewind.compose.sent import Sent

Values = NDArray[np.float64]
TONE = "tone="  # of the names of tones among the words
WEAR = 0.1  # share of the click rate that a component is believed beforehand to lose per recent showing
BELIEF = 0.03  # effects are believed beforehand to be of this share of the click rate ...
WEIGHT = 4.0  # ... as strongly as this number of effects would say
STEPS = 6  # of EM


@dataclass(frozen=True)
class Layout:
    """Which words, traits and segments there are, and where their effects stand. ``traits``: word -> names of its traits."""

    words: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    segments: tuple[str, ...]
    channels: tuple[str, ...]
    locales: tuple[str, ...]

    @cached_property
    def place(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The traits, sorted."""
        return tuple(sorted({name for word in self.words for name in self.traits.get(word, ())}))

    @cached_property
    def table(self) -> Values:
        """Words by traits, 0 or 1."""
        column = {name: number for number, name in enumerate(self.names)}
        found = np.zeros((len(self.words), len(self.names)))
        for row, word in enumerate(self.words):
            found[row, [column[name] for name in self.traits.get(word, ())]] = 1.0
        return found

    @cached_property
    def base(self) -> tuple[str, ...]:
        """Names of the columns that are no choice."""
        pairs = [f"{segment}|{channel}" for segment in self.segments for channel in self.channels]
        return ("all", "often", *self.channels, *self.locales, *self.segments, *pairs)

    @cached_property
    def blocks(self) -> dict[str, slice]:
        """Where each group of effects stands."""
        sizes = {
            "traits": len(self.names),
            "words": len(self.words),
            "segment traits": len(self.segments) * len(self.names),
            "segment words": len(self.segments) * len(self.words),
            "fatigue": 1,
            "base": len(self.base),
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def width(self) -> int:
        return int(self.blocks["base"].stop)


@dataclass(frozen=True)
class Sums:
    """What a batch of messages says: X'X, X'y, y'y and their number. They add."""

    gram: Values
    cross: Values
    square: float
    rows: int

    @classmethod
    def of(cls, rows: Sequence[Sent], layout: Layout) -> Sums:
        """Sum over ``rows``; what is said of words and segments that ``layout`` does not know is left out."""
        x = _matrix(rows, layout)
        y = np.array([float(row.clicked) for row in rows])
        return cls((x.T @ x).toarray(), x.T @ y, float(y @ y), len(rows))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.gram + other.gram, self.cross + other.cross, self.square + other.square, self.rows + other.rows)


@dataclass(frozen=True)
class Belief:
    """Posterior of all effects: means, standard deviations and ``draws`` [number, width]; the noise and the estimated spreads of groups."""

    mean: Values
    sd: Values
    draws: Values
    noise: float  # variance
    spread: Mapping[str, float]  # standard deviations
    rate: float  # of clicks


def fit(sums: Sums, layout: Layout, *, draws: int, seed: int, start: Mapping[str, float] | None = None, steps: int = STEPS) -> Belief:
    """Posterior given ``sums``, with draws in antithetic pairs; ``start``: spreads to begin EM with."""
    from scipy.linalg import solve_triangular

    rate = min(max(sums.square / max(sums.rows, 1), 1e-4), 1.0)
    believed = BELIEF * rate
    spread = {name: (start or {}).get(name, believed) for name in ("traits", "words", "segment traits", "segment words")}
    noise = rate * (1 - rate) + 1e-6
    prior = np.zeros(layout.width)
    prior[layout.blocks["fatigue"]] = -WEAR * rate
    fixed = {"fatigue": WEAR * rate, "base": 1.0}
    for _ in range(steps):
        weight = np.empty(layout.width)
        for name, block in layout.blocks.items():
            weight[block] = (fixed[name] if name in fixed else spread[name]) ** -2
        lower = np.linalg.cholesky(sums.gram / noise + np.diag(weight))
        root = solve_triangular(lower, np.eye(layout.width), lower=True).T
        mean = root @ (root.T @ (sums.cross / noise + weight * prior))
        variance = (root**2).sum(axis=1)
        for name in spread:
            block = layout.blocks[name]
            total = float((mean[block] ** 2 + variance[block]).sum())
            spread[name] = ((total + WEIGHT * believed**2) / (block.stop - block.start + WEIGHT)) ** 0.5
        effective = layout.width - float((weight * variance).sum())
        left = sums.square - 2 * mean @ sums.cross + mean @ sums.gram @ mean
        noise = max(left + noise * effective, 1e-9) / max(sums.rows, 1)
    half = np.random.default_rng(seed).standard_normal((draws // 2, layout.width)) @ root.T
    return Belief(mean, np.sqrt(variance), np.concatenate([mean + half, mean - half]), noise, spread, rate)


def _matrix(rows: Sequence[Sent], layout: Layout) -> csr_matrix:
    from scipy.sparse import csr_matrix, hstack

    said, worn, at = _choices(rows, layout)
    count, words, names = len(rows), len(layout.words), len(layout.names)
    own = csr_matrix((said[2], (said[0], said[1])), shape=(count, words))
    place = {segment: number for number, segment in enumerate(layout.segments)}
    inside = np.array([place.get(row.segment or "", -1) for row in rows])
    known = inside[said[0]] >= 0
    shifted = inside[said[0]] * words + said[1]
    mine = csr_matrix((said[2][known], (said[0][known], shifted[known])), shape=(count, len(place) * words))
    table = csr_matrix(layout.table)
    shared = csr_matrix(own @ table)
    lift = shared.tocoo()
    there = inside[lift.row] >= 0
    mine_shared = csr_matrix(
        (lift.data[there], (lift.row[there], (inside[lift.row] * names + lift.col)[there])), shape=(count, len(place) * names)
    )
    base = csr_matrix((at[2], (at[0], at[1])), shape=(count, len(layout.base)))
    return csr_matrix(hstack([shared, own, mine_shared, mine, csr_matrix(worn[:, None]), base]))


def _choices(rows: Sequence[Sent], layout: Layout) -> tuple[tuple[NDArray, NDArray, Values], Values, tuple[NDArray, NDArray, Values]]:  # type: ignore[type-arg]
    """Centred choices as (row, word, value), centred wear [rows], and the base as (row, column, value)."""
    place, column = layout.place, {name: number for number, name in enumerate(layout.base)}
    said: list[tuple[int, int, float]] = []
    base: list[tuple[int, int, float]] = []
    worn = np.zeros(len(rows))
    for number, row in enumerate(rows):
        for role, among in row.shares.items():
            if len(among) < 2:
                continue
            for name, share in among.items():
                excess = (name == row.chosen[role]) - share
                word = place.get(TONE + name if role == "tone" else name)
                if word is not None:
                    said.append((number, word, excess))
                if role != "tone":
                    worn[number] += excess * row.seen.get(name, 0.0)
        often = log1p(max(row.seen.values(), default=0.0))
        told = {"all": 1.0, "often": often, row.channel: 1.0, row.locale: 1.0}
        if row.segment is not None:
            told |= {row.segment: 1.0, f"{row.segment}|{row.channel}": 1.0}
        base += [(number, column[name], value) for name, value in told.items() if name in column and value]
    return _columns(said), worn, _columns(base)


def _columns(entries: list[tuple[int, int, float]]) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
    if not entries:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    row, column, value = zip(*entries, strict=True)
    return np.array(row), np.array(column), np.array(value)
