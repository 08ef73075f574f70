"""How much to order: the newsvendor's quantile over the time that an order has to last, whole packs, a reason on every line.

Under periodic review an order that is placed now arrives after the lead time and must last for a review period. What is lacking then
is the demand of that review period minus what the lead time has left over; the order is the critical ratio cu / (cu + co) of that lack,
where cu is what a piece too few loses and co what a piece too many costs (Silver, Pyke & Thomas 2017, ch. 7 and 9). A sale that is lost
in the lead time takes nothing from the shelf, so what is left over is never negative (the myopic policy of Morton 1971; Zipkin 2008 on
how close it is to the best one); with backorders it may be, and the order fills lead time and review period alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from tradewind.errors import InputError, did_you_mean
from tradewind.learn._demand_kernels import Floats
from tradewind.params import Number, check
from tradewind.types import Reason

LEVELS = (0.01, 0.99)  # bounds of the critical ratio
LIKELY = tuple((np.arange(32) + 0.5) / 32)  # levels of equally likely demands
_CHUNK = 500  # series at a time
RULES = {
    "lead": Number(0, 360, whole=True),
    "review": Number(1, 360, whole=True),
    "minimum": Number(0, 10**9, whole=True),
    "pack": Number(1, 10**9, whole=True),
    "in_transit": Number(0, 10**9),
    "holding": Number(0, 1),
}


@dataclass(frozen=True)
class Terms:
    """How one item is bought. Periods are those of the demand model.

    ``lead`` periods until an order arrives; ``review`` periods between orders; ``minimum`` pieces of an order, ``pack`` pieces of a pack;
    ``in_transit`` pieces already ordered. ``service`` (0.01 to 0.99) is the critical ratio; without it, margin against ``holding``: the
    share of its cost that a piece too many loses until it is sold (capital, space, ageing).
    """

    lead: int = 7
    review: int = 7
    minimum: int = 0
    pack: int = 1
    in_transit: float = 0.0
    service: float | None = None
    holding: float = 0.1

    def checked(self, item: str = "") -> Terms:
        """Itself when everything is allowed; raises InputError that names the item."""
        owner = f'order terms of "{item}"' if item else "order terms"
        check(owner, {name: getattr(self, name) for name in RULES}, RULES)
        if self.service is not None:
            check(owner, {"service": self.service}, {"service": Number(*LEVELS)})
        return self


@dataclass(frozen=True)
class Line:
    """A proposal for one series: ``order`` pieces, and why. ``stock`` None: unknown, and counted as nothing."""

    item: str
    store: str | None
    order: int
    stock: float | None
    in_transit: float
    expected: float  # pieces over lead time and review period
    upto: float  # pieces that stock and transit should reach
    ratio: float  # the critical ratio
    lasts: float | None  # periods that stock and transit are expected to last; None: beyond the horizon
    money: int | None  # of the order at cost, minor units
    reasons: tuple[Reason, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "reasons": [{"code": one.code, **one.details} for one in self.reasons]}


def ratio_of(terms: Terms, *, price: float | None, cost: float | None) -> tuple[float, Reason]:
    """The critical ratio and where it comes from."""
    if terms.service is not None:
        return terms.service, Reason("ratio_asked", {"ratio": terms.service})
    if price is None or cost is None or price <= 0:
        return 0.9, Reason("ratio_assumed", {"ratio": 0.9})
    under, over = max(price - cost, 0.0), max(cost, 1.0) * terms.holding
    found = float(np.clip(under / max(under + over, 1e-9), *LEVELS))
    return found, Reason("ratio_margin", {"ratio": round(found, 3), "margin": round(under), "holding": round(over, 1)})


def quantity(upto: float, *, stock: float, terms: Terms) -> tuple[int, list[Reason]]:
    """Pieces that lift stock and transit to ``upto``, in whole packs and at least the minimum; 0 when there is enough."""
    lack = upto - stock - terms.in_transit
    if lack <= 1e-9:
        return 0, [Reason("enough", {})]
    asked = math.ceil(lack - 1e-9)
    reasons = [Reason("lack", {"pieces": asked})]
    least = max(asked, terms.minimum)
    if least > asked:
        reasons.append(Reason("minimum", {"minimum": terms.minimum}))
    packed = -(-least // terms.pack) * terms.pack
    if packed > least:
        reasons.append(Reason("pack", {"pack": terms.pack, "packs": packed // terms.pack}))
    return packed, reasons


def lacking(lead: Floats, review: Floats, held: Floats, ratio: Floats, *, lost: bool = True) -> Floats:
    """Pieces [n] that are lacking at the critical ratio [n] when an order placed now arrives, 0 or more.

    ``lead`` and ``review``: equally likely demands [m, n] of the lead time and of the review period after it, taken as independent;
    ``held``: pieces [n] in stock and on the way; ``lost``: what cannot be sold at once is lost, not owed.
    """
    out = np.empty(len(held))
    for start in range(0, len(held), _CHUNK):
        part = slice(start, start + _CHUNK)
        left = held[part] - lead[:, None, part]
        lack = np.sort((review[None, :, part] - (np.maximum(left, 0.0) if lost else left)).reshape(-1, left.shape[-1]), axis=0)
        at = np.minimum(np.ceil(ratio[part] * len(lack) - 1e-9).astype(np.int64) - 1, len(lack) - 1)
        out[part] = lack[at, np.arange(lack.shape[1])]
    return np.maximum(out, 0.0)


def lasting(expected: Floats, pieces: float) -> float | None:
    """After how many periods ``pieces`` are expected to be sold, fractions included; None when they outlast the horizon."""
    total = np.cumsum(expected)
    if not len(total) or total[-1] <= pieces:
        return None
    at = int(np.searchsorted(total, pieces, side="right"))
    before = total[at - 1] if at else 0.0
    return float(at + (max(pieces, 0.0) - before) / expected[at])


def read_terms(rows: Sequence[Mapping[str, Any]], *, usual: Terms) -> dict[str, Terms]:
    """Terms by item from rows with ``item`` and some of the fields of :class:`Terms`; empty cells mean ``usual``.

    Raises
    ------
    InputError
        A column is unknown, an item is missing or twice, or a value is not allowed.
    """
    kinds = {one.name: int if one.name in ("lead", "review", "minimum", "pack") else float for one in fields(Terms)}
    found: dict[str, Terms] = {}
    for number, row in enumerate(rows, 1):
        for name in row:
            if name != "item" and name not in kinds:
                raise InputError(
                    f'order terms: there is no column "{name}".{did_you_mean(str(name), kinds)} Known: item, {", ".join(kinds)}.'
                )
        item = str(row.get("item") or "")
        if not item:
            raise InputError(f"order terms: row {number} names no item.")
        if item in found:
            raise InputError(f'order terms: "{item}" is there twice; keep one row.')
        told: dict[str, Any] = {}
        for name, value in row.items():
            if name == "item" or value in (None, ""):
                continue
            try:
                number_ = float(value)
                told[name] = int(number_) if kinds[name] is int and number_.is_integer() else number_
            except (TypeError, ValueError):
                raise InputError(f'order terms of "{item}": {name} must be a number; got {value!r}.') from None
        found[item] = replace(usual, **told).checked(item)
    return found
