"""Word lists with severities and exemptions, as data: the engine of the rule packs that look for wording.

A list is ``packs/<name>.toml``: rules with ``terms`` (plain words) or a ``pattern``, and exemptions whose pattern must cover
the hit, or whose fact must be known. A blunt list would block "best before"; a hit with an exemption is reported, not blocked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

from tradewind.compose.base import BLOCK, EXEMPT, UNSUBSCRIBE, WARN, Pack, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.finder import Finder, Folded
from tradewind.compose.locales import data
from tradewind.compose.masking import mask

SEAM = "\n\x1e\n"  # between parts: no pattern reaches over it
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
    finder: Finder
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True)
class Lexicon:
    """The rules of one file."""

    name: str
    rules: tuple[Rule, ...]

    @cached_property
    def keys(self) -> frozenset[str] | None:
        """Letters of which a text with a hit holds some; None when that cannot be told."""
        known = [rule.finder.keys for rule in self.rules]
        return None if None in known else frozenset().union(*(keys for keys in known if keys))

    def verdicts(self, text: str, *, facts: Facts | None = None, folded: Folded | None = None) -> list[Verdict]:
        """Return the hits in a text; their part is the empty name."""
        folded = Folded(text) if folded is None else folded
        found: list[Verdict] = []
        if self.keys is not None and folded.grams.isdisjoint(self.keys):
            return found
        for rule in self.rules:
            for hit in rule.finder.hits(text, folded):
                exemption = next((e for e in rule.exemptions if _covers(e, hit, text, facts)), None)
                severity = EXEMPT if exemption else rule.severity
                reason = exemption.reason if exemption else rule.reason
                name = exemption.id if exemption else None
                found.append(Verdict(f"{self.name}.{rule.id}", "", hit.span(), hit.group(), severity, reason, name))
        return found


class Words(Pack):
    """A pack that is nothing but a word list of the same name.

    ``registered``: a hit within the name of the brand or the shop is exempt (guide of 2023, art. 6 (4)).
    """

    registered = False

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the hits in all parts but links."""
        text = joined(parts)
        found = load(self.name).verdicts(text.text, facts=facts, folded=text.folded)
        if found and self.registered and facts is not None:
            found = [within_name(verdict, text.text, registered_names(facts)) for verdict in found]
        return [text.place(verdict) for verdict in found]


def registered_names(facts: Facts) -> tuple[str, ...]:
    """Return the names that may hold any word: the brand's and the shop's."""
    return tuple(facts.texts[name] for name in ("brand", "shop") if name in facts.texts)


def within_name(verdict: Verdict, text: str, names: Sequence[str]) -> Verdict:
    """Exempt a hit that lies within a registered name."""
    start, end = verdict.span
    for name in names:
        if any(m.start() <= start and end <= m.end() for m in re.finditer(re.escape(name), text)):
            reason = "part of a registered name that tells goods apart (guide art. 6 (4))"
            return replace(verdict, severity=EXEMPT, reason=reason, exemption="registered_name")
    return verdict


class Joined:
    """All parts of a message but links as one text, so that each list is looked up once; and the way back.

    The unsubscribe placeholder is blanked: ``hygiene`` counts it where it may stand.
    """

    def __init__(self, parts: tuple[tuple[str, str], ...]) -> None:
        self.parts = tuple((name, text) for name, text in parts if name != "link")
        self.text = SEAM.join(text for _, text in self.parts).replace(UNSUBSCRIBE, " " * len(UNSUBSCRIBE))
        self._covered: tuple[Facts, str, Folded] | None = None

    @cached_property
    def folded(self) -> Folded:
        """The text in one case, ready for the finders."""
        return Folded(self.text)

    def covered(self, facts: Facts | None) -> tuple[str, Folded]:
        """The text with every fact's text covered; worked out once for the packs that ask."""
        if facts is None:
            return self.text, self.folded
        if self._covered is None or self._covered[0] is not facts:
            covered = mask(self.text, facts)
            self._covered = (facts, covered, self.folded.covered(covered))
        return self._covered[1:]

    def place(self, verdict: Verdict) -> Verdict:
        """Say the part of a verdict, and count its span from the start of that part."""
        start, end = verdict.span
        for name, text in self.parts:
            if start <= len(text):
                return replace(verdict, part=name, span=(start, end))
            start, end = start - len(text) - len(SEAM), end - len(text) - len(SEAM)
        raise AssertionError("a hit lies within a part")


def joined(parts: Mapping[str, str]) -> Joined:
    """Join the parts of a message; the packs that look at the same message share one."""
    return _joined(tuple(parts.items()))


@lru_cache(maxsize=4)
def _joined(parts: tuple[tuple[str, str], ...]) -> Joined:
    return Joined(parts)


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
        rules.append(Rule(row["id"], severity, row["reason"], Finder(patterns), exemptions))
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
