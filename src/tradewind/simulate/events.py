"""Turn what happened into rows of ``schema.EVENTS``: sessions around orders, browsing, answers, reviews, returns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind import schema
from tradewind.simulate.contacts import Contacts
from tradewind.simulate.people import CHANNELS, LOCALES, People
from tradewind.simulate.window import Window
from tradewind.types import micros

Ints = NDArray[np.int64]

KINDS = tuple(kind.value for kind in schema.Kind)
HOUR = 3_600_000_000  # microseconds
SOURCE = "simulated"

# column -> value where a row does not say
_DEFAULTS: dict[str, Any] = {
    "session": -1,
    "item": -1,
    "quantity": np.nan,
    "value": -1,
    "discount": -1,
    "order": -1,
    "contact": -1,
    "offer": False,
    "anonymous": False,
    "text": -1,
    "rating": np.nan,
    "shipped": False,
    "live": True,
}


class Log:
    """Collects rows of one chunk in one window as numpy blocks and builds one Arrow table of them."""

    def __init__(self, people: People, window: Window, *, prefix: str, horizon: float) -> None:
        self.people, self.window, self.prefix = people, window, prefix
        self.horizon = horizon  # hours from the start of the window; nothing is later
        self.blocks: list[dict[str, NDArray[Any]]] = []

    def add(self, kind: str, row: Ints, x: NDArray[np.float64], columns: Mapping[str, Any]) -> None:
        """Add one event per entry of ``row`` (of the chunk) at hour ``x``; ``columns`` as in ``_DEFAULTS``."""
        if not len(row):
            return
        block = {"kind": np.full(len(row), KINDS.index(kind)), "row": row, "x": x}
        for name, default in _DEFAULTS.items():
            block[name] = np.broadcast_to(np.asarray(columns.get(name, default)), (len(row),))
        self.blocks.append(block)

    def table(self, contacts: Contacts) -> pa.Table:
        """Build the rows in order of time."""
        if not self.blocks:
            return schema.EVENTS.empty_table()
        data = {name: np.concatenate([block[name] for block in self.blocks]) for name in self.blocks[0]}
        data = {name: values[data["live"]] for name, values in data.items()}
        if not len(data["row"]):
            return schema.EVENTS.empty_table()
        order = np.lexsort((np.arange(len(data["row"])), data["x"]))
        data = {name: values[order] for name, values in data.items()}
        at = micros(self.window.start) + np.floor(np.clip(data["x"], 0, self.horizon - 1e-6) * HOUR).astype(np.int64)
        contact = data["contact"]
        offered = np.where(data["offer"], contact, -1)
        columns = {
            "id": self._ids(data["row"]),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "customer": _take(self.people.ids, np.where(data["anonymous"], -1, data["row"])),
            "session": self._named("s", data["session"]),
            "kind": _take(pa.array(KINDS), data["kind"]),
            "item": _take(pa.array(self.window.shelf.catalogue.ids()), data["item"]),
            "quantity": pa.array(data["quantity"], from_pandas=True),
            "value": _optional(data["value"]),
            "discount": _optional(data["discount"]),
            "currency": _take(pa.array(["CNY"]), np.where(data["value"] >= 0, 0, -1)),
            "order_id": self._named("o", data["order"]),
            "offer": _by_contact(contacts, contacts.offer, offered),
            "channel": _take(pa.array(CHANNELS), _of(contacts.channel, contact)),
            "decision_id": _by_contact(contacts, contacts.decision, contact),
            "text": _take(pa.array(_texts(self.window.shelf.catalogue.leaves)), data["text"]),
            "rating": pa.array(data["rating"], from_pandas=True),
            "context": _take(self.people.contexts, data["row"] + len(self.people) * data["shipped"]),
            "source": pa.repeat(pa.scalar(SOURCE), len(order)),
        }
        return schema.conform(pa.table(columns), schema.EVENTS)

    def _ids(self, row: Ints) -> pa.Array:
        """Ids from the customer and the rank among the customer's own rows: no other customer's messages move them."""
        grouped = np.argsort(row, kind="stable")
        fresh = np.r_[True, np.diff(row[grouped]) != 0]
        rank = np.empty(len(row), dtype=np.int64)
        rank[grouped] = np.arange(len(row)) - np.maximum.accumulate(np.where(fresh, np.arange(len(row)), 0))
        parts = [pc.cast(pa.array(values), pa.string()) for values in (self.people.first + row, rank)]
        return pc.binary_join_element_wise(pa.scalar(f"e{self.prefix}"), *parts, "-")

    def _named(self, letter: str, number: Ints) -> pa.Array:
        text = pc.cast(_optional(number), pa.string())
        return pc.binary_join_element_wise(pa.scalar(f"{letter}{self.prefix}"), text, "-")


def search_text(leaf: Ints, locale: Ints, pattern: Ints) -> Ints:
    """Number of the search phrase for a leaf category in a locale."""
    return (leaf * len(LOCALES) + locale) * 4 + pattern % 4


def review_text(leaf: Ints, locale: Ints, rating: Ints, luck: Ints, leaves: int) -> Ints:
    """Number of a review body: its opening follows the rating, its aspects follow both."""
    mood = np.where(rating >= 4, 0, np.where(rating == 3, 1, 2))
    cell = ((leaf * len(LOCALES) + locale) * 3 + mood) * 3 + luck % 3
    return leaves * len(LOCALES) * 4 + cell * 6 + luck // 3 % 6


@cache
def _texts(leaves: int) -> list[str]:
    """All search phrases, then all review bodies, in the order of ``search_text`` and ``review_text``."""
    from tradewind.simulate.data import words

    grammar, data = words("catalogue"), words("words")
    entries = grammar["leaves"][:leaves]
    languages = ("zh", "en")  # as LOCALES
    texts: list[str] = []
    for entry in entries:
        for language in languages:
            place = 0 if language == "en" else 1
            for number, pattern in enumerate(data["search"][language]):
                style = grammar["styles"][number % 4]
                texts.append(
                    pattern.format(
                        noun=entry["noun"][place],
                        style=style[language],
                        material=entry["materials"][0][place],
                        colour=style["colours"][number % 3][place],
                    )
                )
    aspects = list(data["aspects"].values())
    for entry in entries:
        for language in languages:
            noun = entry["noun"][0 if language == "en" else 1]
            style = data["reviews"][language]
            for mood in ("positive", "neutral", "negative"):
                for opening in style[mood][:3]:
                    for number, aspect in enumerate(aspects):
                        said = [aspect[language]["negative" if mood == "negative" else "positive"]]
                        if mood == "neutral":
                            said.append(aspects[(number + 1) % 6][language]["negative"])
                        texts.append(style["join"].join([opening.format(noun=noun), *said]))
    return texts


def _take(values: pa.Array, index: Ints) -> pa.Array:
    return values.take(pa.array(index, mask=index < 0))


def _optional(values: Ints) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values < 0)


def _of(values: Ints, index: Ints) -> Ints:
    return np.where(index >= 0, values[index], -1) if len(values) else np.full(len(index), -1)


def _by_contact(contacts: Contacts, values: list[Any], index: Ints) -> pa.Array:
    source = _of(contacts.source, index)
    found = np.unique(source[source >= 0])
    if not len(found):
        return pa.nulls(len(index), pa.string())
    names = pa.array([values[number] for number in found], pa.string())
    return _take(names, np.where(source >= 0, np.searchsorted(found, source), -1))
