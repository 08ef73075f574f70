"""Eligibility expressions over profile columns: ``recency_days > 30 and stage != "new"``. Nothing else can be written.

Grammar: ``or`` < ``and`` < ``not`` < comparison. A comparison is ``column OP value`` with ``== != < <= > >=``,
``column in ("a", "b")``, ``column is null`` or ``column is not null``; both ``value`` and column stand for one cell.
Values are numbers, quoted texts, ``true`` and ``false``. An empty cell satisfies no comparison, not even ``!=``:
whoever wants the unknown says ``is null``. ``not`` of such a comparison is false as well (three-valued logic).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import pyarrow as pa

from tradewind.errors import InputError, did_you_mean

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?)|(?P<text>"[^"]*"|'[^']*')|(?P<op><=|>=|==|!=|<|>)|(?P<word>[A-Za-z_]\w*)|(?P<mark>[(),]))"""
)
_OPS: dict[str, Callable[[np.ndarray, object], np.ndarray]] = {
    "==": lambda a, b: np.asarray(a == b),
    "!=": lambda a, b: np.asarray(a != b),
    "<": lambda a, b: np.asarray(a < b),
    "<=": lambda a, b: np.asarray(a <= b),
    ">": lambda a, b: np.asarray(a > b),
    ">=": lambda a, b: np.asarray(a >= b),
}
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_DEEPEST = 50


@dataclass(frozen=True)
class Truth:
    """Three-valued answer per row: surely true, surely false, else unknown."""

    yes: np.ndarray
    no: np.ndarray


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def matches(expression: str, table: pa.Table) -> np.ndarray:
    """For which rows of ``table`` the expression is surely true; bool, one value per row.

    Raises
    ------
    InputError
        The expression cannot be read, names an unknown column, or compares a number with a text; a caret shows where.

    >>> matches('stage != "new"', pa.table({"stage": ["new", "active", None]})).tolist()
    [False, True, False]
    """
    return _Parser(expression, table).run().yes


def columns(expression: str) -> set[str]:
    """The column names that an expression mentions (also when it is wrong elsewhere)."""
    return {token.text for token in _scan(expression) if token.kind == "word" and token.text not in _WORDS}


def _scan(text: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if not found:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            _fail(text, start, f'cannot read "{text[start]}". A text needs quotes; comparisons are == != < <= > >=.')
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found.group(kind), found.start(kind)))
        at = found.end()
    return [*tokens, _Token("end", "", end)]


def _fail(text: str, at: int, why: str) -> NoReturn:
    raise InputError(f"Eligibility expression: {why}\n    {text}\n    {' ' * at}^")


class _Parser:
    def __init__(self, text: str, table: pa.Table) -> None:
        self.text, self.table = text, table
        self.tokens = _scan(text)
        self.next = 0
        self.depth = 0

    def run(self) -> Truth:
        found = self.disjunction()
        if self.peek.kind != "end":
            self.fail(f'expected "and", "or" or the end, got "{self.peek.text}".')
        return found

    @property
    def peek(self) -> _Token:
        return self.tokens[self.next]

    def fail(self, why: str, token: _Token | None = None) -> NoReturn:
        _fail(self.text, (token or self.peek).at, why)

    def take(self, *texts: str) -> bool:
        if self.peek.kind in ("word", "mark", "op") and self.peek.text in texts:
            self.next += 1
            return True
        return False

    def disjunction(self) -> Truth:
        left = self.conjunction()
        while self.take("or"):
            right = self.conjunction()
            left = Truth(left.yes | right.yes, left.no & right.no)
        return left

    def conjunction(self) -> Truth:
        left = self.negation()
        while self.take("and"):
            right = self.negation()
            left = Truth(left.yes & right.yes, left.no | right.no)
        return left

    def negation(self) -> Truth:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(f"nested deeper than {_DEEPEST} levels.")
        if self.take("not"):
            inner = self.negation()
            found = Truth(inner.no, inner.yes)
        elif self.take("("):
            found = self.disjunction()
            if not self.take(")"):
                self.fail('expected ")".')
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def comparison(self) -> Truth:
        token = self.peek
        if token.kind != "word" or token.text in _WORDS:
            self.fail(f'expected a column of the profile, got "{token.text or "the end"}".')
        if token.text not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            self.fail(f'there is no column "{token.text}".{did_you_mean(token.text, self.table.column_names)} Known: {known}.')
        self.next += 1
        values, empty = _column(self.table, token.text)
        if self.take("is"):
            wanted = not self.take("not")
            if not self.take("null"):
                self.fail('expected "null" after "is".')
            return Truth(empty == wanted, empty != wanted)
        if self.take("in"):
            choices = self.choices(values, token)
            hit = np.logical_or.reduce([np.asarray(values == choice) for choice in choices])
        elif self.peek.kind == "op":
            operator = self.peek
            self.next += 1
            value = self.value(values, token)
            if operator.text not in ("==", "!=") and values.dtype == object:
                self.fail(f'"{token.text}" holds texts, which have no order. Use ==, != or in.', operator)
            hit = _OPS[operator.text](values, value)
        elif values.dtype == bool:
            hit = values
        else:
            self.fail(f'expected a comparison after "{token.text}": == != < <= > >=, in, is null.')
        return Truth(hit & ~empty, ~hit & ~empty)

    def choices(self, values: np.ndarray, column: _Token) -> list[object]:
        if not self.take("("):
            self.fail('expected "(" after "in".')
        found = [self.value(values, column)]
        while self.take(","):
            found.append(self.value(values, column))
        if not self.take(")"):
            self.fail('expected "," or ")".')
        return found

    def value(self, values: np.ndarray, column: _Token) -> object:
        token = self.peek
        found: object
        if token.kind == "number":
            found = float(token.text)
        elif token.kind == "text":
            found = token.text[1:-1]
        elif token.text in ("true", "false"):
            found = token.text == "true"
        else:
            self.fail(f'expected a number, a quoted text, true or false, got "{token.text or "the end"}".')
        wanted: type = str if values.dtype == object else bool if values.dtype == bool else float
        if type(found) is not wanted:
            names = {str: "texts", bool: "true or false", float: "numbers"}
            self.fail(f'"{column.text}" holds {names[wanted]}; {token.text} is none.', token)
        self.next += 1
        return found


def _column(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as bool, float64 or object (text) with a filler in empty cells, and which cells are empty."""
    column = table[name].combine_chunks()
    empty = column.is_null(nan_is_null=pa.types.is_floating(column.type)).to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(column.type):
        return column.fill_null(False).to_numpy(zero_copy_only=False), empty
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False), empty
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
        return column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False), empty
    raise InputError(f'Eligibility expression: column "{name}" is a {column.type}; only numbers, texts and true/false can be compared.')
