"""What an expression says: for all rows of columns at once, and for one row. Written apart; tests hold both equal.

Truth has three values; see ``engine.expression``. Numbers are IEEE doubles in both.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tradewind.engine.expression_tree import Compare, Condition, Every, Holds, Name, Not, Null, Some, Value, Written

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
Numbers: TypeAlias = tuple[Any, Any]  # values and where they are empty; arrays, or one number for all rows
Row: TypeAlias = Mapping[str, float | str | bool | None]


@dataclass(frozen=True)
class Truth:
    """Three-valued answer per row: surely true, surely false, else unknown."""

    yes: np.ndarray
    no: np.ndarray


class Cells(dict[str, tuple[np.ndarray, np.ndarray]]):
    """Columns as values and where they are empty. Texts may be anything of which this class knows what equals what."""

    def equal(self, name: str, value: str) -> np.ndarray:
        """Where the texts of a column are ``value``; anything in empty cells."""
        return np.asarray(self[name][0] == value)

    def same(self, name: str, other: str) -> np.ndarray:
        """Where the texts of two columns are the same; anything in empty cells."""
        return np.asarray(self[name][0] == self[other][0])


def truth(tree: Condition, cells: Cells, seen: dict[Any, Any] | None = None) -> Truth:
    """The answer for every row. ``seen``: what other expressions computed of the same cells, to be used again."""
    return _Columns(cells, seen).truth(tree)


class _Columns:
    def __init__(self, cells: Cells, seen: dict[Any, Any] | None) -> None:
        self.cells, self.seen = cells, seen

    def truth(self, tree: Condition) -> Truth:
        if self.seen is None:
            return self._truth(tree)
        found = self.seen.get(tree)
        if found is None:
            self.seen[tree] = found = self._truth(tree)
        return found

    def _truth(self, tree: Condition) -> Truth:
        if isinstance(tree, Compare):
            return _known(*self.compare(tree.op, tree.left, tree.right))
        if isinstance(tree, Every | Some):
            terms = [self.truth(term) for term in tree.terms]
            one, other = (np.logical_and, np.logical_or) if isinstance(tree, Every) else (np.logical_or, np.logical_and)
            yes, no = one(terms[0].yes, terms[1].yes), other(terms[0].no, terms[1].no)
            for term in terms[2:]:
                one(yes, term.yes, out=yes)
                other(no, term.no, out=no)
            return Truth(yes, no)
        if isinstance(tree, Not):
            inner = self.truth(tree.inner)
            return Truth(inner.no, inner.yes)
        if isinstance(tree, Null):
            empty = self.cells[tree.name.name][1]
            return Truth(empty, ~empty) if tree.wanted else Truth(~empty, empty)
        if isinstance(tree, Holds):
            values, empty = self.cells[tree.name.name]
            return _known(values, empty)
        found, empty = self.compare("==", tree.left, tree.choices[0])
        for choice in tree.choices[1:]:
            found = found | self.compare("==", tree.left, choice)[0]
        return _known(found, empty)

    def compare(self, op: str, left: Value, right: Value) -> tuple[np.ndarray, np.ndarray]:
        """Where the comparison holds, with anything in empty cells, and where those are."""
        if isinstance(left, Written) and isinstance(right, Name):
            left, right, op = right, left, {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
        if isinstance(left, Name) and isinstance(right, Written):
            values, empty = self.cells[left.name]
            if not isinstance(right.value, str):
                return _COMPARE[op](values, right.value), empty
            found = self.cells.equal(left.name, right.value)
            return found if op == "==" else ~found, empty
        (one, gone), (other, missing) = self.value(left), self.value(right)
        if isinstance(left, Name) and isinstance(right, Name) and one.dtype == other.dtype != np.float64:
            found = self.cells.same(left.name, right.name)  # texts, or yes/no
            return found if op == "==" else ~found, gone | missing
        return _COMPARE[op](one, other), gone | missing

    def value(self, value: Value) -> Numbers:
        if isinstance(value, Name):
            return self.cells[value.name]
        if isinstance(value, Written):
            return value.value, np.False_
        found: Numbers | None = None if self.seen is None else self.seen.get(value)
        if found is not None:
            return found
        (one, gone), (other, missing) = self.value(value.left), self.value(value.right)
        with np.errstate(all="ignore"):
            out = _COMPUTE[value.op](one, other)
        found = out, gone | missing | ~np.isfinite(out)
        if self.seen is not None:
            self.seen[value] = found
        return found


def _known(found: np.ndarray, empty: np.ndarray) -> Truth:
    full = ~empty
    return Truth(found & full, ~found & full)


def row(tree: Condition) -> Callable[[Row], bool | None]:
    """A function of one row: true, false, or None for unknown. A name that the row lacks is empty, as None and NaN are."""
    if isinstance(tree, Every):
        every = [row(term) for term in tree.terms]
        return lambda cells: _every(test(cells) for test in every)
    if isinstance(tree, Some):
        some = [row(term) for term in tree.terms]
        return lambda cells: _not(_every(_not(test(cells)) for test in some))
    if isinstance(tree, Not):
        inner = row(tree.inner)
        return lambda cells: _not(inner(cells))
    if isinstance(tree, Null):
        name, wanted = _value(tree.name), tree.wanted
        return lambda cells: (name(cells) is None) is wanted
    if isinstance(tree, Holds):
        return _value(tree.name)
    if isinstance(tree, Compare):
        left, right, compare = _value(tree.left), _value(tree.right), _COMPARE[tree.op]
        return lambda cells: None if (one := left(cells)) is None or (other := right(cells)) is None else compare(one, other)
    held, choices = _value(tree.left), {choice.value for choice in tree.choices}
    return lambda cells: None if (one := held(cells)) is None else one in choices


def _every(answers: Any) -> bool | None:
    found: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            found = None
    return found


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _value(value: Value) -> Callable[[Row], Any]:
    if isinstance(value, Written):
        constant = value.value
        return lambda _: constant
    if isinstance(value, Name):
        name = value.name
        return lambda cells: _full(cells.get(name))
    left, right, compute = _value(value.left), _value(value.right), _PLAIN[value.op]
    return lambda cells: None if (one := left(cells)) is None or (other := right(cells)) is None else _full(compute(one, other))


def _full(value: Any) -> Any:
    """The value, numbers as doubles; None for what is no finite number."""
    if value is None or isinstance(value, str | bool):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


_PLAIN: dict[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: None if right == 0 else left / right,
}
