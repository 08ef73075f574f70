"""What a review speaks of, and whether it praises or blames it: aspect, polarity and the very words, clause by clause.

A lexicon (``aspects.toml``) names aspects in Chinese and English. A clause ends at punctuation and at a word of contrast; an
aspect's polarity is that of its own word if that says it alone ("too small"), else of the polar words of the clause, turned
round by a negation before them, else of the sentiment model if one is given and sure, else nothing is said about it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from tradewind.errors import InputError
from tradewind.learn._text_classifier import TextClassifier
from tradewind.learn._text_grams import HAN

__all__ = ["Mention", "mentions", "mentions_of"]

REACH, REACH_HAN = 12, 3  # characters before a polar word in which a negation turns it round


@dataclass(frozen=True, slots=True)
class Mention:
    """One aspect in one clause: ``sign`` 1 praise, -1 blame, 0 named only; ``text[start:end]`` is the clause, the evidence."""

    aspect: str
    sign: int
    start: int
    end: int


@dataclass(frozen=True)
class _Lexicon:
    aspects: Mapping[str, str]  # word -> aspect
    own: Mapping[str, int]  # word of an aspect that is praise or blame by itself -> sign
    polar: Mapping[str, int]
    negation: re.Pattern[str]
    negation_han: re.Pattern[str]
    contrast: re.Pattern[str]
    end: re.Pattern[str]
    named: re.Pattern[str] = field(init=False)
    felt: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", _any((*self.aspects, *self.own)))
        object.__setattr__(self, "felt", _any((*self.polar, *self.own)))


def _any(words: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the words, longest first; a Latin word only whole."""
    ordered = sorted(set(words), key=lambda word: (-len(word), word))
    return re.compile(
        "|".join(re.escape(word) if HAN.search(word) else rf"(?<!\w){re.escape(word)}(?!\w)" for word in ordered), re.IGNORECASE
    )


@cache
def _lexicon() -> _Lexicon:
    data = tomllib.loads(files("tradewind.learn").joinpath("aspects.toml").read_text(encoding="utf-8"))
    return _built(data)


def _built(data: Mapping[str, Any]) -> _Lexicon:
    aspects, own = {}, {}
    for name, entry in data["aspects"].items():
        for sign, words in ((1, entry["praise"]), (-1, entry["blame"])):
            for word in words:
                aspects[word], own[word] = name, sign
        for word in (*entry["zh"], *entry["en"]):
            if aspects.setdefault(word, name) != name:
                raise InputError(f'aspects.toml: "{word}" names both {aspects[word]} and {name}. Keep it at one.')
    polar = {word: sign for sign, words in ((1, data["polar"]["praise"]), (-1, data["polar"]["blame"])) for word in words}
    turns, clause = data["contrast"], data["clause"]
    latin = re.compile("|".join([*(rf"\b{re.escape(word)}\b" for word in data["negation"]["en"]), r"\w+n't\b"]), re.IGNORECASE)
    return _Lexicon(
        aspects, own, polar, latin, _any(data["negation"]["zh"]), _any((*turns["zh"], *turns["en"])),
        re.compile(rf"[{re.escape(clause['ends'])}\s]*[{re.escape(clause['ends'])}][{re.escape(clause['ends'])}\s]*|\n+"),
    )  # fmt: skip


def mentions(text: str, *, model: TextClassifier | None = None) -> list[Mention]:
    """The aspects of one review in order of place, each at most once per clause. ``model`` decides what the lexicon cannot."""
    return mentions_of([text], model=model)[0]


def mentions_of(texts: Sequence[str], *, model: TextClassifier | None = None) -> list[list[Mention]]:
    """:func:`mentions` of many reviews; the model is asked once for all that the lexicon leaves open."""
    found: list[list[Mention]] = []
    left: list[tuple[int, int]] = []  # (review, mention) that are open
    for text in texts:
        mine: list[Mention] = []
        for start, end in _clauses(text):
            for aspect, sign in _of_clause(text[start:end]).items():
                if sign is None:
                    left.append((len(found), len(mine)))
                mine.append(Mention(aspect, sign or 0, start, end))
        found.append(mine)
    if left and model is not None:
        clauses = [texts[i][found[i][k].start : found[i][k].end] for i, k in left]
        for (i, k), sign in zip(left, model.predict(clauses).verdict.tolist(), strict=True):
            found[i][k] = replace(found[i][k], sign=sign)
    return found


def _clauses(text: str) -> list[tuple[int, int]]:
    """Where clauses begin and end: at punctuation, and before a word of contrast."""
    edges = [0]
    for match in _lexicon().end.finditer(text):
        edges += [match.start(), match.end()]
    edges.append(len(text))
    turns = [match.start() for match in _lexicon().contrast.finditer(text)]
    parts = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        cuts = [start, *(turn for turn in turns if start < turn < end), end]
        parts += [(a, b) for a, b in pairwise(cuts) if text[a:b].strip()]
    return parts


def _of_clause(clause: str) -> dict[str, int | None]:
    """Sign of each aspect that a clause names; None where its words do not say."""
    lexicon = _lexicon()
    named: dict[str, int | None] = {}
    for match in lexicon.named.finditer(clause):
        word = match.group().lower()
        aspect = lexicon.aspects[word]
        alone = lexicon.own.get(word)
        if alone is not None:
            named[aspect] = -alone if _negated(clause, match.start()) else alone
        else:
            named.setdefault(aspect, None)
    if None not in named.values():
        return named
    signs = {
        (-sign if _negated(clause, match.start()) else sign)
        for match in lexicon.felt.finditer(clause)
        if (sign := lexicon.polar.get(match.group().lower()) or lexicon.own.get(match.group().lower()))
    }
    told = signs.pop() if len(signs) == 1 else None  # both: it cannot be said of which
    return {aspect: told if sign is None else sign for aspect, sign in named.items()}


def _negated(clause: str, at: int) -> bool:
    """Whether an odd number of negations stand shortly before a place."""
    lexicon = _lexicon()
    latin = lexicon.negation.findall(clause[max(0, at - REACH) : at])
    han = lexicon.negation_han.findall(clause[max(0, at - REACH_HAN) : at])
    return (len(latin) + len(han)) % 2 == 1
