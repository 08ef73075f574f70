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


_TERMS = tuple(Step(role, "body", "condition") for role in CONDITIONS)
_LINE = (Step("offer", "body", "offer"), Step("benefit", "body", "no_offer"), Step("perk", "body", "perk"), *_TERMS)
RECIPES: Mapping[str, tuple[Step, ...]] = {
    "email": (
        Step("subject", "subject"), Step("preheader", "preheader"), Step("hook", "body"), Step("benefit", "body", "item", optional=True),
        Step("reason", "body", optional=True), Step("offer", "body", "offer"), Step("perk", "body", "perk"), *_TERMS,
        Step("proof", "body", optional=True),
        Step("action", "body", "link"), Step("footer", "body"), Step("optout", "body"),
    ),
    "push": (Step("title", "title"), *_LINE),
    "sms": (Step("sign", "body"), *_LINE, Step("action", "body", "link"), Step("optout", "body")),
    "inapp": (Step("title", "title"), *_LINE, Step("action", "action")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """Room per limited part, and how a text is measured: columns, or the units of a text message."""

    parts: Mapping[str, int]
    measure: Callable[[str], int]


def rooms(channel: str, facts: Facts) -> tuple[Room, ...]:
    """Return the rooms to try, the tighter first: a text message of two parts, of four only when two cannot hold it."""
    limits = data("limits")
    if channel == "sms":
        gsm = facts.locale != "zh-CN" and all(plain(fact.text) for fact in facts.narrow.facts.values())
        return tuple(Room({"body": limits["sms_segments"][level] * (153 if gsm else 67)}, _units) for level in ("warn", "block"))
    table = limits[channel]
    parts = {part: table[part].get("warn", table[part]["block"]) for part in ("subject", "preheader", "title", "action") if part in table}
    return (Room(parts if channel == "email" else {**parts, "body": table["body"]["block"]}, width),)


@lru_cache(maxsize=65536)
def _units(text: str) -> int:
    return segments(text).units
