"""Word lists with severities and exemptions, as data: the engine of the rule packs that look for wording.

A list is ``packs/<name>.toml``: rules with ``terms`` (plain words) or a ``pattern``, optionally only for some ``channels`` or ``parts``,
and exemptions whose pattern must cover the hit, or whose fact must be known. A blunt list would block "best before"; a hit
with an exemption is reported, not blocked. Letters of other scripts that look Latin are read as what they look like.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

from tradewind.compose.base import BLOCK, EXEMPT, UNSUBSCRIBE, WARN, Pack, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.finder import Finder, Folded
from tradewind.compose.locales import data
from tradewind.compose.masking import mask

SEAM = "\n\x1e\n"  # between parts: no pattern reaches over it
GAP = r"[\s.\-_*~\u00b7\u200b]{0,2}"  # what people put between the letters of a forbidden word
_ODD = re.compile("[\u0370-\u03ff\u0400-\u052f\uff10-\uff5a\U0001d400-\U0001d7ff]")  # scripts in which Latin look-alikes are written


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
    channels: frozenset[str] = frozenset()  # empty: all
    parts: frozenset[str] = frozenset()  # empty: all

    @property
    def waits(self) -> bool:
        """Whether a fact may allow the hit: of a template, whose facts come later, it says nothing."""
        return any(exemption.fact is not None for exemption in self.exemptions)


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

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """Rules by the name that their verdicts give."""
        return {f"{self.name}.{rule.id}": rule for rule in self.rules}

    def verdicts(self, text: str, *, facts: Facts | None = None, folded: Folded | None = None, channel: str = "") -> list[Verdict]:
        """Return the hits in a text; their part is the empty name."""
        folded = Folded(text) if folded is None else folded
        found: list[Verdict] = []
        wanted = self.keys  # before the text is asked: what is looked for must be known by then
        near = folded.near
        if wanted is not None and near.isdisjoint(wanted):
            return found
        for rule in self.rules:
            keys = rule.finder.keys
            if (keys is not None and near.isdisjoint(keys)) or (rule.channels and channel not in rule.channels):
                continue
            for hit in rule.finder.hits(text, folded):
                exemption = next((e for e in rule.exemptions if _covers(e, hit, text, facts)), None)
                severity = EXEMPT if exemption else rule.severity
                reason = exemption.reason if exemption else rule.reason
                name = exemption.id if exemption else None
                found.append(Verdict(f"{self.name}.{rule.id}", "", hit.span(), hit.group(), severity, reason, name))
        return found


class Words(Pack):
    """A pack that is nothing but a word list of the same name.

    ``registered``: a hit within the name of the brand or the shop is exempt (guide of 2023, art. 6 (4)). ``reads_names``: whether the
    texts of facts are read too; a pack about the style of a message leaves the names of the goods alone.
    """

    registered = False
    reads_names = True

    @property
    def words(self) -> Lexicon:
        """Its list."""
        return load(self.name)

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the hits in all parts but links."""
        text, words = joined(parts), self.words
        read, folded = (text.plain, text.folded) if self.reads_names else text.covered(facts)
        found = words.verdicts(read, facts=facts, folded=folded, channel=channel)
        if not found:
            return found
        if self.registered and facts is not None:
            found = [within_name(verdict, text.text, registered_names(facts)) for verdict in found]
        placed = [text.place(verdict) for verdict in found]
        return [v for v in placed if not (only := words.by_id[v.rule].parts) or v.part in only]


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
    def plain(self) -> str:
        """The text with Latin look-alikes of other scripts as Latin letters, of the same length."""
        return self.text.translate(_lookalikes()) if _ODD.search(self.text) else self.text

    @cached_property
    def folded(self) -> Folded:
        """The text in one case, ready for the finders."""
        return Folded(self.plain)

    def covered(self, facts: Facts | None) -> tuple[str, Folded]:
        """The text with every fact's text covered; worked out once for the packs that ask."""
        if facts is None:
            return self.plain, self.folded
        if self._covered is None or self._covered[0] is not facts:
            covered = mask(self.text, facts)
            self._covered = (facts, covered, self.folded.covered(covered))
        return self._covered[1:]

    def place(self, verdict: Verdict) -> Verdict:
        """Say the part of a verdict, and count its span from the start of that part."""
        start, end = verdict.span
        for name, text in self.parts:
            if start <= len(text):
                return replace(verdict, part=name, span=(start, end), found=text[start:end])
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
    return read(name, data(name))


def read(name: str, table: Mapping[str, Any]) -> Lexicon:
    """Make a list of the tables of a data file."""
    variants: Mapping[str, str] = table.get("variants", {})
    rules = []
    for row in table.get("rule", ()):
        patterns = [row["pattern"]] if "pattern" in row else []
        patterns += row.get("patterns", [])
        patterns += [_term(term, variants, spaced=row.get("spaced", False)) for term in row.get("terms", ())]
        patterns = [_edged(pattern) for pattern in patterns]
        exemptions = tuple(
            Exemption(e["id"], e["reason"], re.compile(_edged(e["pattern"]), re.IGNORECASE) if "pattern" in e else None, e.get("fact"))
            for e in (*row.get("exempt", ()), *(x for x in table.get("exempt", ()) if row["id"] in x["rules"]))
        )
        severity = {"block": BLOCK, "warn": WARN}[row.get("severity", "block")]
        channels, parts = frozenset(row.get("channels", ())), frozenset(row.get("parts", ()))
        rules.append(Rule(row["id"], severity, row["reason"], Finder(patterns), exemptions, channels, parts))
    return Lexicon(name, tuple(rules))


@cache
def _lookalikes() -> dict[int, str]:
    """Letters of other scripts, full-width and mathematical ones, and the Latin letters that they look like."""
    table = {ord(odd): latin for odd, latin in data("lookalikes")["letters"].items()}
    for code in (*range(0xFF10, 0xFF5B), *range(0x1D400, 0x1D800)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain.isascii() and plain.isalnum():
            table[code] = plain
    return table


def _edged(pattern: str) -> str:
    r"""Let ``\b`` hold between a Latin letter and a Han character: both are letters to Unicode, but Chinese puts no blank there."""
    return pattern.replace(r"\b", r"(?a:\b)")


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
