"""Hashes that decide: ids of decisions, uniform draws and fingerprints of tables, the same on every machine."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_LANES = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03))
_FACTORS, _STEPS = tuple(map(int, _MIX)), tuple(map(int, _LANES))
_ONES, _MISSING = 2**64 - 1, 0x5AFE5AFE5AFE5AFE


def digest(*parts: object) -> str:
    """32 hexadecimal digits of SHA-256 over ``parts``, unambiguously joined."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def digests(inputs: str, names: Iterable[str]) -> list[str]:
    """32 hexadecimal digits per name, of SHA-256 over ``inputs`` and the name."""
    start = hashlib.sha256(f"{inputs}\x1f".encode())
    found = []
    for name in names:
        state = start.copy()
        state.update(name.encode())
        found.append(state.hexdigest()[:32])
    return found


def canonical(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON with sorted keys and no blanks: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def uniforms(seed: int, ids: Iterable[str], *, purpose: str = "draw") -> np.ndarray:
    """One number in [0, 1) per id from SHA-256 of purpose, seed and id; float64, 53 bits."""
    start = hashlib.sha256(f"{purpose}\x1f{seed}\x1f".encode())
    values = []
    for name in ids:
        state = start.copy()
        state.update(name.encode())
        values.append(int.from_bytes(state.digest()[:8], "big") >> 11)
    return np.array(values, dtype=np.float64) / float(1 << 53)


@cache
def _salt(name: str) -> np.uint64:
    return np.uint64(int(digest(name)[:16], 16))


def row_hashes(table: pa.Table) -> np.ndarray:
    """A 128-bit hash per row over names and values of all columns; uint64 of shape (rows, 2). Nulls are values."""
    lanes = np.zeros((table.num_rows, 2), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name in sorted(table.column_names):
            bits = _bits(table[name]) ^ _salt(name)
            for lane, step in enumerate(_LANES):
                lanes[:, lane] = _mix(lanes[:, lane] * step + bits + step)
    return lanes


def row_hash(table: pa.Table) -> str:
    """:func:`hex_rows` of the only row of ``table``, without the cost of arrays."""
    row = table.to_pylist()[0]
    lanes = [0, 0]
    for name in sorted(row):
        bits = _one(row[name], table.schema.field(name).type)
        if bits is None:
            return hex_rows(row_hashes(table))[0]
        bits ^= int(_salt(name))
        lanes = [_mixed(lane * step + bits + step) for lane, step in zip(lanes, _STEPS, strict=True)]
    return "".join(f"{lane:016x}" for lane in lanes)


def _one(value: Any, kind: pa.DataType) -> int | None:
    """The bits of one cell as in ``_bits``; None for a type that is seldom enough to take the long way."""
    if value is None:
        return _MISSING
    if pa.types.is_floating(kind):
        return _mixed(int.from_bytes(struct.pack("<d", value + 0.0), "little"))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _mixed(int(value))
    if pa.types.is_string(kind):
        return _mixed(int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big"))
    return None


def _mixed(value: int) -> int:
    """``_mix`` of one integer."""
    value &= _ONES
    value = (value ^ (value >> 30)) * _FACTORS[0] & _ONES
    value = (value ^ (value >> 27)) * _FACTORS[1] & _ONES
    return value ^ (value >> 31)


def hex_rows(lanes: np.ndarray) -> list[str]:
    """The rows of :func:`row_hashes` as 32 hexadecimal digits each."""
    text = np.ascontiguousarray(lanes.astype(">u8")).tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def fingerprint(table: pa.Table) -> str:
    """Hash of a whole table: column names, values and the order of the rows."""
    state = hashlib.sha256(canonical(sorted(table.column_names)).encode())
    state.update(row_hashes(table).tobytes())
    return state.hexdigest()[:32]


def _mix(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return np.asarray(value ^ (value >> np.uint64(31)))


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], type=column.type)
    missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        number = _filled(values, 0.0).astype(np.float64)
        bits = (number + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    elif pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        bits = _filled(values.cast(pa.int64()), 0).view(np.uint64)
    elif pa.types.is_timestamp(values.type):
        bits = _filled(values.cast(pa.timestamp("us", tz=values.type.tz)).cast(pa.int64()), 0).view(np.uint64)
    else:
        encoded = pc.dictionary_encode(values.cast(pa.string()) if not pa.types.is_nested(values.type) else _as_text(values))
        known = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big") for word in encoded.dictionary.to_pylist()]
        codes = _filled(encoded.indices, 0)
        bits = np.array(known or [0], dtype=np.uint64)[codes]
    mixed = _mix(bits)
    return mixed if missing is None else np.where(missing, np.uint64(_MISSING), mixed)


def _filled(values: pa.Array, filler: float) -> np.ndarray:
    """The values with a filler in empty cells."""
    return np.asarray((values.fill_null(filler) if values.null_count else values).to_numpy(zero_copy_only=False))


def _as_text(values: pa.Array) -> pa.Array:
    return pa.array([None if value is None else canonical(value) for value in values.to_pylist()], type=pa.string())
