"""Numbers that a text names: digits of any width, with separators, 2k, 1.5 million, 20 %, and Chinese numerals with their units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from tradewind.compose.locales import data

_DIGITS = re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s*(%|[a-z]+\b)?")
_FACTORS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6}
_BIG = 4  # powers of ten from which a unit counts everything before it


def amounts(text: str) -> list[tuple[float, ...]]:
    """Every number that the text names, each with the values that it may mean: "20 %" is 20 or .2. A lone Chinese "one" is an article.

    >>> amounts("At most 1,500 CNY or 2k, 20 % off")
    [(1500.0,), (2000.0,), (20.0, 0.2)]
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    words = data("numerals")
    digits, units = words["digits"], words["units"]
    mixed = rf"(\d+(?:\.\d+)?)\s*([{''.join(units)}])"
    plain = re.sub(mixed, lambda match: f" {float(match[1]) * 10 ** units[match[2]]:.12g} ", plain)
    spelled = f"[{''.join(digits)}{''.join(units)}]+"
    plain = re.sub(spelled, lambda match: f" {_spelled(match[0], digits, units):.12g} " if _counts(match[0], digits) else " ", plain)
    found: list[tuple[float, ...]] = []
    for match in _DIGITS.finditer(plain):
        number, unit = float(match[1].replace(",", "")), match[2] or ""
        found.append((number, number / 100) if unit == "%" else (number * _FACTORS.get(unit, 1.0),))
    return found


def _counts(word: str, digits: Mapping[str, int]) -> bool:
    return any(char in digits for char in word) and not (len(word) == 1 and digits.get(word) == 1)


def _spelled(word: str, digits: Mapping[str, int], units: Mapping[str, int]) -> float:
    """Read digits and units from left to right; a digit after a unit with nothing behind it is of the next smaller unit."""
    total, section, digit, last = 0.0, 0.0, 0.0, 0
    for place, char in enumerate(word):
        if char in digits:
            digit = digits[char]
            if place == len(word) - 1 and last > 1 and word[place - 1] in units:
                digit *= 10 ** (last - 1)
        elif units[char] >= _BIG:
            total += (section + digit) * 10 ** units[char]
            section, digit, last = 0.0, 0.0, units[char]
        else:
            section += (digit or 1) * 10 ** units[char]
            digit, last = 0.0, units[char]
    return total + section + digit
