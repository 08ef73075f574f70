"""What a shop says about its items, keyed by item id: it travels with a log, and only models that read it pay for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.engine.tables import Tables

T = TypeVar("T")
PICTURES = "models/pictures"  # in the shop's folder
WORDS = ("title", "title_zh", "title_en", "brand", "description_zh", "description_en")
COLUMNS = ("item", *WORDS, "category", "price", "attributes", "available_from")


@dataclass(frozen=True)
class Catalogue:
    """``texts``: the words of an item in any language; ``shelves``: its category; ``listed``: its first day in microseconds;
    ``pictures``: the vector of its picture, float32 [d] of length one.

    An item that is missing in one of them has none.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    shelves: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, int] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Column(Mapping[str, T], Generic[T]):
    """A mapping that is read when it is first looked into, so that a log without use for it costs nothing."""

    def __init__(self, load: Callable[[], dict[str, T]]) -> None:
        self._load = load

    @cached_property
    def _values(self) -> dict[str, T]:
        return self._load()

    def __getitem__(self, key: str) -> T:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Rows:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @cached_property
    def rows(self) -> pa.Table:
        return self._tables.to_arrow(self._tables.get("items").select(*COLUMNS))

    def texts(self) -> dict[str, str]:
        from tradewind.learn._grains import quintiles

        price = self.rows["price"].fill_null(-1).to_numpy().astype(np.int64)
        bands = quintiles(price).tolist()
        found = {row["item"]: described(row, band) for row, band in zip(self.rows.to_pylist(), bands, strict=True)}
        return {item: text for item, text in found.items() if text}

    def shelves(self) -> dict[str, str]:
        return self._column("category")

    def listed(self) -> dict[str, int]:
        from tradewind.types import micros

        return {item: micros(at) for item, at in self._column("available_from").items()}

    def _column(self, name: str) -> dict[str, Any]:
        pairs = zip(self.rows["item"].to_pylist(), self.rows[name].to_pylist(), strict=True)
        return {item: value for item, value in pairs if value is not None}


def catalogue(tables: Tables) -> Catalogue:
    """The catalogue of the table ``items``; nothing is read before a model asks, so the shop must still be open then."""
    rows = _Rows(tables)
    return Catalogue(Column(rows.texts), Column(rows.shelves), Column(rows.listed), Column(lambda: pictures(tables.root)))


def keep_pictures(root: Path, vectors: Mapping[str, NDArray[np.float32]], *, encoder: str) -> None:
    """Store the vectors of the items' pictures in the shop's folder ``root``, in place of those of before."""
    items = sorted(vectors)
    found = np.stack([vectors[item] for item in items]) if items else np.empty((0, 0), np.float32)
    _store.write(root / PICTURES, {"encoder": encoder}, {**_store.pack("items", items), "vectors": found})


def pictures(root: Path) -> dict[str, NDArray[np.float32]]:
    """What :func:`keep_pictures` stored last; empty where nothing was."""
    if not (root / PICTURES).is_dir():
        return {}
    _, arrays = _store.read(root / PICTURES)
    return dict(zip(_store.unpack("items", arrays).tolist(), arrays["vectors"], strict=True))


def described(row: Mapping[str, Any], band: int) -> str:
    """One item's words, a line per field: titles, brand, descriptions, category levels, attributes, price band 0..4.

    The band alone describes nothing: an item without any word has no text.
    """
    lines = [str(row[name]) for name in WORDS if row[name]]
    if row["category"]:
        lines.append(str(row["category"]).replace(" > ", " "))
    lines += attributes(row["attributes"])
    if not lines:
        return ""
    return "\n".join([*lines, f"priceband{band}"] if band >= 0 else lines)


def attributes(text: str | None) -> list[str]:
    """Names and values of the JSON object of an item's attributes; a text that is no JSON object is taken as it is."""
    if not text:
        return []
    try:
        values = json.loads(text)
    except ValueError:
        return [text]
    return [f"{name} {value}" for name, value in values.items()] if isinstance(values, dict) else [text]
