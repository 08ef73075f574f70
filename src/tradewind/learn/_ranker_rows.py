"""Impressions as arrays: codes of the item shown, where its customer's history ended at that moment, labels and their reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._signal import ordered, recode
from tradewind.learn.impressions import CHANNELS
from tradewind.learn.sequences import Sequences

DAY = 86_400_000_000
NONE = 1e-9  # reach of a row whose conversion is not known at all


@dataclass(frozen=True)
class Vocabulary:
    """The items that a model knows, sorted, with category (int32, -1: none) and price band (int8, -1: unknown)."""

    items: NDArray[np.object_]
    categories: NDArray[np.object_]
    category: NDArray[np.int32]
    band: NDArray[np.int8]

    @classmethod
    def of(cls, log: Sequences, shown: pa.Table) -> Self:
        """All items of the log and of what was shown; the catalogue says the category, else the last event does."""
        names = sorted({*log.items, *shown["item"].unique().to_pylist()})
        items = np.empty(len(names), dtype=object)
        items[:] = names
        index = {name: code for code, name in enumerate(names)}
        place = recode(np.arange(len(log.items)), log.items, index)
        shelves = log.catalogue.shelves
        known = {name: shelves[name] for name in names if name in shelves and shelves[name] is not None}
        categories = np.array(sorted({*log.categories, *known.values()}), dtype=object)
        shelf = {name: code for code, name in enumerate(categories)}
        category, band = np.full(len(names), -1, np.int32), np.full(len(names), -1, np.int8)
        seen = log.item >= 0
        category[place[log.item[seen]]] = recode(log.category[seen], log.categories, shelf)
        band[place[log.item[seen]]] = log.band[seen]
        for name, value in known.items():
            category[index[name]] = shelf[value]
        return cls(items, categories, category, band)

    def aligned(self, log: Sequences) -> Sequences:
        """``log`` in order and over this vocabulary; unknown items become -1."""
        log = ordered(log)
        index = {name: code for code, name in enumerate(self.items)}
        shelf = {name: code for code, name in enumerate(self.categories)}
        return replace(
            log,
            items=self.items,
            item=recode(log.item, log.items, index),
            categories=self.categories,
            category=recode(log.category, log.categories, shelf),
        )


@dataclass(frozen=True)
class Rows:
    """N impressions over an aligned ``log``.

    ``at`` int64 microseconds; ``row`` the customer's row in the log (-1: none), ``end`` the place in the flat log of the first event
    that is not before ``at``; ``item``, ``shelf`` (its category) and ``band`` codes (-1: unknown); ``position`` from 1; ``channel``
    code (-1: none); ``request`` list number; ``click`` 0 or 1; ``conversion`` 0 or 1; ``reach`` the share of conversions that would
    be known by now (1: all, NONE: nothing).
    """

    log: Sequences
    customers: NDArray[np.object_]  # [N]; "" where nobody was recognised
    at: NDArray[np.int64]
    row: NDArray[np.int64]
    end: NDArray[np.int64]
    item: NDArray[np.int32]
    shelf: NDArray[np.int32]
    band: NDArray[np.int8]
    position: NDArray[np.int64]
    channel: NDArray[np.int8]
    request: NDArray[np.int64]
    click: NDArray[np.float64]
    conversion: NDArray[np.float64]
    reach: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at)

    @classmethod
    def of(cls, table: pa.Table, log: Sequences, vocabulary: Vocabulary) -> Self:
        """``table`` has the columns of ``IMPRESSIONS`` or of ``CANDIDATES``; ``log`` is aligned."""
        at = table["at"].cast(pa.int64()).to_numpy()
        customers = np.array(table["customer"].fill_null("").to_pylist(), dtype=object)
        index = {name: row for row, name in enumerate(log.customers)}
        index.pop("", None)
        row = np.fromiter((index.get(name, -1) for name in customers), np.int64, len(customers))
        codes = {name: code for code, name in enumerate(vocabulary.items)}
        item = np.fromiter((codes.get(name, -1) for name in table["item"].to_pylist()), np.int32, len(at))
        channels = {name: code for code, name in enumerate(CHANNELS)}
        channel = np.fromiter((channels.get(name, -1) for name in table["channel"].to_pylist()), np.int8, len(at))
        labelled = "click" in table.column_names
        click = table["click"].to_numpy().astype(np.float64) if labelled else np.full(len(at), np.nan)
        conversion = table["conversion"].cast(pa.float64()).fill_null(float("nan")).to_numpy() if labelled else np.full(len(at), np.nan)
        return cls(
            log,
            customers,
            at,
            row,
            _ends(log, row, at),
            item,
            np.append(vocabulary.category, np.int32(-1))[item],
            np.append(vocabulary.band, np.int8(-1))[item],
            table["position"].fill_null(1).to_numpy().astype(np.int64),
            channel,
            requests(table, customers, at, channel),
            click,
            np.nan_to_num(conversion),
            np.where(np.isnan(conversion), NONE, 1.0),
        )

    def take(self, index: NDArray[Any]) -> Self:
        """The rows at ``index`` (numbers or a mask)."""
        cut = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "log"}
        return replace(self, **cut)

    def window(self, index: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Places in the flat log of the last ``longest`` events before each row, int64 [B, W], oldest first, and which are real."""
        first = np.where(self.row[index] >= 0, self.log.offsets[np.maximum(self.row[index], 0)], 0) if len(self.log) else self.end[index]
        length = np.minimum(self.end[index] - first, longest)
        step = np.arange(int(length.max(initial=1)) or 1)
        real = step < length[:, None]
        return np.where(real, (self.end[index] - length)[:, None] + step, 0), real


def requests(table: pa.Table, customers: NDArray[np.object_], at: NDArray[np.int64], channel: NDArray[np.int8]) -> NDArray[np.int64]:
    """Number of the shown list of each row: ``request`` where given, else same customer, moment and channel."""
    named = table["request"].combine_chunks()
    given = named.is_valid().to_numpy(zero_copy_only=False)
    _, who = np.unique(customers.astype(str), return_inverse=True)
    keys = np.stack([who.astype(np.int64), at, channel.astype(np.int64)])
    stray = customers == ""  # nobody was recognised: nothing says that two rows are one list
    keys[0, stray] = -1 - np.flatnonzero(stray)
    _, numbers = np.unique(keys, axis=1, return_inverse=True)
    codes = named.dictionary_encode().indices.fill_null(0).to_numpy().astype(np.int64)
    return np.where(given, codes + len(at), numbers.reshape(-1))


def _ends(log: Sequences, row: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each customer's events from ``at`` on begin; 0 without a customer."""
    times = np.unique(np.concatenate((log.at, at)))
    size = len(times) + 1
    keys = log.owner * size + np.searchsorted(times, log.at)
    found = np.searchsorted(keys, row * size + np.searchsorted(times, at))
    return np.where(row >= 0, found, 0)


@dataclass(frozen=True)
class Delay:
    """How long conversions take: sorted microseconds between impression and conversion, all within ``window``."""

    taken: NDArray[np.int64]
    window: int

    def reach(self, elapsed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of the conversions that happen within ``elapsed`` microseconds; 1 from the end of the window on."""
        share = (np.searchsorted(self.taken, elapsed, side="right") + 0.5) / (len(self.taken) + 1)
        return np.where(elapsed >= self.window, 1.0, share)


def as_known(table: pa.Table, as_of: int, window: int | None) -> tuple[pa.Table, Delay | None]:
    """Rows before ``as_of`` with the labels that were known then, and how long conversions take (None: no times are given).

    A conversion after ``as_of`` is not known yet; one later than ``window`` is none. Without a window delays are not looked at.

    Raises
    ------
    InputError
        No row lies before ``as_of``, or times are given and no conversion of a row older than ``window`` is there to learn the
        delay from.
    """
    at = table["at"].cast(pa.int64()).to_numpy()
    table = table.filter(at < as_of)
    if not table.num_rows:
        raise InputError(f"All {len(at):,} impressions lie at or after as_of. Choose a later time, or give earlier impressions.")
    at = at[at < as_of]
    when = table["converted_at"].cast(pa.int64()).fill_null(-1).to_numpy()
    if not (when >= 0).any():
        return table, None
    counts = (when >= 0) & (when < as_of) & (True if window is None else when - at < window)
    given = table["conversion"].is_valid().to_numpy()
    label = pa.array(counts.astype(np.int8), mask=~given)
    table = table.set_column(table.column_names.index("conversion"), "conversion", label)
    if window is None:
        return table, None
    old = counts & (at <= as_of - window)
    if not old.any():
        raise InputError(
            f"No conversion of an impression older than the window of {window / DAY:g} days is known, so nothing says how long "
            "conversions take. Give older impressions, a shorter window, or leave converted_at out."
        )
    return table, Delay(np.sort((when - at)[old]), window)


def pieces(values: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose name starts with ``prefix``, without it."""
    return {name[len(prefix) :]: array for name, array in values.items() if name.startswith(prefix)}
