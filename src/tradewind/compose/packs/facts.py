"""Every number, amount, share and date of a finished text must be the text of a fact; patterns in ``facts.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from tradewind.compose.base import BLOCK, Pack, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.finder import Finder
from tradewind.compose.lexicon import joined
from tradewind.compose.locales import data
from tradewind.compose.template import free_value

MASK = "\ue000"  # a private character: catalogue texts have lost theirs in ``clean``


class FactCheck(Pack):
    """Cover the facts' texts; whatever number is left is unsupported."""

    name = "facts"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the unsupported values."""
        text = joined(parts)
        covered = text.text if facts is None else mask(text.text, facts)
        reason = "a number, amount, share or date that no fact states"
        return [
            text.place(Verdict("facts.unsupported", "", hit.span(), hit.group(), BLOCK, reason))
            for hit in free_value().hits(covered)
        ]

    def vet(self, name: str, text: str, *, locale: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the prices and reductions that a catalogue name claims for itself."""
        reason = "a name that claims a price or a reduction of its own"
        return [Verdict("facts.claim_in_name", name, hit.span(), hit.group(), BLOCK, reason) for hit in _claims().hits(text)]


@cache
def _claims() -> Finder:
    return Finder([rule["pattern"] for rule in data("facts")["claim_in_name"]])


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


PLUGIN = FactCheck
