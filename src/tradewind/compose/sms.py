"""How many parts a text message takes: GSM-7 when every character is in its alphabet, UCS-2 otherwise.

Source: 3GPP TS 23.038 and 23.040: 160 septets or 70 UTF-16 units in one part, 153 or 67 in each of several; a character
of the extension table takes two septets and is never split.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tradewind.compose.locales import data


@dataclass(frozen=True, slots=True)
class Segments:
    """Encoding ("GSM-7" | "UCS-2"), its units used (septets or UTF-16 units), and the parts that they fill."""

    encoding: str
    units: int
    count: int


def segments(text: str) -> Segments:
    """Return what ``text`` costs on the wire; an empty text takes one part.

    >>> segments("Hello")
    Segments(encoding='GSM-7', units=5, count=1)
    """
    costs = _septets()
    if plain(text):
        sizes, encoding, single, part = [costs[c] for c in text], "GSM-7", 160, 153
    else:
        sizes, encoding, single, part = [2 if ord(c) > 0xFFFF else 1 for c in text], "UCS-2", 70, 67
    total = sum(sizes)
    if total <= single:
        return Segments(encoding, total, 1)
    count, room = 1, part
    for size in sizes:
        if size > room:  # a two-unit character moves whole to the next part
            count, room = count + 1, part
        room -= size
    return Segments(encoding, total, count)


def plain(text: str) -> bool:
    """Whether every character is in the GSM-7 alphabet."""
    costs = _septets()
    return all(character in costs for character in text)


@cache
def _septets() -> dict[str, int]:
    table = data("limits")["gsm7"]
    return {**dict.fromkeys(table["basic"], 1), **dict.fromkeys(table["extended"], 2)}
