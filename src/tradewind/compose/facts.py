"""What may be said about one item and one offer at one moment: typed facts with source, time and expiry.

Facts are independent of the customer except for language and time zone. Discounts and offer prices are never passed in:
they follow from the list price and the offer's terms through ``decide/offers``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tradewind.compose import clean, locales
from tradewind.compose.template import SLOTS, Slot
from tradewind.errors import InputError
from tradewind.types import Offer

if TYPE_CHECKING:
    from tradewind.decide.offers.base import OfferKind

FRESH = timedelta(hours=72)  # how long a catalogue fact may be used without looking again
STOCK_FRESH = timedelta(hours=2)
LOW_STOCK = 5  # pieces
LONG, NARROW = 72, 38  # columns of a name in e-mails and cards; in subject lines, push and SMS
PROBE = 10_000  # minor units, to ask an offer kind what it takes off when no item is given
MIN_REVIEWS, MIN_RATING = 20, Decimal("4.0")  # below this support a rating is no proof
PERKS = ("free_shipping", "points", "bundle")  # kinds that cost money and lower no price
FLAGS = frozenset({"item", "offer", "whole_shop", "scoped", "perk", "free_shipping", "in_stock", "low_stock", "sensitive"})


@dataclass(frozen=True, slots=True)
class Storefront:
    """The shop as a text names it. ``url``: item page with ``{item}`` in it, or a base to which the item is added."""

    name: str
    currency: str | None = None  # ISO 4217, for items that have none of their own
    url: str | None = None
    zone: str = "UTC"  # for customers whose zone is unknown


@dataclass(frozen=True, slots=True)
class Proof:
    """What reviews say of an item: the mean of ``count`` ratings from 1 to 5."""

    rating: Decimal
    count: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its value for programs, its text for people, where it is from and until when it may be said."""

    name: str
    kind: Slot
    value: Any
    text: str
    source: str
    at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Facts:
    """Facts by name for one language, zone and moment. Two objects that would print alike have the same ``hash``."""

    locale: str
    at: datetime
    facts: Mapping[str, Fact]
    flags: frozenset[str] = frozenset()
    ends_at: datetime | None = None  # after this moment nothing of it holds: the offer or the item is gone
    fallbacks: tuple[str, ...] = ()  # what had to be replaced or left out, and why

    @cached_property
    def texts(self) -> dict[str, str]:
        """Text of each fact."""
        return {name: fact.text for name, fact in self.facts.items()}

    @cached_property
    def by_length(self) -> tuple[str, ...]:
        """Texts of all facts, long and narrow, the longest first."""
        facts = (*self.facts.values(), *self.narrow.facts.values())
        return tuple(sorted({fact.text for fact in facts if fact.kind is not Slot.FLAG}, key=len, reverse=True))

    @cached_property
    def has(self) -> frozenset[str]:
        """Names of facts and flags: what a component may need. A brand that the title names already is not said again."""
        known = frozenset(self.facts) | self.flags
        texts = self.texts
        twice = "brand" in texts and "title" in texts and texts["brand"].casefold() in texts["title"].casefold()
        return known - {"brand"} if twice else known

    @cached_property
    def hash(self) -> str:
        """SHA-256 over language, names, types, values and texts, flags included; the moment of looking is not part of it."""
        rows = [(name, fact.kind, str(fact.value), fact.text) for name, fact in sorted(self.facts.items())]
        return hashlib.sha256(json.dumps([self.locale, rows, sorted(self.flags)]).encode()).hexdigest()

    @cached_property
    def narrow(self) -> Facts:
        """The same facts with names cut to ``NARROW``; a name that cannot be cut is left out."""
        facts = {}
        for name, fact in self.facts.items():
            text = clean.shorten(fact.text, NARROW, self.ellipsis) if fact.kind is Slot.NAME else fact.text
            if text:
                facts[name] = fact if text == fact.text else replace(fact, text=text)
        return self if facts == self.facts else replace(self, facts=facts)

    def view(self, role: str, channel: str) -> Facts:
        """The facts as a role of a channel writes them."""
        return self.narrow if channel in ("push", "sms") or role in ("subject", "preheader") else self

    def fresh(self, now: datetime) -> Facts:
        """Drop what has expired at ``now``."""
        gone = [name for name, fact in self.facts.items() if fact.expires_at <= now]
        return self.without(gone, why="expired") if gone else self

    def without(self, names: Iterable[str], *, why: str) -> Facts:
        """Drop facts (and the stock flags with ``stock``) and note it in ``fallbacks``."""
        gone = sorted(set(names) & set(self.facts))
        flags = self.flags - {"in_stock", "low_stock"} if "stock" in gone else self.flags
        kept = {name: fact for name, fact in self.facts.items() if name not in gone}
        notes = (f"{name}: {why}" for name in gone if name != "stock")  # soon out of date, and nothing waits for it
        return replace(self, facts=kept, flags=flags, fallbacks=(*self.fallbacks, *notes))

    def with_anchor(self, item: Mapping[str, Any]) -> Facts:
        """Add the name of the item (a row of ``schema.ITEMS``) that a reason speaks of."""
        for column in ("title_zh" if self.locale == "zh-CN" else "title_en", "title"):
            text = clean.shorten(clean.name(item.get(column)) or "", LONG, self.ellipsis)
            if text:
                fact = Fact("anchor", Slot.NAME, item[column], text, f"items.{column}", self.at, self.at + FRESH)
                return replace(self, facts={**self.facts, "anchor": fact})
        return self

    def noting(self, notes: Iterable[str]) -> Facts:
        """Add to ``fallbacks``."""
        notes = tuple(notes)
        return replace(self, fallbacks=(*self.fallbacks, *notes)) if notes else self

    @property
    def ellipsis(self) -> str:
        """The mark of a cut name."""
        text: str = locales.data("locales")[self.locale]["ellipsis"]
        return text


def gather(  # one builder, so that a fact's value, text, source and expiry are made in one place
    item: Mapping[str, Any] | None,
    *,
    offer: Offer | None,
    store: Storefront,
    locale: str,
    zone: str | None,
    at: datetime,
    proof: Proof | None = None,
) -> Facts:
    """Collect what may be said at ``at`` about ``item`` (a row of ``schema.ITEMS``) and ``offer``.

    ``zone`` is the customer's IANA zone; an unknown one falls back to the store's. Missing, impossible or unreadable
    values are simply no facts.

    Raises
    ------
    InputError
        An unknown language, or an offer whose kind or terms are not valid.
    """
    if locale not in locales.LOCALES:
        raise InputError(f'compose: there are no texts in "{locale}". Allowed: {", ".join(locales.LOCALES)}.')
    at = at.astimezone(UTC)
    build = _Build(locale, at)
    build.name("shop", store.name, "settings.name")
    if item is not None:
        build.flags.add("item")
        build.item(item)
    if store.url:
        build.add("link", store.url, link(store.url, None if item is None else str(item["item"])), "settings", at + FRESH)
    price = build.price(item, store.currency)
    if offer is not None:
        own = (item or {}).get("currency")
        foreign = own is not None and store.currency is not None and own != store.currency
        build.offer(offer, None if foreign else price, store.currency or own)
        if offer.ends_at is not None:
            place = locales.zone(zone) or locales.zone(store.zone) or locales.UTC_ZONE
            if zone and locales.zone(zone) is None:
                build.fallbacks.append(f"zone: unknown, {place.key} used")
            text = locales.deadline(offer.ends_at, place=place, now=at, locale=locale)
            build.add("deadline", offer.ends_at, text, "offers.ends_at", offer.ends_at)
    if proof is not None and proof.count >= MIN_REVIEWS and proof.rating >= MIN_RATING:
        build.add("rating", proof.rating, locales.rating(proof.rating, locale), "events.rating", at + FRESH)
        build.add("reviews", proof.count, f"{proof.count:,}", "events.rating", at + FRESH)
    ends = [t for t in (offer.ends_at if offer else None, (item or {}).get("available_until")) if t is not None]
    return Facts(locale, at, build.facts, frozenset(build.flags), min(ends, default=None), tuple(build.fallbacks))


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

    def __init__(self, locale: str, at: datetime) -> None:
        self.locale, self.at = locale, at
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
            self.name("brand", item.get("brand"), "items.brand")
        if "brand" in self.facts and short == "en" and clean.script(self.facts["brand"].text) == "zh":
            del self.facts["brand"]
        if any(sensitive(str(item.get(column) or "")) for column in ("category", "title", "title_zh", "title_en")):
            self.flags.add("sensitive")
        if "category" not in self.facts:
            self.name("category", _text(item.get("category"), leaf=True), "items.category", script=short)
        self._feature(known, short)
        stock = item.get("stock")
        if stock is not None and stock > 0:
            band = "low_stock" if stock <= LOW_STOCK else "in_stock"
            self.flags.add(band)
            self.add("stock", band, band, "items.stock", self.at + STOCK_FRESH)

    def _feature(self, known: Mapping[str, Any], script: str) -> None:
        table = locales.data("locales")[self.locale]
        for key, label in table["labels"].items():
            value = clean.name(_text(known.get(f"{key}_{script}") or known.get(key)))
            if value and clean.width(value) <= NARROW and clean.script(value) == script:
                text = table["feature"].replace("{label}", label).replace("{value}", value)
                self.add("feature", (key, value), text, f"items.attributes.{key}", self.at + FRESH)
                return

    def price(self, item: Mapping[str, Any] | None, currency: str | None) -> int | None:
        price = item.get("price") if item is not None else None
        if price is None or price <= 0:
            return None
        code = (item or {}).get("currency") or currency
        text = locales.money(price, code, self.locale)
        if text is None:
            self.fallbacks.append(f"price: no way to write {code or 'a price without currency'}")
            return None
        self.add("price", price, text, "items.price", self.at + FRESH)
        return int(price)

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
        if (threshold or cap or "fixed" in terms) and locales.money(PROBE, currency, self.locale) is None:
            self.fallbacks.append(f"offer: no way to write {currency or 'amounts without currency'}")
            return
        source, until = f"offers.terms of {offer.offer}", offer.ends_at or self.at + FRESH
        # A headline is said only when the kind's own arithmetic agrees with it.
        percent, fixed = terms.get("percent"), terms.get("fixed")
        amounts = {"threshold": threshold, "cap": cap}
        if percent is not None and 0 < percent < 100 and taken == min(_percent_of(probe, percent), cap or probe):
            share = Decimal(round(percent * 100)) / 100
            self.add("percent_off", share, locales.percent_off(share, self.locale), source, until)
        elif fixed is not None and taken == min(fixed, cap or fixed, probe):
            amounts = {"threshold": threshold, "amount_off": taken}  # a fixed amount is its own cap
        for name, value in amounts.items():
            if value > 0:
                self.add(name, value, locales.money(value, currency, self.locale), source, until)
        saving = kind.discount(price, 1, terms) if price is not None else 0
        if price is not None and 0 < saving < price:
            until = min(until, self.at + FRESH)
            self.add("saving", saving, locales.money(saving, currency, self.locale), source, until)
            self.add("offer_price", price - saving, locales.money(price - saving, currency, self.locale), source, until)

    def perk(self, offer: Offer, currency: str | None) -> None:
        """What an order brings that is no lower price of one item: free shipping, points, a bundle."""
        kind, terms = _kind(offer), offer.terms
        if offer.kind not in PERKS:
            raise InputError(
                f'compose: there are no words for an offer of kind "{offer.kind}". Allowed: coupon, product, {", ".join(PERKS)}.'
            )
        source, until = f"offers.terms of {offer.offer}", offer.ends_at or self.at + FRESH
        self.flags.add("perk")
        for name, value in (("perk_from", kind.threshold(terms)), ("bundle_amount", int(terms.get("fixed", 0)))):
            if value > 0:
                self.add(name, value, locales.money(value, currency, self.locale), source, until)
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
