"""Bad input, one test per kind: what becomes of it is defined, and no text is ever wrong or torn."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from compose_kit import NOW, STORE, coupon, facts, item

from tradewind.compose.clean import width
from tradewind.compose.facts import LONG, gather, unsellable
from tradewind.compose.markets import Market, Rate
from tradewind.compose.prices import History, Quote
from tradewind.compose.recipe import RECIPES
from tradewind.compose.sms import segments
from tradewind.compose.writing import Text, preview
from tradewind.errors import InputError

SENT = ("email", "push", "sms", "inapp", "reco", "ad", "social", "landing", "live.item", "live.offer")


def texts(row: dict[str, Any], locale: str = "en") -> list[Text]:
    """One text per format."""
    return [preview(facts(row, locale=locale), channel=form, key=form) for form in SENT]


def shown(text: Text) -> str:
    return "\n".join(value for part, value in text.parts.items() if part != "link")


@pytest.mark.parametrize("price", [None, 0, -5])
@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_a_missing_or_impossible_price_is_not_said(price: int | None, locale: str) -> None:
    for text in texts(item(price=price), locale):
        assert text.withheld is None
        assert "\u00a5" not in shown(text)
        assert "\u5143" not in shown(text)


@pytest.mark.parametrize("stock", [0, -1, -10_000])
def test_no_stock_and_negative_stock_are_unsellable_and_no_fact(stock: int) -> None:
    assert unsellable(item(stock=stock), None, send_at=NOW) == "out of stock"
    assert facts(item(stock=stock)).flags.isdisjoint({"in_stock", "low_stock"})


@pytest.mark.parametrize("locale", ["fr", "", "zh", "EN"])
def test_an_unknown_locale_is_refused_by_name(locale: str) -> None:
    with pytest.raises(InputError, match=f'no texts in "{locale}". Allowed: zh-CN, en'):
        facts(item(), locale=locale)


@pytest.mark.parametrize("title", ["Mug " * 2_500, "M" * 10_000, "\u676f" * 10_000, "Mug, white " * 910])
def test_a_title_of_ten_thousand_characters_is_cut_or_left_out(title: str) -> None:
    for locale in ("en", "zh-CN"):
        for text in texts(item(title_en=title, title_zh=title), locale):
            assert text.withheld is None
            assert width(text.facts.texts.get("title", "")) <= LONG
            assert title[:500] not in shown(text)


@pytest.mark.parametrize(
    "title", ["\u05db\u05d5\u05e1 \u05e7\u05e8\u05de\u05d9\u05e7\u05d4", "Mug \u0643\u0648\u0628", "Mug \u202ereversed\u202c"]
)
def test_text_from_right_to_left_never_turns_a_message_round(title: str) -> None:
    for text in texts(item(title_en=title, title=None)):
        assert text.withheld is None
        assert not any("\u0590" <= letter <= "\u08ff" or "\u202a" <= letter <= "\u202e" for letter in shown(text))


def test_emoji_in_a_name_never_reach_a_text_message() -> None:
    row = item(title_en="Party \U0001f389 Mug \u2728 White", brand="\U0001f40b")
    text = preview(facts(row), channel="sms")
    assert "Party Mug White" in text.parts["body"]
    assert segments(text.parts["body"]).encoding == segments("plain").encoding


def test_an_unknown_currency_says_no_amount_and_an_offer_in_it_is_withheld() -> None:
    row = item(currency="XAU")
    assert all(text.withheld is None for text in texts(row))
    foreign = gather(row, offer=coupon(fixed=500), store=replace(STORE, currency="XAU"), locale="en", zone=None, at=NOW)
    assert preview(foreign, channel="email").withheld == "the offer cannot be put into words"


def test_a_gap_in_the_price_history_takes_only_the_comparison_away() -> None:
    market = replace(STORE, market=Market(prices="EU"))
    quotes = [Quote(NOW - timedelta(days=60), NOW - timedelta(days=5), 20_000), Quote(NOW - timedelta(days=5), NOW, 12_950)]
    whole = gather(item(), offer=None, store=market, locale="en", zone=None, at=NOW, history=History("CNY", tuple(quotes)))
    gap = [replace(quotes[0], seen=NOW - timedelta(days=30)), quotes[1]]
    torn = gather(item(), offer=None, store=market, locale="en", zone=None, at=NOW, history=History("CNY", tuple(gap)))
    assert "reference" in whole.facts
    assert {"reference", "reduction", "reduction_amount", "reference_days"}.isdisjoint(torn.facts)
    assert torn.texts["price"] == whole.texts["price"]


def test_a_rate_so_small_that_nothing_is_left_says_no_price() -> None:
    tiny = Rate("CNY", "USD", Decimal("0.0000001"), NOW, NOW + timedelta(days=1))
    known = gather(item(), offer=None, store=replace(STORE, market=Market(currency="USD"), rates=(tiny,)), locale="en", zone=None, at=NOW)
    assert "price" not in known.facts
    assert preview(known, channel="push").withheld is None


def test_every_format_survives_a_row_of_nothing() -> None:
    bare = dict.fromkeys(item()) | {"item": "x"}
    for form in RECIPES:
        text = preview(facts(bare), channel=form)
        if form in ("coupon", "live.countdown"):
            assert "goes with the facts that are known" in str(text.withheld)
        else:
            assert text.withheld is None, (form, text.withheld)
