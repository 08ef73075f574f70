"""An offer that a text states must come with its conditions: threshold, cap and end.

China: Provisional rules on promotions (SAMR order 32 of 2020), art. 6 and 7. EU: Directive 2005/29/EC, art. 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tradewind.compose.base import BLOCK, Pack, Verdict
from tradewind.compose.facts import Facts

OFFERS = ("percent_off", "amount_off", "saving", "offer_price")


class Terms(Pack):
    """Block a reduction without its conditions."""

    name = "terms"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return the conditions that are missing."""
        if facts is None or "offer" not in facts.flags:
            return []
        texts, whole = facts.texts, "\n".join(parts.values())
        stated = [name for name in OFFERS if name in texts and texts[name] in whole]
        if not stated:
            return []
        conditions = ("threshold", "deadline", "cap") if "percent_off" in stated else ("threshold", "deadline")
        needed = [name for name in conditions if name in texts]
        return [
            Verdict("terms.missing", "body", (0, 0), name, BLOCK, f"states {stated[0]} without {name}")
            for name in needed
            if texts[name] not in whole
        ]


PLUGIN = Terms
