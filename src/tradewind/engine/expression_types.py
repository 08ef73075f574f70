"""Whether an expression fits the columns that it speaks of: their names, and what may be compared with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from tradewind.engine import expression_tree as node
from tradewind.engine.expression import Language, fail, parse
from tradewind.engine.expression_tree import Kind, names
from tradewind.errors import did_you_mean

SHOWN = 60  # names that an error lists
_HOLDS = {"text": "texts", "flag": "true or false", "number": "numbers"}
_KIND: dict[type, Kind] = {float: "number", str: "text", bool: "flag"}


def read(text: str, kinds: Mapping[str, Kind], language: Language, *, start: int = 0) -> node.Condition:
    """The tree of the expression that begins at ``start`` of a text, over columns of known kinds.

    Raises
    ------
    InputError
        It cannot be read, names an unknown column, or compares what cannot be compared; a caret shows where.
    """
    tree = parse(text, language, start=start)
    _Types(text, kinds, language).condition(tree)
    return tree


class _Types:
    def __init__(self, text: str, kinds: Mapping[str, Kind], language: Language) -> None:
        self.text, self.kinds, self.language = text, kinds, language

    def fail(self, at: int, why: str) -> NoReturn:
        fail(self.language, self.text, at, why)

    def condition(self, tree: node.Condition) -> None:
        if isinstance(tree, node.Every | node.Some):
            for term in tree.terms:
                self.condition(term)
        elif isinstance(tree, node.Not):
            self.condition(tree.inner)
        elif isinstance(tree, node.Null):
            self.kind(tree.name)
        elif isinstance(tree, node.Holds):
            if self.kind(tree.name) != "flag":
                self.fail(tree.end, f'expected a comparison after "{tree.name.name}": == != < <= > >=, in, is null.')
        elif isinstance(tree, node.Compare):
            self.compare(tree)
        else:
            self.among(tree)

    def compare(self, tree: node.Compare) -> None:
        self.named(tree.left, tree.right, start=tree.start)
        self.alike(tree.left, tree.right)
        if self.language.plain:
            self.plain(tree.left)
            if not isinstance(tree.right, node.Written):
                self.fail(tree.right.at, f"expected a number, a quoted text, true or false after the name of a {self.language.noun}.")
        if tree.op not in ("==", "!=") and (kind := self.kind(tree.left)) != "number":
            self.fail(tree.at, f"{self.shown(tree.left)} holds {_HOLDS[kind]}, which have no order. Use ==, != or in.")

    def among(self, tree: node.Among) -> None:
        self.named(tree.left, start=tree.start)
        if self.language.plain:
            self.plain(tree.left)
        for choice in tree.choices:
            self.alike(tree.left, choice)

    def named(self, *values: node.Value, start: int) -> None:
        if not [name for value in values for name in names(value)]:
            self.fail(start, f"this names no {self.language.noun}, so that it is always the same.")

    def plain(self, left: node.Value) -> None:
        if not isinstance(left, node.Name):
            noun = self.language.noun
            self.fail(left.at, f"a comparison begins with the name of a {noun}, without arithmetic: {noun} OP value.")

    def alike(self, left: node.Value, right: node.Value) -> None:
        one, other = self.kind(left), self.kind(right)
        if one == other:
            return
        if isinstance(left, node.Written) and not isinstance(right, node.Written):
            left, right, one = right, left, other
        written = isinstance(right, node.Written)
        self.fail(right.at, f"{self.shown(left)} holds {_HOLDS[one]}; {self.shown(right)} {'is none' if written else 'does not'}.")

    def shown(self, value: node.Value) -> str:
        if isinstance(value, node.Operation):
            return "the result"
        return f'"{value.name}"' if isinstance(value, node.Name) else _text(value.value)

    def kind(self, value: node.Value) -> Kind:
        """What a value is."""
        if isinstance(value, node.Written):
            return _KIND[type(value.value)]
        if isinstance(value, node.Name):
            if value.name not in self.kinds:
                noun = self.language.noun
                hint = did_you_mean(value.name, self.kinds)
                listed = ", ".join(self.kinds) if len(self.kinds) <= SHOWN else f"{len(self.kinds)} names"
                self.fail(value.at, f'there is no {noun} "{value.name}".{hint} Known: {listed}.')
            return self.kinds[value.name]
        for side in (value.left, value.right):
            if (kind := self.kind(side)) != "number":
                self.fail(side.at, f"{self.shown(side)} holds {_HOLDS[kind]}; {value.op} takes numbers.")
        return "number"


def _text(value: float | str | bool) -> str:
    return f"{value:g}" if type(value) is float else str(value).lower() if isinstance(value, bool) else f'"{value}"'
