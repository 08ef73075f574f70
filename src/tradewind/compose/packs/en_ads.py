"""English superlatives and market claims that need evidence; list in ``en_ads.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class EnglishAds(Words):
    """Block superlatives and rank claims about the goods. Not legal advice."""

    name = "en_ads"
    registered = True


PLUGIN = EnglishAds
