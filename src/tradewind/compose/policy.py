"""Which component for whom: a factored contextual policy over the roles of a message, learned from clicks.

One effect per component (and tone), for all and per segment, shrunken as far as the data show differences (``_copy_fit``). For each role
the policy draws by posterior sampling: the probability of a component is ``floor + (1 - floor * number) * share of DRAWS posterior draws
in which it is best``, less what the customer is tired of. The posterior draws are part of the model: the same model gives the same
probabilities, and the writer's hash of seed and decision picks - exact propensities, no luck of its own.

A component that the model never saw begins with what its traits earned. Some customers, for ever the same (a hash), get the fixed
template: the first component of each role that fits. They are the control that the rest is measured against.

When not to use: below some thousand messages it hardly departs from uniform choice, and says so by its probabilities.

Sources: Agrawal and Goyal 2013 (Thompson sampling for linear payoffs); Hong et al. 2022 (hierarchical Bayesian bandits).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.compose._copy_fit import STEPS, TONE, Belief, Layout, Sums, fit
from tradewind.compose.base import Chooser
from tradewind.compose.library import TONES, Component
from tradewind.compose.sent import Sent
from tradewind.compose.traits import traits
from tradewind.errors import InputError, NotFound

Values = NDArray[np.float64]
DRAWS = 64
FLOOR = 0.01  # least probability of a component that fits
CONTROL = 0.05  # share of customers who get the fixed template
FEWEST = 200  # messages with a choice, below which nothing is learned; and of a segment, below which it has no effects of its own
KNOWN = 20_000  # probabilities kept ready
FORMAT = 1


class Fixed:
    """The chooser of the control: always the first that fits."""

    def chances(self, role: str, names: Sequence[str]) -> Sequence[float]:  # noqa: ARG002 - the contract of a chooser
        """One for the first, nothing for the rest."""
        return [1.0, *([0.0] * (len(names) - 1))]


@dataclass(frozen=True)
class CopyPolicy:
    """A learned policy; :meth:`learn` makes one."""

    layout: Layout
    belief: Belief
    floor: float = FLOOR
    control: float = CONTROL
    rows: int = 0
    _known: dict[tuple[int, tuple[str, ...], bool], tuple[float, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def learn(
        cls, rows: Sequence[Sent], components: Iterable[Component], *, seed: int = 0, floor: float = FLOOR, control: float = CONTROL
    ) -> Self:
        """Learn from messages; those of the control are left out, since nothing was chosen there.

        Raises
        ------
        InputError
            ``floor`` or ``control`` is no share, or fewer than ``FEWEST`` messages had a choice.
        """
        layout = layout_of(rows, components)
        return cls.of(Sums.of(usable(rows), layout), layout, seed=seed, floor=floor, control=control)

    @classmethod
    def of(
        cls,
        sums: Sums,
        layout: Layout,
        *,
        seed: int = 0,
        floor: float = FLOOR,
        control: float = CONTROL,
        start: Mapping[str, float] | None = None,
        steps: int = STEPS,
    ) -> Self:
        """As :meth:`learn`, from sums over messages that were kept (they add, so that a batch need not be read again)."""
        for name, share in (("floor", floor), ("control", control)):
            if not 0 <= share < 0.5:
                raise InputError(f"CopyPolicy: {name} must be a share from 0 to below 0.5; got {share}.")
        if sums.rows < FEWEST:
            raise InputError(
                f"CopyPolicy learns from {FEWEST} messages or more that had a choice of words; got {sums.rows}. Send more first."
            )
        return cls(layout, fit(sums, layout, draws=DRAWS, seed=seed, start=start, steps=steps), floor, control, sums.rows)

    def chooser(self, *, segment: str | None, seen: Mapping[str, float] | None = None, controlled: bool = False) -> Chooser:
        """The chooser of one message. ``seen``: faded number of showings per component (``sent.faded``)."""
        if controlled:
            return Fixed()
        return _Mine(
            self, self.layout.segments.index(segment) if segment in self.layout.segments else len(self.layout.segments), seen or {}
        )

    def controls(self, customer: str, *, salt: str) -> bool:
        """Whether a customer belongs to the control, for ever."""
        digest = hashlib.sha256(f"copy control\x1f{salt}\x1f{customer}".encode()).digest()
        return (int.from_bytes(digest[:8]) >> 11) / 2**53 < self.control

    def effects(self, names: Sequence[str], *, segment: str | None = None) -> Values:
        """Posterior draws of the effects of words on the click rate (share 0-1), for all or in a segment: [DRAWS, names]."""
        place = self.layout.segments.index(segment) if segment in self.layout.segments else len(self.layout.segments)
        return np.stack([self._word(name)[:, place] for name in names], axis=1)

    def trait_effects(self) -> dict[str, tuple[float, float]]:
        """Posterior mean and standard deviation of each trait's effect on the click rate, for all."""
        block = self.layout.blocks["traits"]
        pairs = zip(self.layout.names, self.belief.mean[block], self.belief.sd[block], strict=True)
        return {name: (float(mean), float(sd)) for name, mean, sd in pairs}

    @cached_property
    def _scores(self) -> Values:
        """Draws of the effect of each known word in each segment, and last for all: float64 [DRAWS, segments + 1, words]."""
        blocks, table = self.layout.blocks, self.layout.table
        count, words, names = len(self.layout.segments), len(self.layout.words), len(self.layout.names)
        everybody = self.belief.draws[:, blocks["words"]] + self.belief.draws[:, blocks["traits"]] @ table.T
        own = self.belief.draws[:, blocks["segment words"]].reshape(len(everybody), count, words)
        own = own + self.belief.draws[:, blocks["segment traits"]].reshape(len(everybody), count, names) @ table.T
        return np.concatenate([everybody[:, None] + own, everybody[:, None]], axis=1)

    @cached_property
    def _new(self) -> dict[str, Values]:
        return {}

    def _word(self, name: str) -> Values:
        """Draws of a word's effect by segment, [DRAWS, segments + 1]; of an unknown one from the prior (:meth:`with_library`)."""
        if name in self.layout.place:
            return np.asarray(self._scores[:, :, self.layout.place[name]])
        if name not in self._new:
            self._new[name] = self._unseen(name, ())
        return self._new[name]

    def with_library(self, components: Iterable[Component]) -> Self:
        """Tell the policy the traits of components that it has not learned on, so that they begin with what those earned."""
        for component in components:
            if component.id not in self.layout.place:
                self._new[component.id] = self._unseen(component.id, traits(component))
        return self

    def _unseen(self, name: str, found: Sequence[str]) -> Values:
        number = {trait: place for place, trait in enumerate(self.layout.names)}
        has = [number[trait] for trait in found if trait in number]
        blocks, count = self.layout.blocks, len(self.layout.segments)
        everybody = self.belief.draws[:, blocks["traits"]][:, has].sum(axis=1)
        own = self.belief.draws[:, blocks["segment traits"]].reshape(len(self.belief.draws), count, len(number))[:, :, has].sum(axis=2)
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        luck = np.random.default_rng(seed).standard_normal(len(self.belief.draws)) * self.belief.spread["words"]
        return np.concatenate([everybody[:, None] + own, everybody[:, None]], axis=1) + luck[:, None]

    def shares(self, place: int, names: tuple[str, ...], *, tone: bool, worn: Values | None = None) -> tuple[float, ...]:
        """The probability of each of ``names`` in the segment of number ``place``; ``worn``: faded showings."""
        key = place, names, tone
        if worn is None and key in self._known:
            return self._known[key]
        score = np.stack([self._word(TONE + name if tone else name)[:, place] for name in names], axis=1)
        if worn is not None:
            fatigue = np.minimum(self.belief.draws[:, self.layout.blocks["fatigue"]], 0.0)  # repetition is never a reason to repeat
            score = score + fatigue * worn
        won = np.bincount(score.argmax(axis=1), minlength=len(names)) / len(score)
        floor = min(self.floor, 0.5 / len(names))
        found = tuple(round(float(floor + (1 - floor * len(names)) * share), 12) for share in won)
        if worn is None and len(self._known) < KNOWN:
            self._known[key] = found
        return found

    def save(self, path: Path) -> None:
        """Write ``policy.json`` and ``draws.npz`` into the folder ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        layout = self.layout
        about: dict[str, Any] = {
            "format": FORMAT, "words": layout.words, "traits": dict(layout.traits), "segments": layout.segments,
            "channels": layout.channels, "locales": layout.locales, "floor": self.floor, "control": self.control, "rows": self.rows,
            "noise": self.belief.noise, "spread": dict(self.belief.spread), "rate": self.belief.rate,
        }  # fmt: skip
        (path / "policy.json").write_text(json.dumps(about, sort_keys=True), encoding="utf-8")
        np.savez(path / "draws.npz", draws=self.belief.draws, mean=self.belief.mean, sd=self.belief.sd)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`.

        Raises
        ------
        NotFound
            There is no saved policy, or none of a format that this version reads.
        """
        try:
            about = json.loads((path / "policy.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            about = {}
        if about.get("format") != FORMAT:
            raise NotFound(f"There is no copy policy in {path} that this version reads. Run: tradewind learn")
        names = ("words", "segments", "channels", "locales")
        layout = Layout(traits={word: tuple(of) for word, of in about["traits"].items()}, **{name: tuple(about[name]) for name in names})
        with np.load(path / "draws.npz") as held:
            belief = Belief(held["mean"], held["sd"], held["draws"], about["noise"], about["spread"], about["rate"])
        return cls(layout, belief, about["floor"], about["control"], about["rows"])


@dataclass(frozen=True, slots=True)
class _Mine:
    """The policy for one message."""

    policy: CopyPolicy
    place: int
    seen: Mapping[str, float]

    def chances(self, role: str, names: Sequence[str]) -> Sequence[float]:
        """See :class:`CopyPolicy`."""
        worn = None
        if role != "tone" and self.seen and any(name in self.seen for name in names):
            worn = np.array([self.seen.get(name, 0.0) for name in names])
        return self.policy.shares(self.place, tuple(names), tone=role == "tone", worn=worn)


def usable(rows: Sequence[Sent]) -> list[Sent]:
    """Messages that had a choice of words; the control had none."""
    return [row for row in rows if not row.control and any(len(among) > 1 for among in row.shares.values())]


def layout_of(rows: Sequence[Sent], components: Iterable[Component]) -> Layout:
    """What there is to learn: what could have been said in the log, in the order of the library (what left it has no traits)."""
    logged = {name for row in rows for role, among in row.shares.items() if role != "tone" for name in among}
    told = {component.id: traits(component) for component in components if component.id in logged}
    tones = {TONE + tone: () for tone in TONES}
    gone = logged - told.keys()
    sizes = Counter(row.segment for row in rows)
    return Layout(
        words=(*tones, *told, *sorted(gone)),
        traits=told,
        segments=tuple(sorted(name for name, size in sizes.items() if name is not None and size >= FEWEST)),
        channels=tuple(sorted({row.channel for row in rows})),
        locales=tuple(sorted({row.locale for row in rows})),
    )
