"""Every value that lies in a shop's places, opened: cells of ledgers, columns of Parquet files, packed texts of models, JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import MetaData, String, select

from tradewind.collect.erase_clean import personal
from tradewind.collect.vault import BURIED

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HEX = ("id", "decision_id", "plan_id", "message_id")  # columns of long-lived hashes: compared whole, and not hashed again
BATCH = 65_536
SQLITE = b"SQLite format 3\0"


class Cells:
    """Some texts of one place; compared at once. ``of_person``: they stand where a person does."""

    def __init__(self, values: pa.Array, *, of_person: bool) -> None:
        self._values = values
        self.of_person = of_person

    def __len__(self) -> int:
        return len(self._values)

    def counted(self) -> Iterator[tuple[str, int, bool]]:
        """Each different text, and the strings inside those that are JSON: how often it stands here, whether where a person does."""
        for one in pc.value_counts(self._values).to_pylist():
            if one["values"] is None:
                continue
            yield one["values"], one["counts"], self.of_person
            if one["values"][:1] in ("{", "["):
                yield from ((text, one["counts"], mine) for text, mine in strings(one["values"]))

    def find(self, whole: Mapping[str, str], parts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int]]:
        """How often a value equals one of ``whole``, or holds one of ``parts``; each value counts once per kind."""
        for kind in sorted(set(whole.values())):
            mine = [word for word, what in whole.items() if what == kind and (self.of_person or (word.lower(), kind) in parts)]
            hit = pc.is_in(self._values, value_set=pa.array(mine, pa.string()))
            for word in (word for word, what in whole.items() if what == kind and (word.lower(), kind) not in parts):
                if pc.any(pc.match_substring(self._values, f'"{word}"')).as_py():
                    hit = pc.or_(hit, pa.array([(word, True) in strings(text or "") for text in self._values.to_pylist()]))
            for word in (word for word, what in parts if what == kind):
                inside = pc.match_substring(self._values, word, ignore_case=True)
                if word[-1:].isdigit() and pc.any(inside).as_py():  # C12 is not in C123
                    inside = pa.array([_apart(text, word) for text in self._values.to_pylist()])
                hit = pc.or_(hit, pc.fill_null(inside, fill_value=False))
            if count := int(pc.sum(hit).as_py() or 0):
                yield kind, count


def _apart(text: str | None, word: str) -> bool:
    lower, at = (text or "").lower(), -1
    while (at := lower.find(word, at + 1)) >= 0:
        if not lower[at + len(word) : at + len(word) + 1].isdigit():
            return True
    return False


def cells(home: Home, paths: Sequence[Path], *, hashed: bool) -> Iterator[tuple[str, str, Cells]]:
    """Place, kind and values of everything in the shop and in ``paths``; ``hashed`` leaves out columns of hashes."""
    yield from _ledger(home)
    for top in (home.root, *paths):
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink() and path != home.root / "ledger.db":
                place = str(path.relative_to(home.root)) if path.is_relative_to(home.root) else str(path)
                yield from ((place, kind, Cells(values, of_person=mine)) for kind, values, mine in opened(path, hashed=hashed))


def _ledger(home: Home) -> Iterator[tuple[str, str, Cells]]:
    found = MetaData()
    with home.ledger.read() as conn:
        found.reflect(conn)
        for name, table in sorted(found.tables.items()):
            for column in table.columns:
                if not isinstance(column.type, String) or (name == "suppressions" and column.name == "address_hash"):
                    continue
                for rows in conn.execute(select(column).execution_options(stream_results=True)).scalars().partitions(BATCH):
                    texts = [row for row in rows if row is None or not row.startswith(BURIED)]
                    yield (
                        f"ledger {name}.{column.name}",
                        "values of the ledger",
                        Cells(pa.array(texts, pa.string()), of_person=personal(column.name)),
                    )


def opened(path: Path, *, hashed: bool = False) -> Iterator[tuple[str, pa.Array, bool]]:
    """The texts of one file by its kind, and whether they stand where a person does; nothing for mere bytes."""
    with path.open("rb") as handle:
        head = handle.read(len(SQLITE))
    if head[:4] == b"PAR1":
        yield from (("values of tables", values, mine) for values, mine in _parquet(path, hashed=hashed))
    elif head == SQLITE:
        yield from (("values of other ledgers", values, mine) for values, mine in _sqlite(path))
    elif path.suffix == ".npz":
        yield from (("texts of models", values, mine) for values, mine in _npz(path))
    elif path.suffix in (".json", ".jsonl"):
        lines = path.read_text(encoding="utf-8", errors="replace")
        texts = [text for line in (lines.splitlines() if path.suffix == ".jsonl" else [lines]) for text in strings(line)]
        for kind in (False, True):
            if found := [text for text, mine in texts if mine == kind]:
                yield "texts of JSON files", pa.array(found, pa.string()), kind


def strings(text: str) -> list[tuple[str, bool]]:
    """Every string of a JSON text, and whether its field is a person's; names of fields and JSON inside strings included."""
    found: list[tuple[str, bool]] = []

    def walk(value: Any, *, mine: bool) -> None:
        if isinstance(value, str):
            found.append((value, mine))
            if value[:1] in ("{", "["):
                inner = _loaded(value)
                if inner is not None:
                    walk(inner, mine=mine)
        elif isinstance(value, list):
            for one in value:
                walk(one, mine=mine)
        elif isinstance(value, dict):
            for key, one in value.items():
                found.append((key, False))
                walk(one, mine=mine or personal(key))

    value = _loaded(text)
    walk(text if value is None else value, mine=False)
    return found


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _parquet(path: Path, *, hashed: bool) -> Iterator[tuple[pa.Array, bool]]:
    file = pq.ParquetFile(path)
    about = [value.decode(errors="replace") for value in (file.schema_arrow.metadata or {}).values()]
    yield pa.array(about, pa.string()), False
    names = [f.name for f in file.schema_arrow if _textual(f.type) and not (hashed and f.name in HEX)]
    for batch in file.iter_batches(batch_size=BATCH, columns=names) if names else ():
        for name, column in zip(names, batch.columns, strict=True):
            while pa.types.is_list(column.type):
                column = column.flatten()
            yield column.cast(pa.string()), personal(name)


def _textual(kind: pa.DataType) -> bool:
    return _textual(kind.value_type) if pa.types.is_list(kind) else pa.types.is_string(kind) or pa.types.is_dictionary(kind)


def _sqlite(path: Path) -> Iterator[tuple[pa.Array, bool]]:
    con = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    con.text_factory = lambda data: data.decode(errors="replace")
    try:
        for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = con.execute(f'SELECT * FROM "{name}"')
            while rows := cursor.fetchmany(BATCH):
                for (column, *_), values in zip(cursor.description, zip(*rows, strict=True), strict=True):
                    texts = [value for value in values if isinstance(value, str) and not value.startswith(BURIED)]
                    yield pa.array(texts, pa.string()), personal(column)
    finally:
        con.close()


def _npz(path: Path) -> Iterator[tuple[pa.Array, bool]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, BadZipFile):
        return
    for name, array in arrays.items():
        if name.endswith(".ends") and f"{name.removesuffix('.ends')}.bytes" in arrays:
            key = name.removesuffix(".ends")
            yield pa.array(_packed(arrays[f"{key}.bytes"].tobytes(), array.tolist()), pa.string()), personal(key)
        elif array.dtype.kind in "US":
            yield pa.array([str(one) for one in array.ravel().tolist()], pa.string()), personal(name)


def _packed(data: bytes, ends: Iterable[int]) -> list[str]:
    found, start = [], 0
    for end in ends:
        found.append(data[start:end].decode(errors="replace"))
        start = end
    return found
