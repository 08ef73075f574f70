"""Columns that a row cannot do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import Flaw, QualityRule, View
from tradewind.collect.sources.base import quoted
from tradewind.errors import InputError


class Required(QualityRule):
    """Empty values where the schema needs one, and in the further ``columns`` that a mapping names."""

    name: ClassVar[str] = "required"
    defaults: ClassVar[Mapping[str, Any]] = {"columns": ()}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per column; a value that is there but unreadable belongs to the rule ``type``."""
        relation = view.relation
        more = list(self.set["columns"])
        for column in more:
            if column not in relation.schema.names:
                raise InputError(
                    f'Rule required: table {relation.table} has no column "{column}". It has: {", ".join(relation.schema.names)}.'
                )
        found = []
        for field in relation.schema:
            if (field.nullable and field.name not in more) or field.name not in relation.targets:
                continue
            where = f"{quoted(field.name)} IS NULL"
            if field.name in relation.unreadable:
                where += f" AND NOT {relation.condition(relation.unreadable[field.name][0])}"
            found.append(Flaw(f"required {field.name}", where, "quarantine", "is empty", field.name))
        return found


PLUGIN = Required
