"""The tree of a condition: what ``engine.expression`` reads and ``engine.expression_values`` computes.

Places in the text are no part of what a node is: two comparisons that say the same are equal, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["number", "text", "flag"]


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a column."""

    name: str
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Written:
    """A number, text or yes/no that stands in the expression."""

    value: float | str | bool
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """``left OP right`` of two numbers."""

    op: str
    left: Value
    right: Value
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """``left OP right``; the expression's text from ``start`` to ``end`` is this comparison. ``at`` is the operator."""

    op: str
    left: Value
    right: Value
    at: int = field(compare=False)
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Among:
    """``left in (choices)``."""

    left: Value
    choices: tuple[Written, ...]
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Null:
    """``name is null`` (``wanted``) or ``name is not null``."""

    name: Name
    wanted: bool
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Holds:
    """A yes/no column that is true."""

    name: Name
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class Every:
    """All of them."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of them."""

    terms: tuple[Condition, ...]


Value: TypeAlias = Name | Written | Operation
Test: TypeAlias = Compare | Among | Null | Holds
Condition: TypeAlias = Test | Not | Every | Some


def tests(tree: Condition) -> Iterator[Test]:
    """The comparisons of a tree, in the order in which they are written."""
    if isinstance(tree, Every | Some):
        for term in tree.terms:
            yield from tests(term)
    elif isinstance(tree, Not):
        yield from tests(tree.inner)
    else:
        yield tree


def named(test: Test) -> list[Name]:
    """The columns that a comparison looks at, in the order in which they are written."""
    if isinstance(test, Compare):
        return [*names(test.left), *names(test.right)]
    return list(names(test.left)) if isinstance(test, Among) else [test.name]


def names(value: Value) -> Iterator[Name]:
    """The columns of a value."""
    if isinstance(value, Operation):
        yield from names(value.left)
        yield from names(value.right)
    elif isinstance(value, Name):
        yield value
