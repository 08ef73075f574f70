"""Prices that a Chinese text may not compare with: reference prices without basis, other shops, "lowest"; list in ``cn_price.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class ChinesePrice(Words):
    """Block price comparisons that the price history does not back. Not legal advice."""

    name = "cn_price"


PLUGIN = ChinesePrice
