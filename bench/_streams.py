"""Streams of bench/bandit.py: contexts, factored actions and the potential outcome of every action, drawn from known laws.

Ten actions are five offers on two channels. A reward is 0 or 1 with the mean of its row; the regret of a choice is the best mean of
the row minus the mean of the chosen action. Every stream takes its parameters from the seed alone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ACTIONS = tuple(f"offer={offer}|channel={channel}" for offer in "abcde" for channel in ("email", "push"))
WIDTH = 6  # context columns
NAMES = ("linear", "nonlinear", "drifting", "delayed")
DELAY = 1_000


@dataclass(frozen=True)
class Stream:
    """``contexts`` (rounds, columns), ``rewards`` and ``means`` (rounds, actions); a reward is known ``delay`` rounds later."""

    actions: tuple[str, ...]
    contexts: np.ndarray
    rewards: np.ndarray
    means: np.ndarray
    delay: int = 0

    def attributes(self) -> dict[str, dict[str, str]]:
        """The attributes that the names of the actions spell out: ``offer=a|channel=push``."""
        return {name: dict(part.split("=", 1) for part in name.split("|") if "=" in part) for name in self.actions}


def simulate(name: str, seed: int, rounds: int) -> Stream:
    """One of ``NAMES``."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    contexts = rng.standard_normal((rounds, WIDTH))
    means = {"linear": linear, "nonlinear": nonlinear, "drifting": drifting, "delayed": linear}[name](rng, contexts)
    rewards = (rng.random(means.shape) < means).astype(float)
    return Stream(ACTIONS, contexts, rewards, means, DELAY if name == "delayed" else 0)


def surfaces(rng: np.random.Generator, count: int) -> np.ndarray:
    """Coefficients (count, actions, 1 + columns): what the offer does, what the channel does, and what only the pair does."""
    offer, channel = rng.standard_normal((count, 5, 1, WIDTH + 1)), rng.standard_normal((count, 1, 2, WIDTH + 1))
    pair = rng.standard_normal((count, 5, 2, WIDTH + 1))
    whole = (0.75 * offer + 0.5 * channel + 0.45 * pair).reshape(count, 10, WIDTH + 1)
    return np.asarray(whole * np.array([0.08, *[0.07] * WIDTH]))


def linear(rng: np.random.Generator, contexts: np.ndarray) -> np.ndarray:
    """Probability linear in the context, cut to [.02, .98]."""
    theta = surfaces(rng, 1)[0]
    return np.asarray(np.clip(0.4 + theta[:, 0] + contexts @ theta[:, 1:].T, 0.02, 0.98))


def nonlinear(rng: np.random.Generator, contexts: np.ndarray) -> np.ndarray:
    """Thresholds and products: every action has its own two quadrants (signs of two columns), a product and a band; no linear term."""
    found = np.empty((len(contexts), len(ACTIONS)))
    for action in range(len(ACTIONS)):
        value = np.full(len(contexts), 0.35 + 0.05 * rng.standard_normal())
        for _ in range(2):
            first, second = rng.choice(WIDTH, 2, replace=False)
            cut = 0.5 * rng.standard_normal(2)
            side = rng.choice([-1.0, 1.0], 2)
            value += 0.22 * ((side[0] * (contexts[:, first] - cut[0]) > 0) & (side[1] * (contexts[:, second] - cut[1]) > 0))
        first, second, third = rng.choice(WIDTH, 3, replace=False)
        value += rng.choice([-1.0, 1.0]) * 0.1 * np.tanh(contexts[:, first] * contexts[:, second])
        value += rng.choice([-1.0, 1.0]) * 0.12 * ((np.abs(contexts[:, third]) < 0.7) - 0.5)
        found[:, action] = value
    return np.clip(found, 0.02, 0.98)


def drifting(rng: np.random.Generator, contexts: np.ndarray) -> np.ndarray:
    """The linear law, its coefficients moving steadily between four drawn ones, with one sudden change in the middle."""
    n = len(contexts)
    marks = surfaces(rng, 4)
    half = n // 2
    share = np.concatenate([np.arange(half) / max(half, 1), np.arange(n - half) / max(n - half, 1)])[:, None, None]
    late = (np.arange(n) >= half)[:, None, None]
    theta = np.where(late, marks[2], marks[0]) * (1 - share) + np.where(late, marks[3], marks[1]) * share
    return np.asarray(np.clip(0.4 + theta[:, :, 0] + np.einsum("ij,iaj->ia", contexts, theta[:, :, 1:]), 0.02, 0.98))


def read(path: Path, *, delay: int = 0) -> Stream:
    """A stream from CSV: columns ``reward:NAME`` hold what each action would have earned (``mean:NAME``, if there, its expectation).

    All other columns are the context, numbers. A NAME may spell attributes: ``reward:offer=a|channel=push``.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if not rows:
        raise SystemExit(f"{path} holds no rows")
    actions = tuple(name.removeprefix("reward:") for name in rows[0] if name.startswith("reward:"))
    context = [name for name in rows[0] if not name.startswith(("reward:", "mean:"))]
    if not 2 <= len(actions) <= 10 or not context:
        raise SystemExit(f"{path}: needs 2-10 columns reward:NAME and at least one other column; got {list(rows[0])}")

    def block(names: list[str]) -> np.ndarray:
        return np.array([[float(row[name]) for name in names] for row in rows])

    rewards = block([f"reward:{name}" for name in actions])
    means = [f"mean:{name}" for name in actions]
    return Stream(actions, block(context), rewards, block(means) if set(means) <= set(rows[0]) else rewards, delay)
