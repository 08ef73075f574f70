"""How many parts a text message takes: GSM-7 when every character is in its alphabet, UCS-2 otherwise.

Source: 3GPP TS 23.038 and 23.040: 160 septets or 70 UTF-16 units in one part, 153 or 67 in each of several; a character
of the extension table takes two septets and is never split.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
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


def outside(text: str) -> int | None:
    """Return where the first character outside the GSM-7 alphabet stands; None when there is none."""
    costs = _septets()
    return next((place for place, character in enumerate(text) if character not in costs), None)


def cost(text: str, *, per_part: Decimal, messages: int = 1) -> Decimal:
    """Return what sending costs: every part is charged, in whatever unit ``per_part`` is given.

    >>> cost("a" * 161, per_part=Decimal("4.5"), messages=1000)
    Decimal('9000.0')
    """
    return per_part * segments(text).count * messages


@cache
def _septets() -> dict[str, int]:
    table = data("limits")["gsm7"]
    return {**dict.fromkeys(table["basic"], 1), **dict.fromkeys(table["extended"], 2)}
