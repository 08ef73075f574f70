"""What the engine earns in the simulated shop, against simple and clairvoyant policies at equal expected spend. All of it is simulated.

    python bench/profit.py [--quick] [--seeds 20] [--customers 4000] [--rounds 3] [--only scarce]

The whole loop runs ``--rounds`` times on files on disk: collect, learn, decide, compose, deliver to an outbox, 14 simulated days,
measure, learn from that. Then one more plan is decided, and the simulation's closed form says what every candidate of every
treated customer is truly worth and truly costs (at the plan's hour; at ten UTC for whom the plan has nothing to send):

* engine: candidates weighted by the plan's propensities, exploration included; its expected true spend is the others' budget.
* constant: one offer on one channel with each customer's recommended item, to a random share of all that the budget pays
  for; the best of all constants BY THE TRUTH, which no shop could know beforehand.
* clairvoyant: the best allocation of the same candidates when every customer's hidden law is known. No learner reaches it: behaviour does
  not reveal the law (``ceiling``: a boosted model of the engine's own features, taught the noise-free truth of other customers).

Shops: "ample" (usual contact costs, 60 minor units a customer), "scarce" (one channel at 20 a contact, 8 a customer, so that most
get nothing), "indifferent" (ample, but nothing that is sent causes or prevents an order). ``covered`` counts how often the
report's 95 % interval of incremental profit, against the holdout, holds the truth.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _harness import Harness

from tradewind.asked import CHANNEL_COSTS
from tradewind.decide.features import PREFIX, plan_matrix, split_key
from tradewind.decide.plan import Plan
from tradewind.demo import HISTORY_DAYS, START, WINDOW_DAYS, Clock, contacts_of, hand_off
from tradewind.shop import Shop
from tradewind.simulate.respond import CONTACTS
from tradewind.simulate.truth import true_profit
from tradewind.simulate.world import World
from tradewind.stats import bootstrap
from tradewind.stats.allocate import allocate
from tradewind.types import NOTHING


@dataclass(frozen=True)
class Setting:
    """A shop to be run: minor units a customer and plan, cost of a contact by channel, strength of effects."""

    budget: float
    channels: dict[str, int]
    effects: float = 1.0


SETTINGS = {
    "ample": Setting(60, dict(CHANNEL_COSTS)),
    "scarce": Setting(8, {"inapp": 20}),
    "indifferent": Setting(60, dict(CHANNEL_COSTS), effects=0.0),
}


@dataclass(frozen=True)
class Judged:
    """Every candidate of every treated customer, R rows: who, what, with which chance, and what it is truly worth and costs."""

    row: np.ndarray  # (R) customer, 0..N-1
    slot: np.ndarray
    kind: np.ndarray  # (R) "offer on channel"
    chance: np.ndarray
    profit: np.ndarray
    cost: np.ndarray
    x: np.ndarray  # (R, features) what the engine saw of the customer

    @property
    def engine(self) -> tuple[float, float]:
        """Expected true profit and cost of the plan."""
        return float(self.chance @ self.profit), float(self.chance @ self.cost)

    def constant(self, budget: float) -> float:
        """Profit of the best constant by the truth."""
        found = [0.0]
        for kind in np.unique(self.kind):
            here = np.flatnonzero(self.kind == kind)
            here = here[np.unique(self.row[here], return_index=True)[1]]  # each customer's first item
            found.append(self.profit[here].sum() * min(1.0, budget / max(self.cost[here].sum(), 1e-9)))
        return max(found)

    def clairvoyant(self, budget: float, score: np.ndarray | None = None) -> float:
        """Profit of the best allocation by ``score`` (the truth by default) at the true costs."""
        shape = (int(self.row.max()) + 1, int(self.slot.max()) + 1)
        values, costs, truth = np.full(shape, -np.inf), np.zeros(shape), np.zeros(shape)
        for table, column in ((values, self.profit if score is None else score), (costs, self.cost), (truth, self.profit)):
            table[self.row, self.slot] = column
        choice = allocate(values, costs, budget=budget).choice
        acting = np.flatnonzero(choice >= 0)
        return float(truth[acting, choice[acting]].sum())

    def ceiling(self, budget: float) -> float:
        """As :meth:`clairvoyant` for a boosted model of the engine's features, cross-fitted on the noise-free truth."""
        import lightgbm

        table = np.column_stack([self.x, np.unique(self.kind, return_inverse=True)[1]])
        half = np.random.default_rng(0).permutation(int(self.row.max()) + 1)[self.row] % 2
        score = np.empty(len(self.row))
        for number in range(2):
            model = lightgbm.LGBMRegressor(
                n_estimators=200, num_leaves=15, min_child_samples=40, learning_rate=0.05, n_jobs=1, verbosity=-1
            )
            model.fit(table[half != number], self.profit[half != number], categorical_feature=[table.shape[1] - 1])
            score[half == number] = model.predict(table[half == number])
        return self.clairvoyant(budget, score)


def judge(plan: Plan, world: World, setting: Setting) -> Judged:
    """Ask the simulation about every candidate, one at a time: no message is tired by another that was not sent."""
    offers, start = plan.meta["offers"], plan.table["at"][0].as_py()
    wanted = ("customer", "variant", "candidates", "propensities", "send_at")
    told: dict[str, list[Any]] = {name: [] for name in CONTACTS.names}
    found: list[tuple[int, int, int, str, float]] = []
    treated = 0
    for number, line in enumerate(plan.table.select(wanted).to_pylist()):
        if line["variant"] != "treat":
            continue
        treated += 1
        for slot, (key, chance) in enumerate(zip(line["candidates"], line["propensities"], strict=True)):
            if key == NOTHING:
                continue
            offer, item, channel = split_key(key)
            found.append((number, treated - 1, slot, f"{offer} on {channel}", chance))
            values = (f"{number}-{slot}", line["customer"], offer, item, channel, line["send_at"] or start + timedelta(hours=10))
            for name, value in zip(CONTACTS.names, (*values, offers[offer]["kind"], json.dumps(offers[offer]["terms"])), strict=True):
                told[name].append(value)
    contacts = pa.table(told).cast(CONTACTS)
    line, row, slot, kind, chance = (np.array(column) for column in zip(*found, strict=True))
    profit, cost = np.zeros(len(row)), np.zeros(len(row))
    costs = {name: float(value) for name, value in setting.channels.items()}
    for number in np.unique(slot):
        here = np.flatnonzero(slot == number)
        truth = true_profit(world, contacts.take(pa.array(here)), start=start, days=WINDOW_DAYS, costs=costs)
        profit[here] = truth["profit"].to_numpy()
        cost[here] = truth["discount"].to_numpy() + truth["cost"].to_numpy()
    assert plan.features is not None
    names = [name.removeprefix(PREFIX) for name in plan.features.column_names if name.startswith(PREFIX)]
    return Judged(row, slot, kind, chance, profit, cost, plan_matrix(plan.features, names)[line])


def run(setting: Setting, *, customers: int, rounds: int, seed: int) -> dict[str, float]:
    """One shop from its history to the plan that is judged."""
    world = World.make(customers, seed=seed, start=START, days=HISTORY_DAYS, effects=setting.effects)
    budget = f"{world.customers * setting.budget / 100:.2f} CNY"
    covered, over, touched = [], 0.0, 0
    with tempfile.TemporaryDirectory() as place:
        world.write(Path(place) / "export")
        clock = Clock(world.end)
        with Shop.open(Path(place) / "shop", now=clock) as shop:
            shop.home.save_settings(replace(shop.home.settings, simulated=True))
            shop.collect(Path(place) / "export", mapping=Path(place) / "export" / "mapping.toml")
            for turn in range(rounds + 1):
                start = clock.at
                shop.learn(recommend="graph", as_of=start)
                plan = shop.decide(
                    budget=budget, channels=setting.channels, holdout=0.1, window_days=WINDOW_DAYS, as_of=start, seed=seed + turn
                )
                over = max(over, float(sum(plan.table["reserved"].to_pylist())) / plan.meta["budget"])
                if turn == rounds:
                    break
                shop.compose(plan, seed=seed)
                hand_off(shop, plan, clock)
                contacts = contacts_of(shop, plan)
                answers = world.respond(contacts, start=start, days=WINDOW_DAYS, seed=1000 * seed + turn)
                costs = {name: float(value) for name, value in setting.channels.items()}
                truth = sum(true_profit(world, contacts, start=start, days=WINDOW_DAYS, costs=costs)["profit"].to_pylist())
                held = set(plan.table.filter(pc.equal(plan.table["variant"], "holdout"))["customer"].to_pylist())
                touched += len(held & set(contacts["customer"].to_pylist()))
                clock.at = start + timedelta(days=WINDOW_DAYS)
                shop.collect(answers)
                report = shop.measure(plan, as_of=clock.at, truth=truth)
                shop.collect(report.outcomes)
                total = next((e for s in report.sections for e in s.estimates if e.name == "incremental profit"), None)
                if total is not None:
                    covered.append(total.covers(truth))
                world = world.after(contacts)
    seen = judge(plan, world, setting)
    profit, spent = seen.engine
    return {
        "engine": profit / customers,
        "spent": spent / customers,
        "constant": seen.constant(spent) / customers,
        "clairvoyant": seen.clairvoyant(spent) / customers,
        "ceiling": seen.ceiling(spent) / customers,
        "covered": float(np.mean(covered)) if covered else float("nan"),
        "reserved_share": over,
        "holdout_touched": float(touched),
    }


def main() -> None:
    bench = Harness(
        "profit",
        __doc__,
        extra={
            "--seeds": {"type": int, "default": 20, "help": "shops of each setting"},
            "--customers": {"type": int, "default": 4_000},
            "--rounds": {"type": int, "default": 3, "help": "plans that are learned from"},
            "--only": {"choices": tuple(SETTINGS)},
        },
    )
    asked = bench.arguments
    customers, rounds, seeds = (300, 1, 1) if bench.quick else (asked.customers, asked.rounds, asked.seeds)
    for name, setting in SETTINGS.items():
        if name == (asked.only or ("ample" if bench.quick else name)):
            runs = [run(setting, customers=customers, rounds=rounds, seed=asked.seed + at) for at in range(seeds)]
            tell(bench, name, {key: np.array([one[key] for one in runs]) for key in runs[0]})
    bench.finish()


def tell(bench: Harness, name: str, found: dict[str, np.ndarray]) -> None:
    """Figures of one setting: minor units a customer, and ratios of sums over the seeds."""
    for key in ("engine", "spent", "constant", "clairvoyant", "ceiling"):
        bench.figure(f"{name}_{key}_per_customer", float(found[key].mean()))
    if name != "indifferent":
        for key, least in (("constant", 1.3), ("clairvoyant", 0.9), ("ceiling", None)):
            bench.figure(f"{name}_engine_over_{key}", float(found["engine"].sum() / found[key].sum()), target=least and (">=", least))
        gain = bootstrap.mean(found["engine"] - 1.3 * found["constant"], name="gain", seed=bench.arguments.seed)
        bench.figure(
            f"{name}_engine_minus_1.3_constant_interval", f"{gain.low:.1f}..{gain.high:.1f}" if gain.low is not None else "one shop"
        )
    if np.isfinite(found["covered"]).any():
        bench.figure(f"{name}_interval_covers_truth", float(np.nanmean(found["covered"])))
    bench.figure(f"{name}_reserved_over_budget_most", float(found["reserved_share"].max()), target=("<=", 1.0))
    bench.figure(f"{name}_holdout_messages", int(found["holdout_touched"].sum()), target=("==", 0))


if __name__ == "__main__":
    main()
