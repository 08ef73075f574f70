"""Random risk rules and rows: every rule as a text of ours and as SQL, so that a database that we did not write can be the judge."""

from __future__ import annotations

import math
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = {"a": "number", "b": "number", "c": "number", "s": "text", "t": "text", "f": "flag", "g": "flag"}
TEXTS = ("cn", "de", "", "\u676d\u5dde", "a b")
NUMBERS = (0.0, 1.0, -1.0, 2.0, 3.0, 0.5, 100.0, 1e200, -1e200, 1e-300)
_NAMES = re.compile(r"\b[abc]\b")
_OR, _AND, _NOT, _TEST, _SUM, _PRODUCT, _SIGN, _ATOM = range(8)


@dataclass(frozen=True)
class Made:
    """A piece of a rule: our text, how tightly it binds, and the same in SQL."""

    text: str
    level: int
    sql: str


class Maker:
    """Draws conditions over ``KINDS``, with brackets where they are needed and sometimes where they are not."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def rule(self, deep: int = 4) -> tuple[str, str]:
        """A rule, and its condition in SQL."""
        made = self.condition(deep)
        return f"{self.pick(('allow', 'review', 'block'))} if {made.text}", made.sql

    def pick(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def within(self, made: Made, level: int) -> str:
        return f"({made.text})" if made.level < level or self.chance(0.1) else made.text

    def condition(self, deep: int) -> Made:
        draw = self.rng.random()
        if deep == 0 or draw < 0.3:
            return self.test(deep)
        if draw < 0.45:
            inner = self.condition(deep - 1)
            return Made(f"not {self.within(inner, _NOT)}", _NOT, f"(NOT {inner.sql})")
        word, level = ("and", _AND) if draw < 0.75 else ("or", _OR)
        terms = [self.condition(deep - 1) for _ in range(int(self.rng.integers(2, 4)))]
        sql = "(" + f" {word.upper()} ".join(term.sql for term in terms) + ")"
        return Made(f" {word} ".join(self.within(term, level + 1) for term in terms), level, sql)

    def test(self, deep: int) -> Made:
        kind = int(self.rng.integers(8))
        if kind == 0:
            name, wanted = self.pick(tuple(KINDS)), self.pick(("is null", "is not null"))
            return Made(f"{name} {wanted}", _TEST, f"({name} {wanted})")
        if kind == 1:
            flag = self.pick("fg")
            if self.chance(0.5):
                return Made(flag, _ATOM, flag)
            op, (text, sql) = self.pick(("==", "!=")), self.pick((("true", "1"), ("false", "0"), ("g", "g")))
            return Made(f"{flag} {op} {text}", _TEST, f"({flag} {op} {sql})")
        if kind == 2:
            op, text = self.pick(("==", "!=")), self.pick(TEXTS)
            other = self.pick(("t", f'"{text}"'))
            return Made(f"s {op} {other}", _TEST, f"(s {op} {'t' if other == 't' else _quoted(text)})")
        if kind == 3:
            some = [self.pick(TEXTS) for _ in range(int(self.rng.integers(1, 4)))]
            listed = ", ".join(_quoted(text) for text in some)
            return Made(f"t in ({listed})", _TEST, f"(t IN ({listed}))")
        if kind == 4:
            left, few = self.number(min(deep, 1)), [self.pick(NUMBERS) for _ in range(int(self.rng.integers(1, 4)))]
            if not _NAMES.search(left.sql):
                left = Made("c", _ATOM, "c")
            listed = ", ".join(map(repr, few))
            return Made(f"{self.within(left, _SUM)} in ({listed})", _TEST, f"({left.sql} IN ({listed}))")
        left, right = self.number(deep), self.number(deep)
        if not _NAMES.search(left.sql + " " + right.sql):
            left = Made("b", _ATOM, "b")
        op = self.pick(("==", "!=", "<", "<=", ">", ">="))
        return Made(f"{self.within(left, _SUM)} {op} {self.within(right, _SUM)}", _TEST, f"({left.sql} {op} {right.sql})")

    def number(self, deep: int) -> Made:
        draw = self.rng.random()
        if deep == 0 or draw < 0.6:
            if self.chance(0.7):
                name = self.pick("abc")
                return Made(name, _ATOM, name)
            value = abs(self.pick(NUMBERS))
            return Made(f"{value:g}", _ATOM, repr(value))
        if draw < 0.7:
            inner = self.number(deep - 1)
            return Made(f"-{self.within(inner, _SIGN)}", _SIGN, f"(-({inner.sql}))")
        left, right, op = self.number(deep - 1), self.number(deep - 1), self.pick("+-*/")
        level = _SUM if op in "+-" else _PRODUCT
        return Made(f"{self.within(left, level)} {op} {self.within(right, level + 1)}", level, f"finite({left.sql} {op} {right.sql})")


def rows(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Rows in which every field is sometimes not known, in each way in which one can say so."""
    made = []
    for _ in range(n):
        row: dict[str, Any] = {}
        for name, kind in KINDS.items():
            drawn = {"number": NUMBERS, "text": TEXTS, "flag": (True, False)}[kind]
            row[name] = drawn[int(rng.integers(len(drawn)))]
            if rng.random() < 0.15:
                row[name] = None if kind != "number" else (None, math.nan, math.inf)[int(rng.integers(3))]
        if rng.random() < 0.1:
            del row[list(KINDS)[int(rng.integers(len(KINDS)))]]
        made.append(row)
    return made


class Judge:
    """The rows in SQLite, which answers NULL for unknown; ``finite`` makes NULL of an overflow."""

    def __init__(self, some: list[dict[str, Any]]) -> None:
        self.base = sqlite3.connect(":memory:")
        self.base.create_function(
            "finite", 1, lambda value: value if value is not None and math.isfinite(value) else None, deterministic=True
        )
        sorts = {"number": "REAL", "text": "TEXT", "flag": "INTEGER"}
        self.base.execute(f"CREATE TABLE cells ({', '.join(f'{name} {sorts[kind]}' for name, kind in KINDS.items())})")
        values = [[_plain(row.get(name)) for name in KINDS] for row in some]
        self.base.executemany(f"INSERT INTO cells VALUES ({', '.join('?' * len(KINDS))})", values)

    def says(self, sql: str) -> list[bool | None]:
        """True, False or None per row."""
        return [None if answer is None else bool(answer) for (answer,) in self.base.execute(f"SELECT {sql} FROM cells ORDER BY rowid")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _quoted(text: str) -> str:
    return f"'{text}'"
