"""Candidates: per customer at most nine (offer, item, channel) actions worth a chance, scored; "nothing" comes on top."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tradewind.decide import eligibility, features, prior
from tradewind.decide.eligibility import CODE
from tradewind.decide.scene import Scene
from tradewind.decide.shortlist import affinity

_CELLS = 2_000_000  # numbers per array of a chunk of customers: what bounds the memory
_SAMPLE = 64  # customers whose candidates give the mean correlation of the posterior
_ITEM_FAULTS = [CODE[name] for name in ("stock", "stock_ends", "unavailable", "no_price", "no_cost", "margin_floor")]


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
    prior_margin: np.ndarray  # prior mean of the incremental margin
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

    def tempered(self, factor: float) -> Candidates:
        """With the posterior's deviations times ``factor``: what is sampled, and logged."""
        return replace(self, sd=np.round(self.sd * factor, 6))

    def only(self, inside: np.ndarray, code: int) -> Candidates:
        """Customers that are not ``inside`` (bool) keep what costs nothing."""
        return self.without(~inside[:, None] & self.valid & (self.cost > 0), code, items=False)

    def without(self, lost: np.ndarray, code: int, *, items: bool = True) -> Candidates:
        """Without the slots that are ``lost`` (bool), the others moved to the left; their offers get ``code``, and the ``items`` too."""
        if not lost.any():
            return self
        valid = self.valid & ~lost
        order = np.argsort(~valid, axis=1, kind="stable")
        moved: dict[str, Any] = {
            name: np.take_along_axis(valid if name == "valid" else getattr(self, name), order, axis=1) for name in SLOTTED
        }
        moved["cost"] = np.where(moved["valid"], moved["cost"], 0.0)
        rows, slots = np.nonzero(lost)
        codes = self.offer_codes.copy()
        kept = np.zeros(codes.shape, dtype=bool)
        at, slot = np.nonzero(valid)
        kept[at, self.offer[at, slot]] = True
        gone = np.zeros(codes.shape, dtype=bool)
        gone[rows, self.offer[rows, slots]] = True
        codes[gone & ~kept & (codes == 0)] = code
        named = (self.item[rows, slots] >= 0) & items
        faults = np.stack([rows, self.offer[rows, slots], self.item[rows, slots], np.full(len(rows), code)], axis=1)[named]
        return replace(self, **moved, offer_codes=codes, item_faults=np.concatenate([self.item_faults, faults]))


SLOTTED = (
    "offer", "item", "channel", "row", "rank", "discount", "affinity", "coverage",
    "prior_margin", "prior_cost", "contact", "worst", "value", "cost", "valid", "sd",
)  # fmt: skip


@dataclass(frozen=True)
class _Slots:
    """Items for the offers of some customers, (customers, offers, items each)."""

    item: np.ndarray
    row: np.ndarray
    rank: np.ndarray
    affinity: np.ndarray
    coverage: np.ndarray
    valid: np.ndarray


def candidates(seen: Scene, *, correlation: float | None = None) -> Candidates:
    """Build, score and shorten the candidates of all customers; ``correlation`` is estimated from them where not given."""
    request, shelf, n = seen.request, seen.shelf, seen.profiles.num_rows
    offer_codes = eligibility.customers(request, shelf, seen.profiles, send_at=seen.send_at, impersonal=seen.impersonal)
    channel_codes = eligibility.channels(request, seen.profiles, shelf.channels, send_at=seen.send_at)
    closed = ~((channel_codes == 0)[:, None, :] & shelf.shown[None, :, :]).any(axis=2) & ~shelf.shown.all(axis=1)
    offer_codes[(offer_codes == 0) & closed] = CODE["no_channel"]
    offers, channels = shelf.contact.shape
    each = max(1, (request.size - 1) // max(offers * channels, 1))
    width = max(offers * max(each * channels, seen.listed.item.shape[1]), 1)
    step = max(_CELLS // width, 64)
    faults: list[np.ndarray] = []
    parts = [
        _chunk(seen, np.arange(start, min(start + step, n)), offer_codes, channel_codes, each, faults)
        for start in range(0, max(n, 1), step)
    ]
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sd, estimated = _spread(seen, merged, estimate=correlation is None)
    return Candidates(
        **merged,
        sd=sd,
        correlation=estimated if correlation is None else correlation,
        offer_codes=offer_codes,
        channel_codes=channel_codes,
        item_faults=np.concatenate(faults) if faults else np.zeros((0, 4), dtype=np.int64),
    )


def _chunk(
    seen: Scene, who: np.ndarray, offer_codes: np.ndarray, channel_codes: np.ndarray, each: int, faults: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Every (offer, channel, item) of the customers ``who``, scored and shortened."""
    shelf = seen.shelf
    scorer, (offers, channels) = shelf.scorer, shelf.contact.shape
    margin, cost = scorer.surfaces(scorer.features(seen.x[who]))
    slots = _slots(seen, who, offer_codes, each, faults)
    priced = _priced(seen, who, slots)
    each = slots.item.shape[2]
    shape = (len(who), offers, channels, each)

    def wide(array: np.ndarray) -> np.ndarray:
        """An array of (customers, offers, items) once per channel."""
        return np.repeat(array[:, :, None, :], channels, axis=2)

    def effect(surface: np.ndarray) -> np.ndarray:
        found: np.ndarray = (surface @ shelf.patterns.T).reshape(len(who), offers, channels, 1)
        for each, at in zip(numbers, scorer.numeric, strict=True):
            found = found + each * surface[:, at, None, None, None]
        return found

    heard = shelf.heard[None, None, :, None]
    expected = priced["prior_margin"][:, :, None, :] * heard
    numbers = (priced["discount"][:, :, None, :], slots.affinity[:, :, None, :], expected)
    off, redeemed, contact = priced["off"][:, :, None, :], priced["redeemed"][:, :, None, :] * heard, shelf.contact[None, :, :, None]
    paid = np.clip(redeemed + np.where(off > 0, effect(cost), 0.0), 0.0, off)
    open_ = (channel_codes[who] == 0)[:, None, :, None] & shelf.shown[None, :, :, None]
    columns = {
        "offer": np.broadcast_to(np.arange(offers)[None, :, None, None], shape),
        "channel": np.broadcast_to(np.arange(channels)[None, None, :, None], shape),
        **{name: wide(getattr(slots, name)) for name in ("item", "row", "rank", "affinity", "coverage")},
        "discount": wide(priced["discount"]),
        "prior_margin": expected,
        "prior_cost": contact + redeemed,
        "contact": np.broadcast_to(contact, shape),
        "worst": contact + off,
        "value": np.round(expected + effect(margin), 6),
        "cost": np.ceil(contact + paid - 1e-9),
        "valid": slots.valid[:, :, None, :] & open_,
    }
    return _shorten(seen, who, {name: array.reshape(len(who), offers * channels * each) for name, array in columns.items()}, offer_codes)


_WHOLE = {"offer", "item", "channel", "row", "rank"}


def _slots(seen: Scene, who: np.ndarray, offer_codes: np.ndarray, each: int, faults: list[np.ndarray]) -> _Slots:
    """The best listed items that each offer allows; without one, the offer's most popular item or the whole basket."""
    shelf = seen.shelf
    listed, rows = seen.listed.item[who], seen.listed.row[who]
    there = (listed >= 0)[:, None, :]
    if shelf.codes.shape[1]:
        code = np.where(there, shelf.codes[:, np.maximum(listed, 0)].transpose(1, 0, 2), CODE["no_item"])
    else:
        code = np.full((len(who), len(shelf.codes), listed.shape[1]), CODE["no_item"])
    fits = there & (code == 0)
    each = min(each, listed.shape[1])
    order = np.argsort(~fits, axis=2, kind="stable")[:, :, :each]
    valid = np.take_along_axis(fits, order, axis=2)
    item = np.where(valid, np.take_along_axis(np.broadcast_to(listed[:, None, :], fits.shape), order, axis=2), -1)
    row = np.where(valid, np.take_along_axis(np.broadcast_to(rows[:, None, :], fits.shape), order, axis=2), -1)
    fit = np.where(valid, affinity(order), 0.0)
    lonely = ~valid[:, :, 0]
    instead = lonely & (shelf.top >= 0)
    item[:, :, 0] = np.where(instead, shelf.top, item[:, :, 0])
    valid[:, :, 0] |= instead
    for number in np.flatnonzero(shelf.whole & lonely.any(axis=0)):
        alone = lonely[:, number]
        kept = _keeps_margin(seen, who, int(number))
        valid[alone, number, 0] = kept[alone]
        offer_codes[who[alone & ~kept & (offer_codes[who, number] == 0)], number] = CODE["margin_floor"]
    open_ = offer_codes[who] == 0
    offer_codes[who] = np.where(open_ & ~valid.any(axis=2), CODE["no_item"], offer_codes[who])
    wrong = np.isin(code[:, :, :each], _ITEM_FAULTS) & there[:, :, :each] & open_[:, :, None]
    at, offer, rank = np.nonzero(wrong)
    if at.size:
        faults.append(np.stack([who[at], offer, listed[at, rank], code[at, offer, rank]], axis=1))
    count = np.maximum(there.sum(axis=2), 1)
    coverage = np.where(shelf.named, np.maximum(fits.sum(axis=2), 1) / count, 1.0)
    return _Slots(item, row, np.where(row >= 0, order, -1), fit, np.repeat(coverage[:, :, None], each, axis=2), valid & open_[:, :, None])


def _keeps_margin(seen: Scene, who: np.ndarray, number: int) -> np.ndarray:
    """Whether the usual basket of each customer keeps the margin floor under an offer; bool."""
    offer, kind = seen.request.offers[number], seen.shelf.kinds[number]
    amount = np.maximum(np.ceil(seen.basket[who]), kind.threshold(offer.terms)).astype(np.int64)
    return np.asarray(kind.keeps_margin(amount, amount * (1.0 - seen.shelf.shop_share), offer.terms))


def _priced(seen: Scene, who: np.ndarray, slots: _Slots) -> dict[str, np.ndarray]:
    """Amounts, discounts and the prior, (customers, offers, items each); the list price is the item's, whoever asks."""
    shelf = seen.shelf
    known = slots.item >= 0
    at = np.maximum(slots.item, 0)
    price = np.where(known, shelf.price[at] if len(shelf.price) else 0.0, 0.0)
    whole = ~shelf.named & shelf.gives
    basket = np.maximum(seen.basket[who, None, None], price)
    amount = np.where(known & ~whole[:, None], price * shelf.pieces[:, None], basket)
    amount = np.maximum(np.ceil(amount), shelf.threshold[:, None]).astype(np.int64)
    off = np.zeros(amount.shape)
    for kind, terms, which in shelf.alike:
        off[:, which] = kind.discounts(amount[:, which], terms)
    discount = off / np.maximum(amount, 1)
    share = np.where(known, shelf.share[at] if len(shelf.share) else 0.0, shelf.shop_share)
    buys, moved = seen.buys[who, None, None], seen.moved[who, None, None]
    told = {"discount": discount, "coverage": slots.coverage}
    known = prior.extra_margin(shelf.extra, relative=seen.relative[who], basket=seen.basket[who], share=shelf.shop_share)
    effect = prior.margin_effect(moved, np.nan_to_num(share) * amount, affinity=slots.affinity, known=known[:, :, None], **told)
    redeemed = prior.redemption(buys, **told, seen=shelf.redeemed[:, None], relative=seen.relative[who, None, None])
    return {"off": off, "discount": discount, "prior_margin": effect, "redeemed": redeemed * off}


def _shorten(seen: Scene, who: np.ndarray, wide: dict[str, np.ndarray], offer_codes: np.ndarray) -> dict[str, np.ndarray]:
    """Keep the best by profit or by value per cost, valid ones to the left, best profit first."""
    slots, valid = seen.request.size - 1, wide["valid"]
    dear = valid & (wide["cost"] > seen.request.budget)
    valid = valid & ~dear
    profit = np.where(valid, wide["value"] - wide["cost"], -np.inf)
    if profit.shape[1] > slots:
        yields = np.where(valid, wide["value"] / np.maximum(wide["cost"], 0.5), -np.inf)
        place = np.minimum(_places(profit), _places(yields))
        kept = np.argsort(np.where(valid, place, 10**6), axis=1, kind="stable")[:, :slots]
        kept = np.take_along_axis(kept, np.argsort(-np.take_along_axis(profit, kept, axis=1), axis=1, kind="stable"), axis=1)
    else:
        kept = np.argsort(-profit, axis=1, kind="stable")
    short, rows = {}, np.arange(len(who))[:, None]
    for name, array in (wide | {"valid": valid}).items():
        cut = array[rows, kept]
        filled = np.zeros((len(who), slots), dtype=bool if name == "valid" else np.int64 if name in _WHOLE else np.float64)
        filled[:, : cut.shape[1]] = cut
        short[name] = filled
    short["cost"] = np.where(short["valid"], short["cost"], 0.0)
    offers = offer_codes.shape[1]
    if offers:
        left = np.zeros((len(who), offers + 1), dtype=bool)
        left[np.arange(len(who))[:, None], np.where(short["valid"], short["offer"], offers)] = True
        out = (offer_codes[who] == 0) & ~left[:, :offers]
        for lost, code in ((dear, "budget"), (valid, "rank")):  # a column of the wide arrays is one offer
            offer_codes[who] = np.where(
                out & lost.reshape(len(who), offers, lost.shape[1] // offers).any(axis=2), CODE[code], offer_codes[who]
            )
    return short


def _places(score: np.ndarray) -> np.ndarray:
    order = np.argsort(-score, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(score.shape[1])[None, :], axis=1)
    return place


def _spread(seen: Scene, found: dict[str, np.ndarray], *, estimate: bool) -> tuple[np.ndarray, float]:
    """Posterior deviations per candidate, and their mean correlation within a customer (on a sample)."""
    shelf, scorer = seen.shelf, seen.shelf.scorer
    sd = np.zeros(found["value"].shape)
    if not len(shelf.pattern):
        return sd, 0.0
    z = scorer.features(seen.x)
    action = found["offer"] * len(shelf.channels) + found["channel"]
    kind = np.where(found["valid"], shelf.pattern[action], -1)
    _, first = np.unique(shelf.pattern, return_index=True)
    for number in np.flatnonzero(np.bincount(kind[kind >= 0], minlength=1)):
        rows, slots = np.nonzero(kind == number)
        told = [found[name][rows, slots] for name in features.NUMERIC]
        sd[rows, slots] = np.round(scorer.deviations(z[rows], shelf.patterns[first[number]], told), 6)
    if not estimate:
        return sd, 0.0
    several = np.flatnonzero(found["valid"].sum(axis=1) > 1)
    sample = several[:: max(len(several) // _SAMPLE, 1)][:_SAMPLE]
    attributes = np.zeros((len(sample), found["value"].shape[-1], len(scorer.names)))
    for at, row in enumerate(sample):
        for slot in np.flatnonzero(found["valid"][row]):
            attributes[at, slot] = shelf.patterns[action[row, slot]]
            attributes[at, slot, scorer.numeric] = [found[name][row, slot] for name in features.NUMERIC]
    return sd, round(scorer.correlation(z[sample], attributes), 6)
