"""Claims that need a fact: urgency, scarcity, delivery, authority, health; list in ``claims.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class Claims(Words):
    """Block what no fact backs; the fact, where there is one, is the exemption."""

    name = "claims"


PLUGIN = Claims
