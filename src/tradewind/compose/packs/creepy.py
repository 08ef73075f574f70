"""Wording that tells people they are watched; list in ``creepy.toml``."""

from __future__ import annotations

from tradewind.compose.lexicon import Words


class Creepy(Words):
    """Block echoes of behaviour, counts of it, and guesses at private life."""

    name = "creepy"


PLUGIN = Creepy
