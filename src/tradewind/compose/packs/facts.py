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


class FactCheck(Pack):
    """Cover the facts' texts; whatever number is left is unsupported."""

    name = "facts"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the unsupported values."""
        text = joined(parts)
        reason = "a number, amount, share or date that no fact states"
        return [
            text.place(Verdict("facts.unsupported", "", hit.span(), hit.group(), BLOCK, reason))
            for hit in free_value().hits(*text.covered(facts))
        ]

    def vet(self, name: str, text: str, *, locale: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the prices and reductions that a catalogue name claims for itself."""
        reason = "a name that claims a price or a reduction of its own"
        return [
            Verdict("facts.claim_in_name", name, hit.span(), hit.group(), BLOCK, reason)
            for hit in _claims().hits(joined({name: text}).plain)
        ]


@cache
def _claims() -> Finder:
    return Finder([rule["pattern"] for rule in data("facts")["claim_in_name"]])


PLUGIN = FactCheck
