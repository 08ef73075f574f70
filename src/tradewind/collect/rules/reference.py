"""Rows that point to an item, a customer, an offer or a campaign which the catalogue does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Flaw, QualityRule, View
from tradewind.params import Rule

POINTS: dict[str, tuple[tuple[str, str], ...]] = {
    "events": (("item", "items"), ("customer", "customers"), ("offer", "offers")),
    "offer_items": (("offer", "offers"), ("item", "items")),
    "audiences": (("campaign", "campaigns"), ("customer", "customers")),
    "placements": (("item", "items"),),
    "offers": (("campaign", "campaigns"),),
}


class Reference(QualityRule):
    """Kept by default: a catalogue may come later. A table that was never collected is no reference."""

    name: ClassVar[str] = "reference"
    tables: ClassVar[tuple[str, ...]] = tuple(POINTS)
    defaults: ClassVar[Mapping[str, Any]] = {"action": "keep"}
    options: ClassVar[Mapping[str, Rule]] = {"action": CHOICES}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per reference whose table exists."""
        found = []
        for column, table in POINTS[view.table]:
            known = view.known(table) if view.has(column) else None
            if known is not None:
                where = f"{column} IS NOT NULL AND {column} NOT IN (SELECT {column} FROM ({known}))"
                found.append(Flaw(f"reference {column}", where, self.set["action"], f"is not in the table {table}", column))
        return found


PLUGIN = Reference
