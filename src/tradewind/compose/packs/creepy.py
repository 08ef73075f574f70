"""Wording that tells people they are watched; list in ``creepy.toml``."""

from __future__ import annotations

import re
from functools import cache

from tradewind.compose.lexicon import Words
from tradewind.compose.locales import data


class Creepy(Words):
    """Block echoes of behaviour, counts of it, and guesses at private life."""

    name = "creepy"


@cache
def _sensitive() -> re.Pattern[str]:
    return re.compile(data("creepy")["sensitive"]["pattern"], re.IGNORECASE)


def sensitive(text: str) -> bool:
    """Whether a category or a name is of a kind that no reason line may speak of."""
    return bool(_sensitive().search(text))


PLUGIN = Creepy
