"""Does copy learn? The closed loop of wordings in a simulated shop whose customers have hidden tastes for words.

A shop of simulated customers (``--customers``) is collected and profiled as any shop; its segments are what the policy sees. Every round
some customers get a message (a product or a coupon; e-mail, push or in-app), worded by the component writer from the shipped English
library. Whether it is clicked is drawn from the closed form of ``tradewind.simulate`` with ``copy=STRENGTH``. After every round
the policy learns from all that was sent. The same rounds are worded by others beside it, and every rate is the exact expectation:

    uniform         every component that fits alike
    control         the fixed template, the first of each role that fits
    best fixed      knows the law; one wording per situation for everybody
    segment oracle  knows the law; the best wording for what a policy may see: the segment. The goal is about this one: no policy that
                    sees the segment alone can do better, however much it learns
    clairvoyant     knows every single customer's tastes

``of_oracle`` is the click rate of the policy after the last round over that of the segment oracle on fresh situations; ``gap_closed``
how much of the way from uniform to the segment oracle it went. ``worst_cumulative`` is the least (policy - control) / control of all
clicks so far, over rounds and seeds; its tolerance is TOLERANCE. Coverage: ``--runs`` runs of SMALL sends each, worded by a policy that
learned from 2,000 messages; the interval of ``copy_value`` for another policy (of 12,000 other messages) against that one's true rate.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from _harness import Harness, clock

from tradewind.compose.base import Brief, Chooser, Draft
from tradewind.compose.components import Components
from tradewind.compose.copy_value import copy_value
from tradewind.compose.facts import Facts, Storefront, gather
from tradewind.compose.library import TONES, load
from tradewind.compose.policy import CopyPolicy, Fixed, Layout, Sums
from tradewind.compose.sent import LIKES, Sent, segment
from tradewind.compose.traits import traits
from tradewind.learn.profiles import profiles
from tradewind.shop import Shop
from tradewind.simulate import wording
from tradewind.simulate.respond import CONTACTS
from tradewind.simulate.truth import true_profit
from tradewind.simulate.world import World
from tradewind.types import Offer

STRENGTH = 1.5
TOLERANCE = 0.05  # of the clicks that the control would have had so far
CHANNELS = ("email", "push", "inapp")
SMALL = 4_000
LIBRARY = load("en")
OFFERS = (Offer("pick", "product"), Offer("ten", "coupon", {"percent": 10}))


@cache
def named(component: str) -> tuple[str, ...]:
    """What the simulated customers notice of a component: itself and its traits."""
    return (component, *traits(LIBRARY.by_id[component]))


NAMES = tuple(sorted({name for one in LIBRARY.components for name in named(one.id)} | {f"tone={tone}" for tone in TONES}))
PLACE = {name: place for place, name in enumerate(NAMES)}


@dataclass
class Town:
    """A simulated shop as a policy sees it (segments) and as it is (rates and tastes)."""

    world: World
    segment: list[str]
    base: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]  # channel, offer -> P(open), P(click | open) when words do not matter
    taste: np.ndarray  # customers x NAMES, logarithms

    @classmethod
    def make(cls, seed: int, customers: int) -> Town:
        """Simulate, collect and profile one shop."""
        world = World.make(customers, seed=seed, start=date(2026, 1, 5), days=84, copy=STRENGTH)
        with tempfile.TemporaryDirectory() as folder, Shop.open(f"{folder}/shop", now=lambda: world.end) as shop:
            world.write(Path(folder) / "export")
            shop.collect(f"{folder}/export")
            rows = profiles(shop.home.tables, as_of=world.end).sort_by("customer").to_pylist()
        known = {row["customer"]: segment(row["stage"], deals=(row["discount_affinity"] or 0.0) > LIKES) for row in rows}
        people = [world.people(chunk) for chunk in world.chunks]
        each = [
            np.concatenate([wording.log_factor(p, np.arange(len(p)), (wording.number(n),), copy=STRENGTH, seed=seed) for p in people])
            for n in NAMES
        ]
        base = {(channel, place): cls._base(world, channel, offer) for channel in CHANNELS for place, offer in enumerate(OFFERS)}
        return cls(world, [known.get(f"C{i:07d}", "prospect") for i in range(customers)], base, np.stack(each, axis=1))

    @staticmethod
    def _base(world: World, channel: str, offer: Offer) -> tuple[np.ndarray, np.ndarray]:
        truth = true_profit(world, contacts(world, range(world.customers), channel, offer), start=world.end, days=7)
        opened = np.maximum(truth["p_open"].to_numpy(), 1e-12)
        return opened, truth["p_click"].to_numpy() / opened

    def rate(self, case: Case, names: Sequence[str]) -> float:
        """The exact probability of a click."""
        opened, click = self.base[case.channel, case.offer]
        factor = np.exp(self.taste[case.customer, [PLACE[name] for name in names]].sum())
        return float(opened[case.customer] * min(click[case.customer] * factor, 0.95))


def contacts(world: World, who: Sequence[int], channel: str, offer: Offer, copy: Sequence[str] | None = None) -> pa.Table:
    """Contacts of the simulated shop."""
    n = len(who)
    table = pa.table(
        {
            "decision_id": [f"d{i}" for i in who],
            "customer": [f"C{i:07d}" for i in who],
            "offer": [offer.offer] * n,
            "item": pa.nulls(n, pa.string()),
            "channel": [channel] * n,
            "send_at": [world.end + timedelta(hours=11)] * n,
            "offer_kind": [offer.kind] * n,
            "terms": [json.dumps(dict(offer.terms))] * n,
        }
    ).cast(CONTACTS)
    return table if copy is None else table.append_column("copy", pa.array(copy))


@dataclass(frozen=True)
class Case:
    """A message to be worded."""

    key: str
    customer: int
    channel: str
    offer: int
    facts: Facts


def situations() -> list[list[Facts]]:
    """Facts by offer: a few items, some with little to say."""
    at = datetime(2026, 3, 30, 9, tzinfo=UTC)
    store = Storefront("Harbour", "CNY", "https://harbour.example/p/{item}")
    rows = [
        {
            "item": f"i{n}", "title_en": title, "title_zh": None, "title": title, "category": "Home > Kitchen", "brand": brand,
            "price": 9900 + 700 * n,
            "currency": "CNY", "stock": stock, "attributes": '{"material": "stoneware"}' if n % 2 else None, "available_from": None,
            "available_until": None, "cost": 4000,
        }
        for n, (title, brand, stock) in enumerate(
            [("White Mug", "Loft", 30), ("Oak Board", None, 4), ("Linen Towel", "Loft", None), ("Tea Pot", "Kiln", 80)]
        )
    ]  # fmt: skip
    end = at + timedelta(days=20)
    offers = [OFFERS[0], Offer("ten", "coupon", {"percent": 10}, ends_at=end)]
    return [[gather(row, offer=offer, store=store, locale="en", zone="Europe/London", at=at) for row in rows] for offer in offers]


def draw_cases(town: Town, facts: list[list[Facts]], count: int, rng: np.random.Generator, tag: str) -> list[Case]:
    """``count`` messages to random customers."""
    who = rng.integers(0, town.world.customers, count)
    channel, offer, item = rng.integers(0, len(CHANNELS), count), rng.integers(0, 2, count), rng.integers(0, 4, count)
    return [Case(f"{tag}-{n}", int(who[n]), CHANNELS[channel[n]], int(offer[n]), facts[offer[n]][item[n]]) for n in range(count)]


def worded(case: Case, chooser: Chooser | None, *, seed: int, tone: str | None = None) -> Draft:
    """The draft of one message."""
    draft = Components().write(Brief(case.key, case.channel, "en", None, tone, chooser), facts=case.facts, seed=seed)
    assert isinstance(draft, Draft), draft
    return draft


def names_of(draft: Draft) -> list[str]:
    """What the customer notices of a draft."""
    return [name for one in draft.components for name in named(one)] + [f"tone={draft.tone}"]


class Best:
    """Chooses what has the highest score."""

    def __init__(self, score: dict[str, float]) -> None:
        self.score = score

    def chances(self, role: str, names: Sequence[str]) -> Sequence[float]:
        """One for the best."""
        best = max(names, key=lambda name: self.score[f"tone={name}" if role == "tone" else name])
        return [float(name == best) for name in names]

    def word(self, case: Case, *, seed: int) -> Draft:
        """The draft of the better tone."""
        drafts = [worded(case, self, seed=seed, tone=tone) for tone in TONES]
        return max(drafts, key=lambda d: sum(self.score[one] for one in d.components) + self.score[f"tone={d.tone}"])


def oracle(town: Town, who: np.ndarray, channel: str, offer: int) -> Best:
    """Scores of all components for the customers ``who``: the logarithm of what a component multiplies their clicks by, on average."""
    opened, click = town.base[channel, offer]
    weight = (opened * click)[who]
    weight = weight / weight.sum()
    places = {one.id: [PLACE[name] for name in named(one.id)] for one in LIBRARY.components}
    score = {one: float(np.log(weight @ np.exp(town.taste[who][:, place].sum(axis=1)))) for one, place in places.items()}
    score |= {f"tone={tone}": float(np.log(weight @ np.exp(town.taste[who, PLACE[f"tone={tone}"]]))) for tone in TONES}
    return Best(score)


def knowing(town: Town, groups: Callable[[Case], tuple[str, np.ndarray]]) -> Callable[[Case], float]:
    """The exact rate of the oracle who sees the group of a case."""
    made: dict[tuple[str, str, int], Best] = {}

    def rate(case: Case) -> float:
        name, who = groups(case)
        key = name, case.channel, case.offer
        if key not in made:
            made[key] = oracle(town, who, case.channel, case.offer)
        return town.rate(case, names_of(made[key].word(case, seed=0)))

    return rate


def row_of(case: Case, draft: Draft, town: Town, at: datetime, *, clicked: bool, control: bool = False) -> Sent:
    """What the log would hold."""
    said = {*draft.components, draft.tone}
    chosen = {role: name for role, among in draft.shares.items() for name in among if name in said}
    return Sent(
        case.key, f"C{case.customer:07d}", at, case.channel, "en", town.segment[case.customer], draft.shares, chosen, clicked, control
    )  # fmt: skip


def layout(town: Town) -> Layout:
    """All that can be learned in these rounds."""
    used = [one for one in LIBRARY.components if not one.channels.isdisjoint(CHANNELS)]
    words = (*(f"tone={tone}" for tone in TONES), *(one.id for one in used))
    return Layout(words, {one.id: traits(one) for one in used}, tuple(sorted(set(town.segment))), CHANNELS, ("en",))


@dataclass
class Played:
    """What one run came to: true rates per round of the policy (its control left out), uniform and control; and at the end."""

    rounds: dict[str, list[float]]
    final: dict[str, float]
    rows: list[Sent]
    policy: CopyPolicy


def play(town: Town, seed: int, *, sends: int, rounds: int, fresh: int) -> Played:
    """One closed loop."""
    rng, facts = np.random.default_rng([seed, 1]), situations()
    shape, sums, policy = layout(town), None, None
    rates: dict[str, list[float]] = {"policy": [], "uniform": [], "control": []}
    log: list[Sent] = []
    for turn in range(rounds):
        batch, seen = [], {name: [] for name in rates}
        for case in draw_cases(town, facts, sends // rounds, rng, f"{turn}"):
            mine = policy.chooser(segment=town.segment[case.customer]) if policy else None
            draft = worded(case, mine, seed=seed)
            rate = town.rate(case, names_of(draft))
            seen["policy"].append(rate)
            seen["uniform"].append(town.rate(case, names_of(worded(case, None, seed=seed + 1))))
            seen["control"].append(town.rate(case, names_of(worded(case, Fixed(), seed=seed))))
            batch.append(row_of(case, draft, town, town.world.end + timedelta(days=turn), clicked=rng.random() < rate))
        for name, told in seen.items():
            rates[name].append(float(np.mean(told)))
        log += batch
        new = Sums.of(batch, shape)
        sums = new if sums is None else sums + new
        policy = CopyPolicy.of(sums, shape, seed=turn, start=policy.belief.spread if policy else None, steps=3)
    assert policy is not None
    return Played(rates, judged(town, policy, draw_cases(town, facts, fresh, rng, "fresh"), seed), log, policy)


def judged(town: Town, policy: CopyPolicy, cases: list[Case], seed: int) -> dict[str, float]:
    """Exact click rates on fresh situations."""
    everybody, groups = np.arange(town.world.customers), np.array(town.segment)
    by = {name: np.flatnonzero(groups == name) for name in set(town.segment)}
    ways: dict[str, Callable[[Case], float]] = {
        "uniform": lambda case: town.rate(case, names_of(worded(case, None, seed=seed))),
        "control": lambda case: town.rate(case, names_of(worded(case, Fixed(), seed=seed))),
        "best fixed": knowing(town, lambda _: ("all", everybody)),
        "policy": lambda case: town.rate(case, names_of(worded(case, policy.chooser(segment=town.segment[case.customer]), seed=seed))),
        "segment oracle": knowing(town, lambda case: (town.segment[case.customer], by[town.segment[case.customer]])),
        "clairvoyant": knowing(town, lambda case: (str(case.customer), np.array([case.customer]))),
    }
    return {name: float(np.mean([way(case) for case in cases])) for name, way in ways.items()}


def coverage(town: Town, runs: int, seed: int) -> dict[str, float]:
    """How often the off-policy interval of SMALL sends holds the true rate of another policy, and how wide it is."""
    rng, facts, shape = np.random.default_rng([seed, 2]), situations(), layout(town)

    def sent(count: int, policy: CopyPolicy | None, tag: str) -> list[Sent]:
        rows = []
        for case in draw_cases(town, facts, count, rng, tag):
            draft = worded(case, policy.chooser(segment=town.segment[case.customer]) if policy else None, seed=seed)
            rows.append(row_of(case, draft, town, town.world.end, clicked=rng.random() < town.rate(case, names_of(draft))))
        return rows

    def learned(count: int, tag: str) -> CopyPolicy:
        return CopyPolicy.of(Sums.of(sent(count, None, tag), shape), shape)

    logging, judged_one = learned(2_000, "first"), learned(12_000, "other")
    cases = draw_cases(town, facts, 8_000, rng, "truth")
    ways = [worded(case, judged_one.chooser(segment=town.segment[case.customer]), seed=seed + 9) for case in cases]
    truth = float(np.mean([town.rate(case, names_of(way)) for case, way in zip(cases, ways, strict=True)]))
    values = [copy_value(sent(SMALL, logging, f"run{run}"), judged_one) for run in range(runs)]
    told = [one for one in values if one.low is not None and one.high is not None]
    print(f"  {values[0].note}")
    return {
        "true rate of the judged policy": truth,
        "mean estimate": float(np.mean([one.value for one in values])),
        "refused": 1 - len(told) / len(values),
        "half width": float(np.mean([((one.high or 0.0) - (one.low or 0.0)) / 2 for one in told])),
        "covered": float(np.mean([one.covers(truth) for one in told])),
    }


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval over seeds (Student)."""
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.4f} +- {half:.4f}"


def main() -> None:
    extra = {"--customers": {"type": int}, "--sends": {"type": int}, "--seeds": {"type": int}, "--runs": {"type": int}}
    bench = Harness("copy_learning", __doc__, extra=extra)
    told, quick = bench.arguments, bench.quick
    customers, sends = told.customers or (600 if quick else 4_000), told.sends or (4_000 if quick else 50_000)
    seeds = told.seeds if told.seeds is not None else (1 if quick else 4)
    runs = told.runs if told.runs is not None else (4 if quick else 100)
    finals: list[dict[str, float]] = []
    worst: list[float] = []
    for seed in range(told.seed, told.seed + seeds):
        town = Town.make(seed, customers)
        with clock() as took:
            played = play(town, seed, sends=sends, rounds=4 if quick else 25, fresh=300 if quick else 3_000)
        finals.append(played.final)
        mine, base = (np.cumsum(played.rounds[name]) for name in ("policy", "control"))
        worst.append(float((mine / base - 1).min()))
        print(f"seed {seed}: {took['cpu']:.0f} CPU-s; worst cumulative {worst[-1]:+.3f}; segments {sorted(set(town.segment))}")
        print("  policy by round  " + " ".join(f"{rate:.3f}" for rate in played.rounds["policy"]))
        print("  control by round " + " ".join(f"{rate:.3f}" for rate in played.rounds["control"]))
    if finals:
        for name in finals[0]:
            bench.figure(f"click rate, {name}", interval([one[name] for one in finals]))
        bench.figure("of_oracle over seeds", interval([one["policy"] / one["segment oracle"] for one in finals]))
        bench.figure("of_clairvoyant over seeds", interval([one["policy"] / one["clairvoyant"] for one in finals]))
        closed = [(one["policy"] - one["uniform"]) / (one["segment oracle"] - one["uniform"]) for one in finals]
        bench.figure("gap_closed over seeds", interval(closed))
        bench.figure("of_oracle, least", min(one["policy"] / one["segment oracle"] for one in finals), target=(">=", 0.9))
        bench.figure("worst_cumulative", min(worst), target=(">=", -TOLERANCE))
    if runs:
        found = coverage(Town.make(told.seed, customers), runs, told.seed)
        for name, value in found.items():
            bench.figure(f"off-policy: {name}", value, target=(">=", 0.9) if name == "covered" else None)
    bench.finish()


if __name__ == "__main__":
    main()
