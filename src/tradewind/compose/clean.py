"""Make a catalogue text fit to stand in a sentence: markup, control marks, placeholders and shouting go; words stay.

A shop's catalogue is untrusted input: titles arrive with HTML, line breaks, direction marks, emoji, template braces and
ten thousand characters. What is left here is one short line of plain text, or None.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from tradewind.compose.locales import data

LONGEST = 2000  # characters of raw text that are looked at
_HIDDEN = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|</?[a-zA-Z][^<>]*=[^<>]*\Z")
_ASCII = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-",
        "\u2026": "...", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ", "\u3010": " ", "\u3011": " ",
        "{": " ", "}": " ", "<": " ", ">": " ", "[": " ", "]": " ", "|": " ", "\\": "/", "`": "'", "~": "-", "^": " ", "\x00": " ",
    }
)  # fmt: skip
_KEPT_SYMBOLS = "\u00b0\u2103\u00ae\u2122\u2116"  # degree, Celsius, registered, trade mark, numero
_EDGES = " \t,;:!-_/*#=+.\u3001\u3002\uff0c\uff1b\uff1a\uff01\u00b7"
_DETAIL = re.compile(r"[,;] | [-(/]")
_DETAIL_HAN = re.compile("[,;\uff0c\uff1b\u3001\uff08(/]| ")
_WORD = re.compile(r"[A-Za-z][A-Za-z']*")
_RTL = frozenset({"R", "AL", "RLE", "RLO", "RLI"})


@lru_cache(maxsize=65536)
def name(text: str | None) -> str | None:
    """Return ``text`` as one clean line, or None when no letter is left or its script runs from right to left."""
    if not text:
        return None
    line = text[:LONGEST]
    for _ in range(3):  # markup may hide behind entities, twice
        line, before = html.unescape(line), line
        if line == before:
            break
    line = _TAG.sub(" ", _HIDDEN.sub(" ", line))
    line = unicodedata.normalize("NFC", line).translate(_ASCII)
    line = "".join(_keep(character) for character in line)
    line = _settle(" ".join(line.split()).strip(_EDGES))
    if not any(character.isalpha() for character in line) or any(unicodedata.bidirectional(c) in _RTL for c in line):
        return None
    return line


def _keep(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp", "Zs"}:
        return " "
    if category in {"Cf", "Co", "Cs", "Cn", "Sk", "Sc"} or 0xFE00 <= ord(character) <= 0xFE0F:
        return character if category == "Sc" else ""
    if category == "So" and character not in _KEPT_SYMBOLS:
        return ""
    return character


def _settle(line: str) -> str:
    """Set a line of capitals in title case; leave every other line alone."""
    letters = [c for c in line if c.isalpha() and c.isascii()]
    if len(letters) < 6 or sum(c.isupper() for c in letters) < 0.9 * len(letters):
        return line
    table = data("locales")["names"]

    def word(match: re.Match[str]) -> str:
        found = match.group()
        if found in table["acronyms"]:
            return found
        if match.start() and found.lower() in table["small"]:
            return found.lower()
        return found[0].upper() + found[1:].lower()

    return _WORD.sub(word, line)


@lru_cache(maxsize=65536)
def width(text: str) -> int:
    """Return the width in columns: two for East Asian wide characters, one for others (how push vendors count)."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@lru_cache(maxsize=65536)
def shorten(text: str, columns: int, ellipsis: str) -> str | None:
    """Make ``text`` at most ``columns`` wide; None when nothing would be left.

    Trailing details after a comma, a dash or a bracket go first (a Chinese name may lose words too); only then is the name
    cut and marked, never inside a Latin word or a number.
    """
    if width(text) <= columns:
        return text
    ends = [found.start() for found in (_DETAIL if script(text) == "en" else _DETAIL_HAN).finditer(text)]
    whole = next((text[:end] for end in reversed(ends) if columns // 2 <= width(text[:end]) <= columns), None)
    if whole is not None:
        return whole
    room, end = columns - width(ellipsis), 0
    while end < len(text) and room >= width(text[end]):
        room -= width(text[end])
        end += 1
    if _latin(text[end]):
        while end and _latin(text[end - 1]):
            end -= 1
    # A number at the cut may have lost its digits or its unit: it would say something else.
    head = re.sub(r"[\d.,]*\d[^\W\d]{0,3}[\W_]*\Z", "", text[:end]).rstrip(_EDGES + "(")
    return head + ellipsis if any(character.isalpha() for character in head) else None


def _latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def script(text: str) -> str:
    """Return ``zh`` when the text holds a Han character, else ``en``."""
    return "zh" if any("\u3400" <= character <= "\u9fff" for character in text) else "en"
