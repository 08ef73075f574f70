"""Who may get what: every no has a code. Arrays of small integers inside, words only in the plan.

The order of ``CODES`` is the order of checking; the first that applies is logged. ``EXPLAIN`` says each in English.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.decide import expression, promotion_guard
from tradewind.decide.offers.base import STACK, OfferKind
from tradewind.decide.request import Request
from tradewind.errors import InputError
from tradewind.types import Offer, micros

if TYPE_CHECKING:
    from tradewind.decide.scene import Shelf

EXPLAIN = {
    "ok": "allowed",
    "ended": "the offer does not run at the time of sending",
    "audience": "the customer is not in the offer's audience",
    "impersonal": "the customer switched personalisation off, and the offer is open to some customers only",
    "blocked": "the customer is blocked, of high risk or part of a ring, and gets nothing that is worth money",
    "cooling": "the account is too new for anything that is worth money",
    "ring_cap": "accounts that belong together had what the shop gives to one",
    "expression": "the customer does not meet the offer's eligibility expression",
    "stacking": "the customer holds an offer that this one must not be combined with",
    "offer_stock": "all pieces of the offer are given away",
    "no_channel": "the offer cannot be shown on any channel that reaches the customer",
    "no_item": "no item of the offer fits the customer",
    "stock": "out of stock",
    "stock_ends": "expected to be sold out by the time of sending",
    "unavailable": "not sold at the time of sending",
    "no_price": "the item has no price",
    "no_cost": "the item has no cost, and no margin is assumed",
    "margin_floor": "the margin after the discount would fall below the floor",
    "no_consent": "no consent for this channel",
    "messages_cap": "the customer had the most messages allowed in thirty days",
    "messages_gap": "the last message is too recent",
    "rank": "other actions promise more; at most ten candidates are kept",
    "budget": "one such action costs more than the whole budget",
    "budget_reach": "the budget is too small to consider every customer for what costs money",
    "stock_reach": "too few pieces are left; customers from whom more is expected come first",
    "cap_reach": "a limit of its channel or offer is too small to consider every customer for it",
    "personalisation_off": "the customer switched personalisation off: decided by the averages of the shop, the profile unread",
}
UNLIMITED = 2**31  # pieces
CODES = tuple(EXPLAIN)
CODE = {name: number for number, name in enumerate(CODES)}


def condition(offer: Offer, schema: pa.Schema) -> expression.Condition:
    """The eligibility expression of ``offer``, read for profiles of ``schema``.

    Raises
    ------
    InputError
        It cannot be read; the message names the offer.
    """
    assert offer.eligible is not None
    try:
        return expression.compiled(offer.eligible, schema)
    except InputError as error:
        raise InputError(f'Offer "{offer.offer}": {error}') from error


def customers(request: Request, shelf: Shelf, profiles: pa.Table, *, send_at: np.ndarray, impersonal: np.ndarray) -> np.ndarray:
    """A code per customer and offer, regardless of items and channels; int8 (customers, offers). ``send_at`` in microseconds UTC."""
    offers = request.offers
    codes = np.zeros((profiles.num_rows, len(offers)), dtype=np.int8)
    for group, holds in _held(request, profiles).items():
        same = np.array([one.terms.get(STACK) == group for one in offers], dtype=bool)
        codes[np.ix_(holds, same)] = CODE["stacking"]
    cells = expression.Cells(profiles)
    for meets, which in shelf.conditions:
        codes[np.ix_(~meets(cells).yes, which)] = CODE["expression"]
    marks = [(promotion_guard.has(profiles, why), shelf.incentive, why) for why in ("ring_cap", "cooling")]
    for people, closed, why in (*marks, (blocked(request, profiles), shelf.incentive, "blocked"), (impersonal, shelf.some, "impersonal")):
        if people.any():
            codes[np.ix_(people, closed)] = CODE[why]
    for audience, number in shelf.audiences:
        codes[~_inside(profiles["customer"], audience), number] = CODE["audience"]
    codes[:, shelf.gone] = CODE["offer_stock"]
    codes[(send_at[:, None] < shelf.starts) | (send_at[:, None] >= shelf.ends)] = CODE["ended"]
    return codes


def blocked(request: Request, profiles: pa.Table) -> np.ndarray:
    """Who gets nothing that is worth money; bool: named in the request, ``blocked``, a ``risk`` at the limit, or in a ``ring``."""
    found = _inside(profiles["customer"], request.blocked) if request.blocked else np.zeros(profiles.num_rows, dtype=bool)
    names = profiles.column_names
    if "blocked" in names:
        found |= profiles["blocked"].cast(pa.bool_()).fill_null(False).to_numpy()
    if "risk" in names:
        found |= profiles["risk"].cast(pa.float64()).fill_null(0.0).to_numpy() >= request.limits.risk
    if "ring" in names:
        found |= profiles["ring"].is_valid().to_numpy()
    return np.asarray(found)


def _held(request: Request, profiles: pa.Table) -> dict[str, np.ndarray]:
    """Group of offers -> who holds one of them already (bool)."""
    if request.held is None or not request.held.num_rows:
        return {}
    groups = {one.offer: one.terms[STACK] for one in request.offers if STACK in one.terms}
    found: dict[str, set[str]] = {}
    for customer, offer in zip(request.held["customer"].to_pylist(), request.held["offer"].to_pylist(), strict=True):
        if offer in groups:
            found.setdefault(groups[offer], set()).add(customer)
    return {group: _inside(profiles["customer"], members) for group, members in found.items()}


def _inside(customers: pa.ChunkedArray, members: AbstractSet[str]) -> np.ndarray:
    """Which customers are among ``members``; bool. One customer is looked up, many are joined."""
    if len(customers) < len(members):
        return np.array([name in members for name in customers.to_pylist()], dtype=bool)
    return np.asarray(pc.is_in(customers, value_set=pa.array(sorted(members), pa.string())).to_numpy())


def channels(request: Request, profiles: pa.Table, names: tuple[str, ...], *, send_at: np.ndarray) -> np.ndarray:
    """A code per customer and channel: consent and contact caps; int8 (customers, channels)."""
    codes = np.full((profiles.num_rows, len(names)), CODE["no_consent"], dtype=np.int8)
    allowed = request.allowed
    if "granted" in allowed.column_names:
        allowed = allowed.filter(pc.fill_null(allowed["granted"], False))
    for column, name in enumerate(names):
        granted = allowed.filter(pc.equal(allowed["channel"], name))["customer"].combine_chunks()
        codes[pc.is_in(profiles["customer"], value_set=granted.cast(pa.string())).to_numpy(), column] = 0
    open_ = codes == 0
    if "last_message_at" in profiles.column_names:
        last = profiles["last_message_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).fill_null(-(2**62)).to_numpy()
        gap = int(timedelta(hours=request.limits.gap_hours) / timedelta(microseconds=1))
        codes[(last > send_at - gap)[:, None] & open_] = CODE["messages_gap"]
    if "messages_30d" in profiles.column_names:
        had = profiles["messages_30d"].cast(pa.int64()).fill_null(0).to_numpy()
        codes[(had >= request.limits.messages_30d)[:, None] & open_] = CODE["messages_cap"]
    return codes


def items(request: Request, offer: Offer, kind: OfferKind, *, left: np.ndarray, last_send: int) -> np.ndarray:
    """A code per row of ``request.items`` for an ``offer``; int8.

    ``left``: :func:`pieces`; ``last_send``: the latest sending, microseconds UTC.
    """
    table = request.items
    price = numbers(table, "price", -1)
    cost = goods(request)
    codes = np.zeros(table.num_rows, dtype=np.int8)
    amounts = np.maximum(price, kind.threshold(offer.terms)) * kind.pieces(offer.terms)
    scaled = np.where(price > 0, cost * (amounts / np.maximum(price, 1)), 0.0)  # a basket at the threshold holds more goods
    codes[~kind.keeps_margin(amounts, scaled, offer.terms)] = CODE["margin_floor"]
    codes[~np.isfinite(cost)] = CODE["no_cost"]
    codes[price <= 0] = CODE["no_price"]
    since, until = _instants(table, "available_from", -(2**62)), _instants(table, "available_until", 2**62)
    codes[(since > micros(request.as_of)) | (until <= last_send)] = CODE["unavailable"]
    codes[_instants(table, "stock_ends", 2**62) <= last_send] = CODE["stock_ends"]
    codes[left <= 0] = CODE["stock"]
    if offer.items is not None:
        inside = pc.is_in(table["item"], value_set=pa.array(sorted(offer.items), pa.string()))
        codes[~inside.to_numpy()] = CODE["no_item"]
    return codes


def pieces(request: Request) -> np.ndarray:
    """Pieces per item that nobody is promised, ``UNLIMITED`` where the stock is not known; int64."""
    left = numbers(request.items, "stock", UNLIMITED)
    if request.caps.stock:
        left = np.minimum(left, [request.caps.stock.get(name, UNLIMITED) for name in request.items["item"].to_pylist()])
    if any(name.startswith("item:") for name in request.promised):
        held = np.array([request.promised.get(f"item:{name}", 0) for name in request.items["item"].to_pylist()], dtype=np.int64)
        left = np.where(left < UNLIMITED, left - held, left)
    return np.asarray(np.maximum(left, 0))


def goods(request: Request) -> np.ndarray:
    """Cost of one piece per item, minor units, by the assumed margin where none is known; NaN where neither is."""
    price = numbers(request.items, "price", 0).astype(np.float64)
    known = request.items["cost"].cast(pa.float64()).fill_null(np.nan).to_numpy()
    assumed = price * (1.0 - request.margin) if request.margin is not None else np.full(len(price), np.nan)
    return np.where(np.isfinite(known), known, assumed)


def numbers(table: pa.Table, name: str, default: int) -> np.ndarray:
    """A column as int64 with ``default`` where it is empty."""
    return np.asarray(table[name].cast(pa.int64()).fill_null(default).to_numpy())


def _instants(table: pa.Table, name: str, default: int) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, default, dtype=np.int64)
    return np.asarray(table[name].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).fill_null(default).to_numpy())
