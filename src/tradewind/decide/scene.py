"""The request, looked at once: what no customer changes (:class:`Shelf`), and the customers (:class:`Scene`).

A live decision takes the shelf of a batch plan and a scene of one customer, and goes the same way from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.decide import eligibility, features, prior
from tradewind.decide.expression import Condition
from tradewind.decide.hashing import canonical
from tradewind.decide.offers.base import OfferKind, Terms, kind_of
from tradewind.decide.request import Request
from tradewind.decide.scarcity import Stock
from tradewind.decide.shortlist import Shortlist, shortlist
from tradewind.decide.timing import send_times
from tradewind.decide.value import Scorer, ValueModel
from tradewind.errors import InputError
from tradewind.types import micros


@dataclass(frozen=True)
class Shelf:
    """Offers, items, the solved model and the averages of the shop; O offers, C channels, I items, A attributes of actions."""

    channels: tuple[str, ...]
    kinds: tuple[OfferKind, ...]
    conditions: tuple[tuple[Condition, np.ndarray], ...]  # each distinct one, and the numbers of its offers
    audiences: tuple[tuple[frozenset[str], int], ...]
    alike: tuple[tuple[OfferKind, Terms, np.ndarray], ...]  # distinct terms that cost something, and the numbers of their offers
    starts: np.ndarray  # (O) microseconds UTC
    ends: np.ndarray  # (O)
    named: np.ndarray  # (O) bool: the offer has items of its own
    whole: np.ndarray  # (O) bool: without an item it concerns the whole basket
    gives: np.ndarray  # (O) bool: it costs something at redemption
    threshold: np.ndarray  # (O) minor units
    pieces: np.ndarray  # (O)
    contact: np.ndarray  # (O, C) minor units
    shown: np.ndarray  # (O, C) bool: the kind can be shown there
    incentive: np.ndarray  # (O) bool: worth money to the customer
    some: np.ndarray  # (O) bool: open to some customers only
    gone: np.ndarray  # (O) bool: no piece of the offer is left
    names: Mapping[str, pa.Array]  # of "offer", "item" and "channel"; "told": JSON of what an offer gives
    codes: np.ndarray = field(repr=False)  # (O, I) of eligibility
    until: int  # the latest sending that the codes hold for, microseconds UTC
    top: np.ndarray  # (O) the best known item of an offer that names items, -1: none
    popular: np.ndarray = field(repr=False)  # (I) how often an item is listed, by rank
    price: np.ndarray = field(repr=False)  # (I) minor units
    share: np.ndarray = field(repr=False)  # (I) margin share
    shop_share: float
    rate: float  # orders a day and customer
    basket: float  # minor units
    average: tuple[float, float]  # of purchase probability and basket: what an impersonal customer gets
    answers: float  # mean answer rate, 0 where unknown
    redeemed: np.ndarray  # (O) how often an offer was redeemed so far, NaN where unknown
    extra: np.ndarray  # (O) extra orders a message of the offer led to so far, NaN where unknown
    heard: np.ndarray  # (C) how much more often than all messages those of the channel are clicked, 1 where unknown
    unit: float  # minor units: expected margin of a typical customer in a window
    stock: Stock
    model: ValueModel
    version: str  # of the model
    scorer: Scorer = field(repr=False)
    patterns: np.ndarray = field(repr=False)  # (O * C, A)
    pattern: np.ndarray = field(repr=False)  # (O * C) number of the distinct pattern


@dataclass(frozen=True)
class Scene:
    """The customers in order, n of them, before a shelf."""

    request: Request
    shelf: Shelf
    profiles: pa.Table
    impersonal: np.ndarray  # (n) bool
    send_at: np.ndarray  # (n) microseconds UTC
    bad_zones: int
    listed: Shortlist
    buys: np.ndarray  # (n) probability of a purchase in a window
    relative: np.ndarray  # (n) answer rate over the shop's
    moved: np.ndarray  # (n) the probability that messages multiply
    basket: np.ndarray  # (n) minor units
    x: np.ndarray  # (n, columns of the model)


def scene(request: Request) -> Scene:
    """Check and arrange the input.

    Raises
    ------
    InputError
        A customer is missing or twice, an offer is wrong, or no item has a cost and no margin is assumed.
    """
    request.check()
    profiles = request.profiles.sort_by("customer")
    names = profiles["customer"].to_pylist()
    if None in names:
        raise InputError("decide: a profile has no customer.")
    if len(set(names)) != len(names):
        twice = next(one for one, other in pairwise(names) if one == other)
        raise InputError(f'decide: customer "{twice}" has two profiles; there must be one row per customer.')
    kinds = tuple(kind_of(offer) for offer in request.offers)
    impersonal = np.array([name in request.impersonal for name in names], dtype=bool)
    send_at, bad_zones = send_times(profiles, as_of=request.as_of, limits=request.limits, zone=request.zone, impersonal=impersonal)
    price, share, shop_share = _margins(request)
    typical = float(np.median(price[price > 0])) if (price > 0).any() else 0.0
    rate, basket_mean = prior.rate(profiles), prior.basket(profiles, typical=typical)
    buys = prior.buys(profiles, window_days=request.window_days, shop=rate)
    basket = prior.baskets(profiles, shop=basket_mean)
    average = (float(buys.mean()), float(basket.mean())) if len(names) else (0.0, 0.0)
    answers = prior.answers(profiles)
    relative = np.where(impersonal, 1.0, prior.relative(profiles, answers=answers))
    buys, basket = np.where(impersonal, average[0], buys), np.where(impersonal, average[1], basket)
    moved = prior.moved(buys, mean=average[0], answers=answers, relative=relative)
    unit = prior.scale(buys, basket, share=shop_share, extra=list(request.extra_orders.values()))
    model = request.model or ValueModel()
    x = features.customer_matrix(profiles, model.columns)
    x[impersonal] = np.nan
    model = model.prepared(
        x, kinds={one.name for one in kinds}, channels=request.channels, offers=[one.offer for one in request.offers], unit=unit
    )
    listed = shortlist(request.shortlist, customers=profiles["customer"], items=request.items["item"], impersonal=impersonal)
    shelf = _shelf(
        request, kinds, profiles.schema, model, popular=listed.popular,
        until=int(send_at.max()) if len(names) else micros(request.as_of),
        price=price, share=share, shop_share=shop_share, rate=rate, basket=basket_mean, average=average, answers=answers, unit=unit,
    )  # fmt: skip
    return Scene(request, shelf, profiles, impersonal, send_at, bad_zones, listed, buys, relative, moved, basket, x)


def _margins(request: Request) -> tuple[np.ndarray, np.ndarray, float]:
    """Price and margin share per item, and the mean share of the shop."""
    price = eligibility.numbers(request.items, "price", 0).astype(np.float64)
    share = 1.0 - eligibility.goods(request) / np.where(price > 0, price, np.nan)
    priced = share[np.isfinite(share)]
    if request.offers and price.size and not priced.size:
        raise InputError(
            "decide: no item has a price and a cost, and no margin is assumed, so no profit can be expected. Collect items with a cost, "
            "or declare a margin (a share of the price such as 0.4) under [defaults] in the mapping file or in tradewind.toml."
        )
    return price, share, float(np.mean(priced)) if priced.size else float(request.margin or 0.0)


def _shelf(request: Request, kinds: tuple[OfferKind, ...], schema: pa.Schema, model: ValueModel, **shop: Any) -> Shelf:
    """The shelf from the checked offers, the model with its places, and the averages of the shop."""
    channels = tuple(sorted(request.channels))
    offers = _offers(request, kinds, channels, schema)
    scorer = Scorer(model)
    patterns = [features.pattern(scorer.names, offer=one.offer, kind=one.kind, channel=name) for one in request.offers for name in channels]
    stacked = np.array(patterns).reshape(len(patterns), len(scorer.names))
    codes = item_codes(request, kinds, until=shop["until"])
    return Shelf(
        channels=channels,
        kinds=kinds,
        codes=codes,
        top=best_items(codes, offers["named"], shop["popular"]),
        stock=Stock.of(request),
        model=model,
        version=model.version,
        scorer=scorer,
        patterns=stacked,
        pattern=np.unique(stacked, axis=0, return_inverse=True)[1].ravel() if len(stacked) else np.zeros(0, dtype=np.int64),
        **offers,
        **shop,
    )


def _offers(request: Request, kinds: tuple[OfferKind, ...], channels: tuple[str, ...], schema: pa.Schema) -> dict[str, Any]:
    """The fields of a shelf that follow from the terms of the offers."""
    offers = request.offers
    pairs = list(zip(offers, kinds, strict=True))
    named = np.array([one.items is not None for one in offers], dtype=bool)
    gives = np.array([bool(kind.discounts(np.array([10**9]), one.terms)[0] > 0) for one, kind in pairs], dtype=bool)
    paying = [canonical([one.kind, dict(one.terms)]) if pays else None for one, pays in zip(offers, gives, strict=True)]
    contact = [[request.channels[name] + kind.contact(one.terms) for name in channels] for one, kind in pairs]
    shown = [[kind.channels is None or name in kind.channels for name in channels] for kind in kinds]
    told = [canonical({"code": "offer", "details": {"kind": one.kind, **dict(one.terms)}}) for one in offers]
    return {
        "conditions": tuple((eligibility.condition(offers[at[0]], schema), at) for at in _same([one.eligible for one in offers])),
        "audiences": tuple((one.audience, number) for number, one in enumerate(offers) if one.audience is not None),
        "alike": tuple((kinds[at[0]], offers[at[0]].terms, at) for at in _same(paying)),
        "starts": np.array([micros(one.starts_at) if one.starts_at else -(2**62) for one in offers], dtype=np.int64),
        "ends": np.array([micros(one.ends_at) if one.ends_at else 2**62 for one in offers], dtype=np.int64),
        "named": named,
        "whole": ~named & np.array([kind.whole for kind in kinds], dtype=bool),
        "gives": gives,
        "threshold": np.array([kind.threshold(one.terms) for one, kind in pairs], dtype=np.int64),
        "pieces": np.array([kind.pieces(one.terms) for one, kind in pairs], dtype=np.int64),
        "contact": np.array(contact, dtype=np.float64).reshape(len(offers), len(channels)),
        "shown": np.array(shown, dtype=bool).reshape(len(offers), len(channels)),
        "incentive": np.array([kind.incentive for kind in kinds], dtype=bool),
        "some": np.array([one.eligible is not None or one.audience is not None for one in offers], dtype=bool),
        "redeemed": np.array([request.redeemed.get(one.offer, np.nan) for one in offers], dtype=np.float64),
        "extra": np.array([request.extra_orders.get(one.offer, np.nan) for one in offers], dtype=np.float64),
        "heard": np.array([request.heard.get(name, 1.0) for name in channels], dtype=np.float64),
        "gone": Stock.of(request).offers == 0,
        "names": {
            "offer": pa.array([one.offer for one in offers], pa.string()),
            "item": pa.array(request.items["item"].to_pylist(), pa.string()),
            "channel": pa.array(channels, pa.string()),
            "told": pa.array(told, pa.string()),
        },
    }


def _same(names: Sequence[str | None]) -> list[np.ndarray]:
    """The places of every distinct name; those without a name are left out."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name is not None:
            found.setdefault(name, []).append(place)
    return [np.array(places, dtype=np.int64) for places in found.values()]


def item_codes(request: Request, kinds: tuple[OfferKind, ...], *, until: int) -> np.ndarray:
    """The code of every item for every offer, for sendings up to ``until``; int8 (offers, items)."""
    left = eligibility.pieces(request)
    found = [eligibility.items(request, one, kind, left=left, last_send=until) for one, kind in zip(request.offers, kinds, strict=True)]
    return np.array(found, dtype=np.int8).reshape(len(found), request.items.num_rows)


def best_items(codes: np.ndarray, named: np.ndarray, popular: np.ndarray) -> np.ndarray:
    """Per offer that names items the most listed one that can be sold; -1 where there is none; int64 (offers)."""
    if not codes.size:
        return np.full(len(codes), -1, dtype=np.int64)
    sold = (codes == 0) & named[:, None]
    return np.where(sold.any(axis=1), np.argmax(np.where(sold, popular[None, :], -1.0), axis=1), -1)
