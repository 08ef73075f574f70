"""Templates with typed slots: the only thing that a writer may write.

``{price}`` names a fact and thereby its type; every other brace is an error. Outside its slots a template holds no digit
of any script, no currency or percent sign, no amount in words, no date: those reach a text through facts alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from tradewind.compose.clean import width
from tradewind.compose.finder import Finder
from tradewind.compose.locales import data
from tradewind.errors import InputError, unknown


class Slot(StrEnum):
    """The type of a slot, and of the facts that may fill it."""

    NAME = "name"
    MONEY = "money"
    SHARE = "share"  # a reduction in percent
    DATE = "date"
    NUMBER = "number"
    LINK = "link"
    FLAG = "flag"  # a condition of components, no text


SLOTS: Mapping[str, Slot] = {
    "shop": Slot.NAME,
    "title": Slot.NAME,
    "brand": Slot.NAME,
    "category": Slot.NAME,
    "feature": Slot.NAME,  # one attribute with its label
    "anchor": Slot.NAME,  # the item that the reason speaks of
    "price": Slot.MONEY,  # list price
    "reference": Slot.MONEY,  # the lawful price before a reduction, see ``prices``
    "reduction": Slot.SHARE,  # of the list price against the reference, whole percent, rounded down
    "reduction_amount": Slot.MONEY,
    "reference_days": Slot.NUMBER,  # the window that the reference is the lowest of
    "offer_price": Slot.MONEY,  # list price less the offer's reduction
    "saving": Slot.MONEY,  # the reduction on this item
    "amount_off": Slot.MONEY,  # what the terms take off
    "percent_off": Slot.SHARE,
    "threshold": Slot.MONEY,  # the basket from which the offer holds
    "cap": Slot.MONEY,  # the most that the offer takes off
    "perk_from": Slot.MONEY,  # the basket from which free shipping or points hold
    "points": Slot.NUMBER,
    "pieces": Slot.NUMBER,  # of a bundle
    "bundle_percent": Slot.SHARE,
    "bundle_amount": Slot.MONEY,
    "deadline": Slot.DATE,
    "rating": Slot.NUMBER,
    "reviews": Slot.NUMBER,
    "aspect": Slot.NAME,  # what reviews praise, a word of our own list
    "aspect_reviews": Slot.NUMBER,  # how many speak well of it
    "link": Slot.LINK,
}
_SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and slots in turn: ``literals[0] slots[0] literals[1] ... literals[n]``."""

    literals: tuple[str, ...]
    slots: tuple[str, ...]
    columns: int  # width of the literals

    @property
    def text(self) -> str:
        """The source text."""
        return "".join(a + (f"{{{b}}}" if b else "") for a, b in zip(self.literals, (*self.slots, ""), strict=True))


@cache
def parse(text: str) -> Template:
    """Read a template.

    Raises
    ------
    NotFound
        A slot of a name that does not exist.
    InputError
        A brace that belongs to no slot, or a number, amount, share or date outside the slots.
    """
    pieces = _SLOT.split(text)
    literals, slots = tuple(pieces[::2]), tuple(pieces[1::2])
    for slot in slots:
        if slot not in SLOTS:
            raise unknown("slot", slot, SLOTS)
    for literal in literals:
        if "{" in literal or "}" in literal:
            raise InputError(f'Template "{text}": a brace belongs to no slot. Slots: {", ".join(SLOTS)}.')
        found = next(iter(free_value().hits(literal)), None)
        if found:
            raise InputError(
                f'Template "{text}": "{found.group()}" stands outside a slot. Numbers, amounts, shares and dates come from facts: '
                f"use a slot ({', '.join(SLOTS)})."
            )
    return Template(literals, slots, sum(width(literal) for literal in literals))


@cache
def free_value() -> Finder:
    """Return what finds everything that states a number, an amount, a share or a date, in both languages."""
    return Finder([rule["pattern"] for rule in data("facts")["value"]], ignore_case=False)
