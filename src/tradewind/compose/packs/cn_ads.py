"""Absolute terms under the Advertising Law of the PRC, with the exemptions of the 2023 guide; list in ``cn_ads.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class ChineseAds(Words):
    """Block absolute terms about the goods. Not legal advice."""

    name = "cn_ads"
    registered = True


PLUGIN = ChineseAds
