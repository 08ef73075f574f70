"""What the live bandit believes: competing memories of two feature maps, and the one that predicts best.

Each candidate is a hierarchical linear model (:mod:`tradewind.decide._bandit_posterior`) of one feature map with one memory: all of
the past, or exponential forgetting over the last ``MEMORIES`` decisions. Before a candidate learns from outcomes it predicts them;
the candidate with the least squared error over recent outcomes (progressive validation, Dawid 1984) decides. So forgetting costs a
stationary stream nothing, and bent features cost a linear stream nothing, beyond the time to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from tradewind.decide._bandit_features import Features, Scaling
from tradewind.decide._bandit_posterior import Posterior, Prior, posterior

MEMORIES = (np.inf, 2_000.0)  # decisions after which an outcome counts 1/e
WARM = 256  # outcomes from which the standardisation is taken
BLOCK = 512  # outcomes learned at once, at most; while nothing is forgotten up to LONG, an eighth of what is known
LONG = 2_048
_BEHIND = 4  # the map that does not decide is solved at every so many updates
_ARRAYS = ("information", "vector", "squares", "loss")
_JUDGED = 4_000.0  # outcomes over which candidates are compared


class Learner:
    """Belief over the rewards of actions with the attributes of ``members`` (actions, attributes).

    State: per memory and action the information matrix and vector of the bent features; the plain ones are their beginning.
    """

    def __init__(self, columns: int, members: np.ndarray, *, seed: int) -> None:
        self.features = Features(columns, seed=seed)
        self.members = members
        self.widths = (self.features.plain, self.features.bent)
        self.priors = [Prior(), Prior()]  # of the plain and of the bent features
        self.loss = np.zeros((2, len(MEMORIES)))
        self.information = self.vector = np.zeros(0)
        self.judged = 0.0
        self.rows = self.updates = 0
        self.clock = 0
        self.warm: list[tuple[np.ndarray, ...]] = []
        self.means = [np.zeros(0), np.zeros(0)]  # (memories, actions, width) of either map: what it predicts with
        self._reset()
        self._solve(both=True)

    @property
    def block(self) -> int:
        """How many outcomes are gathered before the next update: few in the beginning, then more."""
        forgets = self.champion[1] > 0
        return max(min(max(self.rows // 4, 8), BLOCK), 0 if forgets else min(self.rows // 8, LONG))

    def extend(self, members: np.ndarray) -> None:
        """More actions and attributes, at the end of those known; they have only their prior."""
        grow, width = len(members) - len(self.members), self.features.bent
        self.members = members
        self.information = np.concatenate([self.information, np.zeros((len(MEMORIES), grow, width, width))], axis=1)
        self.vector = np.concatenate([self.vector, np.zeros((len(MEMORIES), grow, width))], axis=1)
        self._solve(both=True)

    def learn(self, contexts: np.ndarray, actions: np.ndarray, rewards: np.ndarray, numbers: np.ndarray) -> None:
        """Predict, then add outcomes: (rows, columns), and per row the action, the reward and the number of its decision."""
        f = self.features.many(contexts)
        self._judge(f, actions, rewards)
        before = self.rows
        self.rows += len(rewards)
        if before < WARM:
            # The standardisation is not settled: begin again from all outcomes so far, which are few.
            self.warm.append((contexts, actions, rewards, numbers))
            contexts, actions, rewards, numbers = (np.concatenate(parts) for parts in zip(*self.warm, strict=True))
            self.features.fit(contexts)
            f = self.features.many(contexts)
            self._reset()
            if self.rows >= WARM:
                self.warm = []
        self._add(f, actions, rewards, numbers)
        if before.bit_length() // 2 != self.rows.bit_length() // 2 and self.rows >= 32:  # the data grew fourfold
            self._choose_priors()
        self.updates += 1
        self._solve(both=before < WARM or self.updates % _BEHIND == 0)

    def draws(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """``size`` (even) joint posterior draws of the champion, in antithetic pairs: (size, actions, width).

        They are weights on :meth:`Features.one`, without the mean reward.
        """
        bent, memory = self.champion
        mean = self.features.folded(self.means[bent][memory])
        half = self.features.folded(self.found.draw(memory, rng, size // 2))
        return np.concatenate([mean + half, mean - half])

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All that was learned: what fits JSON, and arrays."""
        card = {
            "judged": self.judged,
            "rows": self.rows,
            "updates": self.updates,
            "clock": self.clock,
            "priors": [asdict(prior) for prior in self.priors],
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS} | vars(self.features.scaling)
        arrays |= {f"means_{bent}": self.means[bent] for bent in (0, 1)}
        if self.warm:
            arrays |= {f"warm_{at}": np.concatenate(parts) for at, parts in enumerate(zip(*self.warm, strict=True))}
        return card, arrays

    def restore(self, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what :meth:`state` gave."""
        self.judged, self.rows, self.updates, self.clock = card["judged"], card["rows"], card["updates"], card["clock"]
        self.priors = [Prior(**prior) for prior in card["priors"]]
        for name in _ARRAYS:
            setattr(self, name, arrays[name].copy())
        self.features.scaling = Scaling(**{field.name: arrays[field.name] for field in fields(Scaling)})
        self.warm = [tuple(arrays[f"warm_{at}"] for at in range(4))] if "warm_0" in arrays else []
        self.means = [arrays["means_0"], arrays["means_1"]]
        self._solve(both=False)

    def _reset(self) -> None:
        count, memories, width = len(self.members), len(MEMORIES), self.features.bent
        self.information = np.zeros((memories, count, width, width))
        self.vector = np.zeros((memories, count, width))
        self.squares = np.zeros(memories)
        self.clock = 0

    def _judge(self, f: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        keep = np.exp(-len(rewards) / _JUDGED)
        self.loss *= keep
        self.judged = keep * self.judged + len(rewards)
        for bent, width in enumerate(self.widths):
            guess = (self.means[bent][:, actions] * f[:, :width]).sum(axis=2) + self.centers[:, None]
            self.loss[bent] += ((rewards - guess) ** 2).sum(axis=1)

    def _add(self, f: np.ndarray, actions: np.ndarray, rewards: np.ndarray, numbers: np.ndarray) -> None:
        now = max(self.clock, int(numbers.max()))
        order = np.argsort(actions, kind="stable")
        f, actions, rewards, ages = f[order], actions[order], rewards[order], (now - numbers[order]).astype(float)
        starts = np.flatnonzero(np.diff(actions, prepend=-1)).tolist()
        for memory, length in enumerate(MEMORIES):
            keep = np.exp((self.clock - now) / length)
            if keep < 1.0:
                for sums in (self.information, self.vector, self.squares):
                    sums[memory] *= keep
            weights = np.exp(-ages / length)
            weighted = f * weights[:, None]
            self.squares[memory] += weights @ rewards**2
            for start, end in zip(starts, [*starts[1:], len(f)], strict=True):
                self.information[memory, actions[start]] += weighted[start:end].T @ f[start:end]
                self.vector[memory, actions[start]] += rewards[start:end] @ weighted[start:end]
        self.clock = now

    def _solve(self, *, both: bool) -> None:
        """The posteriors of the map that decides, and of the other one too if ``both``."""
        self.champion = divmod(int(np.argmin(self.loss)), len(MEMORIES))
        total = np.maximum(self.information[:, :, 0, 0].sum(axis=1), 1e-12)
        self.centers = self.vector[:, :, 0].sum(axis=1) / total
        self.units = np.sqrt(np.maximum(self.squares / total - self.centers**2, 0.0))
        self.units[self.units == 0] = 1.0  # equal rewards say nothing about the scale
        for bent in (0, 1):
            if both or bent == self.champion[0]:
                found = self._posterior(bent, slice(None), [self.priors[bent]] * len(MEMORIES))
                self.means[bent] = found.mean
                if bent == self.champion[0]:
                    self.found = found

    def _posterior(self, bent: int, memories: slice | list[int], priors: list[Prior], *, evidence: bool = False) -> Posterior:
        width, units = self.widths[bent], self.units[memories]
        noise = units**2
        if self.judged > 64:  # the noise is what progressive validation saw, at most the variance of the rewards
            noise = np.minimum(noise, float(self.loss.min()) / self.judged or noise)
        information = self.information[memories, :, :width, :width] / noise[:, None, None, None]
        centred = self.vector[memories, :, :width] / noise[:, None, None] - self.centers[memories, None, None] * information[..., 0]
        return posterior(information, centred, self.members, priors, units, plain=self.features.plain, evidence=evidence)

    def _choose_priors(self) -> None:
        """Empirical Bayes, for the map that decides: a step of each number of its prior towards greater evidence."""
        bent, memory = self.champion
        variants = self.priors[bent].variants(bent=bool(bent))
        found = self._posterior(bent, [memory] * len(variants), variants, evidence=True)
        self.priors[bent] = self.priors[bent].moved(variants, found.log_evidence)
