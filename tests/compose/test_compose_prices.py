"""Reference prices: exact against a naive count of hours, by jurisdiction; what the shop notes; markets and rates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from compose_kit import NOW, URL, item, rows
from copy_oracle import before
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind import schema
from tradewind.compose import markets
from tradewind.compose.facts import Aspect, Facts, Proof, Storefront, gather
from tradewind.compose.markets import Market, Markets, Rate
from tradewind.compose.material import _aspects
from tradewind.compose.pricelog import histories, note
from tradewind.compose.prices import History, Quote, Reference, Sale, reference
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound
from tradewind.types import Offer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def days(*prices: tuple[float, int], now: datetime = NOW) -> tuple[Quote, ...]:
    """Quotes from (days before now, price), each seen until the next, the last until now."""
    starts = [now - timedelta(days=ago) for ago, _ in prices]
    return tuple(Quote(at, seen, amount) for at, seen, (_, amount) in zip(starts, [*starts[1:], now], prices, strict=True))


def sold(*deals: tuple[float, int, int], now: datetime = NOW) -> tuple[Sale, ...]:
    return tuple(Sale(now - timedelta(days=ago), paid, asked) for ago, paid, asked in deals)


def found(market: str, quotes: tuple[Quote, ...], sales: tuple[Sale, ...] = (), *, price: int | None = None) -> Reference | str:
    return reference(market, History("EUR", quotes, sales), price=quotes[-1].amount if price is None else price, now=NOW)


def test_eu_is_the_lowest_price_of_the_thirty_days_before_the_reduction_was_first_applied() -> None:
    told = found("EU", days((60, 10_000), (25, 9_000), (20, 11_000), (5, 8_000)))
    assert isinstance(told, Reference)
    assert (told.amount, told.basis, told.days) == (9_000, "lowest_prior", 30)
    assert told.until == NOW + 25 * DAY


def test_eu_steps_down_within_thirty_days_are_one_reduction() -> None:
    told = found("EU", days((90, 10_000), (20, 9_000), (10, 8_000), (2, 7_000)))
    assert isinstance(told, Reference)
    assert (told.amount, told.since) == (10_000, NOW - 20 * DAY)
    told = found("EU", days((90, 10_000), (45, 9_000), (2, 7_000)))  # 9,000 has become the ordinary price
    assert isinstance(told, Reference)
    assert told.amount == 9_000


def test_eu_a_cheap_sale_in_the_window_lowers_the_reference_and_a_personal_coupon_does_not() -> None:
    told = found("EU", days((60, 10_000), (5, 8_000)), sold((20, 8_500, 9_500)))
    assert isinstance(told, Reference)
    assert told.amount == 9_500


@pytest.mark.parametrize(
    ("quotes", "price", "why"),
    [
        ((), 100, "does not hold today's price"),
        (days((60, 10_000), (5, 8_000)), 7_000, "does not hold today's price"),
        (days((60, 10_000)), 10_000, "was not reduced"),
        (days((60, 8_000), (5, 10_000)), 10_000, "was not reduced"),
        (days((90, 10_000), (30, 8_000)), 8_000, "the ordinary one"),
        (days((20, 10_000), (5, 8_000)), 8_000, "gap in the 30 days"),
        ((Quote(NOW - 60 * DAY, NOW - 20 * DAY, 10_000), Quote(NOW - 5 * DAY, NOW, 8_000)), 8_000, "gap in the 30 days"),
        ((Quote(NOW - 60 * DAY, NOW - 20 * DAY, 10_000), Quote(NOW - 20 * DAY, NOW - 8 * DAY, 8_000)), 8_000, "or since"),
        (days((60, 7_000), (20, 10_000), (5, 8_000)), 8_000, "not dearer before"),
    ],
)
def test_without_proof_no_reference(quotes: tuple[Quote, ...], price: int, why: str) -> None:
    told = reference("EU", History("EUR", quotes), price=price, now=NOW)
    assert isinstance(told, str)
    assert why in told


def test_china_is_the_lowest_deal_of_the_week_before_else_the_last_deal() -> None:
    quotes = days((60, 10_000), (5, 8_000))
    week = found("CN", quotes, sold((30, 9_000, 10_000), (10, 9_900, 9_900), (6, 9_500, 10_000), (1, 8_000, 8_000)))
    assert isinstance(week, Reference)
    assert (week.amount, week.basis, week.days) == (9_500, "lowest_deal", 7)
    last = found("CN", quotes, sold((30, 9_000, 10_000), (13, 9_900, 9_900)))
    assert isinstance(last, Reference)
    assert (last.amount, last.basis) == (9_900, "last_deal")
    assert found("CN", quotes, sold((2, 8_000, 8_000))) == "nothing was sold before the promotion"


def test_us_claims_a_former_price_only_when_it_stood_and_sold() -> None:
    told = found("US", days((60, 10_000), (5, 8_000)), sold((40, 10_000, 10_000)))
    assert isinstance(told, Reference)
    assert (told.amount, told.basis) == (10_000, "former_price")
    assert found("US", days((60, 10_000), (5, 8_000))) == "nothing was sold at the former price"
    short = found("US", days((60, 9_000), (20, 10_000), (5, 8_000)), sold((10, 10_000, 10_000)))
    assert isinstance(short, str)
    assert "stood for 15 days" in short
    with pytest.raises(NotFound, match="CN, EU, US"):
        found("UK", days((60, 10_000), (5, 8_000)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 24 * 20), st.integers(0, 24 * 9), st.sampled_from([700, 800, 900, 1000])), min_size=1, max_size=7),
    st.lists(st.tuples(st.integers(0, 24 * 100), st.integers(650, 1050), st.integers(0, 100)), max_size=5),
    st.sampled_from(["EU", "CN"]),
)
def test_references_agree_with_a_naive_count_of_hours(
    steps: list[tuple[int, int, int]], deals: list[tuple[int, int, int]], market: str
) -> None:
    quotes: list[Quote] = []
    moment = NOW - HOUR * sum(length for length, _, _ in steps)
    for length, silent, amount in steps:
        end = moment + HOUR * length
        quotes.append(Quote(moment, max(moment, end - HOUR * silent), amount))
        moment = end
    sales = tuple(sorted((Sale(NOW - HOUR * ago, paid, paid + off) for ago, paid, off in deals), key=lambda sale: sale.at))
    history, price = History("EUR", tuple(quotes), sales), quotes[-1].amount
    told = reference(market, history, price=price, now=NOW)
    expected = before(market, history, price, NOW, step=HOUR)
    assert ((told.amount, told.basis, told.days) if isinstance(told, Reference) else None) == expected, told


# ---------------------------------------------------------------------------------------------------------- as facts
GB = Rate("CNY", "GBP", Decimal("0.11"), NOW - DAY, NOW + DAY)
REDUCED = History("CNY", days((60, 20_000), (5, 12_950)), sold((7, 19_000, 20_000)))


def facts(market: Market, *, rates: tuple[Rate, ...] = (), offer: Offer | None = None, **more: Any) -> Facts:
    store = Storefront("Harbour", "CNY", URL, market=market, rates=rates)
    row = more.pop("row", item())
    return gather(row, offer=offer, store=store, locale="en", zone=None, at=NOW, **more)


def test_reference_facts_are_derived_and_expire_with_the_reduction() -> None:
    known = facts(Market(prices="EU"), history=REDUCED)
    assert known.texts["reference"] == "\u00a5200"
    assert known.texts["reduction_amount"] == "\u00a570.50"
    assert known.texts["reduction"] == "35%"  # 35.25 rounded down
    assert known.texts["reference_days"] == "30"
    assert "lowest_prior" in known.flags
    assert known.facts["reference"].expires_at <= NOW + 3 * DAY
    assert "lowest_prior before 2026-02-24" in known.facts["reference"].source
    assert "reference" not in facts(Market(), history=REDUCED).facts  # no law, no claim
    assert "reference" not in facts(Market(prices="EU"), history=History("EUR", REDUCED.quotes)).facts


def test_every_amount_is_converted_or_none_is_said() -> None:
    offer = Offer("o", "coupon", {"percent": 10, "threshold": 10_001, "cap": 4_000})
    known = facts(Market(currency="GBP", prices="CN"), rates=(GB,), offer=offer, history=REDUCED)
    assert known.texts["price"] == "\u00a314.25"  # 129.50 x 0.11 = 14.245
    assert known.texts["threshold"] == "\u00a311.01"  # up: the customer must spend it
    assert known.texts["cap"] == "\u00a34.40"
    assert known.texts["offer_price"] == "\u00a312.82"  # 116.55 x 0.11
    assert known.texts["saving"] == "\u00a31.43"  # the difference of the two
    assert known.texts["reference"] == "\u00a320.90"
    assert known.facts["price"].expires_at == GB.until
    assert known.facts["price"].value == 1425


@pytest.mark.parametrize(
    "rates", [(), (Rate("CNY", "GBP", Decimal("0.11"), NOW - 2 * DAY, NOW),), (Rate("CNY", "EUR", Decimal(1), NOW, NOW + DAY),)]
)
def test_without_a_rate_that_holds_no_amount_is_said(rates: tuple[Rate, ...]) -> None:
    known = facts(Market(currency="GBP"), rates=rates, offer=Offer("o", "coupon", {"fixed": 1_000}))
    assert not {"price", "amount_off", "offer_price"} & set(known.facts)
    assert "price: no rate CNY to GBP that holds now" in known.fallbacks


def test_a_term_that_a_rate_rounds_to_nothing_takes_the_offer_with_it() -> None:
    known = facts(Market(currency="GBP"), rates=(GB,), offer=Offer("o", "coupon", {"percent": 10, "cap": 5}))
    assert "percent_off" not in known.facts
    assert "offer: no way to say its cap" in known.fallbacks


def test_an_aspect_needs_support_and_our_own_word_for_it() -> None:
    good = Proof(Decimal("4.5"), 40, (Aspect("fit", 12, 14), Aspect("comfort", 9, 9), Aspect("size", 12, 30), Aspect("hype", 99, 99)))
    assert facts(Market(), proof=good).texts["aspect"] == "fit"
    assert facts(Market(), proof=good).texts["aspect_reviews"] == "12"
    assert "aspect" not in facts(Market(), proof=Proof(Decimal("4.5"), 40, good.aspects[1:])).facts


# --------------------------------------------------------------------------------------------------- markets.toml
def test_markets_are_found_by_the_region_of_the_language() -> None:
    told = Markets((Market(("DE", "FR"), "EUR", "EU"), Market(("US",), "USD"), Market(currency="CNY", prices="CN")), ())
    assert told.of("de-DE").currency == "EUR"
    assert told.of("fr_FR").prices == "EU"
    assert told.of("zh-Hant-US").currency == "USD"
    assert told.of("en").currency == "CNY"
    assert told.of(None).prices == "CN"
    assert Markets().of("de-DE") == Market()


def test_a_markets_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_text(
        '[[market]]\nregions = ["DE"]\ncurrency = "EUR"\nprices = "EU"\n'
        '[[rate]]\nfrom = "CNY"\nto = "EUR"\nrate = "0.1284"\nat = 2026-03-01T00:00:00Z\nuntil = 2026-03-02T00:00:00Z\n'
    )
    told = markets.load(tmp_path)
    assert told.rates[0].convert(12_950) == 1_663
    assert markets.rate(told.rates, "CNY", "EUR", at=datetime(2026, 3, 2, tzinfo=UTC)) is None
    assert markets.load(tmp_path / "nowhere") == Markets()


RATE = {"from": "CNY", "to": "EUR", "rate": "0.1", "at": NOW, "until": NOW + DAY}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"markets": []}, "no table 'markets'. Did you mean \"market\""),
        ({"market": {"currency": "EUR"}}, r"write \[\[market\]\]"),
        ({"market": [{"curency": "EUR"}]}, 'Did you mean "currency"'),
        ({"market": [{"currency": "XYZ"}]}, "no currency that can be written 'XYZ'"),
        ({"market": [{"prices": "UK"}]}, "no price law 'UK'"),
        ({"market": [{"regions": ["Germany"]}]}, "regions are ISO 3166 codes"),
        ({"market": [{"regions": ["DE"]}, {"regions": ["DE", "FR"]}]}, "two markets are for DE"),
        ({"market": [{}, {}]}, "two markets are for everybody else"),
        ({"rate": [{**RATE, "rate": "0"}]}, "above zero"),
        ({"rate": [{**RATE, "rate": "-0.1"}]}, "above zero"),
        ({"rate": [{**RATE, "rate": 0.1}]}, "in quotes"),
        ({"rate": [{**RATE, "rate": "inf"}]}, "above zero"),
        ({"rate": [{**RATE, "rate": "much"}]}, "above zero"),
        ({"rate": [{**RATE, "until": NOW}]}, "not after its start"),
        ({"rate": [{**RATE, "at": "2026"}]}, "must be times"),
        ({"rate": [{"from": "CNY"}]}, "lacks at, rate, to, until"),
    ],
)
def test_wrong_markets_are_refused_with_words(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        markets.read(table)


# ------------------------------------------------------------------------------------------- what the shop notes
def catalogue(home: Home, price: int | None, name: str, at: datetime) -> None:
    con = home.log.connect()
    staging = home.log.begin(name, source=name, now=at)
    assert staging is not None
    with staging:
        con.register("rows_in", rows("items", item(price=price)))
        staging.replace("items", con, "SELECT * FROM rows_in")
        staging.commit({}, now=at)
    con.close()
    note(home, now=at)


def bought(home: Home, *sales: tuple[float, int, float, int | None, str | None]) -> None:
    events = [
        {"id": f"e{n}", "at": NOW - timedelta(days=ago), "kind": "purchase", "item": "mug-1", "quantity": pieces, "value": value,
         "discount": off, "offer": offer, "currency": "CNY", "source": "test"}
        for n, (ago, value, pieces, off, offer) in enumerate(sales)
    ]  # fmt: skip
    staging, con = home.log.begin("sales", source="sales", now=NOW), home.log.connect()
    assert staging is not None
    with staging:
        con.register("rows_in", pa.Table.from_pylist(events, schema=schema.EVENTS))
        staging.add_events(con, "SELECT * FROM rows_in")
        staging.commit({}, now=NOW)
    con.close()


def test_the_shop_notes_prices_and_reads_sales_per_piece(tmp_path: Path) -> None:
    with Home.open(tmp_path / "shop") as home:
        home.save_settings(type(home.settings)(name="Harbour", salt=home.settings.salt, currency="CNY"))
        for ago, price in ((12, 20_000), (9, 20_000), (8, None), (5, 15_000), (1, 15_000)):
            catalogue(home, price, f"day{ago}", NOW - timedelta(days=ago))
        bought(home, (40, 60_001, 3, 0, None), (40, 1_000, 0, 0, None), (20, 18_000, 1, 2_000, "coupon"), (3, 15_000, 1, 0, None))
        told = histories(home, ["mug-1", "unknown"], now=NOW)["mug-1"]
        assert [(quote.at, quote.seen, quote.amount) for quote in told.quotes] == [
            (NOW - 40 * DAY, NOW - 40 * DAY, 20_000),
            (NOW - 20 * DAY, NOW - 20 * DAY, 20_000),
            (NOW - 12 * DAY, NOW - 9 * DAY, 20_000),
            (NOW - 5 * DAY, NOW - 1 * DAY, 15_000),
        ]
        assert [(sale.paid, sale.asked) for sale in told.sales] == [(20_000, 20_000), (18_000, 20_000), (15_000, 15_000)]
        assert histories(home, ["mug-1"], now=NOW - 6 * DAY)["mug-1"].quotes[-1].amount == 20_000  # nothing of the future
        week = reference("CN", told, price=15_000, now=NOW)
        assert isinstance(week, Reference)
        assert (week.amount, week.basis) == (18_000, "last_deal")
        assert isinstance(reference("EU", told, price=15_000, now=NOW), str)  # a gap between day 20 and day 12


def test_aspects_are_counted_from_reviews_by_our_codes_only(tmp_path: Path) -> None:
    contexts = [
        '{"aspects": {"fit": 1, "size": -1}}',
        '{"aspects": {"fit": 1, "evil": 1, "size": "9"}}',
        '{"aspects": 3}',
        '["aspects"]',
        "{",
    ]
    with Home.open(tmp_path / "shop") as home:
        events = [
            {"id": f"r{n}", "at": NOW - DAY, "kind": "review", "item": "mug-1", "context": text, "source": "test"}
            for n, text in enumerate(contexts)
        ]
        staging, con = home.log.begin("reviews", source="reviews", now=NOW), home.log.connect()
        assert staging is not None
        with staging:
            con.register("rows_in", pa.Table.from_pylist(events, schema=schema.EVENTS))
            staging.add_events(con, "SELECT * FROM rows_in")
            staging.commit({}, now=NOW)
        con.close()
        assert _aspects(home, NOW) == {"mug-1": (Aspect("fit", 2, 2),)}
