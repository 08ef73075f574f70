"""Personal data and private contacts in a text; list in ``personal.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tradewind.compose.base import Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words, joined, load


class Personal(Words):
    """Block e-mail addresses, telephone, identity and card numbers."""

    name = "personal"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the hits outside the facts: names are vetted before they become facts, prices are no telephone numbers."""
        text = joined(parts)
        covered, folded = text.covered(facts)
        return [text.place(verdict) for verdict in load(self.name).verdicts(covered, facts=facts, folded=folded)]


PLUGIN = Personal
