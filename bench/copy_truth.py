"""Wrong facts in texts as they are sent, and texts per second.

Catalogues, offers, languages, zones, currencies, rates, price laws and price histories are random. Every message is written,
then the world changes (price, stock, terms, rate, and hours or days pass), then it is refreshed as ``deliver`` has it refreshed,
and what leaves is judged by ``tests/compose/copy_oracle.py``: its own arithmetic and formats. ``wrong_facts`` counts messages
with anything untrue. That the judge can fail is shown twice: one digit of a true text is changed (``false_digits_found``), and a
text is written from yesterday's price and judged today (``stale_prices_found``). Rates are CPU seconds of one process:
``renders_per_second`` counts facts + choice + rendering + guard, ``shared_facts_per_second`` the same where messages share
items and offers, as in a plan.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from _harness import Harness, clock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "compose"))

from copy_oracle import random_history, random_item, random_offer, truth, wrong

from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts, Storefront, gather, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.library import load
from tradewind.compose.markets import Market, Rate
from tradewind.compose.prices import History
from tradewind.compose.recipe import RECIPES
from tradewind.compose.writing import Text, refresh, renew, write
from tradewind.types import Message, Offer

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
SENT = ("email", "push", "sms", "inapp")
FORMATS = tuple(RECIPES)
NAMES = ("title", "brand", "category", "feature", "shop", "link")
CURRENCIES = ("CNY", "GBP", "USD", "EUR", "JPY")


@dataclass
class World:
    """One message to write, and what becomes of it until it is sent."""

    rng: random.Random
    currency: str
    item: dict[str, Any] | None
    offer: Offer | None
    locale: str
    zone: str
    market: Market
    rates: tuple[Rate, ...]
    history: History | None
    url: str | None

    @classmethod
    def draw(cls, rng: random.Random, number: int) -> World:
        """A random one."""
        currency = rng.choice(CURRENCIES)
        item = random_item(rng, f"b-{number % 997}", currency) if rng.random() < 0.9 else None
        pays = rng.choice(CURRENCIES) if rng.random() < 0.2 else None
        offer = None if rng.random() < 0.2 else random_offer(rng, NOW, item["item"] if item else None)
        zone = rng.choice(["Asia/Shanghai", "Europe/London", "America/New_York"])
        market = Market((), pays, rng.choice([None, "EU", "EU", "CN", "CN"]))
        url = "https://harbour.example/p/{item}" if rng.random() < 0.8 else None
        made = cls(rng, currency, item, offer, rng.choice(["zh-CN", "en"]), zone, market, (), None, url)
        made.rerate()
        made.remember(NOW)
        return made

    def rerate(self) -> None:
        """New rates, some of them over before the message is sent."""
        pays = self.market.currency
        if pays is not None and pays != self.currency:
            until = NOW + timedelta(hours=self.rng.choice([1, 24, 500]))
            self.rates = (Rate(self.currency, pays, Decimal(self.rng.randint(1, 40_000)) / 10_000, NOW - timedelta(hours=1), until),)

    def remember(self, at: datetime) -> None:
        """A price history that mostly ends in today's price."""
        if self.item is not None:
            price = self.item["price"] or None
            self.history = random_history(self.rng, at, price if self.rng.random() < 0.9 else None, self.currency)

    def change(self, at: datetime) -> None:
        """What happens to a shop between writing and sending."""
        if self.item is not None and self.rng.random() < 0.7:
            self.item = {**self.item, "price": self.rng.choice([None, self.rng.randint(1, 90_000)]), "stock": self.rng.choice([0, 1, 60])}
        self.remember(at)
        if self.rng.random() < 0.4:
            self.offer = random_offer(self.rng, NOW, self.item["item"] if self.item else None)
        if self.rng.random() < 0.5:
            self.rerate()

    def facts(self, at: datetime) -> Facts:
        """What may be said of it."""
        store = Storefront("Harbour", self.currency, self.url, market=self.market, rates=self.rates)
        return gather(self.item, offer=self.offer, store=store, locale=self.locale, zone=self.zone, at=at, history=self.history)

    def faults(self, text: Text | Message, sources: Mapping[str, str], told: Facts, at: datetime) -> list[str]:
        """What is not true in a text at a moment. ``told``: the facts it was written from, for its names only."""
        rate = next((rate.rate for rate in self.rates if rate.at <= at < rate.until), None)
        market = (self.market.currency or self.currency, rate, self.market.prices)
        known = truth(
            self.item, self.offer, locale=self.locale, zone=self.zone, now=at, currency=self.currency, market=market, history=self.history
        )  # fmt: skip
        names = {name: [view.texts[name] for view in (told.narrow, told) if name in view.texts] for name in NAMES}
        return wrong(text.parts, sources, known, names)


def sources(text: Text) -> dict[str, str]:
    """The templates of a text by component."""
    assert text.draft is not None
    return {block.component: block.template.text for block in text.draft.blocks}


def speed(bench: Harness, guard: Guard) -> None:
    """Texts per CPU second."""
    rng = random.Random(bench.arguments.seed)
    worlds = [World.draw(rng, number) for number in range(500 if bench.quick else 5_000)]

    def render(count: int, channels: tuple[str, ...], shared: list[Facts] | None = None) -> float:
        with clock() as taken:
            for number in range(count):
                world = worlds[number % (len(shared) if shared else len(worlds))]
                known = shared[number % len(shared)] if shared else world.facts(NOW)
                write(Brief(str(number), channels[number % len(channels)], world.locale), facts=known, seed=0, at=NOW, guard=guard)
        return count / taken["cpu"]

    render(len(worlds), FORMATS)  # patterns compile and the library is read before the clock starts
    bench.figure("renders_per_second", render(len(worlds), SENT), target=(">=", 2000))
    for channel in SENT:
        bench.figure(f"renders_per_second_{channel}", render(min(len(worlds), 1000), (channel,)))
    bench.figure("renders_per_second_all_formats", render(len(worlds), FORMATS), target=(">=", 2000))
    bench.figure("shared_facts_per_second", render(len(worlds), SENT, [world.facts(NOW) for world in worlds[:50]]))


def truthfulness(bench: Harness, guard: Guard) -> None:
    """Wrong facts in what is sent, and whether the judge would notice one."""
    rng = random.Random(bench.arguments.seed + 1)
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    withheld: Counter[str] = Counter()
    number, wanted = 0, 1_000 if bench.quick else bench.arguments.messages
    while counts["sent"] < wanted:
        number += 1
        world, channel = World.draw(rng, number), rng.choice(FORMATS)
        first = world.facts(NOW)
        text = write(Brief(str(number), channel, world.locale), facts=first, seed=1, at=NOW, guard=guard)
        if text.withheld or text.draft is None:
            withheld[text.withheld.partition(" (")[0] if text.withheld else ""] += 1
            continue
        message = renew(
            Message("m", str(number), "p", "c", channel, world.locale, {}, (), "", "", NOW), text, seed=1, reason=None
        )  # fmt: skip
        said = " ".join(text.parts.values())
        at = NOW + timedelta(minutes=rng.choice([5, 30, 60 * 5, 60 * 24 * 2, 60 * 24 * 5]))
        world.change(at)
        if any(text.facts.texts[name] in said for name in ("price", "offer_price") if name in first.texts):
            prove_stale(world, text, at, counts)
        if unsellable(world.item, world.offer, send_at=at):
            withheld["gone before sending"] += 1
            continue
        fresh = world.facts(at)
        again = refresh(message, fresh, now=at, guard=guard)
        if again.message is None:
            withheld[again.reason.partition(" (")[0]] += 1
            continue
        counts["sent"] += 1
        counts["changed"] += again.state == "changed"
        counts["with a reference price"] += "reference" in fresh.texts and fresh.texts["reference"] in " ".join(
            again.message.parts.values()
        )
        known = {name: load(world.locale).by_id[name].template.text for name in again.message.components}
        found = world.faults(again.message, known, fresh, at)
        faults.update(found[:1])
        if rng.random() < 0.05 and not found:
            prove_digit(world, again.message, known, fresh, at, counts)
    bench.figure("messages_sent", counts["sent"], target=(">=", 100_000))
    bench.figure("changed_since_written", counts["changed"])
    bench.figure("with_a_reference_price", counts["with a reference price"])
    bench.figure("withheld", sum(withheld.values()))
    bench.figure("wrong_facts", sum(faults.values()), target=("==", 0))
    bench.figure("false_digits_made", counts["digits"])
    bench.figure("false_digits_found", counts["digits found"] / max(counts["digits"], 1), target=("==", 1))
    bench.figure("stale_prices_made", counts["stale"])
    bench.figure("stale_prices_found", counts["stale found"] / max(counts["stale"], 1), target=("==", 1))
    for why, times in [*withheld.most_common(5), *faults.most_common(5)]:
        print(f"  {times:>8,}  {why}")


def prove_digit(world: World, message: Message, known: Mapping[str, str], told: Facts, at: datetime, counts: Counter[str]) -> None:
    """Change one digit of one amount in one part: the judge must object."""
    amounts = [told.texts[name] for name in ("price", "offer_price", "saving", "reference", "threshold", "cap") if name in told.texts]
    places = [(part, text) for part, text in message.parts.items() if part != "link" for text in amounts if text in message.parts[part]]
    if not places:
        return
    part, text = world.rng.choice(places)
    place = world.rng.choice([hit.start() for hit in re.finditer(r"\d", text)])
    other = world.rng.choice([digit for digit in "123456789" if digit != text[place]])
    false = message.parts[part].replace(text, text[:place] + other + text[place + 1 :], 1)
    forged = Message(**{**{name: getattr(message, name) for name in message.__slots__}, "parts": {**message.parts, part: false}})
    counts["digits"] += 1
    counts["digits found"] += bool(world.faults(forged, known, told, at))


def prove_stale(world: World, text: Text, at: datetime, counts: Counter[str]) -> None:
    """Judge a text that states the price of before against the price of now."""
    before, now = text.facts.facts, world.facts(at).facts
    stated = {slot for block in text.draft.blocks for slot in block.template.slots} if text.draft else set()
    lies = [name for name in ("price", "offer_price") if name in stated and (name not in now or now[name].text != before[name].text)]
    if lies:
        counts["stale"] += 1
        counts["stale found"] += bool(world.faults(text, sources(text), text.facts, at))


def main() -> None:
    """Run the benchmark."""
    bench, guard = Harness("copy_truth", __doc__, extra={"--messages": {"type": int, "default": 100_000}}), Guard()
    speed(bench, guard)
    truthfulness(bench, guard)
    bench.finish()


if __name__ == "__main__":
    main()
