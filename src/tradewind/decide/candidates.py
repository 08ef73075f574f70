"""Candidates: per customer at most nine (offer, item, channel) actions worth a chance, scored; "nothing" comes on top."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tradewind.decide import eligibility, features, prior
from tradewind.decide.eligibility import CODE
from tradewind.decide.offers.base import OfferKind, kind_of
from tradewind.decide.request import Request
from tradewind.decide.shortlist import Shortlist, affinity, shortlist
from tradewind.decide.timing import send_times
from tradewind.decide.value import Scorer, ValueModel
from tradewind.errors import InputError
from tradewind.types import micros

_CELLS = 2_000_000  # numbers per array of a chunk of customers: what bounds the memory
_SAMPLE = 64  # customers whose candidates give the mean correlation of the posterior
_ITEM_FAULTS = [CODE[name] for name in ("stock", "unavailable", "no_price", "no_cost", "margin_floor")]


@dataclass(frozen=True)
class Scene:
    """The request, looked at once: sorted customers, their features and base rates, the catalogue and the model."""

    request: Request
    profiles: pa.Table
    impersonal: np.ndarray
    send_at: np.ndarray  # microseconds UTC
    bad_zones: int
    channels: tuple[str, ...]
    kinds: tuple[OfferKind, ...]
    listed: Shortlist
    price: np.ndarray  # of items, minor units
    share: np.ndarray  # margin share of items
    buys: np.ndarray
    basket: np.ndarray
    unit: float  # minor units: expected margin of a typical customer in a window
    x: np.ndarray
    model: ValueModel
    shop_share: float


@dataclass(frozen=True)
class Candidates:
    """Arrays of shape (customers, slots), filled from the left; numbers index the request's offers, items, channels."""

    offer: np.ndarray
    item: np.ndarray  # -1: the whole basket
    channel: np.ndarray
    row: np.ndarray  # of the shortlist table, -1: none
    rank: np.ndarray
    discount: np.ndarray  # share of the amount
    affinity: np.ndarray
    coverage: np.ndarray
    prior_margin: np.ndarray
    prior_cost: np.ndarray
    contact: np.ndarray
    worst: np.ndarray  # contact plus the whole discount
    value: np.ndarray
    cost: np.ndarray  # whole minor units
    valid: np.ndarray
    sd: np.ndarray
    correlation: float
    offer_codes: np.ndarray = field(repr=False)  # (customers, offers)
    channel_codes: np.ndarray = field(repr=False)  # (customers, channels)
    item_faults: np.ndarray = field(repr=False)  # (faults, 4): customer, offer, item, code

    def only(self, inside: np.ndarray, code: int) -> Candidates:
        """Without the candidates of customers that are not ``inside`` (bool); their offers get ``code``."""
        codes = np.where(~inside[:, None] & (self.offer_codes == 0), code, self.offer_codes).astype(np.int8)
        return replace(self, valid=self.valid & inside[:, None], cost=np.where(inside[:, None], self.cost, 0.0), offer_codes=codes)


class _Slots(NamedTuple):
    """One offer for a chunk of customers, (customers, items)."""

    item: np.ndarray
    row: np.ndarray
    rank: np.ndarray
    affinity: np.ndarray
    coverage: np.ndarray
    valid: np.ndarray


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
    price = eligibility.numbers(request.items, "price", 0).astype(np.float64)
    share = 1.0 - eligibility.goods(request) / np.where(price > 0, price, np.nan)
    priced = share[np.isfinite(share)]
    if request.offers and price.size and not priced.size:
        raise InputError(
            "decide: no item has a price and a cost, and no margin is assumed, so no profit can be expected. Collect items with a cost, "
            "or declare a margin (a share of the price such as 0.4) under [defaults] in the mapping file or in tradewind.toml."
        )
    typical = float(np.median(price[price > 0])) if (price > 0).any() else 0.0
    buys, basket = prior.buys(profiles, window_days=request.window_days), prior.baskets(profiles, typical=typical)
    if impersonal.any() and len(names):
        buys, basket = np.where(impersonal, buys.mean(), buys), np.where(impersonal, basket.mean(), basket)
    shop_share = float(np.mean(priced)) if priced.size else float(request.margin or 0.0)
    unit = max(float(np.mean(buys * basket)) * shop_share, 1.0) if len(names) else 1.0
    model = request.model or ValueModel()
    x = features.customer_matrix(profiles, model.columns)
    x[impersonal] = np.nan
    model = model.prepared(
        x, kinds={one.name for one in kinds}, channels=request.channels, offers=[one.offer for one in request.offers], unit=unit
    )
    listed = shortlist(request.shortlist, customers=profiles["customer"], items=request.items["item"], impersonal=impersonal)
    channels = tuple(sorted(request.channels))
    return Scene(
        request, profiles, impersonal, send_at, bad_zones, channels, kinds, listed, price, share, buys, basket, unit, x, model, shop_share
    )


def candidates(seen: Scene) -> Candidates:
    """Build, score and shorten the candidates of all customers."""
    request, n = seen.request, seen.profiles.num_rows
    scorer = Scorer(seen.model)
    last = int(seen.send_at.max()) if n else micros(request.as_of)
    item_codes = [eligibility.items(request, offer, kind, last_send=last) for offer, kind in zip(request.offers, seen.kinds, strict=True)]
    offer_codes = np.zeros((n, len(request.offers)), dtype=np.int8)
    for number, offer in enumerate(request.offers):
        offer_codes[:, number] = eligibility.customers(seen.profiles, offer, send_at=seen.send_at, impersonal=seen.impersonal)
    channel_codes = eligibility.channels(request, seen.profiles, seen.channels, send_at=seen.send_at)
    each = max(1, (request.size - 1) // max(len(request.offers) * len(seen.channels), 1))
    width = max(len(request.offers) * each * len(seen.channels), 1)
    step = max(_CELLS // width, 64)
    faults: list[np.ndarray] = []
    parts = [
        _chunk(seen, scorer, np.arange(start, min(start + step, n)), item_codes, offer_codes, channel_codes, each, faults)
        for start in range(0, max(n, 1), step)
    ]
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sd, correlation = _spread(seen, scorer, merged)
    return Candidates(
        **merged,
        sd=sd,
        correlation=correlation,
        offer_codes=offer_codes,
        channel_codes=channel_codes,
        item_faults=np.concatenate(faults) if faults else np.zeros((0, 4), dtype=np.int64),
    )


def _chunk(
    seen: Scene,
    scorer: Scorer,
    who: np.ndarray,
    item_codes: list[np.ndarray],
    offer_codes: np.ndarray,
    channel_codes: np.ndarray,
    each: int,
    faults: list[np.ndarray],
) -> dict[str, np.ndarray]:
    z = scorer.features(seen.x[who])
    margin, cost = scorer.surfaces(z)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _FIELDS}
    for number, codes in enumerate(item_codes):
        slots = _slots(seen, number, who, codes, offer_codes, each, faults)
        priced = _priced(seen, number, who, slots)
        for channel, name in enumerate(seen.channels):
            open_ = slots.valid & (channel_codes[who, channel] == 0)[:, None]
            pattern = _pattern(seen, scorer, number, channel)
            contact = float(seen.request.channels[name])
            for at in range(slots.item.shape[1]):
                one = {key: array[:, at] for key, array in (slots._asdict() | priced).items()}
                asked = {"discount": one["discount"], "affinity": one["affinity"]}
                value = one["prior_margin"] + scorer.at(margin, pattern, **asked)
                paid = np.clip(one["redeemed"] + np.where(one["off"] > 0, scorer.at(cost, pattern, **asked), 0.0), 0.0, one["off"])
                one |= {
                    "offer": np.full(len(who), number),
                    "channel": np.full(len(who), channel),
                    "prior_cost": contact + one["redeemed"],
                    "contact": np.full(len(who), contact),
                    "worst": contact + one["off"],
                    "value": np.round(value, 6),
                    "cost": np.ceil(contact + paid - 1e-9),
                    "valid": open_[:, at],
                }
                for key in _FIELDS:
                    columns[key].append(one[key])
    return _shorten(seen, who, {key: _stack(values, len(who)) for key, values in columns.items()}, offer_codes)


_FIELDS = (
    "offer", "item", "channel", "row", "rank", "discount", "affinity", "coverage",
    "prior_margin", "prior_cost", "contact", "worst", "value", "cost", "valid",
)  # fmt: skip
_WHOLE = {"offer", "item", "channel", "row", "rank"}


def _stack(values: list[np.ndarray], n: int) -> np.ndarray:
    return np.stack(values, axis=1) if values else np.zeros((n, 0))


def _slots(
    seen: Scene, number: int, who: np.ndarray, codes: np.ndarray, offer_codes: np.ndarray, each: int, faults: list[np.ndarray]
) -> _Slots:
    """The best listed items that the offer allows; without one, the offer's most popular item or the whole basket."""
    offer, kind = seen.request.offers[number], seen.kinds[number]
    listed, rows = seen.listed.item[who], seen.listed.row[who]
    there = listed >= 0
    code = np.where(there, codes[np.maximum(listed, 0)] if len(codes) else 0, CODE["no_item"])
    fits = there & (code == 0)
    each = min(each, listed.shape[1])
    order = np.argsort(~fits, axis=1, kind="stable")[:, :each]
    valid = np.take_along_axis(fits, order, axis=1)
    item = np.where(valid, np.take_along_axis(listed, order, axis=1), -1)
    row = np.where(valid, np.take_along_axis(rows, order, axis=1), -1)
    fit = np.where(valid, affinity(order), 0.0)
    lonely = ~valid[:, 0]
    sold = np.flatnonzero(codes == 0)
    basket = offer.items is None and bool(kind.discounts(np.array([10**9]), offer.terms)[0] > 0)
    if offer.items is not None and sold.size:
        item[lonely, 0] = sold[np.argmax(seen.listed.popular[sold])]
        valid[lonely, 0] = True
    elif basket:
        amount = np.maximum(np.ceil(seen.basket[who]), kind.threshold(offer.terms)).astype(np.int64)
        kept = kind.keeps_margin(amount, amount * (1.0 - seen.shop_share), offer.terms)
        valid[lonely, 0] = kept[lonely]
        offer_codes[who[lonely & ~kept & (offer_codes[who, number] == 0)], number] = CODE["margin_floor"]
    open_ = offer_codes[who, number] == 0
    empty = open_ & ~valid.any(axis=1)
    offer_codes[who[empty], number] = CODE["no_item"]
    wrong = np.isin(code[:, :each], _ITEM_FAULTS) & there[:, :each] & open_[:, None]
    at, rank = np.nonzero(wrong)
    if at.size:
        faults.append(np.stack([who[at], np.full(at.size, number), listed[at, rank], code[at, rank]], axis=1))
    count = np.maximum(there.sum(axis=1), 1)
    coverage = np.ones(len(who)) if offer.items is None else np.maximum(fits.sum(axis=1), 1) / count
    return _Slots(
        item, row, np.where(row >= 0, order, -1), fit, np.repeat(coverage[:, None], item.shape[1], axis=1), valid & open_[:, None]
    )


def _priced(seen: Scene, number: int, who: np.ndarray, slots: _Slots) -> dict[str, np.ndarray]:
    """Amounts, discounts and the prior of one offer; the list price is the item's, whoever asks."""
    offer, kind = seen.request.offers[number], seen.kinds[number]
    known = slots.item >= 0
    price = np.where(known, seen.price[np.maximum(slots.item, 0)] if len(seen.price) else 0.0, 0.0)
    basket = np.repeat(seen.basket[who, None], slots.item.shape[1], axis=1)
    whole = offer.items is None and offer.kind != "product"
    amount = np.where(known & ~np.array(whole), price, np.maximum(basket, price))
    amount = np.maximum(np.ceil(amount), kind.threshold(offer.terms)).astype(np.int64)
    off = kind.discounts(amount, offer.terms).astype(np.float64)
    discount = off / np.maximum(amount, 1)
    share = np.where(known, seen.share[np.maximum(slots.item, 0)] if len(seen.share) else 0.0, seen.shop_share)
    buys = seen.buys[who, None]
    told = {"discount": discount, "coverage": slots.coverage}
    effect = prior.margin_effect(buys, np.nan_to_num(share) * amount, affinity=slots.affinity, **told)
    return {"off": off, "discount": discount, "prior_margin": effect, "redeemed": prior.redemption(buys, **told) * off}


def _pattern(seen: Scene, scorer: Scorer, number: int, channel: int) -> np.ndarray:
    offer = seen.request.offers[number]
    return features.pattern(scorer.names, offer=offer.offer, kind=offer.kind, channel=seen.channels[channel])


def _shorten(seen: Scene, who: np.ndarray, wide: dict[str, np.ndarray], offer_codes: np.ndarray) -> dict[str, np.ndarray]:
    """Keep the best by profit or by value per cost, valid ones to the left, best profit first."""
    slots, valid = seen.request.size - 1, wide["valid"].astype(bool)
    dear = valid & (wide["cost"] > seen.request.budget)
    valid &= ~dear
    profit = np.where(valid, wide["value"] - wide["cost"], -np.inf)
    if profit.shape[1] > slots:
        yields = np.where(valid, wide["value"] / np.maximum(wide["cost"], 0.5), -np.inf)
        place = np.minimum(_places(profit), _places(yields))
        kept = np.argsort(np.where(valid, place, 10**6), axis=1, kind="stable")[:, :slots]
        kept = np.take_along_axis(kept, np.argsort(-np.take_along_axis(profit, kept, axis=1), axis=1, kind="stable"), axis=1)
    else:
        kept = np.argsort(-profit, axis=1, kind="stable")
    short = {}
    for name, array in (wide | {"valid": valid}).items():
        cut = np.take_along_axis(array, kept, axis=1)
        filled = np.zeros((len(who), slots), dtype=bool if name == "valid" else np.int64 if name in _WHOLE else np.float64)
        filled[:, : cut.shape[1]] = cut
        short[name] = filled
    short["cost"] = np.where(short["valid"], short["cost"], 0.0)
    for number in range(offer_codes.shape[1]):
        here = wide["offer"][0] == number if len(who) else np.zeros(valid.shape[1], dtype=bool)  # a column is one offer
        left = (short["valid"] & (short["offer"] == number)).any(axis=1)
        open_ = offer_codes[who, number] == 0
        offer_codes[who[open_ & ~left & dear[:, here].any(axis=1)], number] = CODE["budget"]
        offer_codes[who[open_ & ~left & valid[:, here].any(axis=1)], number] = CODE["rank"]
    return short


def _places(score: np.ndarray) -> np.ndarray:
    order = np.argsort(-score, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(score.shape[1])[None, :], axis=1)
    return place


def _spread(seen: Scene, scorer: Scorer, found: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Posterior deviations per candidate, and their mean correlation within a customer (on a sample)."""
    sd = np.zeros(found["value"].shape)
    z = scorer.features(seen.x)
    action = found["offer"] * len(seen.channels) + found["channel"]
    for number in range(len(seen.request.offers)):
        for channel in range(len(seen.channels)):
            rows, slots = np.nonzero(found["valid"] & (action == number * len(seen.channels) + channel))
            told = {name: found[name][rows, slots] for name in ("discount", "affinity")}
            sd[rows, slots] = np.round(scorer.deviations(z[rows], _pattern(seen, scorer, number, channel), **told), 6)
    several = np.flatnonzero(found["valid"].sum(axis=1) > 1)
    sample = several[:: max(len(several) // _SAMPLE, 1)][:_SAMPLE]
    attributes = np.zeros((len(sample), found["value"].shape[-1], len(scorer.names)))
    for at, row in enumerate(sample):
        for slot in np.flatnonzero(found["valid"][row]):
            attributes[at, slot] = _pattern(seen, scorer, int(found["offer"][row, slot]), int(found["channel"][row, slot]))
            attributes[at, slot, scorer.discount] = found["discount"][row, slot]
            attributes[at, slot, scorer.affinity] = found["affinity"][row, slot]
    return sd, round(scorer.correlation(z[sample], attributes), 6)
