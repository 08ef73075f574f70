"""Announcements of a reduction and price comparisons in English (Directive 98/6/EC, art. 6a); list in ``eu_price.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class EuropeanPrice(Words):
    """Block reductions that the price history does not back. Not legal advice."""

    name = "eu_price"


PLUGIN = EuropeanPrice
