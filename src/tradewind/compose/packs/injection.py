"""Texts that give orders to programs, and addresses that are no facts; list in ``injection.toml``.

The reader of a product title may be a language model, and what a model wrote may hold what it was told to write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from tradewind.compose.base import BLOCK, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.finder import Finder
from tradewind.compose.lexicon import Words, joined, registered_names, within_name
from tradewind.compose.locales import data


class Injection(Words):
    """Block orders to models and to this system, and links that no fact states, in names and in finished texts."""

    name = "injection"
    registered = True

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits; an address within the name of the brand or the shop is part of that name."""
        text = joined(parts)
        covered, folded = text.covered(facts)
        reason = "an address that no fact states"
        links = [Verdict("injection.link", "", hit.span(), hit.group(), BLOCK, reason) for hit in _links().hits(covered, folded)]
        if links and facts is not None:
            links = [within_name(verdict, text.text, registered_names(facts)) for verdict in links]
        return [*super().check(parts, facts=facts, locale=locale, channel=channel), *(text.place(verdict) for verdict in links)]


@cache
def _links() -> Finder:
    return Finder(data("injection")["link"]["patterns"])


PLUGIN = Injection
