"""Values that are there but cannot be read as what their column needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.relation import OBJECTS
from tradewind.collect.rules.base import Flaw, QualityRule, View
from tradewind.params import OneOf, Rule

WHAT = {
    "string": "is no known value",
    "double": "is no number",
    "int64": "is no whole number or amount",
    "bool": "is neither true nor false",
}


class Type(QualityRule):
    """A text where a number or a time is needed, an event name that is not known, a value missing from a value map."""

    name: ClassVar[str] = "type"
    defaults: ClassVar[Mapping[str, Any]] = {"action": "quarantine"}
    options: ClassVar[Mapping[str, Rule]] = {"action": OneOf(("quarantine", "keep"))}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per column that could fail."""
        relation = view.relation
        found = []
        for column, (condition, shown) in relation.unreadable.items():
            what = "is not of the declared type"
            if column in OBJECTS:
                what = "is no JSON object"
            elif column in relation.targets:
                kind = str(relation.schema.field(column).type)
                what = WHAT.get(
                    kind, "is no time" + ("" if relation.source.zone else ", or one without a zone while the mapping states none")
                )
            found.append(Flaw(f"type {column}", relation.condition(condition), self.set["action"], what, column, shown))
        return found


PLUGIN = Type
