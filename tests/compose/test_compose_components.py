"""The component writer: a sound library, choices that are uniform, logged, stable and within the channel's room."""

from __future__ import annotations

import itertools
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from compose_kit import CHANNELS, NOW, STORE, coupon, facts, item

from tradewind import plugins
from tradewind.compose.base import Brief, Draft, Writer
from tradewind.compose.components import Components
from tradewind.compose.facts import FLAGS, Aspect, Facts, Proof, gather, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.library import ROLES, load, read
from tradewind.compose.markets import Market
from tradewind.compose.prices import History, Quote, Sale
from tradewind.compose.recipe import RECIPES
from tradewind.compose.sms import segments
from tradewind.compose.template import SLOTS
from tradewind.compose.writing import Text, preview
from tradewind.errors import InputError, NotFound
from tradewind.types import Offer, Reason

REASONS = (
    None,
    Reason("category"),
    Reason("because"),
    Reason("popular", {"rank": 1}),
    Reason("similar_customers"),
    Reason("bought_together"),
)
ITEMS = (
    None,
    item(stock=30),
    item(stock=2, brand=None),
    item(attributes=None, brand=None, category=None),
    item(price=None, attributes=None),
    item(title=None, title_zh=None, title_en=None, brand=None),
    item(title=None, title_zh=None, title_en=None, brand=None, category=None, attributes=None),
)
OFFERS = (
    None,
    coupon(percent=20),
    coupon(percent=20, ends=None),
    coupon(percent=20, threshold=50_000, cap=4_000),
    coupon(fixed=2_000, ends=None),
    coupon(fixed=20_000),
    coupon(fixed=2_000, threshold=50_000),
    coupon(percent=20, threshold=50_000, items=["mug-1"]),
    coupon(fixed=2_000, threshold=50_000, items=["mug-1"]),
    coupon(percent=20, items=["mug-1"]),
    coupon(percent=12.5, threshold=1_234_567, cap=98_765, items=["mug-1"], ends=NOW + timedelta(days=400, minutes=35)),
    coupon(percent=12.5, threshold=1_234_567, cap=98_765, ends=NOW + timedelta(days=400, minutes=35)),
    coupon(fixed=2_000, items=["mug-1"]),
)


def known(row: dict[str, Any] | None, offer: Offer | None, locale: str, *, proof: bool = False) -> Facts:
    aspects = (Aspect("quality", 41, 44),) if offer is None else ()
    found = facts(row, offer, locale=locale, proof=Proof(Decimal("4.6"), 321, aspects) if proof and row else None)
    return found.with_anchor({"title": "Enamel Teapot", "title_zh": "\u8336\u58f6"})


ENDS = NOW + timedelta(days=7)
PERKS = (
    Offer("ship", "free_shipping", {"shipping": 800}),
    Offer("ship_from", "free_shipping", {"shipping": 800, "threshold": 19_900}, ends_at=ENDS),
    Offer("points", "points", {"points": 1_200, "worth": 0.5}),
    Offer("points_from", "points", {"points": 50, "worth": 1, "threshold": 9_900}, ends_at=ENDS),
    Offer("pair", "bundle", {"pieces": 2, "percent": 15}, items=frozenset({"mug-1"}), ends_at=ENDS),
    Offer("three", "bundle", {"pieces": 3, "fixed": 2_000}, items=frozenset({"mug-1"})),
    Offer("read", "post"),
)
WORLDS = [pair for pair in itertools.product(ITEMS, OFFERS) if pair != (None, None)]
WORLDS += [(row, offer) for row, offer in itertools.product(ITEMS, PERKS) if row is not None]


FORMATS = tuple(RECIPES)
STEP = (Quote(NOW - timedelta(days=60), NOW - timedelta(days=5), 20_000), Quote(NOW - timedelta(days=5), NOW, 12_950))


def reduced(law: str, ago: int, locale: str) -> Facts:
    """Facts with a reference price; the last piece was sold ``ago`` days ago."""
    store = replace(STORE, market=Market(prices=law))
    history = History("CNY", STEP, (Sale(NOW - timedelta(days=ago), 20_000, 20_000),))
    found = gather(item(), offer=None, store=store, locale=locale, zone=None, at=NOW, history=history)
    assert "reference" in found.facts
    return found


REDUCED = [
    reduced(law, ago, locale) for law, ago in (("EU", 9), ("CN", 9), ("CN", 20), ("US", 9)) for locale in ("zh-CN", "en")
]  # fmt: skip


def cases() -> Iterator[tuple[Facts, str]]:
    """Facts and formats that between them call for every component."""
    told = [
        known(row, offer, locale, proof=proof) for (row, offer), locale, proof in itertools.product(WORLDS, ("zh-CN", "en"), (False, True))
    ]
    named = itertools.product(("Mug", "M" * 36), (None, 12_950), (STORE, replace(STORE, name="The Harbour General Store")))
    short = [  # ads and push are short: names decide what fits
        gather(item(title_en=title, title_zh=title, price=price), offer=offer, store=store, locale=locale, zone=None, at=NOW)
        for (title, price, store), offer, locale in itertools.product(list(named), OFFERS, ("zh-CN", "en"))
    ]
    tight = [known(item(title_en="M" * length), offer, "en") for length, offer in itertools.product(range(4, 36), OFFERS[-3:])]
    for _ in range(9):
        yield from itertools.product(REDUCED * 3, FORMATS)
        yield from ((found, "ad") for found in short)
        yield from ((found, "push") for found in tight)
        yield from itertools.product(told, FORMATS)


def test_every_component_is_used() -> None:
    missing = {component.id for locale in ("zh-CN", "en") for component in load(locale).components}
    for number, (found, channel) in enumerate(cases()):
        if sayable(channel, found):
            draft = Components().write(
                Brief(str(number), channel, found.locale, REASONS[(number + number // len(FORMATS)) % len(REASONS)]), facts=found, seed=0
            )
            assert isinstance(draft, Draft), (draft, found.texts, channel)
            missing -= set(draft.components)
            if not missing:
                return
    assert sorted(missing) == []


def sayable(channel: str, found: Facts) -> bool:
    """Whether a format has something to say: a coupon needs an offer, a countdown an end or low stock, and so on."""
    if channel == "coupon":
        return not found.flags.isdisjoint({"offer", "perk"})
    if channel == "live.countdown":
        return "low_stock" in found.flags or ("deadline" in found.facts and not found.flags.isdisjoint({"offer", "perk"}))
    if channel in ("live.item", "live.again"):
        return "item" in found.flags
    return channel != "social" or not found.flags.isdisjoint({"offer", "item"})


def test_a_perk_lowers_no_price_and_is_always_said() -> None:
    wanted = {
        "ship": "ships free",
        "ship_from": "\u00a5199 or more ship free",
        "points": "1,200 points",
        "pair": "2 of",
        "three": "3 of",
    }
    for offer, channel in itertools.product(PERKS, CHANNELS):
        text = preview(known(item(), offer, "en"), channel=channel, key="k", reason=None)
        said = " ".join(text.parts.values())
        assert text.withheld is None
        assert "coupon" not in said.lower()
        assert wanted.get(offer.offer, "") in said.replace("CN\u00a5", "\u00a5")
        assert not {"offer_price", "saving", "percent_off", "amount_off"} & set(known(item(), offer, "en").facts)


def test_an_ad_is_not_written_as_a_message() -> None:
    why = unsellable(item(), Offer("top", "ad"), send_at=NOW)
    assert why is not None
    assert "shop's own pages" in why


def test_every_text_of_the_library_passes_the_guard() -> None:
    for number, ((row, offer), channel, locale) in enumerate(itertools.product(WORLDS, FORMATS, ("zh-CN", "en"))):
        found = known(row, offer, locale, proof=True)
        text = preview(found, channel=channel, key=str(number), reason=REASONS[number % len(REASONS)])
        assert (text.withheld is None) == sayable(channel, found), (row, offer, channel, locale, text.withheld)
    for number, (found, channel) in enumerate(itertools.product(REDUCED * 3, FORMATS)):
        text = preview(found, channel=channel, key=str(number))
        assert (text.withheld is None) == sayable(channel, found), (channel, text.withheld, found.texts)


def test_the_library_is_sound() -> None:
    guard = Guard()
    for locale, prefix in (("zh-CN", "zh."), ("en", "en.")):
        library = load(locale)
        for component in library.components:
            assert component.id.startswith(prefix)
            assert component.role in ROLES
            assert component.needs <= {*SLOTS, *FLAGS}
            assert not component.needs & component.without, component.id
            stock = component.needs & {"low_stock"}
            found = guard.template(component.template, locale=locale)
            assert found == (), (component.id, found, stock)
        for channel in CHANNELS:
            for role in ("offer", "threshold", "deadline", "cap", "benefit"):
                assert library.by_role[channel, role], (locale, channel, role)
    assert len(load("en").components) > 80
    assert len(load("zh-CN").components) > 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "hok"}, 'there is no role "hok". Did you mean "hook"'),
        ({"tone": "loud"}, 'there is no tone "loud"'),
        ({"channels": ["fax"]}, 'there is no channel "fax"'),
        ({"when": ["stok"]}, 'there is no fact or flag "stok"'),
        ({"txt": "x"}, 'there is no field "txt". Did you mean "text"'),
        ({"text": "now 5 off"}, '"5" stands outside a slot'),
        ({"text": "{prise}"}, 'Did you mean "price"'),
        ({"text": ""}, "has no text"),
        ({"reasons": ["gossip"]}, 'there is no reason "gossip"'),
    ],
)
def test_a_bad_component_is_refused_with_its_name(change: dict[str, Any], message: str) -> None:
    row = {"id": "en.x", "role": "hook", "tone": "any", "channels": ["email"], "text": "Hello"} | change
    with pytest.raises(InputError, match=r'Component "en\.x"') as caught:
        read({"locale": "en", "joiner": " ", "colon": ": ", "component": [row]})
    assert message in str(caught.value)


def test_two_components_of_one_name_are_refused() -> None:
    row = tomllib.loads('id = "en.x"\nrole = "hook"\ntone = "any"\nchannels = ["email"]\ntext = "Hello"')
    with pytest.raises(InputError, match=r'Two components are named "en\.x"'):
        read({"locale": "en", "joiner": " ", "colon": ": ", "component": [row, row]})


def test_the_logged_propensity_is_the_rate_at_which_the_wording_comes() -> None:
    found, runs = known(item(), coupon(percent=20), "en"), 4000
    counts: Counter[tuple[str, ...]] = Counter()
    chances: dict[tuple[str, ...], float] = {}
    for key in range(runs):
        draft = Components().write(Brief(str(key), "push", "en"), facts=found, seed=9)
        assert isinstance(draft, Draft)
        counts[draft.tone, *draft.components] += 1
        chances[draft.tone, *draft.components] = draft.propensity
    assert sum(chances.values()) == pytest.approx(1.0)  # every wording that can come was seen
    for wording, chance in chances.items():
        sd = (runs * chance * (1 - chance)) ** 0.5
        assert abs(counts[wording] - runs * chance) < 4.5 * sd


def test_the_choice_is_a_function_of_decision_and_seed() -> None:
    found = known(item(), None, "zh-CN")

    def wording(key: str, seed: int) -> tuple[str, ...]:
        draft = Components().write(Brief(key, "email", "zh-CN"), facts=found, seed=seed)
        assert isinstance(draft, Draft)
        return draft.components

    assert wording("a", 1) == wording("a", 1)
    assert len({wording("a", seed) for seed in range(30)}) > 10
    assert len({wording(str(key), 1) for key in range(30)}) > 10


def test_a_fact_that_goes_takes_only_its_own_words_with_it() -> None:
    brief = Brief("d7", "email", "en", tone="plain")
    rich = Components().write(brief, facts=known(item(stock=30), None, "en"), seed=1)
    poor = Components().write(brief, facts=known(item(stock=None), None, "en"), seed=1)
    assert isinstance(rich, Draft)
    assert isinstance(poor, Draft)
    assert [c for c in rich.components if c != "en.proof.stock"] == list(poor.components)


def test_text_messages_are_short_and_in_the_cheap_alphabet() -> None:
    for key, offer in itertools.product(range(10), OFFERS):
        row = item(title_en="Hand-thrown Stoneware Mug with a Long Name and a Second Half", title_zh="\u9676" * 60)
        text = preview(known(row, offer, "en"), channel="sms", key=str(key))
        cost = segments(text.parts["body"])
        assert (cost.encoding, cost.count <= 2) == ("GSM-7", True)
        assert text.parts["body"].endswith("Reply STOP to opt out.")
        chinese = preview(known(row, offer, "zh-CN"), channel="sms", key=str(key)).parts["body"]
        assert segments(chinese).count <= 2
        assert chinese.startswith("\u3010Harbour\u3011")
        assert chinese.endswith("R")


def test_push_fits_the_strictest_vendor() -> None:
    from tradewind.compose.clean import width

    for key, offer, locale in itertools.product(range(6), OFFERS, ("zh-CN", "en")):
        row = item(title_en="Word " * 30, title_zh="\u9676" * 90, brand="Brand " * 12)
        text = preview(known(row, offer, locale), channel="push", key=str(key))
        assert text.withheld is None
        assert width(text.parts["title"]) <= 40
        assert width(text.parts["body"]) <= 100


def test_a_ten_thousand_character_title_is_cut_or_left_out() -> None:
    cut = preview(known(item(title_en="Steel bottle " * 800), None, "en"), channel="email")
    assert cut.withheld is None
    assert "Steel bottle..." in cut.parts["subject"] or "..." in cut.parts["body"]
    none = preview(known(item(title_en="x" * 10_000, title=None), None, "en"), channel="email")
    assert none.withheld is None
    assert "title" not in none.facts.texts


def test_a_brand_in_the_title_is_not_said_twice() -> None:
    for key, channel in itertools.product(range(10), CHANNELS):
        text = preview(known(item(title_en="Loft Stoneware Mug"), None, "en"), channel=channel, key=str(key))
        assert not any("{brand}" in block.template.text for block in text.draft.blocks) if text.draft else False


def test_sensitive_goods_get_no_reason_line() -> None:
    for row in (item(category="Health > Vitamins"), item(title_en="Pregnancy Pillow")):
        for key in range(20):
            text = preview(known(row, None, "en"), channel="email", key=str(key), reason=Reason("category"))
            assert text.draft is not None
            assert not any(".reason." in component for component in text.draft.components)


def test_popularity_is_said_only_of_the_popular() -> None:
    for rank, said in ((3, True), (4000, False), (None, False)):
        reason = Reason("popular", {} if rank is None else {"rank": rank})
        text = preview(known(item(), None, "en"), channel="email", reason=reason)
        assert text.draft is not None
        assert ("en.reason.popular" in text.draft.components) is said


def test_nothing_to_say_is_said() -> None:
    nothing = gather(None, offer=None, store=STORE, locale="en", zone=None, at=NOW)
    assert preview(nothing, channel="push").withheld == "no push text in en goes with the facts that are known"
    silent = preview(
        facts(item(), Offer("o", "coupon", {"percent": 10, "threshold": 5}), locale="en").without(["percent_off"], why="x"), channel="sms"
    )
    assert isinstance(silent, Text)
    with pytest.raises(NotFound, match='There is no channel "fax"'):
        preview(nothing, channel="fax")


def test_a_stale_price_falls_to_a_text_without_it() -> None:
    from tradewind.compose.writing import write

    found = known(item(), None, "en")
    later = NOW + timedelta(hours=80)
    fresh = gather(item(), offer=None, store=STORE, locale="en", zone=None, at=later)
    half = Facts("en", found.at, {**fresh.facts, "price": found.facts["price"]}, fresh.flags)
    text = write(Brief("k", "email", "en"), facts=half, seed=0, at=later)
    assert text.withheld is None
    assert "129.50" not in text.parts["body"]
    assert "price: expired" in text.facts.fallbacks


def test_the_writer_is_a_plugin_of_its_contract() -> None:
    assert issubclass(plugins.load("compose", "components"), Writer)
