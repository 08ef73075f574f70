"""Find many patterns in short texts fast: skip every alternative whose necessary letters the text does not hold.

A rule list is one long alternation, which the regular expression engine tries letter by letter. Most texts hold no hit, so
for each top-level alternative the letters that any match must contain are read off its parse tree, and a plain substring
test decides whether the engine starts at all. The hits are the same; ``tests/compose`` compares both ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

DIGIT = "a digit"  # stands for any decimal digit among necessary letters
_DIGIT = re.compile(r"\d")
_COMMON = "zqxjkvbpygfwmucldrhsnioate "  # rarest first; letters of other scripts count as rarer still
_EVERYWHERE = frozenset({"you", "your", "we", "us", "the", "and", "for", "it", "this", "has", "have", "not", "no", "is", "are", "on", "as"})
_EVERYWHERE |= frozenset({"at", "a", ".", ",", ":", "-", "/", ""})
_KEYS: set[str] = set()  # what all lists look for
_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}


class Folded:
    """A text in one case, with the letters and the triples of letters that it holds: worked out once, asked by every list."""

    __slots__ = ("_known", "_near", "grams", "text")

    def __init__(self, text: str) -> None:
        self._known = -1
        self.text = text.casefold()
        self.grams = {self.text[place : place + 3] for place in range(len(self.text) - 2)}
        self.grams.update(self.text)
        if _DIGIT.search(self.text):
            self.grams.add(DIGIT)

    def covered(self, text: str) -> Folded:
        """The same for a text that is this one with pieces covered: its letters are some of these."""
        found = object.__new__(Folded)
        found._known = -1
        found.text = text.casefold()
        found.grams = self.grams if _DIGIT.search(text) else self.grams - {DIGIT}
        return found

    @property
    def near(self) -> set[str]:
        """Those of its letters that any list looks for: a few, so that each list is asked in no time."""
        if self._known != len(_KEYS):  # a list was read since
            self._near, self._known = self.grams & _KEYS, len(_KEYS)
        return self._near


class Finder:
    """The hits of a list of patterns, each an alternation, in a text."""

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = True) -> None:
        self.flags = re.IGNORECASE if ignore_case else re.NOFLAG
        self.patterns = tuple(patterns)

    @cached_property
    def keys(self) -> frozenset[str] | None:
        """Letters of which a text holds some when it has a hit; None when that cannot be told."""
        return None if self._index.always else self._index.keys

    @cached_property
    def _index(self) -> _Index:
        always: list[str] = []
        alike: dict[frozenset[str], list[str]] = {}
        for pattern in (branch for text in self.patterns for branch in branches(text)):
            letters = necessary(pattern, self.flags)
            (always if letters is None else alike.setdefault(frozenset(letters), [])).append(pattern)
        places: dict[str, list[tuple[str, int]]] = {}
        for place, texts in enumerate(alike):
            for piece in texts:
                places.setdefault(_key(piece), []).append((piece, place))
        _KEYS.update(places)
        return _Index(
            [re.compile("|".join(always), self.flags)] if always else [],
            frozenset(places),
            places,
            [re.compile("|".join(group), self.flags) for group in alike.values()],
        )

    def hits(self, text: str, folded: Folded | None = None) -> list[re.Match[str]]:
        """Return the matches in reading order, of overlapping ones the first and longest.

        ``folded`` belongs to the same text, where the caller has it.
        """
        index = self._index
        folded = Folded(text) if folded is None else folded
        found = [hit for pattern in index.always for hit in pattern.finditer(text)]
        near = folded.near & index.keys
        if near:
            whole = folded.text
            there = {place for key in near for piece, place in index.places[key] if piece == DIGIT or piece in whole}
            for place in sorted(there):
                found += index.patterns[place].finditer(text)
        if len(found) < 2:
            return found
        found.sort(key=lambda hit: (hit.start(), -hit.end()))
        return [hit for place, hit in enumerate(found) if not place or hit.start() >= max(other.end() for other in found[:place])]


class _Index(NamedTuple):
    always: list[re.Pattern[str]]  # tried in every text
    keys: frozenset[str]
    places: dict[str, list[tuple[str, int]]]  # key -> necessary texts with it, and the pattern that needs one of them
    patterns: list[re.Pattern[str]]


def _key(piece: str) -> str:
    """What stands for a text: its rarest triple of letters, or letter, by a rough count of how common they are in print."""
    size = 3 if len(piece) > 2 else 1
    parts = [piece[place : place + size] for place in range(len(piece) - size + 1)]
    return piece if piece == DIGIT else min(parts, key=lambda part: sum(_COMMON.find(letter) for letter in part))


def branches(pattern: str) -> list[str]:
    """Split an alternation at its top level."""
    pieces, depth, start, index, inside = [], 0, 0, 0, False
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            index += 1
        elif inside:
            inside = character != "]"
        elif character == "[":
            inside = True
            if pattern[index + 1 : index + 2] in ("]", "^") and pattern[index + 1 : index + 3] in ("]", "^]"):
                index += 2
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            pieces.append(pattern[start:index])
            start = index + 1
        index += 1
    return [*pieces, pattern[start:]]


def necessary(pattern: str, flags: int = 0) -> set[str] | None:
    """Return texts of which every match contains at least one, case folded; None when none can be told."""
    return _needs(_parser.parse(pattern, flags))


def _needs(tree: Any) -> set[str] | None:
    found: list[set[str]] = []
    run = ""
    for code, value in tree:
        if code is op.LITERAL:
            run += chr(value)
            continue
        if run:
            found.append({run.casefold()})
            run = ""
        inner = _inner(code, value)
        if inner:
            found.append(inner)
    if run:
        found.append({run.casefold()})
    return max(found, key=_telling, default=None)


def _telling(texts: set[str]) -> tuple[int, int]:
    """How rarely a text holds any of these: long pieces first, then few of them."""
    return min(0 if text.strip() in _EVERYWHERE else len(text) for text in texts), -len(texts)


def _inner(code: Any, value: Any) -> set[str] | None:
    if code is op.SUBPATTERN:
        return _needs(value[3])
    if code is op.ATOMIC_GROUP:
        return _needs(value)
    if code in _REPEATS and value[0] > 0:
        return _needs(value[2])
    if code is op.IN and all(_digits(kind, what) for kind, what in value):
        return {DIGIT}
    if code is op.IN and len(value) <= 8 and all(kind is op.LITERAL for kind, _ in value):
        return {chr(letter).casefold() for _, letter in value}
    if code is op.BRANCH:
        sets = [_needs(branch) for branch in value[1]]
        return None if any(texts is None for texts in sets) else set().union(*(texts for texts in sets if texts))
    return None


def _digits(kind: Any, value: Any) -> bool:
    if kind is op.CATEGORY:
        return value is op.CATEGORY_DIGIT
    if kind is op.RANGE:
        return chr(value[0]).isdecimal() and chr(value[1]).isdecimal()
    return kind is op.LITERAL and chr(value).isdecimal()
