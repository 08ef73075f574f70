"""Audiences and eligibility: plain expressions over the columns of a profile, ``recency_days > 30 and stage != "new"``.

The language is that of ``engine.expression``, without arithmetic; ``column OP value`` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tradewind.engine import expression
from tradewind.engine import expression_values as values
from tradewind.engine.expression import Language
from tradewind.engine.expression_tree import Among, Compare, Kind, Test, Written, named, tests
from tradewind.engine.expression_types import read
from tradewind.engine.expression_values import Truth
from tradewind.errors import InputError

LANGUAGE = Language("Eligibility expression", plain=True)


class Cells(values.Cells):
    """The columns of a table as values and where they are empty; read when first asked for, once."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        self[name] = found = _column(self._table, name)
        return found


Condition = Callable[[Cells], Truth]


def matches(text: str, table: pa.Table) -> np.ndarray:
    """For which rows of ``table`` the expression is surely true; bool, one value per row.

    Raises
    ------
    InputError
        The expression cannot be read, names an unknown column, or compares a number with a text; a caret shows where.

    >>> matches('stage != "new"', pa.table({"stage": ["new", "active", None]})).tolist()
    [False, True, False]
    """
    return compiled(text, table.schema)(Cells(table)).yes


def compiled(text: str, schema: pa.Schema) -> Condition:
    """The expression read once for all tables of ``schema``; raises as :func:`matches`."""
    named = expression.columns(text, LANGUAGE)
    kinds = {field.name: _kind(field.name, field.type) if field.name in named else "text" for field in schema}
    tree = read(text, kinds, LANGUAGE)
    return lambda cells: values.truth(tree, cells)


def columns(text: str) -> set[str]:
    """The column names that an expression mentions (also when it is wrong elsewhere)."""
    return expression.columns(text, LANGUAGE)


@dataclass(frozen=True)
class Part:
    """One comparison of an expression: its words, the column, and the numbers that the column is compared with."""

    text: str
    column: str
    numbers: tuple[float, ...]


def parts(text: str) -> list[Part]:
    """The comparisons of an expression that can be read, in order; each is an expression of its own."""
    return [
        Part(text[test.start : test.end], named(test)[0].name, tuple(value for value in _written(test) if type(value) is float))
        for test in tests(expression.parse(text, LANGUAGE))
    ]


def _written(test: Test) -> list[float | str | bool]:
    found = test.choices if isinstance(test, Among) else (test.right,) if isinstance(test, Compare) else ()
    return [one.value for one in found if isinstance(one, Written)]


def _kind(name: str, kind: pa.DataType) -> Kind:
    """What a column holds."""
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "text"
    raise InputError(f'Eligibility expression: column "{name}" is a {kind}; only numbers, texts and true/false can be compared.')


def _column(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as bool, float64 or object (text) with a filler in empty cells, and which cells are empty."""
    column = table[name].combine_chunks()
    empty = column.is_null(nan_is_null=pa.types.is_floating(column.type)).to_numpy(zero_copy_only=False)
    kind = _kind(name, column.type)
    if kind == "flag":
        return column.fill_null(False).to_numpy(zero_copy_only=False), empty
    if kind == "number":
        return column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False), empty
    return column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False), empty
