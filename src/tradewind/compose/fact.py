"""One fact, and the facts of one item and offer for one language: values that cannot change once they are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from tradewind.compose import clean, locales
from tradewind.compose.template import Slot

FRESH = timedelta(hours=72)  # how long a catalogue fact may be used without looking again
LONG, NARROW = 72, 38  # columns of a name in e-mails and cards; in subject lines, push and SMS


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its value for programs, its text for people, where it is from and until when it may be said."""

    name: str
    kind: Slot
    value: Any
    text: str
    source: str
    at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Facts:
    """Facts by name for one language, zone and moment. Two objects that would print alike have the same ``hash``."""

    locale: str
    at: datetime
    facts: Mapping[str, Fact]
    flags: frozenset[str] = frozenset()
    ends_at: datetime | None = None  # after this moment nothing of it holds: the offer or the item is gone
    fallbacks: tuple[str, ...] = ()  # what had to be replaced or left out, and why
    currency: str | None = None  # of all amounts

    @cached_property
    def texts(self) -> dict[str, str]:
        """Text of each fact."""
        return {name: fact.text for name, fact in self.facts.items()}

    @cached_property
    def by_length(self) -> tuple[str, ...]:
        """Texts of all facts, long and narrow, the longest first."""
        facts = (*self.facts.values(), *self.narrow.facts.values())
        return tuple(sorted({fact.text for fact in facts if fact.kind is not Slot.FLAG}, key=len, reverse=True))

    @cached_property
    def has(self) -> frozenset[str]:
        """Names of facts and flags: what a component may need. What the title says already is not said again."""
        texts = self.texts
        title = texts.get("title", "").casefold()
        said = {"brand"} if texts.get("brand", "").casefold() in title else set()
        if texts.get("category", "").casefold() == title:
            said.add("category")
        return (frozenset(self.facts) | self.flags) - said

    @cached_property
    def hash(self) -> str:
        """SHA-256 over language, names, types, values and texts, flags included; the moment of looking is not part of it."""
        rows = [(name, fact.kind, str(fact.value), fact.text) for name, fact in sorted(self.facts.items())]
        return hashlib.sha256(json.dumps([self.locale, rows, sorted(self.flags)]).encode()).hexdigest()

    @cached_property
    def narrow(self) -> Facts:
        """The same facts with names cut to ``NARROW``; a name that cannot be cut is left out."""
        facts = {}
        for name, fact in self.facts.items():
            text = clean.shorten(fact.text, NARROW, self.ellipsis) if fact.kind is Slot.NAME else fact.text
            if text:
                facts[name] = fact if text == fact.text else replace(fact, text=text)
        return self if facts == self.facts else replace(self, facts=facts)

    def view(self, role: str, channel: str) -> Facts:
        """The facts as a role of a channel writes them."""
        return self.narrow if channel in ("push", "sms", "ad") or channel.startswith("live.") or role in ("subject", "preheader") else self

    def fresh(self, now: datetime) -> Facts:
        """Drop what has expired at ``now``."""
        gone = [name for name, fact in self.facts.items() if fact.expires_at <= now]
        return self.without(gone, why="expired") if gone else self

    def without(self, names: Iterable[str], *, why: str) -> Facts:
        """Drop facts (and the stock flags with ``stock``) and note it in ``fallbacks``."""
        gone = sorted(set(names) & set(self.facts))
        flags = self.flags - {"in_stock", "low_stock"} if "stock" in gone else self.flags
        kept = {name: fact for name, fact in self.facts.items() if name not in gone}
        notes = (f"{name}: {why}" for name in gone if name != "stock")  # soon out of date, and nothing waits for it
        return replace(self, facts=kept, flags=flags, fallbacks=(*self.fallbacks, *notes))

    def with_anchor(self, item: Mapping[str, Any]) -> Facts:
        """Add the name of the item (a row of ``schema.ITEMS``) that a reason speaks of."""
        for column in ("title_zh" if self.locale == "zh-CN" else "title_en", "title"):
            text = clean.shorten(clean.name(item.get(column)) or "", LONG, self.ellipsis)
            if text:
                fact = Fact("anchor", Slot.NAME, item[column], text, f"items.{column}", self.at, self.at + FRESH)
                return replace(self, facts={**self.facts, "anchor": fact})
        return self

    def noting(self, notes: Iterable[str]) -> Facts:
        """Add to ``fallbacks``."""
        notes = tuple(notes)
        return replace(self, fallbacks=(*self.fallbacks, *notes)) if notes else self

    def flagged(self, flag: str) -> Facts:
        """Add to ``flags``."""
        return replace(self, flags=self.flags | {flag})

    @property
    def ellipsis(self) -> str:
        """The mark of a cut name."""
        text: str = locales.data("locales")[self.locale]["ellipsis"]
        return text
