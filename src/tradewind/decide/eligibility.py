"""Who may get what: every no has a code. Arrays of small integers inside, words only in the plan.

The order of ``CODES`` is the order of checking; the first that applies is logged. ``EXPLAIN`` says each in English.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.decide import expression
from tradewind.decide.offers.base import OfferKind
from tradewind.decide.request import Request
from tradewind.errors import InputError
from tradewind.types import Offer, micros

EXPLAIN = {
    "ok": "allowed",
    "ended": "the offer does not run at the time of sending",
    "audience": "the customer is not in the offer's audience",
    "impersonal": "the customer switched personalisation off, and the offer is open to some customers only",
    "expression": "the customer does not meet the offer's eligibility expression",
    "no_item": "no item of the offer fits the customer",
    "stock": "out of stock",
    "unavailable": "not sold at the time of sending",
    "no_price": "the item has no price",
    "no_cost": "the item has no cost, and no margin is assumed",
    "margin_floor": "the margin after the discount would fall below the floor",
    "no_consent": "no consent for this channel",
    "messages_cap": "the customer had the most messages allowed in thirty days",
    "messages_gap": "the last message is too recent",
    "rank": "other actions promise more; at most ten candidates are kept",
    "budget": "one such action costs more than the whole budget",
    "budget_reach": "the budget is too small to consider every customer",
}
CODES = tuple(EXPLAIN)
CODE = {name: number for number, name in enumerate(CODES)}


def customers(profiles: pa.Table, offer: Offer, *, send_at: np.ndarray, impersonal: np.ndarray) -> np.ndarray:
    """A code per customer for an ``offer``, regardless of items and channels; int8. ``send_at`` in microseconds UTC.

    Raises
    ------
    InputError
        The eligibility expression cannot be read; the message names the offer.
    """
    codes = np.zeros(profiles.num_rows, dtype=np.int8)
    if offer.eligible is not None:
        try:
            meets = expression.matches(offer.eligible, profiles)
        except InputError as error:
            raise InputError(f'Offer "{offer.offer}": {error}') from error
        codes[~meets] = CODE["expression"]
    if offer.eligible is not None or offer.audience is not None:
        codes[impersonal] = CODE["impersonal"]
    if offer.audience is not None:
        inside = pc.is_in(profiles["customer"], value_set=pa.array(sorted(offer.audience), pa.string()))
        codes[~inside.to_numpy()] = CODE["audience"]
    starts = micros(offer.starts_at) if offer.starts_at else -(2**62)
    ends = micros(offer.ends_at) if offer.ends_at else 2**62
    codes[(send_at < starts) | (send_at >= ends)] = CODE["ended"]
    return codes


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


def items(request: Request, offer: Offer, kind: OfferKind, *, last_send: int) -> np.ndarray:
    """A code per row of ``request.items`` for an ``offer``; int8. ``last_send``: the latest sending, microseconds UTC."""
    table = request.items
    price = numbers(table, "price", -1)
    cost = goods(request)
    stock = numbers(table, "stock", 2**31)
    codes = np.zeros(table.num_rows, dtype=np.int8)
    amounts = np.maximum(price, kind.threshold(offer.terms))
    scaled = np.where(price > 0, cost * (amounts / np.maximum(price, 1)), 0.0)  # a basket at the threshold holds more goods
    codes[~kind.keeps_margin(amounts, scaled, offer.terms)] = CODE["margin_floor"]
    codes[~np.isfinite(cost)] = CODE["no_cost"]
    codes[price <= 0] = CODE["no_price"]
    since, until = _instants(table, "available_from", -(2**62)), _instants(table, "available_until", 2**62)
    codes[(since > micros(request.as_of)) | (until <= last_send)] = CODE["unavailable"]
    codes[stock <= 0] = CODE["stock"]
    if offer.items is not None:
        inside = pc.is_in(table["item"], value_set=pa.array(sorted(offer.items), pa.string()))
        codes[~inside.to_numpy()] = CODE["no_item"]
    return codes


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
