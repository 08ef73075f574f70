"""The writer that always works: components of an approved library, chosen at random among those that fit, and logged.

Hook x benefit x offer x proof x call to action x tone. No key, no download. For each role the choice is uniform over the
components whose facts are known and whose text still fits the channel, given what was chosen before; the product of these
probabilities is the propensity of the wording. The choice is a hash of seed, decision, role and component, so the same decision
is worded alike again, and a component that drops out changes nothing but itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

from tradewind.compose.base import Block, Brief, Draft, Writer
from tradewind.compose.facts import Facts
from tradewind.compose.library import TONES, Component, Library, load
from tradewind.compose.locales import data
from tradewind.compose.recipe import RECIPES, Room, Step, rooms
from tradewind.errors import unknown
from tradewind.types import Reason

ANCHORED = ("similar", "together")  # kinds of wording that name another item
POPULAR = 50  # the last rank of which "many have chosen it" is said
HEADLINES = frozenset({"percent_off", "amount_off", "offer_price"})


class Components(Writer):
    """Writes from the shipped library of the brief's language."""

    name = "components"

    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """Choose one component per role; see the module for how. A text says why when nothing can be said."""
        if brief.channel not in RECIPES:
            raise unknown("channel", brief.channel, RECIPES)
        if "offer" in facts.flags and facts.has.isdisjoint(HEADLINES):
            return "the offer cannot be put into words"
        view = facts.narrow if brief.channel in ("push", "sms") else facts
        library, reason = load(brief.locale), reason_kind(brief.reason, view)
        tones = [tone for tone in ((brief.tone,) if brief.tone else TONES) if _speaks(library, brief.channel, view, tone)]
        if not tones:
            return f"no {brief.channel} text in {brief.locale} goes with the facts that are known"
        tone = min(tones, key=lambda name: _draw(seed, brief.key, "tone", name))
        why = ""
        for room in rooms(brief.channel, view):
            walk = _Walk(library, brief, view, tone, reason, seed, room)
            why = walk.run()
            if not why:
                return Draft(tuple(walk.blocks), self.name, tone, walk.propensity / len(tones), {"tone": len(tones), **walk.choices})
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


@dataclass(slots=True)
class _Walk:
    """One way through a recipe: what was chosen so far, what it said, and the room that is left."""

    library: Library
    brief: Brief
    facts: Facts
    tone: str
    reason: str | None
    seed: int
    room: Room
    left: dict[str, int] = field(init=False)
    blocks: list[Block] = field(default_factory=list)
    said: dict[str, set[str]] = field(default_factory=dict)  # part -> slots
    families: set[str] = field(default_factory=set)
    choices: dict[str, int] = field(default_factory=dict)
    propensity: float = 1.0

    def run(self) -> str:
        """Choose for every role; return why not, or the empty text."""
        self.left = dict(self.room.parts)
        steps = RECIPES[self.brief.channel]
        for place, step in enumerate(steps):
            if not step.wanted(self.facts, self._said(step)):
                continue
            rest = [later for later in steps[place + 1 :] if later.part == step.part and not later.optional]
            pool = [c for c in self._pool(step) if self._allowed(c) and self._fits(step, c, rest)]
            pool = [c for c in pool if c.family not in self.families] or pool
            if pool:
                self._take(step, min(pool, key=lambda c: _draw(self.seed, self.brief.key, step.role, c.id)), len(pool))
            elif not step.optional:
                return f"no {step.role} in {self.brief.locale} fits {self.brief.channel}"
        return ""

    def _take(self, step: Step, chosen: Component, among: int) -> None:
        self.blocks.append(Block(step.role, chosen.template, chosen.id, chosen.needs))
        self.said.setdefault(step.part, set()).update(chosen.template.slots)
        self.families |= {chosen.family} if chosen.family else set()
        self.choices[step.role] = among
        self.propensity /= among
        if step.part in self.left:
            self.left[step.part] -= self._size(chosen) + self.room.measure(self.library.joiner)

    def _pool(self, step: Step) -> tuple[Component, ...]:
        return _pool(self.library, self.brief.channel, step.role, self.tone, self.facts.has)

    def _allowed(self, component: Component) -> bool:
        """Whether its reason is the one that was given, and it spells no name of this item outside its slots."""
        if component.role == "reason" and self.reason not in component.reasons:
            return False
        texts = self.facts.texts
        return not any(texts[name] in literal for name in ("title", "brand") if name in texts for literal in component.template.literals)

    def _fits(self, step: Step, component: Component, rest: list[Step]) -> bool:
        """Whether it leaves room for the shortest wording of what must still follow in the same part."""
        if step.part not in self.left:
            return True
        said = self._said(step) | set(component.template.slots)
        gap = self.room.measure(self.library.joiner)
        least = sum(gap + min((self._size(c) for c in self._pool(later)), default=0) for later in rest if later.wanted(self.facts, said))
        return self._size(component) + least <= self.left[step.part]

    def _said(self, step: Step) -> set[str]:
        """What counts as said: a condition belongs into the part where the offer stands; a share asks for its cap anywhere."""
        said = self.said.get(step.part, set())
        return said | {"percent_off"} if any("percent_off" in slots for slots in self.said.values()) else said

    def _size(self, component: Component) -> int:
        template, texts, measure = component.template, self.facts.texts, self.room.measure
        return sum(measure(literal) for literal in template.literals) + sum(measure(texts[slot]) for slot in template.slots)


def _speaks(library: Library, channel: str, facts: Facts, tone: str) -> bool:
    """Whether every role that must be filled has a component of this tone."""
    steps = (step for step in RECIPES[channel] if not step.optional and step.wanted(facts, ()))
    return all(_pool(library, channel, step.role, tone, facts.has) for step in steps)


@lru_cache(maxsize=8192)
def _pool(library: Library, channel: str, role: str, tone: str, has: frozenset[str]) -> tuple[Component, ...]:
    return tuple(c for c in library.by_role.get((channel, role), ()) if c.fits(has, tone))


def _draw(seed: int, key: str, role: str, name: str) -> bytes:
    """A number that looks random and is the same for the same choice: the smallest wins, so each is as likely."""
    return hashlib.blake2b(f"{seed}|{key}|{role}|{name}".encode(), digest_size=8).digest()


PLUGIN = Components
