"""How readily a customer takes a discount: what was bought at one, against what one was available for.

Of each customer is known how many discounted purchases there were, and how many to expect if the customer were like any other: for
personal offers the days on which one was open times the customer's own rate of orders at full price (who orders all the time uses
coupons without being moved by them); for public discounts the share of the shop's lines of the same category and week that had one.
The ratio of the two is shrunk twice, from the customer to those who look as long before they buy, from those to the shop: a gamma
prior on a Poisson rate, its shape by maximum likelihood (DuMouchel 1999). A level is stated with its posterior probability.

It is a ratio of what was seen, not an effect: whom a discount moves is learned from randomised decisions (``decide.value``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn._grains import quintiles
from tradewind.schema import Kind
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

Values = NDArray[np.float64]
Ints = NDArray[np.int64]
DAY = 86_400_000_000
WEEK = 7 * DAY
OPEN_DAYS = 4.0  # that an offer counts as available after it was sent, unless the next one comes first
UNCUT = ("product", "ad")  # kinds of offers that take nothing off
LEAST = 20  # discounted purchases of a shop
GROUP = 5.0  # expected purchases of a group that the shop counts as against it
LOOKS = 10  # views added before a ratio of views to orders is taken
LEVELS = ("low", "medium", "high")
CUTS = (0.75, 1.5)  # between them, in multiples of the shop


@dataclass(frozen=True)
class Exposure:
    """Per customer of N: discounted purchases ``taken``, how many to expect of anybody (``expected``), views, orders."""

    names: NDArray[np.object_]
    taken: Values
    expected: Values
    views: Values
    orders: Values


@dataclass(frozen=True)
class Sensitivity:
    """Per customer: ``ratio`` to the shop (1: like all), the ``level`` (index into LEVELS) and how likely that is, 0-1."""

    names: NDArray[np.object_]
    ratio: Values
    level: Ints
    confidence: Values


def exposure(tables: Tables, *, as_of: datetime) -> Exposure:
    """What everybody with an event before ``as_of`` took and could have taken."""
    events = tables.events(as_of=as_of)
    known = events.filter(events.customer.notnull())
    seen = known.group_by("customer").aggregate(first=known.at.min(), views=(known.kind == Kind.VIEW.value).sum())
    people = tables.to_arrow(seen).sort_by("customer")
    names = np.array(people["customer"].to_pylist(), dtype=object)
    items = tables.get("items").select("item", "category")
    lines = known.filter(known.kind == Kind.PURCHASE.value).select("customer", "at", "order_id", "id", "item", "discount", "offer")
    bought = tables.to_arrow(lines.left_join(items, "item").select("customer", "at", "order_id", "id", "discount", "offer", "category"))
    sent = tables.to_arrow(known.filter((known.kind == Kind.SENT.value) & known.offer.notnull()).select("customer", "at", "offer"))
    offers = dict(
        zip(*(column.to_pylist() for column in tables.to_arrow(tables.get("offers").select("offer", "kind")).columns), strict=True)
    )
    days = np.maximum((micros(as_of) - _us(people["first"])) / DAY, 1.0)
    return _exposed(names, days, people["views"].cast(pa.float64()).to_numpy(), bought, sent, offers)


def _exposed(names: NDArray[np.object_], days: Values, views: Values, bought: pa.Table, sent: pa.Table, offers: dict[str, str]) -> Exposure:
    n, of = len(names), {name: row for row, name in enumerate(names)}
    owner = np.array([of[name] for name in bought["customer"].to_pylist()], dtype=np.int64)
    cut = bought["discount"].fill_null(0).to_numpy() > 0
    told = np.array(bought["offer"].to_pylist(), dtype=object)
    personal = cut & np.array([offer is not None for offer in told], dtype=bool)
    orders = np.array(
        [order or line for order, line in zip(bought["order_id"].to_pylist(), bought["id"].to_pylist(), strict=True)], dtype=object
    )
    full, taken = _orders(owner, orders, ~cut, n), _orders(owner, orders, personal, n)
    shape, mean = gamma(full, days)
    base = (full + shape) / (days + shape / mean)
    cutting = {offer for offer, kind in offers.items() if kind not in UNCUT} | set(told[personal])
    wanted = _scaled(base * _available(of, sent, cutting, n), taken)
    public = cut & ~personal
    week = _us(bought["at"]) // WEEK
    shelf = np.unique(np.array(bought["category"].fill_null("").to_pylist(), dtype=object).astype(str), return_inverse=True)[1]
    open_to_all = _scaled(_public(owner, shelf.astype(np.int64) * (week.max(initial=0) + 1) + week, public, n), _counted(owner[public], n))
    return Exposure(names, taken + _counted(owner[public], n), wanted + open_to_all, views, full + _orders(owner, orders, cut, n))


def _us(column: Any) -> Ints:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _counted(owner: Ints, n: int) -> Values:
    return np.bincount(owner, minlength=n).astype(np.float64)


def _orders(owner: Ints, orders: NDArray[np.object_], some: NDArray[np.bool_], n: int) -> Values:
    """Different orders of each customer among ``some`` lines."""
    pairs = {(int(row), order) for row, order in zip(owner[some].tolist(), orders[some].tolist(), strict=True)}
    return _counted(np.array([row for row, _ in pairs], dtype=np.int64), n)


def _available(of: dict[Any, int], sent: pa.Table, cutting: set[Any], n: int) -> Values:
    """Days on which a personal discount was open to each customer."""
    kept = [offer in cutting for offer in sent["offer"].to_pylist()]
    sent = sent.filter(pa.array(kept, pa.bool_())).sort_by([("customer", "ascending"), ("at", "ascending")])
    owner, at = np.array([of[name] for name in sent["customer"].to_pylist()], dtype=np.int64), _us(sent["at"])
    gap = np.full(len(at), np.inf)
    same = owner[1:] == owner[:-1]
    gap[:-1][same] = (at[1:] - at[:-1])[same] / DAY
    return np.asarray(np.bincount(owner, np.minimum(gap, OPEN_DAYS), minlength=n), dtype=np.float64)


def _public(owner: Ints, cell: Ints, cut: NDArray[np.bool_], n: int) -> Values:
    """Discounted lines to expect of each customer: per line the share in its cell among the others' lines."""
    codes = np.unique(cell, return_inverse=True)[1]
    lines, discounted = np.bincount(codes), np.bincount(codes, cut)
    own = codes.astype(np.int64) * n + owner
    mine, place = np.unique(own, return_inverse=True)
    my_lines, my_cut = np.bincount(place, minlength=len(mine)), np.bincount(place, cut, minlength=len(mine))
    others = lines[codes] - my_lines[place]
    share = np.where(others > 0, (discounted[codes] - my_cut[place]) / np.maximum(others, 1), 0.0)
    return np.asarray(np.bincount(owner, share, minlength=n), dtype=np.float64)


def _scaled(expected: Values, taken: Values) -> Values:
    """Expected purchases that add up to those that were taken; nothing where nothing was."""
    return np.asarray(expected * (taken.sum() / expected.sum()) if expected.sum() > 0 else np.zeros_like(expected))


def gamma(count: Values, exposed: Values) -> tuple[float, float]:
    """Shape and mean of the gamma prior of Poisson rates with the greatest likelihood, from ``count`` events in ``exposed``."""
    some = exposed > 0
    mean = float(count.sum() / exposed.sum()) if count.sum() > 0 else 1e-9
    return shape_of(count[some], exposed[some] * mean), mean


def shape_of(count: Values, expected: Values) -> float:
    """Shape of the gamma prior with mean 1 of the ratios of counts to what is expected of each; 0.05 to 1,000."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    def loss(log_shape: float) -> float:
        a = float(np.exp(log_shape))
        return -float((gammaln(count + a) - gammaln(a) + a * np.log(a) - (count + a) * np.log(a + expected)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(1000.0)), method="bounded").x))


class PriceSensitivity:
    """Fitted on a shop's :func:`exposure`. When not to use: in a shop that gives everybody the same discount all the time."""

    def __init__(self) -> None:
        self.shape = 0.0
        self.groups = np.empty(0)  # mean ratio of each fifth by views per order

    def fit(self, found: Exposure) -> Self:
        """Learn how much customers differ.

        Raises
        ------
        InputError
            There were fewer than 20 discounted purchases where one was to be expected.
        """
        if found.taken[found.expected > 0].sum() < LEAST:
            raise InputError(
                f"Price sensitivity needs {LEAST} purchases at a discount; the log has {int(found.taken.sum())}. "
                "Collect what was taken off (discount of an order line), and the offers that were sent."
            )
        group = _group(found)
        taken, expected = (np.bincount(group, each, minlength=5) for each in (found.taken, found.expected))
        self.groups = (taken + GROUP) / (expected + GROUP)  # the shop's ratio is 1 by the scale of ``expected``
        prior = found.expected * self.groups[group]
        self.shape = shape_of(found.taken[prior > 0], prior[prior > 0])
        return self

    def predict(self, found: Exposure) -> Sensitivity:
        """Ratio, level and confidence of everybody; who was never offered anything is judged by the group, and unsure.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if not len(self.groups):
            raise NotFitted("PriceSensitivity")
        from scipy.stats import gamma as law

        shape = found.taken + self.shape
        rate = found.expected + self.shape / self.groups[_group(found)]
        below = np.stack([law.cdf(cut, shape, scale=1 / rate) for cut in CUTS])
        mass = np.stack([below[0], below[1] - below[0], 1 - below[1]])
        level = mass.argmax(axis=0).astype(np.int64)
        return Sensitivity(found.names, shape / rate, level, mass.max(axis=0))


def _group(found: Exposure) -> Ints:
    """Which fifth of the customers, by views per order: 0 looks least."""
    ratio = (found.views + LOOKS) / (found.orders + 1)
    return np.asarray(quintiles((ratio * 1e6).astype(np.int64)), dtype=np.int64)
