"""From posterior draws of the live bandit to propensities and the one choice; the rule of :mod:`tradewind.decide.sampling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tradewind.decide.sampling import pick
from tradewind.errors import InputError

SHORTLIST = 10
_CHUNK = 512


class Floors:
    """The floor of every action and the floors of attribute values; ``attributes``: action -> its attributes."""

    def __init__(self, floor: float, values: Mapping[str, float], attributes: Mapping[str, Mapping[str, str]]) -> None:
        self.floor, self.values, self.attributes = floor, values, attributes

    def groups(self, names: Sequence[str]) -> list[tuple[float, list[int]]]:
        """For every value of an attribute with a floor: the floor, and the positions in ``names`` that have the value."""
        found: dict[tuple[str, str], list[int]] = {}
        for at, name in enumerate(names):
            for attribute in self.values:
                if attribute in self.attributes[name]:
                    found.setdefault((attribute, self.attributes[name][attribute]), []).append(at)
        return [(self.values[attribute], positions) for (attribute, _), positions in found.items()]

    def base(self, names: Sequence[str]) -> np.ndarray:
        """What each action gets in any case: its floor, and its even part of what a value of its attributes still lacks.

        Raises
        ------
        InputError
            The floors ask for more than one in all.
        """
        base = np.full(len(names), self.floor)
        for least, positions in self.groups(names):
            base[positions] += max(least - base[positions].sum(), 0.0) / len(positions)
        if base.sum() > 1 + 1e-9:
            raise InputError(
                f"The propensity floors of {len(names)} actions ask for {base.sum():.3g} in all, more than 1. "
                f"Lower floor ({self.floor:g}) or floors ({dict(self.values)}), or offer fewer actions."
            )
        return base


class Odds:
    """Posterior draws of some actions, ready to be asked: ``weights`` (draws, actions, features).

    ``bent`` says which features the weights are for. With more than ten actions, those that win most draws are the shortlist.
    """

    def __init__(self, names: tuple[str, ...], weights: np.ndarray, floors: Floors, *, bent: bool) -> None:
        self.names, self.bent, self._floors = names, bent, floors
        self._shape = weights.shape[:2]
        self._weights = np.ascontiguousarray(weights.reshape(-1, weights.shape[2]))
        self._scores = np.empty(len(self._weights))
        self._table = self._scores.reshape(self._shape)
        self._base: list[float] = []
        if len(names) <= SHORTLIST:
            base = floors.base(names)
            self._base, self._step = base.tolist(), max(1.0 - float(base.sum()), 0.0) / self._shape[0]

    def one(self, features: np.ndarray, u: float) -> tuple[tuple[str, ...], tuple[float, ...], int]:
        """The shortlist, its propensities, and the position that ``u`` in [0, 1) falls on."""
        self._weights.dot(features, self._scores)
        if not self._base:
            return self._shortened(self._table, u)
        counts = np.bincount(self._table.argmax(axis=1), minlength=len(self.names)).tolist()
        step = self._step
        chances = tuple([base + step * count for base, count in zip(self._base, counts, strict=False)])  # strict costs as much as the sum
        edge = 0.0
        for at, chance in enumerate(chances):
            edge += chance
            if u < edge:
                return self.names, chances, at
        return self.names, chances, _last(chances)

    def many(self, features: np.ndarray, u: np.ndarray) -> list[tuple[tuple[str, ...], tuple[float, ...], int]]:
        """:meth:`one` for every row of ``features``."""
        found: list[tuple[tuple[str, ...], tuple[float, ...], int]] = []
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK]
            scores = (part @ self._weights.T).reshape(len(part), *self._shape)
            if not self._base:
                found += [self._shortened(table, each) for table, each in zip(scores, u[start : start + _CHUNK].tolist(), strict=True)]
                continue
            who = scores.argmax(axis=2)
            counts = np.stack([(who == at).sum(axis=1) for at in range(len(self.names))], axis=1)
            chances = np.array(self._base) + self._step * counts
            drawn = pick(chances, u[start : start + _CHUNK])
            found += [(self.names, tuple(row), at) for row, at in zip(chances.tolist(), drawn.tolist(), strict=True)]
        return found

    def _shortened(self, scores: np.ndarray, u: float) -> tuple[tuple[str, ...], tuple[float, ...], int]:
        wins = np.bincount(scores.argmax(axis=1), minlength=len(self.names))
        ranked = np.lexsort((-scores.mean(axis=0), -wins)).tolist()
        kept: list[int] = []
        # Every value with a floor of its own has its best action on the list.
        for _, positions in self._floors.groups(self.names):
            if not set(positions) & set(kept):
                kept.append(next(at for at in ranked if at in positions))
        if len(kept) > SHORTLIST:
            raise InputError(f"floors name {len(kept)} values, and the shortlist has {SHORTLIST} places. Give floors to fewer attributes.")
        kept += [at for at in ranked if at not in set(kept)][: SHORTLIST - len(kept)]
        kept.sort()
        names = tuple(self.names[at] for at in kept)
        base = self._floors.base(names)
        counts = np.bincount(scores[:, kept].argmax(axis=1), minlength=len(kept))
        chances = base + max(1.0 - base.sum(), 0.0) / len(scores) * counts
        return names, tuple(chances.tolist()), int(pick(chances[None], np.array([u]))[0])


def _last(chances: Sequence[float]) -> int:
    """Rounding may leave the sum a little below ``u``: the last action with a chance is meant."""
    return max(at for at, chance in enumerate(chances) if chance > 0)
