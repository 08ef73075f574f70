"""What may be shown to whom, as bitmaps over the catalogue: applied before the best are chosen, so that they hold on every path.

An item that the shop says nothing about passes a filter only where silence is safe: no stock figure means always in stock, no
dates mean always on sale, no regions mean everywhere, no age means for everybody. It fails where silence is not: a minimum margin
asks for a known margin. A request that says nothing about the customer gets only what suits everybody: no region means items
without regions, no age means items without an age limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, unknown
from tradewind.params import Number, check
from tradewind.types import micros

Bits = NDArray[np.uint8]
ALWAYS = np.iinfo(np.int64).max
KEPT = 64  # combinations of filters whose bitmap is kept


@dataclass(frozen=True)
class Request:
    """What a filter needs to know: ``as_of``; the customer's ``region`` and ``age`` in years if known; ``min_margin`` in minor
    units; ``per_brand``: the most items of one brand; ``again``: whether what was bought may come back though it is no consumable.
    """

    as_of: datetime
    region: str | None = None
    age: int | None = None
    min_margin: int | None = None
    per_brand: int | None = None
    again: bool = False


class Filters:
    """Bitmaps over ``items`` (object [I], an index's or a model's catalogue).

    By item id: ``stock`` units; ``sold`` from (inclusive) and until (exclusive), None for open ends; ``regions`` where it is sold
    (empty: everywhere); ``min_age`` years; ``margin`` minor units a piece; ``brand`` its name; ``consumable`` lists items that may be
    bought again. An item that is missing has none. An item that joins the catalogue later is not shown before filters know it.

    Raises
    ------
    InputError
        A value is negative where it counts something, or names an item that is not in the catalogue.
    """

    def __init__(
        self,
        items: NDArray[np.object_],
        *,
        stock: Mapping[str, int] | None = None,
        sold: Mapping[str, tuple[datetime | None, datetime | None]] | None = None,
        regions: Mapping[str, Iterable[str]] | None = None,
        min_age: Mapping[str, int] | None = None,
        margin: Mapping[str, int] | None = None,
        brand: Mapping[str, str] | None = None,
        consumable: Iterable[str] = (),
    ) -> None:
        self.items = items
        self._code = {name: code for code, name in enumerate(items)}
        self._stocked = self._numbers("stock", stock, 1) > 0
        self._min_age = self._numbers("min_age", min_age, 0)
        self._margin = self._numbers("margin", margin, -ALWAYS, low=-ALWAYS)
        self._from = np.full(len(items), -ALWAYS)
        self._until = np.full(len(items), ALWAYS)
        for name, (start, end) in (sold or {}).items():
            code = self._item("sold", name)
            self._from[code] = -ALWAYS if start is None else micros(start)
            self._until[code] = ALWAYS if end is None else micros(end)
        self._edges = np.unique(np.concatenate((self._from, self._until)))  # between two of them nothing starts or ends
        self._everywhere, self._regions = self._places(regions or {})
        names = dict.fromkeys((brand or {}).values())
        number = {name: code for code, name in enumerate(names)}
        self.brand = np.full(len(items), -1, np.int32)
        for name, of in (brand or {}).items():
            self.brand[self._item("brand", name)] = number[of]
        self.consumable = np.zeros(len(items), dtype=bool)
        self.consumable[[self._item("consumable", name) for name in consumable]] = True
        self._kept: dict[tuple[Any, ...], NDArray[np.bool_]] = {}

    # ---- what changes ----------------------------------------------------------------------------------------------

    def restock(self, units: Mapping[str, int]) -> None:
        """Set the stock of some items, at once in force; the cost does not depend on the size of the catalogue."""
        check("restock", dict(units), {name: Number(0, ALWAYS, whole=True) for name in units})
        for name, left in units.items():
            self._stocked[self._item("stock", name)] = left > 0

    # ---- what is asked ---------------------------------------------------------------------------------------------

    def allowed(self, request: Request) -> NDArray[np.bool_]:
        """The items that may be shown, bool [I]: stock, dates, region, age and margin. All but the stock is kept for the next one."""
        self._checked(request)
        at = micros(request.as_of)
        edge = int(np.searchsorted(self._edges, at, side="right"))
        key = (edge, request.region, request.age, request.min_margin)
        found = self._kept.get(key)
        if found is None:
            here = self._everywhere if request.region is None else self._everywhere | self._regions.get(request.region, np.uint8(0))
            found = np.unpackbits(here, count=len(self.items)).view(bool)
            found &= (self._from <= at) & (at < self._until) & (self._min_age <= (0 if request.age is None else request.age))
            if request.min_margin is not None:
                found &= (self._margin >= request.min_margin) & (self._margin > -ALWAYS)
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = found
        return found & self._stocked

    def bought(self, items: NDArray[np.int64], request: Request) -> NDArray[np.int64]:
        """The item numbers among ``items`` (all that the customer bought) that must not come back."""
        if request.again:
            return np.empty(0, np.int64)
        known = np.append(self.consumable, False)[np.minimum(items, len(self.consumable))]
        return np.unique(items[~known])

    def _checked(self, request: Request) -> None:
        values = {"age": request.age, "min_margin": request.min_margin, "per_brand": request.per_brand}
        rules = {"age": Number(0, 150, whole=True), "min_margin": Number(-ALWAYS, ALWAYS, whole=True), "per_brand": Number(1, whole=True)}
        check("Request", values, {name: rule for name, rule in rules.items() if values[name] is not None})

    # ---- building --------------------------------------------------------------------------------------------------

    def _item(self, what: str, name: str) -> int:
        code = self._code.get(name)
        if code is None:
            raise unknown(f"item of the filter {what}", name, list(self._code)[:20])
        return code

    def _numbers(self, what: str, values: Mapping[str, int] | None, missing: int, *, low: int = 0) -> NDArray[np.int64]:
        found = np.full(len(self.items), missing, np.int64)
        for name, value in (values or {}).items():
            if not Number(low, ALWAYS, whole=True).accepts(value):
                raise InputError(f'filters: {what} of "{name}" must be a whole number{" from 0" if low == 0 else ""}; got {value!r}.')
            found[self._item(what, name)] = value
        return found

    def _places(self, regions: Mapping[str, Iterable[str]]) -> tuple[Bits, dict[str, Bits]]:
        everywhere = np.ones(len(self.items), dtype=bool)
        by_name: dict[str, NDArray[np.bool_]] = {}
        for name, where in regions.items():
            code, listed = self._item("regions", name), [where] if isinstance(where, str) else list(where)
            for region in listed:
                by_name.setdefault(region, np.zeros(len(self.items), dtype=bool))[code] = True
            everywhere[code] = not listed
        return _pack(everywhere), {region: _pack(mask) for region, mask in by_name.items()}


def capped(
    search: Callable[[int, Sequence[int], NDArray[np.bool_] | None], tuple[NDArray[np.int32], NDArray[np.float32]]],
    k: int,
    *,
    brand: NDArray[np.int32],
    most: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The best ``k`` items with at most ``most`` of a brand; items of brand -1 are not counted.

    ``search(n, taken, open)`` gives the n best items and scores outside ``taken`` and, if given, inside ``open`` (bool [I]). A
    brand that is full is closed before the next search, so a short list means that nothing allowed is left.
    """
    items: list[int] = []
    scores: list[float] = []
    count: dict[int, int] = {}
    seen: list[int] = []
    still: NDArray[np.bool_] | None = None
    while len(items) < k:
        found, values = search(k - len(items), seen, still)
        if not len(found):
            break
        for item, value, name in zip(found.tolist(), values.tolist(), brand[found].tolist(), strict=True):
            seen.append(item)
            if name < 0 or count.get(name, 0) < most:
                items.append(item)
                scores.append(value)
                count[name] = count.get(name, 0) + (name >= 0)
        full = [name for name, held in count.items() if held >= most]
        still = ~np.isin(brand, full) if full else None
    return np.array(items, np.int32), np.array(scores, np.float32)


def _pack(mask: NDArray[np.bool_]) -> Bits:
    return np.packbits(mask)
