"""Declarative constraints for constructor parameters, with one message for every violation.

A constructor only stores; ``check`` is called where work starts (``fit``, ``plan``, ``send``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

from tradewind.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Number:
    """A real number within closed bounds. ``whole`` refuses fractions (and booleans, always)."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def accepts(self, value: object) -> bool:
        kind = Integral if self.whole else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        number = float(value)
        return not math.isnan(number) and self.low <= number <= self.high

    def __str__(self) -> str:
        if self.whole and math.isfinite(self.low) and math.isfinite(self.high):
            return f"a whole number from {int(self.low):,} to {int(self.high):,}"
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class OneOf:
    """One of a few names."""

    names: tuple[str, ...]

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.names

    def __str__(self) -> str:
        return "one of " + ", ".join(f'"{name}"' for name in self.names)


Rule = Number | OneOf


def check(owner: str, values: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Raise :class:`InputError` for the first value that breaks its rule.

    >>> check("Transformer", {"dropout": 0.2}, {"dropout": Number(0, 0.9)})
    """
    for name, rule in rules.items():
        value = values[name]
        if not rule.accepts(value):
            hint = did_you_mean(value, rule.names) if isinstance(rule, OneOf) and isinstance(value, str) else ""
            raise InputError(f"{owner}: {name} must be {rule}; got {value!r}.{hint}")
