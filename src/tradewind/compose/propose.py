"""What is worth writing next: traits that win and are seldom used, role by role; and the way of new words to approval.

A proposer is anything that turns a wish into template texts: a chat model, a person with a file, a test. What it gives is read like a
library file, must have the trait that was asked for, passes the guard, and waits for approval (``approval``) like any other text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tradewind.compose.approval import Approvals, Entry
from tradewind.compose.library import Component, Library, read
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.traits import traits
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SURE = 1.645  # standard deviations that the effect of a trait must be above zero
SELDOM = 1 / 3  # share of a role's components with the trait, above which it is used enough
OPEN = frozenset({"subject", "preheader", "hook", "benefit", "action", "title", "proof"})  # roles in which words are free
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """What to write: a ``role`` in a language and tone, with a ``trait`` that earns ``effect`` clicks per message and is rare."""

    role: str
    locale: str
    channels: tuple[str, ...]
    tone: str
    trait: str
    effect: float
    share: float  # of the role's components that have it
    slots: tuple[str, ...]  # that the role's components use
    examples: tuple[str, ...]  # texts of the role

    def to_json(self) -> dict[str, Any]:
        """As one object for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Proposed:
    """What became of proposals: entries of the approval log, and texts that were refused, with the reason."""

    entries: tuple[Entry, ...]
    refused: tuple[tuple[str, str], ...]


Proposer = Callable[[Wish], Sequence[str]]


def wishes(policy: CopyPolicy, library: Library, *, most: int = 10) -> list[Wish]:
    """The best opportunities in one language: effect of the trait times the share of the role that lacks it; at most ``most``."""
    found = []
    for trait, (mean, sd) in policy.trait_effects().items():
        if mean - SURE * sd <= 0:
            continue
        for role in sorted(OPEN):
            pool = [one for one in library.components if one.role == role]
            share = sum(trait in traits(one) for one in pool) / len(pool) if pool else 1.0
            if share < SELDOM:
                found.append(_wish(role, pool, library.locale, trait, mean, share))
    return sorted(found, key=lambda wish: (-wish.effect * (1 - wish.share), wish.role, wish.trait))[:most]


def propose(home: Home, proposer: Proposer, asked: Sequence[Wish], *, by: str, now: datetime) -> Proposed:
    """Ask for each wish, and enter what comes as drafts; low-risk texts are approved by rule at once.

    ``by``: who proposes, such as the name of a model. A text that breaks the rules of templates, that lacks the trait, or that the shop has
    already, is refused with the reason; one that the guard stops stays a draft.
    """
    approvals = Approvals(home)
    entries: list[Entry] = []
    refused: list[tuple[str, str]] = []
    for wish in asked:
        known = {component.template.text for component in approvals.library(wish.locale).components if component.role == wish.role}
        for text in dict.fromkeys(proposer(wish)):
            try:
                entries.append(_entered(approvals, wish, text, known, by=by, now=now))
            except InputError as error:
                refused.append((text, str(error)))
    if entries:
        approvals.approve_by_rule(at=now)
    newest = approvals.current()
    return Proposed(tuple(newest[entry.component, entry.version] for entry in entries), tuple(refused))


def row_of(wish: Wish, text: str) -> dict[str, Any]:
    """The row of a library file that a text for a wish becomes; its id is a hash of role and text."""
    name = hashlib.sha256(f"{wish.role}\x1f{text}".encode()).hexdigest()[:10]
    language = wish.locale.partition("-")[0]
    return {"id": f"own.{language}.{wish.role}.{name}", "role": wish.role, "tone": wish.tone, "channels": list(wish.channels), "text": text}


def _entered(approvals: Approvals, wish: Wish, text: str, known: set[str], *, by: str, now: datetime) -> Entry:
    if not isinstance(text, str) or not text.strip():
        raise InputError("the text is empty")
    if text in known:
        raise InputError("the shop says this already")
    row = row_of(wish, text)
    component: Component = read({"locale": wish.locale, "joiner": "", "colon": "", "component": [row]}).components[0]
    if wish.trait not in traits(component):
        raise InputError(f'the text does not have the trait "{wish.trait}" that was asked for')
    return approvals.draft(row, locale=wish.locale, by=by, at=now, why=f"proposed for {wish.trait} in {wish.role}")


def _wish(role: str, pool: Sequence[Component], locale: str, trait: str, effect: float, share: float) -> Wish:
    tone = trait.removeprefix("tone=") if trait.startswith("tone=") else "any"
    channels = tuple(sorted(frozenset().union(*(one.channels for one in pool))))
    slots = tuple(sorted({slot for one in pool for slot in one.template.slots}))
    return Wish(role, locale, channels, tone, trait, effect, share, slots, tuple(one.template.text for one in pool[:EXAMPLES]))


def from_file(told: Mapping[str, Sequence[str]]) -> Proposer:
    """A proposer that reads: ``"role trait"`` or ``"role"`` to texts."""
    return lambda wish: [*told.get(f"{wish.role} {wish.trait}", ()), *told.get(wish.role, ())]
