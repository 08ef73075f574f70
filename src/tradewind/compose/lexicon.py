"""Word lists with severities and exemptions, as data: the engine of the rule packs that look for wording.

A list is ``packs/<name>.toml``: rules with ``terms`` (plain words) or a ``pattern``, and exemptions whose pattern must cover
the hit, or whose fact must be known. A blunt list would block "best before"; a hit with an exemption is reported, not blocked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from tradewind.compose.base import BLOCK, EXEMPT, WARN, Pack, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.locales import data

GAP = r"[\s.\-_*~\u00b7\u200b]{0,2}"  # what people put between the letters of a forbidden word


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why a hit is allowed: text around it, or a fact that backs it."""

    id: str
    reason: str
    pattern: re.Pattern[str] | None
    fact: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a list."""

    id: str
    severity: str
    reason: str
    pattern: re.Pattern[str]
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True)
class Lexicon:
    """The rules of one file."""

    name: str
    rules: tuple[Rule, ...]

    @cached_property
    def any(self) -> re.Pattern[str]:
        """One pattern for all rules: most texts hold no hit, and this says so in one pass."""
        return re.compile("|".join(f"(?:{rule.pattern.pattern})" for rule in self.rules), re.IGNORECASE)

    def verdicts(self, part: str, text: str, *, facts: Facts | None) -> list[Verdict]:
        """Return the hits in one part of a message."""
        if not self.any.search(text):
            return []
        found = []
        for rule in self.rules:
            for hit in rule.pattern.finditer(text):
                exemption = next((e for e in rule.exemptions if _covers(e, hit, text, facts)), None)
                severity = EXEMPT if exemption else rule.severity
                reason = exemption.reason if exemption else rule.reason
                name = exemption.id if exemption else None
                found.append(Verdict(f"{self.name}.{rule.id}", part, hit.span(), hit.group(), severity, reason, name))
        return found


class Words(Pack):
    """A pack that is nothing but a word list of the same name."""

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the hits in all parts but links."""
        words = load(self.name)
        return [v for part, text in parts.items() if part != "link" for v in words.verdicts(part, text, facts=facts)]


@cache
def load(name: str) -> Lexicon:
    """Read ``packs/<name>.toml``."""
    table = data(name)
    variants: Mapping[str, str] = table.get("variants", {})
    rules = []
    for row in table["rule"]:
        patterns = [row["pattern"]] if "pattern" in row else []
        patterns += [_term(term, variants, spaced=row.get("spaced", False)) for term in row.get("terms", ())]
        exemptions = tuple(
            Exemption(e["id"], e["reason"], re.compile(e["pattern"], re.IGNORECASE) if "pattern" in e else None, e.get("fact"))
            for e in (*row.get("exempt", ()), *(x for x in table.get("exempt", ()) if row["id"] in x["rules"]))
        )
        severity = {"block": BLOCK, "warn": WARN}[row.get("severity", "block")]
        rules.append(Rule(row["id"], severity, row["reason"], re.compile("|".join(patterns), re.IGNORECASE), exemptions))
    return Lexicon(name, tuple(rules))


def _term(term: str, variants: Mapping[str, str], *, spaced: bool) -> str:
    letters = [f"[{re.escape(c + variants[c])}]" if c in variants else re.escape(c) for c in term]
    pattern = (GAP if spaced else "").join(letters)
    start = r"\b" if term[0].isascii() and term[0].isalnum() else ""
    end = r"\b" if term[-1].isascii() and term[-1].isalnum() else ""
    return f"{start}{pattern}{end}"


def _covers(exemption: Exemption, hit: re.Match[str], text: str, facts: Facts | None) -> bool:
    if exemption.fact is not None:
        return facts is not None and exemption.fact in facts.has
    assert exemption.pattern is not None, "an exemption has a pattern or a fact"
    return any(m.start() <= hit.start() and hit.end() <= m.end() for m in exemption.pattern.finditer(text))
