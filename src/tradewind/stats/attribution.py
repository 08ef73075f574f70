"""Who stood on the way to a purchase: rules and games that share out conversions among touches. Description, never cause.

A path is the sequence of touches before a purchase, or before nothing. All methods give one share of the total for each touch point,
and the shares add up to the total (efficiency). None of them knows who would have bought anyway; a holdout does.

Sources: E. Anderl, I. Becker, F. von Wangenheim, J. Schumann, "Mapping the customer journey", IJRM 33 (2016) for the Markov
removal effect; L. Shapley, "A value for n-person games" (1953); J. Castro, D. Gomez, J. Tejada, "Polynomial calculation of the
Shapley value based on sampling", Computers & Operations Research 36 (2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]
EXACT = 12  # touch points up to which every coalition is looked at
PERMUTATIONS = 2_000


@dataclass(frozen=True)
class Paths:
    """``steps``: distinct paths, each a tuple of numbers of ``names`` in order of time; ``won`` and ``lost`` [paths] how often it ended
    in a purchase and in nothing.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[int, ...], ...]
    won: Values
    lost: Values

    @classmethod
    def of(cls, paths: Sequence[Sequence[str]], won: Sequence[float], lost: Sequence[float]) -> Paths:
        """Paths of names; equal ones are added up, empty ones are left out (nobody to share with).

        Raises
        ------
        InputError
            The lengths differ, or a count is negative or not a number.
        """
        if not len(paths) == len(won) == len(lost):
            raise InputError(f"Paths: one count of won and of lost for each path; got {len(paths)}, {len(won)} and {len(lost)}.")
        counts = np.array([won, lost], dtype=np.float64).reshape(2, -1)
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise InputError("Paths: counts of purchases and of paths without one are numbers of 0 or more.")
        names = tuple(sorted({name for path in paths for name in path}))
        place = {name: number for number, name in enumerate(names)}
        found: dict[tuple[int, ...], Values] = {}
        for number, path in enumerate(paths):
            if path:
                key = tuple(place[name] for name in path)
                found[key] = found.get(key, np.zeros(2)) + counts[:, number]
        totals = np.array(list(found.values())).reshape(-1, 2)
        return cls(names, tuple(found), totals[:, 0], totals[:, 1])


def last_touch(paths: Paths) -> Values:
    """All of a purchase to the last touch, [names]."""
    return _shared(paths, lambda path: np.eye(len(path))[-1])


def position_based(paths: Paths, *, first: float = 0.4, last: float = 0.4) -> Values:
    """Shares for the first and the last touch, the rest in equal parts to those between, [names]; two touches split it evenly."""
    if first < 0 or last < 0 or first + last > 1:
        raise InputError(f"position_based: first and last are shares that add up to at most 1; got {first} and {last}.")

    def shares(path: tuple[int, ...]) -> Values:
        found = np.full(len(path), (1 - first - last) / max(len(path) - 2, 1))
        found[0], found[-1] = first, last
        total = float(found.sum()) if len(path) != 2 else first + last
        return found / total if len(path) > 1 and total > 0 else np.ones(len(path)) / len(path)

    return _shared(paths, shares)


def markov(paths: Paths) -> Values:
    """Removal effects of a first-order Markov chain, scaled to the total of purchases, [names].

    The effect of a touch point is the share of the chain's probability to reach a purchase that is lost when every path into that
    point ends in nothing.

    When not to use: touch points that only ever come alone have an effect by definition.
    """
    size = len(paths.names)
    moves = np.zeros((size + 1, size + 2))  # from the start (row size) and from each point; to each point, to a purchase, to nothing
    for path, won, lost in zip(paths.steps, paths.won, paths.lost, strict=True):
        places = (size, *path)
        np.add.at(moves, (places[:-1], places[1:]), won + lost)
        moves[path[-1], size] += won
        moves[path[-1], size + 1] += lost
    rows = moves.sum(axis=1, keepdims=True)
    chances = np.divide(moves, rows, out=np.zeros_like(moves), where=rows > 0)
    total = float(paths.won.sum())
    whole = _reached(chances, size)
    if whole == 0:
        return np.zeros(size)
    lost_without = np.empty(size)
    for point in range(size):
        without = chances.copy()
        without[point], without[:, point] = 0.0, 0.0
        lost_without[point] = 1 - _reached(without, size) / whole
    return np.asarray(total * lost_without / lost_without.sum())


def shapley(paths: Paths) -> Values:
    """Shapley values of the game "purchases of those whom nobody outside the coalition touched", [names]; 0 or more.

    That game is a sum of one for each path, in which all of its touch points are needed: so each purchase is shared evenly among
    the distinct touch points of its path, exactly, for any number of them.
    """
    found = np.zeros(len(paths.names))
    for path, won in zip(paths.steps, paths.won, strict=True):
        points = sorted(set(path))
        found[points] += won / len(points)
    return found


def shapley_rate(paths: Paths, *, seed: int = 0, permutations: int = PERMUTATIONS) -> tuple[Values, Values | None]:
    """Shapley values of the game "purchase rate of those whom nobody outside the coalition touched", scaled to the purchases, [names].

    Looks at lost paths, too: a touch point on paths that are lost more often than others has a share below 0. Exact up to
    ``EXACT`` touch points; else over random orders, and the second answer holds standard errors [names] (None when exact).
    """
    size, total = len(paths.names), float(paths.won.sum())
    masks = [sum(1 << point for point in set(path)) for path in paths.steps]

    def rate(coalition: int) -> float:
        inside = np.array([mask & ~coalition == 0 for mask in masks], dtype=bool)
        won, lost = float(paths.won[inside].sum()), float(paths.lost[inside].sum())
        return won / (won + lost) if won + lost > 0 else 0.0

    if size <= EXACT:
        shares, errors = shapley_exact(np.array([rate(coalition) for coalition in range(1 << size)])), None
    else:
        shares, errors = shapley_sampled(rate, size, permutations=permutations, seed=seed)
    whole = rate((1 << size) - 1)
    scale = total / whole if whole > 0 else 0.0
    return shares * scale, None if errors is None else errors * scale


def shapley_exact(worth: Values) -> Values:
    """Shapley values of a game given by the ``worth`` of every coalition, [2^n], bit i of the index meaning that player i is in."""
    size = len(worth).bit_length() - 1
    if len(worth) != 1 << size:
        raise InputError(f"shapley_exact: worth of every coalition, 2 to the power of the players; got {len(worth)}.")
    coalitions = np.arange(len(worth))
    members = np.array([number.bit_count() for number in range(len(worth))])
    weight = np.array([1 / (size * comb(size - 1, number)) if number < size else 0.0 for number in range(size + 1)])
    found = np.empty(size)
    for player in range(size):
        outside = coalitions[(coalitions >> player) & 1 == 0]
        found[player] = float((weight[members[outside]] * (worth[outside | (1 << player)] - worth[outside])).sum())
    return found


def shapley_sampled(worth: Callable[[int], float], players: int, *, permutations: int, seed: int) -> tuple[Values, Values]:
    """Shapley values and their standard errors, each [players], from random orders; every order adds up, so the values do."""
    if permutations < 2:
        raise InputError(f"shapley_sampled: two permutations or more; got {permutations}.")
    rng, known = np.random.default_rng(seed), dict[int, float]()
    gains = np.empty((permutations, players))
    for draw in range(permutations):
        coalition, before = 0, known.setdefault(0, worth(0))
        for player in rng.permutation(players).tolist():
            coalition |= 1 << player
            if coalition not in known:
                known[coalition] = worth(coalition)
            gains[draw, player], before = known[coalition] - before, known[coalition]
    return gains.mean(axis=0), gains.std(axis=0, ddof=1) / permutations**0.5


def _shared(paths: Paths, shares: Callable[[tuple[int, ...]], Values]) -> Values:
    found = np.zeros(len(paths.names))
    for path, won in zip(paths.steps, paths.won, strict=True):
        np.add.at(found, list(path), won * shares(path))
    return found


def _reached(chances: Values, size: int) -> float:
    """The chain's probability to go from the start to a purchase."""
    inside = np.linalg.solve(np.eye(size) - chances[:size, :size], chances[:size, size])
    return float(chances[size, :size] @ inside)
