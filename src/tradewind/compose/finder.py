"""Find many patterns in short texts fast: skip every alternative whose necessary letters the text does not hold.

A rule list is one long alternation, which the regular expression engine tries letter by letter. Most texts hold no hit, so
for each top-level alternative the letters that any match must contain are read off its parse tree, and a plain substring
test decides whether the engine starts at all. The hits are the same; ``tests/compose`` compares both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

DIGIT = "a digit"  # stands for any decimal digit among necessary letters
_DIGIT = re.compile(r"\d")
_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}


class Finder:
    """The hits of a list of patterns, each an alternation, in a text."""

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = True) -> None:
        self.flags = re.IGNORECASE if ignore_case else re.NOFLAG
        self.patterns = tuple(patterns)

    @cached_property
    def _groups(self) -> list[_Group]:
        alike: dict[frozenset[str] | None, list[str]] = {}
        for pattern in (branch for text in self.patterns for branch in branches(text)):
            letters = necessary(pattern, self.flags)
            alike.setdefault(None if letters is None else frozenset(letters), []).append(pattern)
        kinds: dict[str, list[tuple[tuple[str, ...], re.Pattern[str]]]] = {}
        for known, group in alike.items():
            kinds.setdefault(_kind(known), []).append((tuple(known or ()), re.compile("|".join(group), self.flags)))
        return [_Group(kind, tuple({piece for pieces, _ in group for piece in pieces}), group) for kind, group in kinds.items()]

    def hits(self, text: str, folded: str | None = None) -> list[re.Match[str]]:
        """Return the matches in reading order, of overlapping ones the first and longest.

        ``folded`` is ``text.casefold()`` when the caller has it.
        """
        found = sorted(self._all(text, folded), key=lambda hit: (hit.start(), -hit.end()))
        return [hit for place, hit in enumerate(found) if not place or hit.start() >= max(other.end() for other in found[:place])]

    def _all(self, text: str, folded: str | None) -> Iterator[re.Match[str]]:
        folded = text.casefold() if folded is None else folded
        ascii_only = folded.isascii()
        for group in self._groups:
            if group.kind == "wide" and ascii_only:
                continue
            present = {piece for piece in group.pieces if piece in folded}
            if group.kind == "digit" and _DIGIT.search(folded):
                present.add(DIGIT)
            if not present and group.kind != "always":
                continue
            for pieces, pattern in group.patterns:
                if not pieces or not present.isdisjoint(pieces):
                    yield from pattern.finditer(text)


class _Group(NamedTuple):
    kind: str
    pieces: tuple[str, ...]
    patterns: list[tuple[tuple[str, ...], re.Pattern[str]]]


def _kind(letters: frozenset[str] | None) -> str:
    if letters is None:
        return "always"
    if DIGIT in letters:
        return "digit"
    return "latin" if any(text.isascii() for text in letters) else "wide"


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
    return max(found, key=lambda texts: min(len(text) for text in texts), default=None)  # the first of equals


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
