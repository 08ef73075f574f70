"""Texts per second on one core, guard included, and wrong facts in random renders.

Catalogues, offers, languages, currencies and zones are random; of every message the facts change once between writing and sending
(price, terms, stock), and the refreshed text is judged too. The judge is ``tests/compose/copy_oracle.py``: its own arithmetic and
formats. Rates are CPU seconds of one process: ``renders_per_second`` counts facts + choice + rendering + guard of one message,
``shared_facts_per_second`` the same where messages share items and offers, as in a plan.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from _harness import Harness, clock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "compose"))

from copy_oracle import random_item, random_offer, truth, wrong

from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts, Storefront, gather
from tradewind.compose.guard import Guard
from tradewind.compose.writing import Text, write

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
CHANNELS = ("email", "push", "sms", "inapp")
NAMES = ("title", "brand", "category", "feature", "shop", "link")


def draw(rng: random.Random, number: int) -> dict[str, object]:
    """One random message to write."""
    currency = rng.choice(["CNY", "GBP", "USD", "EUR", "JPY"])
    item = random_item(rng, f"b-{number % 997}", currency) if rng.random() < 0.9 else None
    return {
        "item": item,
        "offer": random_offer(rng, NOW, item["item"] if item else None),
        "store": Storefront("Harbour", currency, "https://harbour.example/p/{item}" if rng.random() < 0.8 else None),
        "locale": rng.choice(["zh-CN", "en"]),
        "zone": rng.choice(["Asia/Shanghai", "Europe/London", "America/New_York"]),
    }


def facts_of(world: dict, at: datetime) -> Facts:
    """What may be said of it."""
    return gather(world["item"], offer=world["offer"], store=world["store"], locale=world["locale"], zone=world["zone"], at=at)


def judge(text: Text, world: dict, channel: str, at: datetime) -> list[str]:
    """What is not true in a text."""
    known = truth(world["item"], world["offer"], locale=world["locale"], zone=world["zone"], now=at, currency=world["store"].currency)
    views = (text.facts.narrow, text.facts) if channel == "email" else (text.facts.view("", channel),)
    names = {name: [view.texts[name] for view in views if name in view.texts] for name in NAMES}
    return wrong(text.parts, {block.component: block.template.text for block in text.draft.blocks}, known, names)


def speed(bench: Harness, guard: Guard) -> None:
    """Texts per CPU second."""
    rng = random.Random(bench.arguments.seed)
    worlds = [draw(rng, number) for number in range(500 if bench.quick else 5_000)]

    def render(count: int, channels: tuple[str, ...], shared: list[Facts] | None = None) -> float:
        with clock() as taken:
            for number in range(count):
                world = worlds[number % (len(shared) if shared else len(worlds))]
                known = shared[number % len(shared)] if shared else facts_of(world, NOW)
                brief = Brief(str(number), channels[number % len(channels)], world["locale"])
                write(brief, facts=known, seed=0, at=NOW, guard=guard)
        return count / taken["cpu"]

    render(len(worlds), CHANNELS)  # patterns compile and the library is read before the clock starts
    bench.figure("renders_per_second", render(len(worlds), CHANNELS), target=(">=", 2000))
    for channel in CHANNELS:
        bench.figure(f"renders_per_second_{channel}", render(min(len(worlds), 1000), (channel,)))
    bench.figure("shared_facts_per_second", render(len(worlds), CHANNELS, [facts_of(world, NOW) for world in worlds[:50]]))


def truthfulness(bench: Harness, guard: Guard) -> None:
    """Wrong facts in texts as written and as refreshed after a change."""
    rng = random.Random(bench.arguments.seed + 1)
    faults, withheld, changed, texts = Counter(), Counter(), 0, 0
    for number in range(1_000 if bench.quick else 54_000):
        world, channel, before = draw(rng, number), rng.choice(CHANNELS), None
        for at in (NOW, NOW + timedelta(minutes=30)):
            text = write(Brief(str(number), channel, world["locale"]), facts=facts_of(world, at), seed=1, at=at, guard=guard)
            if text.withheld:
                withheld[text.withheld.partition(" (")[0]] += 1
            else:
                texts += 1
                faults.update(judge(text, world, channel, at)[:1])
                changed += before is not None and dict(text.parts) != before
            before = dict(text.parts)
            change(world, rng)
    bench.figure("texts_judged", texts, target=(">=", 100_000))
    bench.figure("texts_changed_by_a_change", changed)
    bench.figure("withheld", sum(withheld.values()))
    bench.figure("wrong_facts", sum(faults.values()), target=("==", 0))
    for why, times in [*withheld.most_common(5), *faults.most_common(5)]:
        print(f"  {times:>8,}  {why}")


def change(world: dict, rng: random.Random) -> None:
    """What happens to a shop between writing and sending: new price, new stock, often other terms."""
    if world["item"]:
        world["item"] = {**world["item"], "price": rng.choice([None, rng.randint(1, 90_000)]), "stock": rng.choice([1, 60])}
    if rng.random() < 0.5:
        world["offer"] = random_offer(rng, NOW, world["item"]["item"] if world["item"] else None)


def main() -> None:
    """Run the benchmark."""
    bench, guard = Harness("compose", __doc__), Guard()
    speed(bench, guard)
    truthfulness(bench, guard)
    bench.finish()


if __name__ == "__main__":
    main()
