"""No text holds a wrong fact, whatever the catalogue, the offer, the channel, and whatever changed before it is sent."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from compose_kit import CHANNELS, URL
from copy_oracle import random_item, random_offer, truth, wrong
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts, Storefront, gather
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.writing import Text, preview, refresh, renew, write
from tradewind.types import Message, Offer, Reason

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
GUARD = Guard()
ZONES = ("Asia/Shanghai", "Europe/London", "America/New_York")


class World:
    """One random item and offer, and what they become."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.locale = self.rng.choice(["zh-CN", "en"])
        self.currency = self.rng.choice(["CNY", "GBP", "USD", "EUR", "JPY"])
        self.zone = self.rng.choice(ZONES)
        self.channel = self.rng.choice(CHANNELS)
        self.store = Storefront("Harbour", self.currency, URL if self.rng.random() < 0.8 else None)
        self.item = random_item(self.rng, "b-17", self.currency) if self.rng.random() < 0.9 else None
        self.offer = random_offer(self.rng, NOW, "b-17" if self.item else None)

    def change(self) -> None:
        """New price, stock or terms: anything may differ when the message is sent."""
        if self.item is not None:
            self.item = {**self.item, "price": self.rng.choice([None, self.item["price"], self.rng.randint(1, 90_000)]), "stock": 9}
        if self.offer is not None and self.rng.random() < 0.5:
            self.offer = random_offer(self.rng, NOW, "b-17" if self.item else None)

    def facts(self, at: datetime) -> Facts:
        return gather(self.item, offer=self.offer, store=self.store, locale=self.locale, zone=self.zone, at=at)

    def faults(self, text: Text, at: datetime) -> list[str]:
        assert text.draft is not None
        known = truth(self.item, self.offer, locale=self.locale, zone=self.zone, now=at, currency=self.currency)
        views = (text.facts.narrow, text.facts) if self.channel == "email" else (text.facts.view("", self.channel),)
        told = ("title", "brand", "category", "feature", "shop", "link")
        names = {name: [view.texts[name] for view in views if name in view.texts] for name in told}
        sources = {block.component: block.template.text for block in text.draft.blocks}
        return wrong(text.parts, sources, known, names)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_no_text_holds_a_wrong_fact_and_none_after_a_change(seed: int, key: int) -> None:
    world = World(seed)
    text = write(Brief(str(key), world.channel, world.locale), facts=world.facts(NOW), seed=1, at=NOW, guard=GUARD)
    if text.withheld:
        assert text.parts == {}
        return
    assert world.faults(text, NOW) == []
    message = renew(
        Message("m", str(key), "p", "c", world.channel, world.locale, {}, (), "", "", NOW), text, seed=1, reason=None
    )  # fmt: skip
    later = NOW + timedelta(minutes=30)
    assert refresh(message, world.facts(later), now=later, guard=GUARD).state == "same"
    world.change()
    fresh = world.facts(later)
    again = refresh(message, fresh, now=later, guard=GUARD)
    expected = write(Brief(str(key), world.channel, world.locale), facts=fresh, seed=1, at=later, guard=GUARD)
    assert (again.state == "withheld") == bool(expected.withheld)
    if again.message is not None:
        assert again.message.parts == expected.parts
        assert world.faults(expected, later) == []
        assert (again.state == "same") == (dict(message.parts) == dict(again.message.parts))


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=80),
    st.text(alphabet="<>{}[]&;%\u00a5$0123456789 \n\u202e\u200bABab\u676f\u6298\u5143\U0001f389", max_size=300),
    st.sampled_from(CHANNELS),
    st.sampled_from(["zh-CN", "en"]),
    st.integers(0, 1000),
)
def test_hostile_names_never_break_a_message(title: str, brand: str, channel: str, locale: str, key: int) -> None:
    row = {"item": title or "x", "title": title, "title_zh": brand, "brand": brand, "category": title, "price": 1234, "currency": "CNY"}
    known = gather(
        row, offer=Offer("o", "coupon", {"percent": 10}), store=Storefront("Harbour", "CNY", URL), locale=locale, zone=None, at=NOW
    )
    text = preview(known, channel=channel, key=str(key), reason=Reason("category"))
    if text.withheld:
        assert text.parts == {}
        return
    for part, value in text.parts.items():
        assert not any(mark in value for mark in "\u202e\u200b\U0001f389\x00")
        if part != "html":
            assert "<" not in value
        if part in ("subject", "title", "preheader", "action", "link"):
            assert "\n" not in value
    assert not blocked(GUARD.check(text.parts, facts=text.facts, locale=locale, channel=channel))
