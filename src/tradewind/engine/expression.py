"""The language of conditions, read once into a tree: audiences of ``decide`` and risk rules of ``learn`` are written in it.

Grammar: ``or`` < ``and`` < ``not`` < comparison < ``+ -`` < ``* /`` < sign. A comparison is ``VALUE OP VALUE`` with ``== != < <= > >=``,
``VALUE in (..., ...)``, ``name is null``, ``name is not null``, or the name of a yes/no column alone. Values are names of columns,
numbers, quoted texts, ``true`` and ``false``; numbers can be added, subtracted, multiplied and divided. A plain language
(``Language.plain``) has no arithmetic and compares a column with written values only, so that one can say where it turns over.

Truth has three values (Kleene). An empty cell, and the result of a division by zero or of an overflow, makes a comparison unknown,
also ``!=`` and ``in``; ``not`` of unknown is unknown; ``false and unknown`` is false, ``true or unknown`` is true. What is unknown at
the end does not hold: whoever wants the empty cells says ``is null``. ``engine.expression_types`` judges which columns fit,
``engine.expression_values`` computes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from tradewind.engine.expression_tree import Among, Compare, Condition, Every, Holds, Name, Not, Null, Operation, Some, Value, Written
from tradewind.errors import InputError

LONGEST = 10_000  # characters of an expression
DEEPEST = 50  # brackets in brackets; operations in a row
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>"[^"]*"|'[^']*')|(?P<op><=|>=|==|!=|<|>|[-+*/])"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<mark>[(),]))"""
)
_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_WRITTEN = {"=": "==", "&": "and", "|": "or", "!": "not", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'"}


@dataclass(frozen=True, slots=True)
class Language:
    """What an expression is called in its errors, what it calls a name, and whether it is the plain one."""

    title: str
    noun: str = "column"
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression; ``kind``: number, text, op, word, mark or end."""

    kind: str
    text: str
    at: int


def parse(text: str, language: Language, *, start: int = 0) -> Condition:
    """The tree of an expression whose columns are not known yet; raises InputError with a caret where it cannot be read."""
    return _Parser(text, language, start).run()


def columns(text: str, language: Language) -> set[str]:
    """The names that an expression mentions (also when it is wrong elsewhere)."""
    return {token.text for token in scan(text, language) if token.kind == "word" and token.text not in WORDS}


def scan(text: str, language: Language, *, start: int = 0) -> list[Token]:
    """The words of an expression, the last of kind "end"; raises InputError with a caret at what is no word."""
    if len(text) > LONGEST:
        raise InputError(f"{language.title}: it has {len(text):,} characters; at most {LONGEST:,} are read. Write several shorter ones.")
    tokens, at = [], start
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if not found:
            odd = at + len(text[at:]) - len(text[at:].lstrip())
            fail(language, text, odd, _unreadable(text[odd]))
        kind = str(found.lastgroup)
        tokens.append(Token(kind, found.group(kind), found.start(kind)))
        at = found.end()
    return [*tokens, Token("end", "", end)]


def fail(language: Language, text: str, at: int, why: str) -> NoReturn:
    """Raise the error for a place in an expression: the line, and a caret below the place."""
    before = text[:at].rpartition("\n")[2]
    line = text[at - len(before) :].partition("\n")[0].replace("\t", " ")
    wide = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in before)
    raise InputError(f"{language.title}: {why}\n    {line}\n    {' ' * wide}^")


def _unreadable(sign: str) -> str:
    if sign in "\"'":
        return f"the text that begins here has no end. Close it with {sign}."
    narrow = unicodedata.normalize("NFKC", sign)
    write = _WRITTEN.get(sign) or (narrow if narrow != sign and narrow in "()<>=!+-*/,\"'" else "")
    why = f"Write {_WRITTEN.get(write, write)} instead." if write else "A text needs quotes; comparisons are == != < <= > >=."
    return f'cannot read "{sign}". {why}'


class _Parser:
    """Recursive descent. A value and a condition may stand at the same place; who takes it says which one it needs."""

    def __init__(self, text: str, language: Language, start: int) -> None:
        self.text, self.language = text, language
        self.tokens = scan(text, language, start=start)
        self.next = 0
        self.depth = 0

    def run(self) -> Condition:
        found = self.true(self.disjunction())
        if self.peek.kind != "end":
            self.fail(f'expected "and", "or" or the end, got "{self.peek.text}".')
        return found

    @property
    def peek(self) -> Token:
        return self.tokens[self.next]

    @property
    def reached(self) -> int:
        """Where the word before ends."""
        last = self.tokens[self.next - 1]
        return last.at + len(last.text)

    def fail(self, why: str, at: int | None = None) -> NoReturn:
        fail(self.language, self.text, self.peek.at if at is None else at, why)

    def take(self, *texts: str) -> Token | None:
        token = self.peek
        if token.kind not in ("word", "mark", "op") or token.text not in texts:
            return None
        self.next += 1
        return token

    def deeper(self, by: int) -> None:
        self.depth += by
        if self.depth > DEEPEST:
            self.fail(f"nested deeper than {DEEPEST} levels.")

    def true(self, found: Value | Condition) -> Condition:
        """A condition; a name alone is one that says yes or no."""
        if isinstance(found, Name):
            return Holds(found, found.at, found.at + len(found.name))
        if isinstance(found, Written | Operation):
            self.fail("expected a comparison after this value: == != < <= > >=, in.", None if isinstance(found, Written) else found.at)
        return found

    def value(self, found: Value | Condition, at: int) -> Value:
        if not isinstance(found, Name | Written | Operation):
            self.fail("expected a value here, got a comparison, which is none.", at)
        return found

    def disjunction(self) -> Value | Condition:
        found = self.conjunction()
        if self.peek.text != "or":
            return found
        terms = [self.true(found)]
        while self.take("or"):
            terms.append(self.true(self.conjunction()))
        return Some(tuple(terms))

    def conjunction(self) -> Value | Condition:
        found = self.negation()
        if self.peek.text != "and":
            return found
        terms = [self.true(found)]
        while self.take("and"):
            terms.append(self.true(self.negation()))
        return Every(tuple(terms))

    def negation(self) -> Value | Condition:
        if not self.take("not"):
            return self.comparison()
        self.deeper(1)
        found = Not(self.true(self.negation()))
        self.deeper(-1)
        return found

    def comparison(self) -> Value | Condition:
        start = self.peek.at
        left = self.sum()
        if isinstance(left, Name) and self.take("is"):
            wanted = not self.take("not")
            if not self.take("null"):
                self.fail('expected "null" after "is".')
            return Null(left, wanted, start, self.reached)
        if self.take("in"):
            choices = self.choices()
            return Among(self.value(left, start), choices, start, self.reached)
        operator = self.take(*_COMPARE)
        if operator is None:
            return left
        at = self.peek.at
        right = self.value(self.sum(), at)
        found = Compare(operator.text, self.value(left, start), right, operator.at, start, self.reached)
        if self.peek.text in _COMPARE and self.peek.kind == "op":
            middle = self.text[at : self.reached]
            self.fail(f"comparisons cannot be chained. Write: {self.text[start : self.reached]} and {middle} {self.peek.text} ...")
        return found

    def choices(self) -> tuple[Written, ...]:
        if not self.take("("):
            self.fail('expected "(" after "in".')
        found = [self.choice()]
        while self.take(","):
            found.append(self.choice())
        if not self.take(")"):
            self.fail('expected "," or ")".')
        return tuple(found)

    def choice(self) -> Written:
        at = self.peek.at
        found = self.sign()
        if not isinstance(found, Written):
            self.fail('expected a number, a quoted text, true or false after "in".', at)
        return found

    def sum(self) -> Value | Condition:
        return self.chain(("+", "-"), lambda: self.chain(("*", "/"), self.sign))

    def chain(self, signs: tuple[str, str], inner: Callable[[], Value | Condition]) -> Value | Condition:
        start, count = self.peek.at, 0
        found = inner()
        while operator := self.take(*signs):
            count += 1
            if count > DEEPEST:
                self.fail(f"more than {DEEPEST} operations in a row.", operator.at)
            at = self.peek.at
            right = self.value(inner(), at)
            found = Operation(operator.text, self.value(found, start), right, operator.at)
        return found

    def sign(self) -> Value | Condition:
        minus = self.take("-")
        if minus is None:
            return self.single()
        self.deeper(1)
        at = self.peek.at
        inner = self.value(self.sign(), at)
        self.deeper(-1)
        if isinstance(inner, Written) and type(inner.value) is float:
            return Written(-inner.value, minus.at)
        return Operation("-", Written(0.0, minus.at), inner, minus.at)

    def single(self) -> Value | Condition:
        token = self.peek
        if self.take("("):
            self.deeper(1)
            found = self.disjunction()
            if not self.take(")"):
                self.fail('expected ")".')
            self.deeper(-1)
            return found
        if token.kind not in ("number", "text", "word") or token.text in WORDS - {"true", "false"}:
            wanted = f"expected a number, a quoted text, true, false or the name of a {self.language.noun}"
            self.fail(f'{wanted}, got "{token.text or "the end"}".')
        self.next += 1
        if token.kind == "number":
            if (number := float(token.text)) == float("inf"):
                self.fail(f"{token.text} is too large a number.", token.at)
            return Written(number, token.at)
        if token.kind == "text":
            return Written(token.text[1:-1], token.at)
        return Written(token.text == "true", token.at) if token.text in WORDS else Name(token.text, token.at)
