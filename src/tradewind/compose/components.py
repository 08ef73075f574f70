"""The writer that always works: components of an approved library, chosen at random among those that fit, and logged.

Hook x benefit x offer x proof x call to action x tone. No key, no download. For each role one of the components is drawn whose
facts are known and whose text still fits the channel, given what was chosen before: uniformly, or by the chances that the brief's
``chooser`` learned. The product of these probabilities is the propensity of the wording. The draw is a hash of seed, decision, role
and component, so the same decision is worded alike again, and a component that drops out changes nothing but itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf, log1p
from typing import TYPE_CHECKING, Self

from tradewind.compose.base import Block, Brief, Draft, Writer
from tradewind.compose.facts import Facts
from tradewind.compose.library import TONES, Component, Library, load
from tradewind.compose.locales import data
from tradewind.compose.recipe import RECIPES, Room, Step, rooms
from tradewind.errors import unknown
from tradewind.types import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from tradewind.engine.home import Home

ANCHORED = ("similar", "together")  # kinds of wording that name another item
POPULAR = 50  # the last rank of which "many have chosen it" is said
HEADLINES = frozenset({"percent_off", "amount_off", "offer_price"})


class Components(Writer):
    """Writes from the shipped library of the brief's language, or from ``library``: one for all, or one per language."""

    name = "components"

    def __init__(self, library: Library | Mapping[str, Library] | None = None) -> None:
        self.library = library

    @classmethod
    def open(cls, home: Home, *, now: datetime) -> Self:  # noqa: ARG003 - approval knows no clock
        """The writer of a shop: it says only what is approved there (:mod:`tradewind.compose.approval`)."""
        from tradewind.compose.approval import libraries

        return cls(libraries(home))

    def library_of(self, locale: str) -> Library:
        """The library that it writes from in a language."""
        if isinstance(self.library, Mapping):
            return self.library[locale]
        return self.library or load(locale)

    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """Choose one component per role; see the module for how. A text says why when nothing can be said."""
        if brief.channel not in RECIPES:
            raise unknown("channel", brief.channel, RECIPES)
        if "offer" in facts.flags and facts.has.isdisjoint(HEADLINES):
            return "the offer cannot be put into words"
        library, reason = self.library_of(brief.locale), reason_kind(brief.reason, facts)
        pools = _Pools(library, brief.channel, facts)
        tones = [tone for tone in ((brief.tone,) if brief.tone else TONES) if pools.speak(tone)]
        if not tones:
            return f"no {brief.channel} text in {brief.locale} goes with the facts that are known"
        shares: dict[str, Mapping[str, float]] = {"tone": _chances(brief, "tone", tones)}
        tone = _drawn(shares["tone"], seed=seed, key=brief.key, role="tone")
        why = ""
        for room in rooms(brief.channel, facts, label=brief.channel in library.generated):
            walk = _Walk(pools, brief, facts, tone, reason, seed, room)
            why = walk.run()
            if not why:
                shares |= walk.shares
                number = {role: len(among) for role, among in shares.items()}
                return Draft(tuple(walk.blocks), self.name, tone, walk.propensity * shares["tone"][tone], number, shares)
        return why


def reason_kind(reason: Reason | None, facts: Facts) -> str | None:
    """Return the kind of wording that a reason allows, or None: unknown codes and sensitive goods stay silent."""
    if reason is None or "sensitive" in facts.flags or "item" not in facts.flags:
        return None
    kind = wording(reason)
    return None if kind in ANCHORED and "anchor" not in facts.facts else kind


def wording(reason: Reason) -> str | None:
    """Return the kind of wording for a reason's code; "popular" is said only of the most popular."""
    kind: str | None = data("locales")["reasons"].get(reason.code)
    rank = reason.details.get("rank")
    if kind == "popular" and not (isinstance(rank, int) and rank <= POPULAR):
        return None
    return kind


class _Pools:
    """The components that the facts allow, by role and tone, looked up once per message."""

    def __init__(self, library: Library, channel: str, facts: Facts) -> None:
        self.library, self.channel, self.facts = library, channel, facts
        self.known: dict[tuple[str, str], tuple[Component, ...]] = {}

    def of(self, role: str, tone: str) -> tuple[Component, ...]:
        """Components of a role that go with a tone."""
        key = role, tone
        if key not in self.known:
            asked = self.library.asked.get((self.channel, role), frozenset())
            self.known[key] = _fitting(self.library, self.channel, role, tone, self.facts.view(role, self.channel).has & asked)
        return self.known[key]

    def speak(self, tone: str) -> bool:
        """Whether every role that must be filled has a component of this tone."""
        return all(self.of(step.role, tone) for step in RECIPES[self.channel] if not step.optional and step.wanted(self.facts))


@dataclass(slots=True)
class _Walk:
    """One way through a recipe: what was chosen so far, what it said, and the room that is left."""

    pools: _Pools
    brief: Brief
    facts: Facts
    tone: str
    reason: str | None
    seed: int
    room: Room
    left: dict[str, int] = field(init=False)
    blocks: list[Block] = field(default_factory=list)
    said: dict[str, set[str]] = field(default_factory=dict)  # part -> slots: a condition is said where its offer stands
    share: bool = False  # whether a reduction in percent was named anywhere: its cap must follow
    families: set[str] = field(default_factory=set)
    shares: dict[str, Mapping[str, float]] = field(default_factory=dict)  # role -> component -> probability
    sizes: dict[str, int] = field(default_factory=dict)
    propensity: float = 1.0

    def run(self) -> str:
        """Choose for every role; return why not, or the empty text."""
        self.left = dict(self.room.parts)
        steps = RECIPES[self.brief.channel]
        for place, step in enumerate(steps):
            if not step.wanted(self.facts, self.said.get(step.part, ()), share=self.share):
                continue
            pool = [c for c in self.pools.of(step.role, self.tone) if self._allowed(c)]
            if step.part in self.left:
                least = self._least(step, [later for later in steps[place + 1 :] if later.part == step.part and not later.optional])
                pool = [c for c in pool if self._fits(step, c, least)]
            pool = [c for c in pool if not c.fallback] or pool
            pool = [c for c in pool if c.family not in self.families] or pool
            if pool:
                self._take(step, {c.id: c for c in pool})
            elif not step.optional:
                return f"no {step.role} in {self.brief.locale} fits {self.brief.channel}"
        return ""

    def _take(self, step: Step, pool: Mapping[str, Component]) -> None:
        shares = _chances(self.brief, step.role, tuple(pool))
        name = _drawn(shares, seed=self.seed, key=self.brief.key, role=step.role)
        chosen = pool[name]
        self.blocks.append(Block(step.role, chosen.template, chosen.id, chosen.needs))
        self.said.setdefault(step.part, set()).update(chosen.template.slots)
        self.share = self.share or "percent_off" in chosen.template.slots
        self.families |= {chosen.family} if chosen.family else set()
        self.shares[step.role] = shares
        self.propensity *= shares[name]
        if step.part in self.left:
            self.left[step.part] -= self._size(chosen) + self.room.measure(self.pools.library.joiner)

    def _allowed(self, component: Component) -> bool:
        """Whether its reason is the one that was given, and it spells no name of this item outside its slots."""
        if component.role == "reason" and self.reason not in component.reasons:
            return False
        texts = self.facts.texts
        return not any(texts[name] in literal for name in ("title", "brand") if name in texts for literal in component.template.literals)

    def _least(self, step: Step, rest: list[Step]) -> dict[str, int]:
        """The shortest wording of each role that may still have to follow in the same part."""
        gap, said = self.room.measure(self.pools.library.joiner), self.said.get(step.part, ())
        wanted = [later for later in rest if later.wanted(self.facts, said, share=True)]
        return {later.role: gap + min((self._size(c) for c in self.pools.of(later.role, self.tone)), default=0) for later in wanted}

    def _fits(self, step: Step, component: Component, least: dict[str, int]) -> bool:
        """Whether it leaves room for what must still follow, less the conditions that it says itself."""
        slots = component.template.slots
        capped = self.share or "percent_off" in slots
        needed = sum(size for role, size in least.items() if role not in slots and (role != "cap" or capped))
        return self._size(component) + needed <= self.left[step.part]

    def _size(self, component: Component) -> int:
        if component.id not in self.sizes:
            texts = self.facts.view(component.role, self.brief.channel).texts
            pieces = (*component.template.literals, *(texts[slot] for slot in component.template.slots))
            self.sizes[component.id] = sum(map(self.room.measure, pieces))
        return self.sizes[component.id]


@lru_cache(maxsize=65536)
def _fitting(library: Library, channel: str, role: str, tone: str, has: frozenset[str]) -> tuple[Component, ...]:
    return tuple(c for c in library.by_role.get((channel, role), ()) if c.fits(has, tone))


def _chances(brief: Brief, role: str, names: Sequence[str]) -> dict[str, float]:
    """The probability of each of ``names``: alike, or as the brief's chooser learned."""
    if brief.chooser is None:
        return dict.fromkeys(names, 1 / len(names))
    return dict(zip(names, brief.chooser.chances(role, names), strict=True))


def _drawn(shares: Mapping[str, float], *, seed: int, key: str, role: str) -> str:
    """An exponential race: each runs for -log(1 - u) / share, and the first to arrive is drawn with probability ``share``.

    The luck u is a hash that looks random and is the same for the same choice. Where all shares are alike the smallest u wins.
    """

    def time(name: str) -> tuple[float, float]:
        digest = hashlib.blake2b(f"{seed}|{key}|{role}|{name}".encode(), digest_size=8).digest()
        luck = (int.from_bytes(digest) >> 11) / 2**53
        return -log1p(-luck) / shares[name] if shares[name] > 0 else inf, luck

    return min(shares, key=time)


PLUGIN = Components
