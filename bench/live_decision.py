"""One live decision with 200 offers, its trace included, in this process.

A simulated set of customers, items and 200 offers of every kind (a third with items of their own, a fourth with an eligibility
expression, a seventh with an audience), two channels, a shortlist of 20 items a customer, and a value model that has learned
from one plan. The batch plan gives price, reach and safety; then single customers are decided, each from a Python mapping and a
list of rows, to the log row with all candidates, values, costs, propensities, reasons and suppressions. Every answer is compared
with the row of the batch plan. Percentiles are wall time of single calls, which other processes lengthen; the CPU time of this thread
over all calls says what a quiet core needs.

    OMP_NUM_THREADS=1 python bench/live_decision.py [--quick] [--offers 200] [--path profiles.parquet]

``--path``: a table of profiles (column customer, others as learn/profiles.py) in place of the simulated ones.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _harness import Harness, peak_mib

from tradewind import schema
from tradewind.decide.live import Live, gather
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Request, decide, recompute
from tradewind.decide.value import ValueModel
from tradewind.types import NOTHING, Offer

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
WARM = 200  # decisions before the clock starts


def offers(n: int, items: list[str], customers: list[str], rng: np.random.Generator) -> list[Offer]:
    """Offers of every kind."""
    kinds: list[tuple[str, dict[str, Any]]] = []
    for number in range(n):
        level = int(rng.integers(3, 30))
        kinds.append(
            [
                ("product", {}),
                ("coupon", {"percent": level}),
                ("coupon", {"fixed": 100 * level, "threshold": 1_000 * level}),
                ("free_shipping", {"shipping": 800, "threshold": 500 * level}),
                ("points", {"points": 10 * level, "worth": 1}),
                ("bundle", {"pieces": 2, "percent": level}),
                ("post", {}),
                ("ad", {"impression": 1}),
            ][number % 8]
        )
    found = []
    for number, (kind, terms) in enumerate(kinds):
        own = frozenset(rng.choice(items, 30, replace=False).tolist()) if number % 3 == 0 or kind == "bundle" else None
        rule = f'stage != "new" and recency_days > {number % 40}' if number % 4 == 1 else None
        audience = frozenset(rng.choice(customers, len(customers) // 2, replace=False).tolist()) if number % 7 == 2 else None
        found.append(Offer(f"o{number:03d}", kind, terms, items=own, eligible=rule, audience=audience))
    return found


def profiles(n: int, rng: np.random.Generator) -> pa.Table:
    """Customers as the profile table has them."""
    return pa.table(
        {
            "customer": [f"c{number:06d}" for number in range(n)],
            "stage": rng.choice(["new", "active", "at_risk", "lapsed"], n).tolist(),
            "recency_days": rng.uniform(0, 200, n),
            "frequency": rng.poisson(3, n),
            "aov": rng.uniform(2_000, 20_000, n),
            "tenure_days": rng.uniform(30, 900, n),
            "views_30d": rng.poisson(6, n),
            "carts_30d": rng.poisson(1, n),
            "orders_30d": rng.poisson(0.4, n),
            "spend_90d": rng.uniform(0, 40_000, n),
            "refund_share": rng.beta(1, 20, n),
            "discount_affinity": rng.random(n),
            "open_rate": rng.random(n),
            "click_rate": rng.random(n) / 4,
            "messages_30d": rng.poisson(1, n),
            "zone": rng.choice(["Asia/Shanghai", "Europe/London", "America/New_York"], n).tolist(),
            "best_hour": pa.array(rng.integers(0, 24, n), pa.int8()),
            "hour_confidence": rng.random(n),
            "risk": rng.beta(1, 9, n),
        }
    )


def request(people: pa.Table, *, count: int, items: int, seed: int) -> Request:
    """A request about everybody on two channels, with a learned model."""
    rng = np.random.default_rng(seed)
    names = people["customer"].to_pylist()
    ids = [f"i{number:05d}" for number in range(items)]
    price = rng.integers(500, 20_000, items)
    catalogue = pa.table({"item": ids, "price": price, "cost": price * 6 // 10, "stock": rng.integers(50, 5_000, items)})
    n = len(names)
    first = Request(
        as_of=AS_OF,
        profiles=people,
        offers=offers(count, ids, names, rng),
        items=schema.conform(catalogue, schema.ITEMS),
        allowed=pa.table({"customer": names * 2, "channel": ["email"] * n + ["inapp"] * n}),
        channels={"email": 2, "inapp": 0},
        budget=n * 100,
        currency="CNY",
        salt="bench",
        seed=seed,
        shortlist=pa.table(
            {
                "customer": np.repeat(names, 20),
                "item": rng.choice(ids, n * 20).tolist(),
                "score": rng.random(n * 20),
                "source": ["graph"] * (n * 20),
            }
        ),
    )
    plan = decide(first)
    return replace(first, model=ValueModel().fit([(plan, outcomes(plan, rng))]))


def outcomes(plan: Plan, rng: np.random.Generator) -> pa.Table:
    """A window after the plan: noise, and a little more margin for whoever got something."""
    acted = np.array([row != NOTHING for row in plan.table["action"].to_pylist()]) & (
        np.array(plan.table["variant"].to_pylist()) == "treat"
    )
    margin = rng.normal(800, 400, len(plan)) + 60 * acted
    return pa.table(
        {
            "decision_id": plan.table["decision_id"],
            "margin": np.round(margin).astype(np.int64),
            "cost": np.where(acted, 5, 0),
            "matured": [True] * len(plan),
        }
    )


def main() -> None:
    bench = Harness(
        "live_decision", __doc__, extra={"--offers": {"type": int, "default": 200}, "--decisions": {"type": int, "default": 3_000}}
    )
    arguments = bench.arguments
    people = (
        pq.read_table(arguments.path) if arguments.path else profiles(200 if bench.quick else 2_000, np.random.default_rng(arguments.seed))
    )
    asked = request(people, count=arguments.offers, items=500 if bench.quick else 10_000, seed=arguments.seed)
    plan = decide(asked)
    start = time.perf_counter()
    live = Live(asked, plan)
    bench.figure("prepare_s", time.perf_counter() - start)
    lists: dict[str, list[dict[str, Any]]] = {}
    assert asked.shortlist is not None
    for row in asked.shortlist.to_pylist():
        lists.setdefault(row.pop("customer"), []).append(row)
    rows = asked.profiles.to_pylist()
    turns = 300 if bench.quick else arguments.decisions
    wall, found, used = [], [], 0.0
    for turn in range(WARM + turns):
        profile = rows[turn % len(rows)]
        shortlist = lists[profile["customer"]]
        if turn == WARM:
            gc.collect()
            gc.freeze()  # as a service does once it is ready: what stays for ever need not be looked through
            used = time.thread_time()
        before = time.perf_counter()
        decision = live.decide(profile, channels=["email", "inapp"], shortlist=shortlist)
        if turn >= WARM:
            wall.append(time.perf_counter() - before)
        if turn < len(rows):
            found.append(decision)
    used = time.thread_time() - used
    bench.figure("offers", arguments.offers)
    bench.figure("candidates_mean", float(np.mean([len(one.row["candidates"]) for one in found])))
    bench.figure("p50_ms", float(np.percentile(wall, 50)) * 1e3)
    bench.figure("p99_ms", float(np.percentile(wall, 99)) * 1e3, target=("<=", 10.0))
    bench.figure("cpu_mean_ms", used / turns * 1e3)
    bench.figure("decisions_per_cpu_second", turns / used)
    batch = {row["customer"]: row for row in plan.table.to_pylist() if row["mode"] == "policy"}
    same = [{**one.row, "plan_id": ""} == {**batch[one.customer], "plan_id": ""} for one in found if one.customer in batch]
    bench.figure("equal_to_the_batch_row", float(np.mean(same)), target=("==", 1.0))
    bench.figure("compared", len(same))
    kept = gather(found)
    again = recompute(kept).tobytes() == kept.table["propensities"].combine_chunks().flatten().to_numpy().tobytes()
    bench.figure("replayed_from_the_log", int(again), target=("==", 1))
    bench.figure("peak_mib", peak_mib())
    bench.finish()


if __name__ == "__main__":
    main()
