"""Facts: money, shares and dates as people read them; discounts derived, never passed in; expiry; the hash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from compose_kit import AS_OF, NOW, STORE, coupon, facts, item

from tradewind.compose import clean, locales
from tradewind.compose.facts import FRESH, STOCK_FRESH, Proof, Storefront, gather, link, unsellable
from tradewind.compose.render import fill
from tradewind.compose.template import SLOTS, Slot, parse
from tradewind.errors import InputError, NotFound
from tradewind.types import Offer


@pytest.mark.parametrize(
    ("amount", "currency", "zh", "en"),
    [
        (9900, "CNY", "99\u5143", "\u00a599"),
        (9950, "CNY", "99.50\u5143", "\u00a599.50"),
        (129900, "GBP", "1,299\u82f1\u9551", "\u00a31,299"),
        (1, "USD", "0.01\u7f8e\u5143", "$0.01"),
        (205, "EUR", "2.05\u6b27\u5143", "\u20ac2.05"),
        (1200, "JPY", "1,200\u65e5\u5143", "JP\u00a51,200"),
    ],
)
def test_money(amount: int, currency: str, zh: str, en: str) -> None:
    assert locales.money(amount, currency, "zh-CN") == zh
    assert locales.money(amount, currency, "en") == en


def test_money_of_an_unknown_currency_is_no_fact() -> None:
    known = facts(item(currency="XAU"))
    assert "price" not in known.facts
    assert "price: no way to write XAU" in known.fallbacks


@pytest.mark.parametrize(("share", "zh", "en"), [("20", "8\u6298", "20%"), ("15", "8.5\u6298", "15%"), ("12.55", "8.745\u6298", "12.55%")])
def test_shares(share: str, zh: str, en: str) -> None:
    assert locales.percent_off(Decimal(share), "zh-CN") == zh
    assert locales.percent_off(Decimal(share), "en") == en


@pytest.mark.parametrize(
    ("ends", "zone", "zh", "en"),
    [
        ("2026-03-08T00:00:00+08:00", "Asia/Shanghai", "3\u67087\u65e5", "7 March"),  # local midnight ends the day before
        ("2026-03-08T00:00:00+00:00", "Asia/Shanghai", "3\u67088\u65e508:00", "8 March, 08:00"),
        ("2026-03-08T00:00:00+00:00", "America/New_York", "3\u67087\u65e519:00", "7 March, 19:00"),
        ("2027-01-01T00:00:00+00:00", "Europe/London", "12\u670831\u65e5", "31 December"),
        ("2027-01-02T00:00:00+00:00", "Europe/London", "2027\u5e741\u67081\u65e5", "1 January 2027"),
        ("2026-03-07T23:59:59+00:00", "Europe/London", "3\u67087\u65e5", "7 March"),
    ],
)
def test_deadlines_follow_the_customers_clock(ends: str, zone: str, zh: str, en: str) -> None:
    place = locales.zone(zone)
    assert place is not None
    for locale, text in (("zh-CN", zh), ("en", en)):
        assert locales.deadline(datetime.fromisoformat(ends), place=place, now=NOW, locale=locale) == text


def test_offer_price_follows_from_the_terms() -> None:
    known = facts(item(price=12950), coupon(percent=12.5, threshold=10_000, cap=1_500)).facts
    assert (known["saving"].value, known["offer_price"].value) == (1_500, 11_450)  # the cap binds
    assert (known["threshold"].value, known["cap"].value) == (10_000, 1_500)
    assert known["offer_price"].source == "offers.terms of ten"
    below = facts(item(price=9_999), coupon(percent=12.5, threshold=10_000)).facts
    assert "offer_price" not in below
    assert below["percent_off"].text == "12.5%"
    fixed = facts(item(price=3_000), coupon(fixed=2_000)).facts
    assert (fixed["amount_off"].value, fixed["offer_price"].value) == (2_000, 1_000)
    gift = facts(item(price=1_500), coupon(fixed=2_000)).facts
    assert "offer_price" not in gift  # nothing is free


def test_an_offer_that_gives_nothing_is_no_offer() -> None:
    known = facts(item(), Offer("pick", "product"))
    assert known.flags.isdisjoint({"offer", "whole_shop", "scoped"})


def test_wrong_terms_and_kinds_are_said() -> None:
    with pytest.raises(InputError, match=r'Offer "ten".*exactly one of'):
        facts(item(), coupon(threshold=5))
    with pytest.raises(NotFound, match='no offer kind "coupn"'):
        facts(item(), Offer("x", "coupn", {}))
    with pytest.raises(InputError, match='no texts in "fr"'):
        gather(item(), offer=None, store=STORE, locale="fr", zone=None, at=NOW)


def test_amounts_without_a_currency_leave_the_offer_unsaid() -> None:
    known = gather(
        item(currency=None), offer=coupon(fixed=500, threshold=1000), store=Storefront("Harbour"), locale="en", zone=None, at=NOW
    )
    assert "offer" in known.flags
    assert known.has.isdisjoint({"amount_off", "threshold", "price"})


def test_titles_fall_back_and_say_so() -> None:
    known = facts(item(title_en=None, title="SET OF USB LAMPS FOR THE DESK"))
    assert known.texts["title"] == "Set of USB Lamps for the Desk"
    assert known.fallbacks == ("title: no usable title_en, title used",)
    none = facts(item(title_en=None, title=None))
    assert "title" not in none.facts
    assert none.fallbacks == ("title: none usable",)


def test_category_brand_and_feature_are_in_the_language_of_the_text() -> None:
    zh, en = facts(item(), locale="zh-CN").texts, facts(item()).texts
    assert (zh["category"], en["category"]) == ("\u53a8\u623f", "Kitchen")
    assert (zh["feature"], en["feature"]) == ("\u6750\u8d28\uff1a\u767d\u74f7", "Material: stoneware")
    assert "category" not in facts(item(attributes=None), locale="zh-CN").texts
    assert "feature" not in facts(item(attributes="[1, 2]")).texts
    assert "feature" not in facts(item(attributes="{not json")).texts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<b>Mug</b>&nbsp;&lt;script&gt;alert(1)&lt;/script&gt;", "Mug"),
        ("Mug\r\n\tset", "Mug set"),
        ("Mug {{price}} {x}", "Mug price x"),
        ("Mu\u202eg\u200b\u2066", "Mug"),
        ("\u00abMug\u00bb \u2013 \u201cred\u201d", '\u00abMug\u00bb - "red"'),
        ("Mug \U0001f389\ufe0f\u2764", "Mug"),
        ("&amp;lt;b&amp;gt;Mug", "Mug"),
        ("\u3010\u65b0\u3011\u676f\u5b50", "\u65b0 \u676f\u5b50"),
        ("5", None),
        ("  \n ", None),
        ("\u05e9\u05dc\u05d5\u05dd mug", None),
        ("\ud800mug", "mug"),
        (None, None),
    ],
)
def test_clean_names(raw: str | None, expected: str | None) -> None:
    assert clean.name(raw) == expected


def test_a_cut_never_changes_a_number() -> None:
    assert clean.shorten("Steel bottle 500 ml double wall", 24, "...") == "Steel bottle 500 ml..."
    assert clean.shorten("Steel bottle 500 ml double wall", 19, "...") == "Steel bottle..."
    assert clean.shorten("\u4fdd\u6e29\u676f500\u6beb\u5347\u53cc\u5c42", 10, "\u2026") == "\u4fdd\u6e29\u676f\u2026"
    assert clean.shorten("x" * 100, 20, "...") is None
    assert clean.shorten("Oak chopping board, large, 40 x 30", 26, "...") == "Oak chopping board, large"
    assert clean.shorten("Oak chopping board, large, 40 x 30", 20, "...") == "Oak chopping board"
    assert (
        clean.shorten("\u5c71\u5c9a \u7ecf\u5178\u6b3e \u5496\u5561\u8c46 500\u514b", 20, "\u2026")
        == "\u5c71\u5c9a \u7ecf\u5178\u6b3e \u5496\u5561\u8c46"
    )
    assert clean.shorten("short", 20, "...") == "short"


def test_expiry_and_freshness() -> None:
    known = facts(item(stock=3), coupon())
    assert known.facts["stock"].expires_at == NOW + STOCK_FRESH
    assert known.ends_at == AS_OF + timedelta(days=7)
    later = known.fresh(NOW + STOCK_FRESH)
    assert "stock" not in later.facts
    assert "low_stock" not in later.flags
    assert "title" in later.facts
    gone = known.fresh(NOW + FRESH)
    assert set(gone.facts) == {"percent_off", "deadline"}  # the offer's own window is longer
    assert "price: expired" in gone.fallbacks


def test_the_hash_is_of_what_is_said() -> None:
    one, later = facts(item()), facts(item(), at=NOW + timedelta(hours=1))
    assert one.hash == later.hash
    assert one.hash != facts(item(price=12951)).hash
    assert one.hash != facts(item(), locale="zh-CN").hash
    assert one.hash != facts(item(stock=1)).hash


def test_proof_needs_support() -> None:
    assert facts(item(), proof=Proof(Decimal("4.56"), 128)).texts["rating"] == "4.6 out of 5"
    assert "rating" not in facts(item(), proof=Proof(Decimal("4.9"), 19)).texts
    assert "rating" not in facts(item(), proof=Proof(Decimal("3.9"), 900)).texts


@pytest.mark.parametrize(
    ("row", "offer", "why"),
    [
        (item(stock=0), None, "out of stock"),
        (item(stock=-4), None, "out of stock"),
        (item(available_from=NOW + timedelta(days=1)), None, "item not on sale yet"),
        (item(available_until=NOW), None, "item no longer on sale"),
        (item(), coupon(ends=NOW), "offer has ended at the time of sending"),
        (item(), coupon(items=["other"]), "the offer does not hold for this item"),
        (item(), Offer("x", "coupon", {"percent": 5}, starts_at=NOW + timedelta(days=1)), "offer has not started at the time of sending"),
        (item(stock=None), coupon(), None),
        (None, coupon(), None),
    ],
)
def test_what_cannot_be_sold_is_not_spoken_of(row: dict[str, object] | None, offer: Offer | None, why: str | None) -> None:
    assert unsellable(row, offer, send_at=NOW) == why


def test_links_are_escaped() -> None:
    assert link("https://x.example/p/{item}?a=1", "a/b c&d") == "https://x.example/p/a%2Fb%20c%26d?a=1"
    assert link("https://x.example/p/", "\u676f") == "https://x.example/p/%E6%9D%AF"
    assert link("https://x.example/p/{item}", None) == "https://x.example/"


def test_an_unknown_zone_is_said() -> None:
    known = gather(item(), offer=coupon(), store=STORE, locale="en", zone="Mars/Base", at=NOW)
    assert "zone: unknown, UTC used" in known.fallbacks


def test_templates_and_slots() -> None:
    assert parse("{title} at {price}").slots == ("title", "price")
    assert parse("{title} at {price}").text == "{title} at {price}"
    with pytest.raises(NotFound, match=r'There is no slot "titel"\. Did you mean "title"'):
        parse("{titel}")
    for text in ("now 5 off", "\u4e09\u6298", "50%", "on Friday", "\u00a3", "half price", "in {title", "\uff15", "a } b", "{{title}}"):
        with pytest.raises(InputError):
            parse(text)
    known = facts(item())
    assert fill(parse("{title} for {price}!"), known) == "White Stoneware Mug for \u00a5129.50!"
    with pytest.raises(InputError, match='no fact "deadline"'):
        fill(parse("until {deadline}"), known)
    assert set(SLOTS.values()) == set(Slot) - {Slot.FLAG}


def test_times_of_facts_are_utc() -> None:
    for fact in facts(item(), coupon()).facts.values():
        assert fact.at.tzinfo is UTC
        assert fact.expires_at.tzinfo is UTC
        assert fact.expires_at > fact.at
