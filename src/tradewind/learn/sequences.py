"""Every customer's history as flat numpy arrays: what all models read, cut in time before anything is learned.

One :class:`Sequences` holds the events of all customers, one after the other (the CSR layout): the events of row ``u``
are ``offsets[u]:offsets[u + 1]``, in order of time, ties in order of the event id. Vocabularies are sorted, so that the
same log always gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, unknown
from tradewind.learn._content_catalogue import Catalogue
from tradewind.schema import Channel, Kind
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

__all__ = ["CHANNELS", "EVENT_ARRAYS", "KINDS", "Catalogue", "Sequences", "kind_codes", "lookup", "sequences"]

KINDS = tuple(kind.value for kind in Kind)
CHANNELS = tuple(channel.value for channel in Channel)
EVENT_ARRAYS = ("item", "kind", "at", "value", "band", "category", "channel")


@dataclass(frozen=True)
class Sequences:
    """The events of U customers over I items, N in all; read-only by convention.

    Per event: ``item`` int32 (-1: none), ``kind`` int8 (index into ``tuple(schema.Kind)``), ``at`` int64 microseconds,
    ``value`` int64 minor units (0 when unknown), ``band`` int8 price band 0..4 (-1: unknown), ``category`` int32 (index
    into ``categories``, -1: none), ``channel`` int8 (index into ``tuple(schema.Channel)``, -1: none). ``catalogue`` is what
    the shop says about its items, by item id; only models that read texts look into it, and only while they fit.
    """

    customers: NDArray[np.object_]  # [U]
    items: NDArray[np.object_]  # [I]
    categories: NDArray[np.object_]
    offsets: NDArray[np.int64]  # [U + 1]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    at: NDArray[np.int64]
    value: NDArray[np.int64]
    band: NDArray[np.int8]
    category: NDArray[np.int32]
    channel: NDArray[np.int8]
    catalogue: Catalogue = field(default_factory=Catalogue, compare=False)

    def __len__(self) -> int:
        return len(self.customers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events per customer, int64 [U]."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> NDArray[np.int64]:
        """Row of the customer of each event, int64 [N]."""
        return np.repeat(np.arange(len(self.customers)), self.lengths)

    def keep(self, mask: NDArray[np.bool_]) -> Sequences:
        """The same customers and vocabularies with only the events where ``mask`` (bool [N]) is true."""
        counts = np.concatenate(([0], np.cumsum(mask)))
        arrays = {name: getattr(self, name)[mask] for name in EVENT_ARRAYS}
        return replace(self, offsets=counts[self.offsets], **arrays)

    def before(self, cut: datetime) -> Sequences:
        """Only events with ``at < cut``. Customers without any stay, with an empty history."""
        return self.keep(self.at < micros(cut))

    def split(self, cut: datetime) -> tuple[Sequences, Sequences]:
        """Events before ``cut`` and events from ``cut`` on, over the same customers and items."""
        past = self.at < micros(cut)
        return self.keep(past), self.keep(~past)

    def only(self, kinds: Sequence[str]) -> Sequences:
        """Only events of the given kinds."""
        return self.keep(np.isin(self.kind, kind_codes(kinds)))

    def last(self, n: int) -> Sequences:
        """The last ``n`` events of every customer."""
        if n < 1:
            raise InputError(f"last: got {n}; it must be 1 or more.")
        return self.keep(np.arange(len(self.at)) >= np.repeat(self.offsets[1:], self.lengths) - n)

    def rows(self, index: NDArray[np.int64]) -> Sequences:
        """The customers at the positions ``index`` (int64 [V]), in that order; -1 gives an empty history."""
        known = index >= 0
        start = np.where(known, self.offsets[np.maximum(index, 0)], 0) if len(self.customers) else np.zeros(len(index), np.int64)
        length = np.where(known, self.lengths[np.maximum(index, 0)], 0) if len(self.customers) else np.zeros(len(index), np.int64)
        offsets = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
        take = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)
        names = np.full(len(index), "", dtype=object)
        names[known] = self.customers[index[known]]
        arrays = {name: getattr(self, name)[take] for name in EVENT_ARRAYS}
        return replace(self, customers=names, offsets=offsets, **arrays)

    def histories(self, customers: Sequence[str] | NDArray[np.object_]) -> Sequences:
        """The histories of ``customers`` in the given order; a customer who is not in the log gets an empty one."""
        wanted = np.asarray(customers, dtype=object)
        position = {name: row for row, name in enumerate(self.customers)}
        index = np.fromiter((position.get(name, -1) for name in wanted), dtype=np.int64, count=len(wanted))
        return replace(self.rows(index), customers=wanted)

    @classmethod
    def from_arrays(
        cls,
        customer: Sequence[str] | NDArray[Any],
        *,
        item: Sequence[str | None] | NDArray[Any],
        at: Sequence[int] | NDArray[np.int64],
        kind: Sequence[str] | str = "purchase",
        value: Sequence[int] | NDArray[np.int64] | None = None,
        categories: dict[str, str] | None = None,
        items: Sequence[str] | None = None,
        catalogue: Catalogue | None = None,
    ) -> Sequences:
        """Build from one row per event, in any order; ties in time keep the order in which they are given.

        ``at`` is microseconds; ``kind`` one name or one per event; ``categories`` maps item to category; ``items`` adds
        items that occur in no event; ``catalogue`` describes items. For public data sets and tests: a shop's own log comes
        from :func:`sequences`.
        """
        n = len(customer)
        names, row = _factorise(customer)
        vocabulary, codes = _factorise(item, extra=items or ())
        shelf, shelf_of = _factorise([(categories or {}).get(name) for name in vocabulary])
        times = np.asarray(at, dtype=np.int64)
        order = np.lexsort((times, row))
        item_codes = codes[order].astype(np.int32)
        kinds = [kind] * n if isinstance(kind, str) else kind
        return cls(
            customers=names,
            items=vocabulary,
            categories=shelf,
            offsets=np.searchsorted(row[order], np.arange(len(names) + 1)).astype(np.int64),
            item=item_codes,
            kind=kind_codes(kinds)[order],
            at=times[order],
            value=(np.zeros(n, np.int64) if value is None else np.asarray(value, dtype=np.int64))[order],
            band=np.full(n, -1, np.int8),
            category=lookup(shelf_of.astype(np.int32), item_codes),
            channel=np.full(n, -1, np.int8),
            catalogue=catalogue or Catalogue(),
        )


def lookup(table: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """``table[codes]``, with -1 where a code is -1."""
    found: NDArray[Any] = np.append(table, table.dtype.type(-1))[codes]
    return found


def kind_codes(kinds: Sequence[str]) -> NDArray[np.int8]:
    """Kinds as indices into ``tuple(schema.Kind)``, int8."""
    known = {name: code for code, name in enumerate(KINDS)}
    for name in set(kinds) - known.keys():
        raise unknown("event kind", name, KINDS)
    return np.fromiter((known[name] for name in kinds), dtype=np.int8, count=len(kinds))


def _factorise(values: Any, *, extra: Sequence[str] = ()) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Sorted distinct names (object) and the code of each value; None is -1."""
    listed = list(values)
    names = sorted({name for name in listed if name is not None} | set(extra))
    code = {name: number for number, name in enumerate(names)}
    vocabulary = np.empty(len(names), dtype=object)
    vocabulary[:] = names
    return vocabulary, np.fromiter((-1 if name is None else code[name] for name in listed), dtype=np.int64, count=len(listed))


def sequences(tables: Tables, *, as_of: datetime, last: int | None = None, kinds: Sequence[str] | None = None) -> Sequences:
    """Every customer's events before ``as_of`` (exclusive), ordered by time and then by event id.

    ``last`` keeps the last n events of each customer, ``kinds`` only events of these kinds (before counting the last n).
    Items are those of the catalogue and those seen before ``as_of``, so that an unseen item has a number too.
    """
    from tradewind.learn._extract import extract

    if last is not None and last < 1:
        raise InputError(f"last: got {last}; it must be 1 or more, or None for all events.")
    if kinds is not None:
        kind_codes(kinds)
    return extract(tables, as_of=as_of, last=last, kinds=kinds)
