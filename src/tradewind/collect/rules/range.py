"""Numbers and times outside the limits of their column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Flaw, QualityRule, View
from tradewind.collect.sources.base import literal, quoted
from tradewind.errors import InputError, did_you_mean

SIGNS = {"above": "<=", "from": "<", "below": ">=", "to": ">"}  # the comparison that breaks the limit
LIMITS: dict[str, dict[str, dict[str, Any]]] = {
    "events": {"quantity": {"above": 0}, "value": {"from": 0}, "discount": {"from": 0}, "rating": {"from": 0}},
    "items": {"price": {"from": 0}, "cost": {"from": 0}, "stock": {"from": 0, "action": "flag"}},
}


class Range(QualityRule):
    """``[rules.range] UnitPrice = { above = 0 }`` with above, from (at least), below, to (at most) and an action.

    The name is a column of the table or, where the table has none of that name, of the source.
    """

    name: ClassVar[str] = "range"
    free: ClassVar[bool] = True

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per column with limits."""
        limits = {name: rule for name, rule in LIMITS.get(view.table, {}).items() if view.has(name)}
        return [self._flaw(view, name, rule) for name, rule in {**limits, **self.set}.items()]

    def _flaw(self, view: View, name: str, rule: Mapping[str, Any]) -> Flaw:
        if not isinstance(rule, Mapping) or not rule or not set(rule) <= {*SIGNS, "action", "reason"}:
            raise InputError(
                f"Rule range: {name} needs limits such as {{ above = 0 }}; known: {', '.join(SIGNS)}, action, reason. Got {rule!r}."
            )
        action = rule.get("action", "quarantine")
        if not CHOICES.accepts(action):
            raise InputError(f"Rule range: {name}: action must be {CHOICES}; got {action!r}.")
        relation = view.relation
        ours = name in relation.targets
        if not ours and name not in relation.kinds:
            known = [*relation.targets, *relation.kinds]
            raise InputError(f'Rule range: there is no column "{name}".{did_you_mean(name, known)} Known: {", ".join(known)}.')
        bounds = {key: value for key, value in rule.items() if key in SIGNS}
        where = " OR ".join(f"{quoted(name)} {SIGNS[key]} {_value(value)}" for key, value in bounds.items())
        if not ours:
            relation.bind(f"({where})", what=f"rule range {name}")
        limits = " and ".join(f"{key} {value}" for key, value in bounds.items())
        condition = f"({where})" if ours else relation.condition(where)
        reason = rule.get("reason") or f"is outside its range ({limits})"
        return Flaw(f"range {name}", condition, action, reason, name, None if ours else f"CAST({quoted(name)} AS VARCHAR)")


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return literal(str(value))
    return repr(value)


PLUGIN = Range
