"""Cover the texts of facts in a finished text, so that what is left was not filled from a fact."""

from __future__ import annotations

from tradewind.compose.facts import Facts

MASK = "\ue000"  # a private character: catalogue texts have lost theirs in ``clean``


def mask(text: str, facts: Facts) -> str:
    """Cover every whole occurrence of a fact's text, the longest texts first; lengths stay the same."""
    for needle in facts.by_length:
        start = text.find(needle)
        while start >= 0:
            end = start + len(needle)
            if _whole(text, start, end):
                text = text[:start] + MASK * len(needle) + text[end:]
            start = text.find(needle, end)
    return text


def _whole(text: str, start: int, end: int) -> bool:
    """Whether the piece is no part of a longer number or word: "9" in "99", "9.5" or "9%" is not."""
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    if text[end - 1].isdigit() and (after[:1].isdigit() or after.startswith(("%", "\uff05", "\u6298")) or _joins(after)):
        return False
    if text[start].isdigit() and (before[-1:].isdigit() or _joins(before[::-1])):
        return False
    first, last = text[start], text[end - 1]
    return not (_latin(first) and _latin(before[-1:])) and not (_latin(last) and _latin(after[:1]))


def _joins(pair: str) -> bool:
    return len(pair) == 2 and pair[0] in ".," and pair[1].isdigit()


def _latin(character: str) -> bool:
    return character.isascii() and character.isalpha()
