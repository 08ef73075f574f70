"""Where words of attributes stand in a text: the lexicon, the shop's own values, and spans in the text as it was given."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from tradewind.errors import InputError
from tradewind.learn._text_grams import HAN

LANGUAGES = ("en", "zh")
LATIN = r"[^\W\u3400-\u9fff]"  # letters and digits of scripts with blanks between words
REACH = 12  # characters before a word in which it may be denied


@dataclass(frozen=True, slots=True)
class Found:
    """``value`` of ``attribute`` stands at ``text[start:end]``."""

    attribute: str
    value: str
    start: int
    end: int


def folded(text: str) -> tuple[str, Sequence[int]]:
    """The text in small letters and half width, and of every character of that where it stands in the text; one more for the end."""
    plain = unicodedata.normalize("NFKC", text).lower()
    if len(plain) == len(text):
        return plain, range(len(text) + 1)
    letters = [unicodedata.normalize("NFKC", letter).lower() for letter in text]
    places = [place for place, letter in enumerate(letters) for _ in letter]
    return "".join(letters), [*places, len(text)]


@dataclass(frozen=True)
class Words:
    """Finds the words of one attribute; ``texts``: per value its first word in each language, what may be said of it."""

    attribute: str
    values: Mapping[str, str]  # word -> value
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None  # for titles and descriptions
    stated: re.Pattern[str] | None = None  # for what a catalogue states: single characters too, which within a text mean anything
    denied: re.Pattern[str] | None = None

    def find(self, plain: str, *, stated: bool = False) -> Iterator[tuple[str, int, int]]:
        """(value, start, end) in a folded text, longer words first, none within another; what is denied is not found."""
        pattern = self.stated if stated and self.stated is not None else self.pattern
        for match in pattern.finditer(plain) if pattern is not None else ():
            if self.denied is not None and self.denied.search(plain[max(0, match.start() - REACH) : match.start()]):
                continue
            if plain[match.end() :].startswith(("-free", " free ")):
                continue
            value = self.values[match.group()] if self.values else re.sub(r"\s", "", match.group())
            yield value, match.start(), match.end()


def any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    """Finds any of the folded words, longest first; a Latin word only whole. None where there is no word."""
    ordered = sorted(set(words), key=lambda word: (-len(word), word))
    han = [re.escape(word) for word in ordered if HAN.search(word)]
    latin = [re.escape(word) for word in ordered if not HAN.search(word)]
    parts = [rf"(?<!{LATIN})(?:{'|'.join(latin)})(?!{LATIN})"] if latin else []
    return re.compile("|".join([*parts, *han])) if ordered else None


@dataclass(frozen=True)
class Lexicon:
    """Words of all attributes; ``keys``: under which names a catalogue states them."""

    words: Mapping[str, Words]
    keys: Mapping[str, tuple[str, ...]]
    advert: re.Pattern[str] | None = None  # words that make no other product

    def find(self, text: str, more: Sequence[Words] = ()) -> list[Found]:
        """All that is named in a text, in order of place; the shop's own words (``more``) win over the lexicon's at the same place."""
        plain, places = folded(text)
        found: list[Found] = []
        for attribute in dict.fromkeys([*(each.attribute for each in more), *self.words]):
            taken: list[tuple[int, int]] = []
            for words in (*(each for each in more if each.attribute == attribute), *_one(self.words.get(attribute))):
                for value, start, end in words.find(plain):
                    if all(end <= a or start >= b for a, b in taken):
                        taken.append((start, end))
                        found.append(Found(attribute, value, places[start], places[end]))
        return sorted(found, key=lambda each: (each.start, each.attribute))

    def codes(self, attribute: str, stated: str) -> frozenset[str]:
        """The values that a catalogue's own words mean: codes of the lexicon, else the words themselves."""
        plain, _ = folded(stated)
        words = self.words.get(attribute)
        values = {value for value, _, _ in words.find(plain, stated=True)} if words is not None else set()
        return frozenset(values or {plain.strip()})


def _one(words: Words | None) -> tuple[Words, ...]:
    return () if words is None else (words,)


@cache
def lexicon() -> Lexicon:
    """The shipped lexicon, ``product_attributes.toml``."""
    return built(tomllib.loads(files("tradewind.learn").joinpath("product_attributes.toml").read_text(encoding="utf-8")))


def built(data: Mapping[str, Any]) -> Lexicon:
    """A lexicon of the data of such a file; raises InputError for a word with two values of one attribute."""
    no = data.get("words", {}).get("no", {})
    latin = "|".join(re.escape(word) for word in no.get("en", ()))
    han = "|".join(re.escape(word) for word in no.get("zh", ()))
    denied = re.compile(rf"(?:\b(?:{latin})[\s-]|(?:{han}))$") if latin and han else None
    words, keys = {}, {}
    for attribute, entry in data.items():
        if attribute in ("words", "looks"):
            continue
        keys[attribute] = tuple(key.casefold() for key in entry["keys"])
        if "pattern" in entry:
            words[attribute] = Words(attribute, {}, pattern=re.compile(entry["pattern"]))
            continue
        known: dict[str, str] = {}
        for value, told in entry["values"].items():
            for word in (folded(each)[0] for language in LANGUAGES for each in told.get(language, ())):
                if known.setdefault(word, value) != value:
                    raise InputError(f'product_attributes.toml: "{word}" is both {known[word]} and {value}. Keep it at one.')
        texts = {
            value: {language: told[language][0] for language in LANGUAGES if told.get(language)} for value, told in entry["values"].items()
        }
        long = [word for word in known if len(word) > 1 or not HAN.search(word)]
        words[attribute] = Words(attribute, known, texts, any_of(long), any_of(known), denied)
    advert = data.get("words", {}).get("advert", {})
    return Lexicon(words, keys, any_of(word for language in LANGUAGES for word in advert.get(language, ())))
