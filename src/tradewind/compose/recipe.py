"""Which roles a format has, in reading order, where they stand and how much room they have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tradewind.compose.clean import width
from tradewind.compose.facts import Facts
from tradewind.compose.locales import data
from tradewind.compose.sms import plain, segments

CONDITIONS = ("threshold", "cap", "deadline")
AI_WRITTEN = "ai_written"  # flag of the facts: a model wrote some of the words
LABELLED = {  # where the label stands; in an e-mail it is in the footer, and a host's script has its own
    "push": "body", "sms": "body", "inapp": "body", "reco": "line", "ad": "description", "coupon": "terms", "social": "body",
    "landing": "body",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One role of a format. ``when``: always | offer | no_offer | condition | the name of a fact or flag."""

    role: str
    part: str
    when: str = "always"
    optional: bool = False

    def wanted(self, facts: Facts, said: Collection[str] = (), *, share: bool = False) -> bool:
        """Whether the role has something to say. ``said``: slots of its part; ``share``: a reduction in percent was named."""
        if self.when == "always":
            return True
        if self.when == "no_offer":
            return facts.flags.isdisjoint(("offer", "perk"))
        if self.when != "condition":
            return self.when in facts.has
        if facts.flags.isdisjoint(("offer", "perk")) or self.role not in facts.facts or self.role in said:
            return False
        return self.role != "cap" or share


def _said(part: str) -> tuple[Step, ...]:
    """What is offered, or the item when nothing is, and the conditions, in one part."""
    item = (Step("benefit", part, "no_offer"), Step("benefit", part, "perk", optional=True))
    first = (Step("offer", part, "offer"), *item, Step("perk", part, "perk"))
    return (*first, *_terms(part))


def _terms(part: str) -> tuple[Step, ...]:
    return tuple(Step(role, part, "condition") for role in CONDITIONS)


def _live(*steps: Step) -> tuple[Step, ...]:
    return (*steps, Step("label", "label"))


RECIPES: Mapping[str, tuple[Step, ...]] = {
    "email": (
        Step("subject", "subject"), Step("preheader", "preheader"), Step("hook", "body"), Step("benefit", "body", "item", optional=True),
        Step("reason", "body", optional=True), Step("offer", "body", "offer"), Step("perk", "body", "perk"), *_terms("body"),
        Step("proof", "body", optional=True),
        Step("action", "body", "link"), Step("footer", "body"), Step("optout", "body"),
    ),
    "push": (Step("title", "title"), *_said("body")),
    "sms": (Step("sign", "body"), *_said("body"), Step("action", "body", "link"), Step("optout", "body")),
    "inapp": (Step("title", "title"), *_said("body"), Step("action", "action")),
    "reco": _said("line"),
    "ad": (Step("title", "title"), *_said("description")),
    "coupon": (Step("title", "title"), Step("offer", "terms", "offer"), Step("perk", "terms", "perk"), *_terms("terms")),
    "social": (
        Step("hook", "body"), *_said("body"), Step("proof", "body", optional=True), Step("action", "body", "link"),
    ),
    "landing": (
        Step("headline", "headline"), Step("subhead", "subhead"), Step("benefit", "body", "item", optional=True),
        Step("offer", "body", "offer"), Step("perk", "body", "perk"), *_terms("body"), Step("proof", "body", optional=True),
        Step("action", "action"),
    ),
    "live.opening": _live(Step("hook", "speech")),
    "live.item": _live(Step("benefit", "speech", "item"), Step("proof", "speech", optional=True)),
    "live.again": _live(Step("again", "speech")),
    "live.offer": _live(*_said("speech")),
    "live.interaction": _live(Step("ask", "speech")),
    "live.countdown": _live(Step("count", "speech")),
    "live.closing": _live(Step("action", "speech")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """Room per limited part, and how a text is measured: columns, or the units of a text message."""

    parts: Mapping[str, int]
    measure: Callable[[str], int]


def rooms(channel: str, facts: Facts, *, label: bool = False) -> tuple[Room, ...]:
    """Return the rooms to try, the tighter first: a text message of two parts, of four only when two cannot hold it.

    ``label``: leave room for the label of what a model wrote.
    """
    limits = data("limits")
    added = f" {data('ai_label')['visible'][facts.locale]}" if label else ""
    if channel == "sms":
        gsm = facts.locale != "zh-CN" and all(plain(fact.text) for fact in facts.narrow.facts.values())
        most = (limits["sms_segments"][level] * (153 if gsm else 67) for level in ("warn", "block"))
        return tuple(Room({"body": units - _units(added)}, _units) for units in most)
    free = ("body", "html", "link") if channel == "email" else ("link",)
    parts = {part: limit.get("warn", limit["block"]) for part, limit in limits[channel].items() if part not in free}
    if LABELLED.get(channel) in parts:
        parts[LABELLED[channel]] -= width(added)
    return (Room(parts, width),)


def platforms(parts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the advertising platforms whose limits an ad's title and description keep; they are data of ``limits.toml``."""
    table: Mapping[str, Mapping[str, int]] = data("limits")["ad_platforms"]
    return tuple(name for name, most in table.items() if all(width(parts[part]) <= columns for part, columns in most.items()))


@lru_cache(maxsize=65536)
def _units(text: str) -> int:
    return segments(text).units
