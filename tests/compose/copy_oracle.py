"""What a true message would say, worked out a second time: own arithmetic, own formats, nothing of ``tradewind.compose`` but the
sources of the components. ``wrong`` compares a finished text with it; the benchmark uses it too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

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


def truth(item: Mapping[str, Any] | None, offer: Offer | None, *, locale: str, zone: str, now: datetime, currency: str) -> dict[str, str]:
    """The one true text of every slot that states a value."""
    known: dict[str, str] = {}
    price = item["price"] if item else None
    if price:
        known["price"] = money(price, currency, locale)
    if offer is not None and offer.kind == "coupon":
        terms = offer.terms
        known |= {name: money(terms[name], currency, locale) for name in ("threshold", "cap") if terms.get(name)}
        if "percent" in terms:
            rest = (100 - Decimal(str(terms["percent"]))) / 10
            known["percent_off"] = (
                f"{rest.normalize():f}\u6298" if locale == "zh-CN" else f"{Decimal(str(terms['percent'])).normalize():f}%"
            )
        else:
            known["amount_off"] = money(min(terms["fixed"], terms.get("cap", terms["fixed"])), currency, locale)
        if price and 0 < taken(price, terms) < price:
            known["saving"] = money(taken(price, terms), currency, locale)
            known["offer_price"] = money(price - taken(price, terms), currency, locale)
    if offer is not None and offer.ends_at is not None:
        known["deadline"] = until(offer.ends_at, zone, now, locale)
    return known


def wrong(parts: Mapping[str, str], sources: Mapping[str, str], known: Mapping[str, str], names: Mapping[str, list[str]]) -> list[str]:
    """What is not true in a finished text.

    ``sources``: component id -> template text; ``names``: the catalogue's names as they may stand, by slot, whole or cut.
    """
    shown = {part: unescape(re.sub(r"<head>.*?</head>|<[^<>]*>", " ", text, flags=re.DOTALL)) for part, text in parts.items()}
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
    """A coupon, or none."""
    if rng.random() < 0.25:
        return None
    terms: dict[str, Any] = {"percent": rng.choice([5, 12.5, 20, 33, 70])} if rng.random() < 0.5 else {"fixed": rng.randint(1, 30_000)}
    if rng.random() < 0.5:
        terms["threshold"] = max(rng.randint(1, 100_000), terms.get("fixed", 0))
    if rng.random() < 0.3:
        terms["cap"] = rng.randint(terms.get("fixed", 1), 40_000)
    ends = now + timedelta(minutes=rng.randint(61, 60 * 24 * 500)) if rng.random() < 0.7 else None
    if ends is not None and rng.random() < 0.5:
        ends = ends.astimezone(ZoneInfo("Asia/Shanghai")).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    scope = frozenset({item, "other"}) if item is not None and rng.random() < 0.5 else None
    return Offer("o1", "coupon", terms, items=scope, ends_at=ends)
