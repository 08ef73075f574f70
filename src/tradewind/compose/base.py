"""The contracts of this room: what a writer gives, what a rule pack says, and how the parts of a message are named.

A writer never gives a finished sentence: it gives blocks of template text whose typed slots ``render`` fills from fresh
facts. A rule pack never mends a text: it says what is wrong, where, how badly and why.

==========  =========================================  ==============================================================
channel     ``Message.parts``                          notes
==========  =========================================  ==============================================================
``email``   ``subject preheader body html``            ``body`` is plain text; both hold ``UNSUBSCRIBE`` exactly once
``push``    ``title body link``
``sms``     ``body``                                   link and opt-out words are inside; ``headers["segments"]``
``inapp``   ``title body action link``                 ``action`` is the label of the button
``reco``    ``line link``                              beside an item on the shop's own pages
``ad``      ``title description link``                 fits every platform of ``packs/limits.toml``
``coupon``  ``title terms``                            the words on a coupon
``social``  ``body link``
``landing`` ``headline subhead body action link``
``live.*``  ``speech label``                           a segment of a host's script (``script``); ``label`` says that it is made by AI
==========  =========================================  ==============================================================

``Message.headers`` is our own log, not e-mail headers: ``propensity`` of tone and components together, ``choices`` (JSON: role to number
of components that fitted) and ``shares`` (JSON: role to component to its probability), ``tone``, ``seed``, ``segment``, ``policy`` (the
version that chose) and ``control`` ("1": the fixed template), ``item``, ``offer``, ``zone``, ``country`` (ISO 3166, whose law holds
where the zone does not say it, or says another), ``fallbacks`` (JSON list), ``fresh_until``
(ISO 8601: refresh before a later hand-off), ``ai_label`` (the label of generated content for programs), ``encoding`` and
``segments`` for SMS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from tradewind.types import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from tradewind.compose.facts import Facts
    from tradewind.compose.template import Template
    from tradewind.engine.home import Home

UNSUBSCRIBE = "{{unsubscribe_url}}"  # deliver replaces it at hand-off; nothing else may look like a placeholder
PARTS: Mapping[str, tuple[str, ...]] = {
    "email": ("subject", "preheader", "body", "html"),
    "push": ("title", "body", "link"),
    "sms": ("body",),
    "inapp": ("title", "body", "action", "link"),
    "reco": ("line", "link"),
    "ad": ("title", "description", "link"),
    "coupon": ("title", "terms"),
    "social": ("body", "link"),
    "landing": ("headline", "subhead", "body", "action", "link"),
    **{f"live.{kind}": ("speech", "label") for kind in ("opening", "item", "again", "offer", "interaction", "countdown", "closing")},
}
BLOCK, WARN, EXEMPT = "block", "warn", "exempt"
MODELS = ("chat", "local", "transformer")  # writers whose own sentences have ids that begin with their names, approved or not


def by_model(component: str) -> bool:
    """Whether the component of this id was written by a model."""
    return component.partition(".")[0] in MODELS


class Chooser(Protocol):
    """Says with which probability each of the components that fit is to be chosen. Made for one message; docs/copy_learning.md."""

    def chances(self, role: str, names: Sequence[str]) -> Sequence[float]:
        """Return one probability per name, summing to one. ``role`` is a component's, whose ids are named, or "tone"."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a writer is told besides the facts. It holds no personal field: a key to seed the choice, nothing of a person."""

    key: str  # the decision id: seeds the choice
    channel: str
    locale: str  # "zh-CN" | "en"
    reason: Reason | None = None  # why this item: only allow-listed codes become words
    tone: str | None = None  # None: drawn
    chooser: Chooser | None = None  # None: all that fit are alike
    segment: str | None = None  # a code that many share, such as "lapsing"


@dataclass(frozen=True, slots=True)
class Block:
    """One template in one role (``subject``, ``hook``, ``offer`` ...) and the id of the component that it came from.

    ``needs``: facts and flags on which its words rest, its slots included; the first to expire ends the freshness of the text.
    """

    role: str
    template: Template
    component: str
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer gives: blocks in reading order, and the probability with which it chose exactly these."""

    blocks: tuple[Block, ...]
    writer: str
    tone: str
    propensity: float
    choices: Mapping[str, int]  # role -> components that fitted
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # role -> component -> probability with which it was drawn

    @property
    def components(self) -> tuple[str, ...]:
        """Ids of the components, in reading order."""
        return tuple(block.component for block in self.blocks)

    @property
    def generated(self) -> bool:
        """Whether a model wrote any of it; the text then carries a label."""
        return any(by_model(name) for name in self.components)


class Writer(ABC):
    """Writes drafts. One file of this room per writer, named in ``PLUGIN``."""

    name: str

    @classmethod
    def open(cls, home: Home, *, now: datetime) -> Self:  # noqa: ARG003
        """Return the writer of a shop, set up from its settings and its ledger; raises what is missing and how to get it."""
        return cls()

    @abstractmethod
    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """Return a draft whose every slot has a fact, or one line saying why nothing can be said."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule found: in which part, from where to where (characters), how badly and why; or which exemption applies."""

    rule: str  # "pack.rule"
    part: str
    span: tuple[int, int]
    found: str
    severity: str  # BLOCK: does not leave | WARN: leaves, counted | EXEMPT: would be a fault, but an exemption applies
    reason: str
    exemption: str | None = None


class Pack(ABC):
    """A rule pack: one file of ``compose/packs`` named in ``PLUGIN``; its word lists live beside it as TOML."""

    name: str

    @abstractmethod
    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return what is wrong with finished text; ``facts`` is None when a text without facts is checked."""

    def vet(self, name: str, text: str, *, locale: str) -> Sequence[Verdict]:
        """Return what is wrong with one catalogue text (``name``: "title", "brand" ...) before it may fill a slot."""
        return self.check({name: text}, facts=None, locale=locale, channel="catalogue")
