"""What a true message would say, worked out a second time: own arithmetic, own formats, nothing of ``tradewind.compose`` but the
sources of the components and the values of a price history. ``wrong`` compares a finished text with it; the benchmark uses it too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

from tradewind.compose.prices import History, Quote, Sale
from tradewind.types import Offer

EN = {"CNY": "\u00a5{}", "USD": "${}", "GBP": "\u00a3{}", "EUR": "\u20ac{}", "JPY": "JP\u00a5{}"}
ZH = {"CNY": "{}\u5143", "USD": "{}\u7f8e\u5143", "GBP": "{}\u82f1\u9551", "EUR": "{}\u6b27\u5143", "JPY": "{}\u65e5\u5143"}
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
SLOT = re.compile(r"\{(\w+)\}")
VALUE = re.compile("[0-9%\u00a5\u00a3\u20ac$\u5143\u6298]|\u82f1\u9551")


def money(minor: int, currency: str, locale: str) -> str:
    """Minor units as people read them."""
    text = f"{minor:,}" if currency == "JPY" else f"{Decimal(minor) / 100:,.2f}".removesuffix(".00")
    return (ZH if locale == "zh-CN" else EN)[currency].format(text)


def taken(amount: int, terms: Mapping[str, Any]) -> int:
    """What a coupon takes off, half up."""
    if amount < terms.get("threshold", 0):
        return 0
    exact = Decimal(amount) * Decimal(str(terms["percent"])) / 100 if "percent" in terms else Decimal(terms["fixed"])
    return min(int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)), int(terms.get("cap", amount)), amount)


def until(ends: datetime, zone: str, now: datetime, locale: str) -> str:
    """The last moment of an offer on the customer's clock."""
    local = ends.astimezone(ZoneInfo(zone))
    whole = local.strftime("%H:%M") == "00:00" or local.strftime("%H:%M:%S") == "23:59:59"
    day = local - timedelta(minutes=1) if whole else local
    other = day.year != now.astimezone(ZoneInfo(zone)).year
    if locale == "zh-CN":
        text = f"{day.year}\u5e74" * other + f"{day.month}\u6708{day.day}\u65e5"
        return text if whole else text + local.strftime("%H:%M")
    text = f"{day.day} {MONTHS[day.month - 1]}" + f" {day.year}" * other
    return text if whole else text + local.strftime(", %H:%M")


def exchanged(minor: int, source: str, target: str, rate: Decimal | None, rounding: str = ROUND_HALF_UP) -> int | None:
    """Minor units of one currency in those of another; None without a rate."""
    if source == target:
        return minor
    if rate is None:
        return None
    major = Decimal(minor) / (1 if source == "JPY" else 100) * rate
    return int((major * (1 if target == "JPY" else 100)).quantize(Decimal(1), rounding=rounding))


def before(law: str, history: History, price: int, now: datetime, *, step: timedelta) -> tuple[int, str, int] | None:
    """Amount, rule and days of a reference price, counted moment by moment ("EU", "CN"): what the price was, and nothing clever.

    Right where every time of the history lies a whole number of ``step`` from ``now``.
    """

    def at(moment: datetime) -> int | None:
        past = [quote for quote in history.quotes if quote.at <= moment]
        return past[-1].amount if past and moment < past[-1].seen + timedelta(days=7) else None

    month = timedelta(days=30)
    moments = [now - step * ago for ago in range(int(timedelta(days=140) / step))]
    prices = [at(moment) for moment in moments]
    if prices[0] != price:
        return None
    start = 0  # the earliest moment of the reduction
    while start + 1 < len(moments) and prices[start + 1] == price:
        start += 1
    older = prices[start + 1] if start + 1 < len(moments) else None
    if older is None or older <= price or moments[start] + month <= now:
        return None
    while True:  # an earlier step down that joins this one
        middle, earlier = prices[start + 1], start + 1
        while earlier + 1 < len(moments) and prices[earlier + 1] == middle:
            earlier += 1
        above = prices[earlier + 1] if earlier + 1 < len(moments) else None
        if above is None or middle is None or above <= middle or moments[start] - moments[earlier] >= month:
            break
        start = earlier
    first, days = moments[start], 30 if law == "EU" else 7
    window = int(timedelta(days=days) / step)
    if any(one is None for one in prices[: start + window + 1]):
        return None
    if law == "EU":
        amounts = [one for one in prices[start + 1 : start + window + 1] if one is not None]
        amounts += [sale.asked for sale in history.sales if first - month <= sale.at < first]
        told = (min(amounts), "lowest_prior", 30)
    else:
        deals = [sale for sale in history.sales if sale.at < first]
        week = [sale.paid for sale in deals if sale.at >= first - timedelta(days=7)]
        if not deals:
            return None
        told = (min(week), "lowest_deal", 7) if week else (deals[-1].paid, "last_deal", 0)
    return told if told[0] > price else None


def truth(
    item: Mapping[str, Any] | None,
    offer: Offer | None,
    *,
    locale: str,
    zone: str,
    now: datetime,
    currency: str,
    market: tuple[str, Decimal | None, str | None] | None = None,
    history: History | None = None,
) -> dict[str, str]:
    """The one true text of every slot that states a value. ``market``: what the customer pays in, the rate now, the price law."""
    pays, rate, law = market or (currency, None, None)
    known: dict[str, str] = {}

    def say(name: str, minor: int | None, rounding: str = ROUND_HALF_UP) -> None:
        told = None if not minor else exchanged(minor, currency, pays, rate, rounding)
        if told:
            known[name] = money(told, pays, locale)

    price = item["price"] if item else None
    say("price", price)
    was = before(law, history, price, now, step=timedelta(days=1)) if price and law and history else None
    dear, cheap = (exchanged(was[0], currency, pays, rate), exchanged(price, currency, pays, rate)) if was and price else (None, None)
    if was and price and dear and cheap and dear > cheap:
        known |= {"reference": money(dear, pays, locale), "reduction_amount": money(dear - cheap, pays, locale)}
        share = 100 * (was[0] - price) // was[0]
        known |= {"reduction": _share(Decimal(share), locale)} if share else {}
        known |= {"reference_days": str(was[2])} if was[2] else {}
    terms = offer.terms if offer else {}
    if offer is not None and offer.kind == "coupon":
        say("threshold", terms.get("threshold"), ROUND_CEILING)
        say("cap", terms.get("cap"), ROUND_FLOOR)
        if "percent" in terms:
            known["percent_off"] = _share(Decimal(str(terms["percent"])), locale)
        else:
            say("amount_off", min(terms["fixed"], terms.get("cap", terms["fixed"])), ROUND_FLOOR)
        if price and 0 < taken(price, terms) < price:
            whole, less = (exchanged(amount, currency, pays, rate) for amount in (price, price - taken(price, terms)))
            if whole and less and less < whole:
                known |= {"saving": money(whole - less, pays, locale), "offer_price": money(less, pays, locale)}
    elif offer is not None:
        say("perk_from", terms.get("threshold"), ROUND_CEILING)
        known |= {name: f"{terms[name]:,}" for name in ("points", "pieces") if name in terms}
        say("bundle_amount", terms.get("fixed"), ROUND_FLOOR)
        known |= {"bundle_percent": _share(Decimal(str(terms["percent"])), locale)} if "percent" in terms else {}
    if offer is not None and offer.ends_at is not None:
        known["deadline"] = until(offer.ends_at, zone, now, locale)
    return known


def _share(percent: Decimal, locale: str) -> str:
    return f"{((100 - percent) / 10).normalize():f}\u6298" if locale == "zh-CN" else f"{percent.normalize():f}%"


def wrong(parts: Mapping[str, str], sources: Mapping[str, str], known: Mapping[str, str], names: Mapping[str, list[str]]) -> list[str]:
    """What is not true in a finished text.

    ``sources``: component id -> template text; ``names``: the catalogue's names as they may stand, by slot, whole or cut.
    """
    shown = {part: unescape(re.sub(r"<style>.*?</style>|<[^<>]*>", " ", text, flags=re.DOTALL)) for part, text in parts.items()}
    plain = "\n".join(text for part, text in shown.items() if part != "html")
    found = []
    for component, source in sources.items():
        slots = set(SLOT.findall(source))
        unknown = slots - set(known) - {name for name, texts in names.items() if texts}
        if unknown:
            found.append(f"{component} states {sorted(unknown)}, which nobody knows")
            continue
        sentences = [_filled(source, known, names, place) for place in (0, 1)]
        if component.split(".")[1] not in ("action", "optout") and not any(sentence in plain for sentence in sentences):
            found.append(f"{component} does not read {sentences[0]!r}")
    every = sorted({*known.values(), *(text for texts in names.values() for text in texts)}, key=len, reverse=True)
    for part, text in shown.items():
        rest = text
        for value in every:
            rest = re.sub(rf"(?<![\d.,]){re.escape(value)}(?![\d%]|[.,]\d)", " ", rest)
        left = VALUE.search(rest)
        if left:
            found.append(f"{part} holds {rest[max(left.start() - 20, 0) : left.end() + 20]!r}")
    return found


def _filled(source: str, known: Mapping[str, str], names: Mapping[str, list[str]], place: int) -> str:
    told = dict(known)
    for name, texts in names.items():
        if texts:
            told[name] = texts[min(place, len(texts) - 1)]
    return SLOT.sub(lambda hit: told[hit.group(1)], source).replace("....", "...")


WORDS = ("Steel", "Mug", "500 ml", "Linen", "Apron", "No. 7", "Lamp", "A5", "Jumper", "Tea & Co", "Set of 3", "T-Light")
HAN = (
    "\u4e0d\u9508\u94a2",
    "\u9a6c\u514b\u676f",
    "500\u6beb\u5347",
    "\u4e9a\u9ebb",
    "\u56f4\u88d9",
    "\u53f0\u706f",
    "\u8336\u5177",
    "3\u4ef6\u88c5",
)


def random_item(rng: random.Random, name: str, currency: str) -> dict[str, Any]:
    """A catalogue row with what catalogues have: gaps, numbers in names, one language only."""
    return {
        "item": name,
        "title": " ".join(rng.sample(WORDS, 2)) if rng.random() < 0.9 else None,
        "title_en": " ".join(rng.sample(WORDS, rng.randint(1, 4))) if rng.random() < 0.7 else None,
        "title_zh": "".join(rng.sample(HAN, rng.randint(1, 3))) if rng.random() < 0.7 else None,
        "category": rng.choice(["Home > Kitchen", "\u5bb6\u5c45 > \u53a8\u623f", None]),
        "brand": rng.choice(["Loft", "Fjell 1901", None]),
        "price": rng.choice([None, 0, rng.randint(1, 5_000), rng.randint(1, 2_000_000)]),
        "currency": currency,
        "stock": rng.choice([None, 1, 4, 60]),
        "attributes": rng.choice([None, '{"material": "oak", "size": "30 x 40"}']),
        "available_from": None,
        "available_until": None,
    }


def random_offer(rng: random.Random, now: datetime, item: str | None) -> Offer | None:
    """A coupon, a perk, or none."""
    if rng.random() < 0.25:
        return None
    ends = now + timedelta(minutes=rng.randint(61, 60 * 24 * 500)) if rng.random() < 0.7 else None
    if ends is not None and rng.random() < 0.5:
        ends = ends.astimezone(ZoneInfo("Asia/Shanghai")).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    if item is not None and rng.random() < 0.15:
        return _perk(rng, item, ends)
    terms: dict[str, Any] = {"percent": rng.choice([5, 12.5, 20, 33, 70])} if rng.random() < 0.5 else {"fixed": rng.randint(1, 30_000)}
    if rng.random() < 0.5:
        terms["threshold"] = max(rng.randint(1, 100_000), terms.get("fixed", 0))
    if rng.random() < 0.3:
        terms["cap"] = rng.randint(terms.get("fixed", 1), 40_000)
    scope = frozenset({item, "other"}) if item is not None and rng.random() < 0.5 else None
    return Offer("o1", "coupon", terms, items=scope, ends_at=ends)


def _perk(rng: random.Random, item: str, ends: datetime | None) -> Offer:
    least = {"threshold": rng.randint(1, 90_000)} if rng.random() < 0.5 else {}
    if rng.random() < 0.4:
        return Offer("p1", "free_shipping", {"shipping": 800, **least}, ends_at=ends)
    if rng.random() < 0.5:
        return Offer("p2", "points", {"points": rng.randint(1, 5_000), "worth": 0.5, **least}, ends_at=ends)
    gain: dict[str, Any] = {"percent": rng.choice([10, 15, 25])} if rng.random() < 0.5 else {"fixed": rng.randint(100, 9_000)}
    return Offer("p3", "bundle", {"pieces": rng.randint(2, 4), **gain}, items=frozenset({item}), ends_at=ends)


def random_history(rng: random.Random, now: datetime, price: int | None, currency: str) -> History:
    """Prices of the last months that mostly end in today's, on whole days; mostly without a gap; and some sales."""
    quotes: list[Quote] = []
    ago, amount = 0, price or rng.randint(1, 9_000)
    for _ in range(rng.randint(1, 6)):
        start = ago + rng.randint(1, 40)
        seen = ago + (rng.randint(0, 9) if rng.random() < 0.1 else 0)
        quotes.append(Quote(now - timedelta(days=start), now - timedelta(days=min(seen, start)), amount))
        ago, amount = start, max(1, round(amount * rng.choice([0.8, 1.0, 1.1, 1.25, 1.6] if ago > 30 else [0.8, 1.1, 1.25, 1.6])))
    sales = [Sale(now - timedelta(days=rng.randint(0, 60)), paid, paid + rng.choice([0, 0, 500])) for paid in rng.choices(
        [quote.amount for quote in quotes], k=rng.randint(0, 6))]  # fmt: skip
    return History(currency, tuple(reversed(quotes)), tuple(sorted(sales, key=lambda sale: sale.at)))
