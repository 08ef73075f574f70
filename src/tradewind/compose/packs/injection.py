"""Texts that give orders to programs: the reader of a product title may be a language model; list in ``injection.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class Injection(Words):
    """Block orders to models and to this system, in names and in finished texts."""

    name = "injection"


PLUGIN = Injection
