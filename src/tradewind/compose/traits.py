"""What a component is like: its tone, length, person and order, read off its text, and the tags that its data file adds.

Learning shares across traits: a component that nobody has seen yet begins with what its traits have earned elsewhere.
"""

from __future__ import annotations

import re
from functools import cache

from tradewind.compose.library import Component
from tradewind.compose.locales import data
from tradewind.compose.template import SLOTS, Slot

SHORT, LONG = 24, 56  # columns, a slot counted as SLOT
SLOT = 10
PRICES = frozenset({"price", "offer_price"})


@cache
def traits(component: Component) -> tuple[str, ...]:
    """Names of the traits, sorted: ``tone=warm``, ``short``, ``long``, ``question``, ``you``, ``we``, ``exclaims``, ``names_item``,
    ``states_price``, ``value_first`` (an amount or a share opens it), and ``tag=...``.
    """
    template, found = component.template, set()
    if component.tone != "any":
        found.add(f"tone={component.tone}")
    size = template.columns + SLOT * len(template.slots)
    found |= {"short"} if size < SHORT else {"long"} if size >= LONG else set()
    found |= {name for name, pattern in data("traits")[component.locale].items() if _compiled(pattern).search(template.text)}
    found |= {"names_item"} if "title" in template.slots else set()
    found |= {"states_price"} if not PRICES.isdisjoint(template.slots) else set()
    first = template.slots[0] if template.slots and not template.literals[0].strip() else None
    found |= {"value_first"} if first and SLOTS[first] in (Slot.MONEY, Slot.SHARE) else set()
    return tuple(sorted(found | {f"tag={tag}" for tag in component.tags}))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
