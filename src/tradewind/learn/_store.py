"""Fitted models on disk without pickle: one JSON file for values, one npz for arrays, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, SchemaError

FORMAT = 1
Arrays = dict[str, NDArray[Any]]


def pack(prefix: str, names: Sequence[str] | NDArray[np.object_]) -> Arrays:
    """Texts as two plain arrays: UTF-8 bytes and where each text ends."""
    encoded = [str(name).encode() for name in names]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {f"{prefix}.bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{prefix}.ends": ends}


def unpack(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.object_]:
    """The inverse of :func:`pack`, object [n]."""
    ends, data = arrays[f"{prefix}.ends"], arrays[f"{prefix}.bytes"].tobytes()
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    names = np.empty(len(ends), dtype=object)
    names[:] = [data[start:end].decode() for start, end in zip(starts, ends, strict=True)]
    return names


def write(path: Path, values: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a model folder beside ``path`` and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = path.with_name(path.name + ".writing"), path.with_name(path.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    (fresh / "model.json").write_text(json.dumps({"format": FORMAT, **values}, ensure_ascii=True, sort_keys=True), encoding="ascii")
    np.savez(fresh / "arrays.npz", allow_pickle=False, **arrays)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """The values and arrays of a model folder.

    Raises
    ------
    InputError
        There is no model in ``path``, or a newer Tradewind wrote it.
    """
    try:
        values = json.loads((path / "model.json").read_text(encoding="ascii"))
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise InputError(f"There is no model in {path}: {error.filename} is missing. Run learn first, or name another folder.") from error
    except ValueError as error:
        raise SchemaError(f"The model in {path} cannot be read: {error}. Run learn again.") from error
    if values.get("format") != FORMAT:
        raise SchemaError(f"The model in {path} has format {values.get('format')!r}; this version reads {FORMAT}. Run learn again.")
    return values, arrays
