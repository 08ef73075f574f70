"""Risk rules over columns: all rows at once, in blocks that stay in the cache, every comparison computed once for all rules.

Texts are compared as codes: a column is encoded once, a comparison looks its text up and compares whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.engine.expression_values import Cells, truth
from tradewind.errors import InputError, unknown
from tradewind.learn.risk_rules import VERDICTS, Rule

BLOCK = 1 << 15  # rows at a time
Bools = NDArray[np.bool_]
_ARROW = {"number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}


@dataclass(frozen=True)
class _Column:
    """``values``: float64, bool or int32 codes (-1: empty); ``codes``: text -> code."""

    values: NDArray[Any]
    empty: Bools
    codes: dict[str, int] | None = None


class _Block(Cells):
    """The rows from ``start`` to ``end`` of all columns."""

    def __init__(self, columns: Mapping[str, _Column], start: int, end: int) -> None:
        super().__init__({name: (one.values[start:end], one.empty[start:end]) for name, one in columns.items()})
        self._columns = columns

    def equal(self, name: str, value: str) -> NDArray[Any]:
        codes = self._columns[name].codes
        assert codes is not None
        return np.asarray(self[name][0] == codes.get(value, -2))

    def same(self, name: str, other: str) -> NDArray[Any]:
        mine, theirs = self._columns[name].codes, self._columns[other].codes
        if mine is None or theirs is None:
            return super().same(name, other)
        turned = np.array([*(mine.get(text, -2) for text in theirs), -1])  # their code -> mine; the last for empty cells
        return np.asarray(self[name][0] == turned[self[other][0]])


def fired(rules: Sequence[Rule], columns: Mapping[str, Any] | pa.Table, kinds: Mapping[str, str]) -> Bools:
    """[rules, rows] where each rule's condition is surely true.

    ``columns``: one NumPy or Arrow array per field that a rule looks at, all of n rows; empty cells are null, None or NaN, and a
    number that is not finite counts as empty. Same answers as ``risk_rules.fired`` row by row.

    Raises
    ------
    InputError
        A field is missing, has another kind, or another number of rows.
    """
    held, rows = _held(rules, columns, kinds)
    out = np.zeros((len(rules), rows), dtype=bool)
    for start in range(0, rows, BLOCK):
        block, seen = _Block(held, start, min(start + BLOCK, rows)), dict[Any, Any]()
        for number, rule in enumerate(rules):
            out[number, start : start + BLOCK] = truth(rule.tree, block, seen).yes
    return out


def verdicts(rules: Sequence[Rule], hits: Bools) -> NDArray[np.int8]:
    """[rows] index into ``VERDICTS`` of the strictest rule that fired; 0 (allow) where none did."""
    out = np.zeros(hits.shape[1], dtype=np.int8)
    for rule, hit in zip(rules, hits, strict=True):
        np.maximum(out, np.where(hit, np.int8(VERDICTS.index(rule.verdict)), np.int8(0)), out=out)
    return out


def _held(rules: Sequence[Rule], columns: Mapping[str, Any] | pa.Table, kinds: Mapping[str, str]) -> tuple[dict[str, _Column], int]:
    there = columns.column_names if isinstance(columns, pa.Table) else list(columns)
    held: dict[str, _Column] = {}
    for name in dict.fromkeys(name for rule in rules for name in rule.fields):
        if name not in there:
            raise unknown("column", name, there)
        held[name] = _column(name, columns[name], kinds[name])
    sizes = {name: len(one.values) for name, one in held.items()}
    rows = columns.num_rows if isinstance(columns, pa.Table) else len(next(iter(columns.values()), ()))
    if odd := next((name for name, size in sizes.items() if size != rows), None):
        raise InputError(f'The column "{odd}" has {sizes[odd]:,} rows, others have {rows:,}. Give one value per row for each.')
    return held, rows


def _column(name: str, given: Any, kind: str) -> _Column:
    if isinstance(given, np.ndarray) and given.dtype == np.float64 and kind == "number":
        return _Column(given, ~np.isfinite(given))
    array = _arrow(name, given, kind)
    if kind == "text":
        encoded = array.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return _Column(codes, codes == -1, {text: code for code, text in enumerate(encoded.dictionary.to_pylist())})
    empty = array.is_null(nan_is_null=kind == "number").to_numpy(zero_copy_only=False)
    values = array.fill_null(False if kind == "flag" else 0.0).to_numpy(zero_copy_only=False)
    return _Column(values, empty | ~np.isfinite(values) if kind == "number" else empty)


def _arrow(name: str, given: Any, kind: str) -> pa.Array:
    try:
        array = given if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(given, from_pandas=True)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if pa.types.is_null(array.type):
            return array.cast(_ARROW[kind])
        held = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
        if _kind(held) != kind:
            raise InputError(f'The column "{name}" is a {array.type}; the field is a {kind}.')
        return array.cast(_ARROW[kind], safe=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f'The column "{name}" cannot be read as a {kind}: {error}.') from error


def _kind(held: pa.DataType) -> str:
    if pa.types.is_boolean(held):
        return "flag"
    if pa.types.is_string(held) or pa.types.is_large_string(held):
        return "text"
    return "number" if pa.types.is_integer(held) or pa.types.is_floating(held) else "other"
