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


class Cells(dict[str, tuple[np.ndarray, np.ndarray]]):
    """The columns of a table as values and where they are empty; read when first asked for, once."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        self[name] = found = _column(self._table, name)
        return found


Condition = Callable[[Cells], Truth]


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
    return compiled(expression, table.schema)(Cells(table)).yes


def compiled(expression: str, schema: pa.Schema) -> Condition:
    """The expression read once for all tables of ``schema``; raises as :func:`matches`."""
    return _Parser(expression, schema).run()


def columns(expression: str) -> set[str]:
    """The column names that an expression mentions (also when it is wrong elsewhere)."""
    return {token.text for token in _scan(expression) if token.kind == "word" and token.text not in _WORDS}


@dataclass(frozen=True)
class Part:
    """One comparison of an expression: its words, the column, and the numbers that the column is compared with."""

    text: str
    column: str
    numbers: tuple[float, ...]


def parts(expression: str) -> list[Part]:
    """The comparisons of an expression that can be read, in order; each is an expression of its own."""
    tokens, found, at = _scan(expression), [], 0
    while at < len(tokens):
        if tokens[at].kind != "word" or tokens[at].text in _WORDS:
            at += 1
            continue
        last = at
        if tokens[at + 1].kind == "op":
            last = at + 2
        elif tokens[at + 1].text == "is":
            last = at + (3 if tokens[at + 2].text == "not" else 2)
        elif tokens[at + 1].text == "in":
            last = next(place for place in range(at, len(tokens)) if tokens[place].text == ")" and tokens[place].kind == "mark")
        numbers = tuple(float(token.text) for token in tokens[at : last + 1] if token.kind == "number")
        end = tokens[last].at + len(tokens[last].text)
        found.append(Part(expression[tokens[at].at : end], tokens[at].text, numbers))
        at = last + 1
    return found


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
    """Recursive descent; every rule gives a function of the cells."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self.text, self.schema = text, schema
        self.tokens = _scan(text)
        self.next = 0
        self.depth = 0

    def run(self) -> Condition:
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

    def disjunction(self) -> Condition:
        found = self.conjunction()
        while self.take("or"):
            found = _or(found, self.conjunction())
        return found

    def conjunction(self) -> Condition:
        found = self.negation()
        while self.take("and"):
            found = _and(found, self.negation())
        return found

    def negation(self) -> Condition:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(f"nested deeper than {_DEEPEST} levels.")
        if self.take("not"):
            found = _not(self.negation())
        elif self.take("("):
            found = self.disjunction()
            if not self.take(")"):
                self.fail('expected ")".')
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def comparison(self) -> Condition:
        token = self.peek
        if token.kind != "word" or token.text in _WORDS:
            self.fail(f'expected a column of the profile, got "{token.text or "the end"}".')
        name, known = token.text, self.schema.names
        if name not in known:
            self.fail(f'there is no column "{name}".{did_you_mean(name, known)} Known: {", ".join(known)}.')
        self.next += 1
        kind = _kind(name, self.schema.field(name).type)
        if self.take("is"):
            wanted = not self.take("not")
            if not self.take("null"):
                self.fail('expected "null" after "is".')
            return _empty(name, wanted=wanted)
        if self.take("in"):
            choices = self.choices(kind, token)
            return _test(name, lambda values: np.logical_or.reduce([np.asarray(values == choice) for choice in choices]))
        if self.peek.kind == "op":
            operator = self.peek
            self.next += 1
            value = self.value(kind, token)
            if operator.text not in ("==", "!=") and kind is str:
                self.fail(f'"{name}" holds texts, which have no order. Use ==, != or in.', operator)
            compare = _OPS[operator.text]
            return _test(name, lambda values: compare(values, value))
        if kind is not bool:
            self.fail(f'expected a comparison after "{name}": == != < <= > >=, in, is null.')
        return _test(name, lambda values: values)

    def choices(self, kind: type, column: _Token) -> list[object]:
        if not self.take("("):
            self.fail('expected "(" after "in".')
        found = [self.value(kind, column)]
        while self.take(","):
            found.append(self.value(kind, column))
        if not self.take(")"):
            self.fail('expected "," or ")".')
        return found

    def value(self, kind: type, column: _Token) -> object:
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
        if type(found) is not kind:
            names = {str: "texts", bool: "true or false", float: "numbers"}
            self.fail(f'"{column.text}" holds {names[kind]}; {token.text} is none.', token)
        self.next += 1
        return found


def _or(left: Condition, right: Condition) -> Condition:
    def both(cells: Cells) -> Truth:
        one, other = left(cells), right(cells)
        return Truth(one.yes | other.yes, one.no & other.no)

    return both


def _and(left: Condition, right: Condition) -> Condition:
    def both(cells: Cells) -> Truth:
        one, other = left(cells), right(cells)
        return Truth(one.yes & other.yes, one.no | other.no)

    return both


def _not(inner: Condition) -> Condition:
    def turned(cells: Cells) -> Truth:
        found = inner(cells)
        return Truth(found.no, found.yes)

    return turned


def _empty(name: str, *, wanted: bool) -> Condition:
    def tested(cells: Cells) -> Truth:
        _, empty = cells[name]
        return Truth(empty == wanted, empty != wanted)

    return tested


def _test(name: str, hit: Callable[[np.ndarray], np.ndarray]) -> Condition:
    def tested(cells: Cells) -> Truth:
        values, empty = cells[name]
        found = hit(values)
        return Truth(found & ~empty, ~found & ~empty)

    return tested


def _kind(name: str, kind: pa.DataType) -> type:
    """What a column holds: float, str or bool."""
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return float
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return str
    raise InputError(f'Eligibility expression: column "{name}" is a {kind}; only numbers, texts and true/false can be compared.')


def _column(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as bool, float64 or object (text) with a filler in empty cells, and which cells are empty."""
    column = table[name].combine_chunks()
    empty = column.is_null(nan_is_null=pa.types.is_floating(column.type)).to_numpy(zero_copy_only=False)
    kind = _kind(name, column.type)
    if kind is bool:
        return column.fill_null(False).to_numpy(zero_copy_only=False), empty
    if kind is float:
        return column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False), empty
    return column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False), empty
