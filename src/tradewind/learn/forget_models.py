"""Take people out of the files of fitted models: who was known, whose neighbours they were, what they did last.

A model's files keep rows per customer only where the method needs them: the names of those it learned from, the rows of the
user neighbourhood, the visits of the session neighbourhood, the open ends of the item graph, the facts of the rankers. Those rows
go, in all versions. What a person added to sums (item factors, weights of a network, counts of the graph) cannot be taken out of
a fitted model: for that the version has a deadline by which it is learned anew (``collect/erase_trained.py``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.collect.erase_clean import People, personal
from tradewind.engine.files import atomic_write
from tradewind.engine.home import Home
from tradewind.learn import _store
from tradewind.learn.registry import _turn

Arrays = dict[str, NDArray[Any]]
# By the last part of a list of customers: where its segments begin, and the arrays that are cut with it.
SEGMENTS: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {
    "customers": (("indptr", ("indices", "data")), ("offsets", ("item", "weight", "at"))),
    "tail.customers": (("tail.offsets", ("tail.item", "tail.weight", "tail.at")),),
}
ROWS: Mapping[str, Sequence[str]] = {"people": ("facts.customer",), "known": ()}


def forget(home: Home, people: People) -> int:
    """Rewrite every file of every stored model that knows one of ``people``; returns how many files."""
    count = 0
    for shelf in sorted(path for path in (home.root / "models").glob("*") if path.is_dir()):
        with _turn(shelf):
            count += sum(_forget(path, people) for path in sorted(shelf.rglob("*")) if path.is_file())
    return count


def _forget(path: Path, people: People) -> bool:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            arrays: Arrays = {name: stored[name] for name in stored.files}
        if not scrub(arrays, people):
            return False
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        atomic_write(path, buffer.getvalue())
        return True
    return people.clean_file(path)


def scrub(arrays: Arrays, people: People) -> bool:
    """Take people out of the arrays of a model (see ``learn/_store.py``); True when there was anybody."""
    changed = False
    for key in [name.removesuffix(".ends") for name in arrays if name.endswith(".ends")]:
        names = _store.unpack(key, arrays)
        gone = np.fromiter((name in people.ids for name in names), bool, len(names))
        prefix, _, last = key.rpartition("/")
        prefix += "/" if prefix else ""
        if gone.any() and last in SEGMENTS:
            _cut(arrays, prefix, SEGMENTS[last], ~gone)
        elif gone.any() and last in ROWS:
            for name in ROWS[last]:
                rows = arrays[prefix + name]
                arrays[prefix + name] = rows[np.append(~gone, np.ones(len(rows) - len(gone), bool))]
        if gone.any() and (last in SEGMENTS or last in ROWS):
            names = names[~gone]
        fresh = [people.clean(name, of_person=personal(key)) for name in names]
        if gone.any() or fresh != list(names):
            arrays |= _store.pack(key, fresh)
            changed = True
    return changed


def _cut(arrays: Arrays, prefix: str, segments: Sequence[tuple[str, Sequence[str]]], keep: NDArray[np.bool_]) -> None:
    for ends, columns in segments:
        if prefix + ends not in arrays:
            continue
        offsets = arrays[prefix + ends]
        lengths = np.diff(offsets)
        stays = np.repeat(keep, lengths)
        for name in columns:
            arrays[prefix + name] = arrays[prefix + name][stays]
        arrays[prefix + ends] = np.concatenate(([0], np.cumsum(lengths[keep]))).astype(offsets.dtype)
