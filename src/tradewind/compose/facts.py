"""What may be said about one item and one offer at one moment: typed facts with source, time and expiry.

Facts are independent of the customer except for language and time zone. Discounts and offer prices are never passed in:
they follow from the list price and the offer's terms through ``decide/offers``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tradewind.compose import clean, locales
from tradewind.compose.fact import FRESH, LONG, NARROW, Fact, Facts
from tradewind.compose.markets import ANYWHERE, DOWN, NEAREST, UP, Market, Rate, rate
from tradewind.compose.prices import BASES, History, reference
from tradewind.compose.template import SLOTS, Slot
from tradewind.errors import InputError
from tradewind.types import Offer

if TYPE_CHECKING:
    from tradewind.decide.offers.base import OfferKind

__all__ = ["FLAGS", "FRESH", "LONG", "MIN_REVIEWS", "NARROW", "Fact", "Facts", "Proof", "Storefront", "gather", "sensitive", "unsellable"]
STOCK_FRESH = timedelta(hours=2)
LOW_STOCK = 5  # pieces
PROBE = 10_000  # minor units, to ask an offer kind what it takes off when no item is given
MIN_REVIEWS, MIN_RATING = 20, Decimal("4.0")  # below this support a rating is no proof
MIN_PRAISE, MIN_PRAISED = 10, Decimal("0.8")  # an aspect is named from so many who praise it, and from this share of those who name it
PERKS = ("free_shipping", "points", "bundle")  # kinds that cost money and lower no price
FLAGS = frozenset({"item", "offer", "whole_shop", "scoped", "perk", "free_shipping", "in_stock", "low_stock", "sensitive", *BASES})


@dataclass(frozen=True, slots=True)
class Storefront:
    """The shop as a text names it. ``url``: item page with ``{item}`` in it, or a base to which the item is added."""

    name: str
    currency: str | None = None  # ISO 4217, for items that have none of their own
    url: str | None = None
    zone: str = "UTC"  # for customers whose zone is unknown
    market: Market = ANYWHERE  # of the customer
    rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class Aspect:
    """How often reviews name an aspect of an item (a code of ``locales.toml``), and how often they praise it."""

    code: str
    praised: int
    count: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What reviews say of an item: the mean of ``count`` ratings from 1 to 5, and aspects where the log has them."""

    rating: Decimal
    count: int
    aspects: tuple[Aspect, ...] = ()


def gather(  # one builder, so that a fact's value, text, source and expiry are made in one place
    item: Mapping[str, Any] | None,
    *,
    offer: Offer | None,
    store: Storefront,
    locale: str,
    zone: str | None,
    at: datetime,
    proof: Proof | None = None,
    history: History | None = None,
) -> Facts:
    """Collect what may be said at ``at`` about ``item`` (a row of ``schema.ITEMS``) and ``offer``.

    ``zone`` is the customer's IANA zone; an unknown one falls back to the store's. Missing, impossible or unreadable
    values are simply no facts. ``history``: the item's prices, from which a reference price may follow.

    Raises
    ------
    InputError
        An unknown language, or an offer whose kind or terms are not valid.
    """
    if locale not in locales.LOCALES:
        raise InputError(f'compose: there are no texts in "{locale}". Allowed: {", ".join(locales.LOCALES)}.')
    at = at.astimezone(UTC)
    build = _Build(locale, at, store)
    build.name("shop", store.name, "settings.name")
    if item is not None:
        build.flags.add("item")
        build.item(item)
    if store.url:
        build.add("link", store.url, link(store.url, None if item is None else str(item["item"])), "settings", at + FRESH)
    own = (item or {}).get("currency") or store.currency
    price = build.price(item, own)
    if price is not None and history is not None and store.market.prices is not None:
        build.reference(store.market.prices, history, price, own)
    if offer is not None:
        foreign = store.currency is not None and own != store.currency
        build.offer(offer, None if foreign else price, store.currency or own)
        if offer.ends_at is not None:
            place = locales.zone(zone) or locales.zone(store.zone) or locales.UTC_ZONE
            if zone and locales.zone(zone) is None:
                build.fallbacks.append(f"zone: unknown, {place.key} used")
            text = locales.deadline(offer.ends_at, place=place, now=at, locale=locale)
            build.add("deadline", offer.ends_at, text, "offers.ends_at", offer.ends_at)
    if proof is not None:
        build.proof(proof)
    ends = [t for t in (offer.ends_at if offer else None, (item or {}).get("available_until")) if t is not None]
    return Facts(locale, at, build.facts, frozenset(build.flags), min(ends, default=None), tuple(build.fallbacks), build.pays(own))


def unsellable(item: Mapping[str, Any] | None, offer: Offer | None, *, send_at: datetime) -> str | None:
    """Say why the item or the offer cannot be spoken of at ``send_at``, or None."""
    if item is not None:
        stock = item.get("stock")
        if stock is not None and stock <= 0:
            return "out of stock"
        if item.get("available_from") and item["available_from"] > send_at:
            return "item not on sale yet"
        if item.get("available_until") and item["available_until"] <= send_at:
            return "item no longer on sale"
    if offer is not None:
        if offer.kind == "ad":
            return "an ad is shown by the shop's own pages; no message is written for it"
        if item is not None and offer.items is not None and item["item"] not in offer.items:
            return "the offer does not hold for this item"
        if offer.starts_at and offer.starts_at > send_at:
            return "offer has not started at the time of sending"
        if offer.ends_at and offer.ends_at <= send_at:
            return "offer has ended at the time of sending"
    return None


def _attributes(raw: str | None) -> dict[str, Any]:
    """Read the free attributes of an item; what is no JSON object has none."""
    try:
        found = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return {str(key).strip().lower(): value for key, value in found.items()} if isinstance(found, dict) else {}


def _source(item: Mapping[str, Any], name: str, where: str = "") -> str:
    """Where a fact about an item stands: in the catalogue, or in what a person confirmed (``learn.product_queue``)."""
    return f"confirmed.{name}" if name in item.get("confirmed", ()) else where or f"items.{name}"


def _text(value: object, *, leaf: bool = False) -> str | None:
    if not isinstance(value, str):
        return None
    return value.split(" > ")[-1] if leaf else value


@lru_cache(maxsize=65536)
def sensitive(text: str) -> bool:
    """Whether a category or a title is of a kind that no reason line may speak of (health, intimacy, faith ...)."""
    return bool(_sensitive().search(text))


@cache
def _sensitive() -> re.Pattern[str]:
    return re.compile(locales.data("creepy")["sensitive"]["pattern"], re.IGNORECASE)


class _Build:
    """Facts in the making."""

    def __init__(self, locale: str, at: datetime, store: Storefront) -> None:
        self.locale, self.at, self.store = locale, at, store
        self.facts: dict[str, Fact] = {}
        self.flags: set[str] = set()
        self.fallbacks: list[str] = []

    def add(self, name: str, value: Any, text: str | None, source: str, expires_at: datetime) -> None:
        if text:
            kind = SLOTS.get(name, Slot.FLAG)
            self.facts[name] = Fact(name, kind, value, text, source, self.at, expires_at.astimezone(UTC))

    def name(self, name: str, raw: str | None, source: str, *, script: str | None = None) -> None:
        text = clean.shorten(clean.name(raw) or "", LONG, locales.data("locales")[self.locale]["ellipsis"])
        if text and (script is None or clean.script(text) == script):
            self.add(name, raw, text, source, self.at + FRESH)

    def item(self, item: Mapping[str, Any]) -> None:
        short = "zh" if self.locale == "zh-CN" else "en"
        own = f"title_{short}"
        self.name("title", item.get(own), f"items.{own}")
        if "title" not in self.facts:
            self.name("title", item.get("title"), "items.title")
            why = f"no usable {own}, title used" if "title" in self.facts else "none usable"
            self.fallbacks.append(f"title: {why}")
        known = _attributes(item.get("attributes"))
        for name in ("brand", "category"):  # a shop with two languages keeps the second one among the attributes
            self.name(name, _text(known.get(f"{name}_{short}"), leaf=name == "category"), f"items.attributes.{name}_{short}", script=short)
        if "brand" not in self.facts:
            self.name("brand", item.get("brand"), _source(item, "brand"))
        if "brand" in self.facts and self.facts["brand"].text.casefold() in locales.data("locales")["names"]["nobody"]:
            del self.facts["brand"]
        if "brand" in self.facts and short == "en" and clean.script(self.facts["brand"].text) == "zh":
            del self.facts["brand"]
        if any(sensitive(str(item.get(column) or "")) for column in ("category", "title", "title_zh", "title_en")):
            self.flags.add("sensitive")
        if "category" not in self.facts:
            self.name("category", _text(item.get("category"), leaf=True), _source(item, "category"), script=short)
        self._feature(item, known, short)
        stock = item.get("stock")
        if stock is not None and stock > 0:
            band = "low_stock" if stock <= LOW_STOCK else "in_stock"
            self.flags.add(band)
            self.add("stock", band, band, "items.stock", self.at + STOCK_FRESH)

    def _feature(self, item: Mapping[str, Any], known: Mapping[str, Any], script: str) -> None:
        table = locales.data("locales")[self.locale]
        for key, label in table["labels"].items():
            value = clean.name(_text(known.get(f"{key}_{script}") or known.get(key)))
            if value and clean.width(value) <= NARROW and clean.script(value) == script:
                text = table["feature"].replace("{label}", label).replace("{value}", value)
                self.add("feature", (key, value), text, _source(item, key, f"items.attributes.{key}"), self.at + FRESH)
                return

    def proof(self, proof: Proof) -> None:
        until = self.at + FRESH
        if proof.count >= MIN_REVIEWS and proof.rating >= MIN_RATING:
            self.add("rating", proof.rating, locales.rating(proof.rating, self.locale), "events.rating", until)
            self.add("reviews", proof.count, f"{proof.count:,}", "events.rating", until)
        words = locales.data("locales")[self.locale]["aspects"]
        good = [a for a in proof.aspects if a.code in words and a.praised >= MIN_PRAISE and a.praised >= MIN_PRAISED * a.count]
        best = max(good, key=lambda aspect: (aspect.praised, aspect.code), default=None)
        if best is not None:
            self.add("aspect", best.code, words[best.code], "events.context.aspects", until)
            self.add("aspect_reviews", best.praised, f"{best.praised:,}", "events.context.aspects", until)

    def money(self, amount: int, currency: str | None, what: str, *, rounding: str = NEAREST) -> tuple[int, str, datetime] | None:
        """Return an amount as the customer pays it, its text, and until when; None (and a note) when there is no way to say it."""
        target, until = self.store.market.currency or currency, self.at + FRESH
        if target != currency and currency is not None and target is not None:
            held = rate(self.store.rates, currency, target, at=self.at)
            if held is None:
                self._cannot(f"{what}: no rate {currency} to {target} that holds now")
                return None
            amount, until = held.convert(amount, rounding=rounding), min(until, held.until)
        text = locales.money(amount, target, self.locale)
        if text is None:
            self._cannot(f"{what}: no way to write {target or 'an amount without currency'}")
            return None
        return amount, text, until

    def price(self, item: Mapping[str, Any] | None, currency: str | None) -> int | None:
        """Add the list price and return it in the item's own currency."""
        price = item.get("price") if item is not None else None
        if price is None or price <= 0:
            return None
        said = self.money(price, currency, "price")
        if said is None or said[0] <= 0:  # a price that a rate rounds to nothing is none
            return None
        self.add("price", said[0], said[1], "items.price", said[2])
        return int(price)

    def reference(self, law: str, history: History, price: int, currency: str | None) -> None:
        """Add the reference price of a reduction, and what follows from it."""
        found = (
            reference(law, history, price=price, now=self.at)
            if history.currency == currency
            else "the price history is in another currency"
        )
        if isinstance(found, str):
            return
        before, now = self.money(found.amount, currency, "reference"), self.money(price, currency, "reference")
        if before is None or now is None or before[0] <= now[0]:
            return
        until, source = min(found.until, before[2]), f"prices.{found.basis} before {found.since.date().isoformat()}"
        self.flags.add(found.basis)
        self.add("reference", before[0], before[1], source, until)
        self.add("reduction_amount", before[0] - now[0], locales.money(before[0] - now[0], self.pays(currency), self.locale), source, until)
        if found.days:
            self.add("reference_days", found.days, str(found.days), source, until)
        share = Decimal((found.amount - price) * 100 // found.amount)
        if share > 0:
            self.add("reduction", share, locales.percent_off(share, self.locale), source, until)

    def pays(self, currency: str | None) -> str | None:
        """The currency of the customer."""
        return self.store.market.currency or currency

    def _cannot(self, why: str) -> None:
        if why not in self.fallbacks:
            self.fallbacks.append(why)

    def offer(self, offer: Offer, price: int | None, currency: str | None) -> None:
        kind, terms = _kind(offer), offer.terms
        if not kind.cuts or kind.pieces(terms) > 1:
            self.perk(offer, currency)
            return
        threshold, cap = kind.threshold(terms), int(terms.get("cap", 0))
        probe = max(threshold, PROBE, int(terms.get("fixed", 0)))  # an amount that meets every condition
        taken = kind.discount(probe, 1, terms)
        if taken <= 0:
            return  # the recommendation itself is the offer
        self.flags.add("offer")
        self.flags.add("whole_shop" if offer.items is None else "scoped")
        if (threshold or cap or "fixed" in terms) and self.money(PROBE, currency, "offer") is None:
            return
        source, until = f"offers.terms of {offer.offer}", offer.ends_at or self.at + FRESH
        # A headline is said only when the kind's own arithmetic agrees with it.
        percent, fixed = terms.get("percent"), terms.get("fixed")
        share = percent is not None and 0 < percent < 100 and taken == min(_percent_of(probe, percent), cap or probe)
        amounts = {"threshold": threshold, "cap": cap}
        if not share and fixed is not None and taken == min(fixed, cap or fixed, probe):
            amounts = {"threshold": threshold, "amount_off": taken}  # a fixed amount is its own cap
        if not self.amounts(amounts, currency, source, until):
            return
        if share and percent is not None:
            reduction = Decimal(round(percent * 100)) / 100
            self.add("percent_off", reduction, locales.percent_off(reduction, self.locale), source, until)
        saving = kind.discount(price, 1, terms) if price is not None else 0
        if price is not None and 0 < saving < price:
            whole, less = self.money(price, currency, "offer"), self.money(price - saving, currency, "offer")
            if whole is not None and less is not None and 0 < less[0] < whole[0]:
                until = min(until, less[2])
                self.add("saving", whole[0] - less[0], locales.money(whole[0] - less[0], self.pays(currency), self.locale), source, until)
                self.add("offer_price", less[0], less[1], source, until)

    def amounts(self, amounts: Mapping[str, int], currency: str | None, source: str, until: datetime) -> bool:
        """Add amounts of the terms, all or none; converted, what must be spent is rounded up, what is given down."""
        found = {}
        for name, value in amounts.items():
            if value <= 0:
                continue
            said = self.money(value, currency, "offer", rounding=UP if name in ("threshold", "perk_from") else DOWN)
            if said is None or said[0] <= 0:
                self._cannot(f"offer: no way to say its {name}")
                return False
            found[name] = said
        for name, (value, text, holds) in found.items():
            self.add(name, value, text, source, until if self.pays(currency) == currency else min(until, holds))
        return True

    def perk(self, offer: Offer, currency: str | None) -> None:
        """What an order brings that is no lower price of one item: free shipping, points, a bundle."""
        kind, terms = _kind(offer), offer.terms
        if offer.kind not in PERKS:
            raise InputError(
                f'compose: there are no words for an offer of kind "{offer.kind}". Allowed: coupon, product, {", ".join(PERKS)}.'
            )
        source, until = f"offers.terms of {offer.offer}", offer.ends_at or self.at + FRESH
        if not self.amounts({"perk_from": kind.threshold(terms), "bundle_amount": int(terms.get("fixed", 0))}, currency, source, until):
            return
        self.flags.add("perk")
        if offer.kind == "free_shipping":
            self.flags.add("free_shipping")
        if offer.kind == "points":
            self.add("points", terms["points"], f"{terms['points']:,}", source, until)
        if offer.kind == "bundle":
            self.add("pieces", terms["pieces"], f"{terms['pieces']:,}", source, until)
            if "percent" in terms:
                share = Decimal(round(terms["percent"] * 100)) / 100
                self.add("bundle_percent", share, locales.percent_off(share, self.locale), source, until)


def _kind(offer: Offer) -> OfferKind:
    return _checked(offer.offer, offer.kind, json.dumps(dict(offer.terms), sort_keys=True), offer.items is not None)


@lru_cache(maxsize=4096)
def _checked(name: str, kind: str, terms: str, named: bool) -> OfferKind:
    """The plugin of an offer, its terms checked once."""
    from tradewind.decide.offers.base import kind_of

    return kind_of(Offer(name, kind, json.loads(terms), items=frozenset() if named else None))


def _percent_of(amount: int, percent: float) -> int:
    return (amount * round(percent * 100) + 5_000) // 10_000


def link(url: str, item: str | None) -> str:
    """Return the address of the item's page, the id escaped whole; without an item the shop's front page."""
    if item is None:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}/"
    safe = quote(item, safe="")
    return url.replace("{item}", safe) if "{item}" in url else f"{url.rstrip('/')}/{safe}"
