"""Stock, risk, stacking and exposure floors: what is scarce is never promised twice, and who may not get money gets none."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from decide_world import AS_OF, OFFERS, World, catalogue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind.decide.commit import Short, promised, settle
from tradewind.decide.live import Live, commit
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Exposure, decide, recompute
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.types import NOTHING, Offer

WORLD = World(n=150)
NOW = AS_OF + timedelta(minutes=5)


def stocked(pieces: list[int | None]) -> pa.Table:
    return catalogue(20).set_column(11, "stock", pa.array((pieces * 20)[:20], pa.int64()))


def handed_out(plan: Plan, column: str) -> Counter[str]:
    return Counter(row[column] for row in plan.table.to_pylist() if row["variant"] == "treat" and row[column])


def flat(plan: Plan, name: str) -> np.ndarray:
    return np.asarray(plan.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    pieces=st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=20),
    coupons=st.integers(0, 30),
    budget=st.sampled_from([500, 40_000]),
)
def test_no_plan_promises_more_than_there_is(seed: int, pieces: list[int | None], coupons: int, budget: int) -> None:
    offers = [Offer("pick", "product"), Offer("ten", "coupon", {"percent": 10, "stock": coupons})]
    items = stocked(pieces)
    plan = decide(WORLD.request(seed=seed, items=items, offers=offers, budget=budget))
    there = dict(zip(items["item"].to_pylist(), items["stock"].to_pylist(), strict=True))
    assert all(there[item] is None or n <= there[item] for item, n in handed_out(plan, "item").items())
    assert handed_out(plan, "offer")["ten"] <= coupons
    assert recompute(plan).tobytes() == flat(plan, "propensities").tobytes()
    late = [row for row in plan.table.to_pylist() if row["mode"] == "override"]
    assert all({"budget_full", "stock_full"} & set(json.loads(row["suppressed"]).values()) for row in late)


def test_scarce_pieces_go_where_they_promise_the_most() -> None:
    request = WORLD.request(items=stocked([3]), offers=[Offer("pick", "product")], holdout=0.0)
    free, plan = decide(replace(request, items=catalogue(20))), decide(request)
    gain = {row["customer"]: max(row["values"]) for row in free.table.to_pylist()}
    kept = [row["customer"] for row in plan.table.to_pylist() if len(row["candidates"]) > 1]
    assert 0.9 * 3 * 20 <= len(kept) < WORLD.n  # hardly fewer than there are pieces
    assert np.mean([gain[name] for name in kept]) > np.mean(list(gain.values()))
    lost = plan.table.filter(pa.compute.match_substring(plan.table["suppressed"], "stock_reach"))
    assert lost.num_rows > WORLD.n / 2
    assert sum(handed_out(plan, "item").values()) > 0.5 * 60
    assert plan.summary()["overridden"] < 0.1 * sum(handed_out(plan, "item").values())


def test_what_is_sold_out_by_the_time_of_sending_is_not_promoted() -> None:
    ends = [AS_OF + timedelta(hours=3) if k % 2 else None for k in range(20)]
    items = catalogue(20).append_column("stock_ends", pa.array(ends, pa.timestamp("us", tz="UTC")))
    plan = decide(WORLD.request(items=items))
    shown = {key.split("|")[1] for key in flat(plan, "candidates") if key != NOTHING} - {""}
    assert shown
    assert all(int(item[1:]) % 2 == 0 for item in shown)
    assert any("stock_ends" in text for text in plan.table["suppressed"].to_pylist())


def plan_of(seed: int) -> Plan:
    return decide(WORLD.request(seed=seed, items=stocked([4]), offers=[Offer("pick", "product")], holdout=0.0))


def attempt(home: Home, plan: Plan) -> bool:
    try:
        return plan.commit(home, NOW)
    except Short:
        return False


def check(home: Home, plans: list[Plan]) -> None:
    """What the ledger counts is what the committed plans promise, and never more than four of an item."""
    with home.ledger.read() as conn:
        committed = set(conn.execute(select(books.plans.c.plan_id)).scalars())
        rows = conn.execute(select(books.promises.c.thing)).scalars().all()
    expected: Counter[str] = Counter()
    for plan in plans:
        if plan.plan_id in committed:
            expected += handed_out(plan, "item")
    assert promised(home, at=NOW) == {f"item:{item}": n for item, n in expected.items()} == dict(Counter(rows))
    assert max(promised(home, at=NOW).values()) <= 4


def test_threads_cannot_promise_a_piece_twice(each_home: Home) -> None:
    plans = [plan_of(seed) for seed in range(5)]
    assert attempt(each_home, plans[0])
    with pytest.raises(Short, match=r"4 pieces are there, \d of them promised; the plan promises"):
        plans[1].commit(each_home, NOW)
    with ThreadPoolExecutor(5) as pool:
        done = list(pool.map(lambda plan: attempt(each_home, plan), plans))
    assert sum(done) < 4
    check(each_home, plans)


def _commit_in_process(url: str, seed: int) -> bool:
    plan = plan_of(seed)
    with Home.open(url) as home:
        return attempt(home, plan)


@pytest.mark.slow
def test_processes_cannot_promise_a_piece_twice(home_url: str) -> None:
    Home.open(home_url).close()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        done = pool.starmap(_commit_in_process, [(home_url, seed) for seed in range(4)])
    assert 1 <= sum(done) < 4
    with Home.open(home_url) as home:
        check(home, [plan_of(seed) for seed in range(4)])


def test_settling_lets_go_of_the_pieces(each_home: Home) -> None:
    plan = plan_of(1)
    plan.commit(each_home, NOW)
    before = promised(each_home, at=NOW)
    row = next(row for row in plan.table.to_pylist() if row["item"])
    with each_home.ledger.write() as conn:
        settle(conn, row["decision_id"], spent=0)
        settle(conn, row["decision_id"], spent=0)
    after = promised(each_home, at=NOW)
    thing = f"item:{row['item']}"
    assert after.get(thing, 0) == before[thing] - 1
    assert {name: n for name, n in after.items() if name != thing} == {name: n for name, n in before.items() if name != thing}


def test_the_next_plan_leaves_what_is_promised_until_the_window_is_over(each_home: Home) -> None:
    first = plan_of(1)
    first.commit(each_home, NOW)
    taken = promised(each_home, at=NOW)
    request = WORLD.request(seed=2, items=stocked([4]), offers=[Offer("pick", "product")], holdout=0.0)
    second = decide(replace(request, promised=taken))
    assert second.commit(each_home, NOW)
    assert all(n + taken.get(f"item:{item}", 0) <= 4 for item, n in handed_out(second, "item").items())
    later = NOW + timedelta(days=30)
    assert promised(each_home, at=later) == {}
    assert plan_of(3).commit(each_home, later)
    assert set(promised(each_home, at=NOW).values()) <= {1, 2, 3, 4}


def test_live_decisions_stop_at_the_last_piece(each_home: Home) -> None:
    request = WORLD.request(items=stocked([4]), offers=[Offer("pick", "product")], holdout=0.0)
    live = Live(request, decide(request))
    profiles = WORLD.profiles().to_pylist()

    def visits(server: int) -> list[Any]:
        shown = [{"item": "i1", "score": 1.0}]
        return [live.decide(profiles[k], channels=["email"], shortlist=shown, request_id=f"{server}") for k in range(40)]

    with ThreadPoolExecutor(3) as pool:
        plans = list(pool.map(lambda server: commit(each_home, visits(server), NOW), range(3)))
    assert promised(each_home, at=NOW) == {"item:i1": 4}
    assert sum(handed_out(plan, "item")["i1"] for plan in plans) == 4
    assert any("stock_full" in text for plan in plans for text in plan.table["suppressed"].to_pylist())


def test_blocked_customers_and_rings_get_no_incentive() -> None:
    n = WORLD.n
    profiles = WORLD.profiles().append_column("blocked", pa.array([k % 10 == 1 for k in range(n)]))
    profiles = profiles.append_column("risk", pa.array([0.9 if k % 10 == 2 else 0.89 for k in range(n)]))
    profiles = profiles.append_column("ring", pa.array([f"r{k // 50}" if k % 10 == 3 else None for k in range(n)]))
    offers = [
        *OFFERS, Offer("ship", "free_shipping", {"shipping": 600}), Offer("points", "points", {"points": 100, "worth": 1}),
        Offer("pair", "bundle", {"pieces": 2, "fixed": 500}, items=frozenset({"i1", "i2"})), Offer("read", "post"),
    ]  # fmt: skip
    plan = decide(WORLD.request(profiles=profiles, offers=offers, blocked=frozenset({"c00004"}), size=10))
    incentives = {"ten", "ship", "points", "pair"}
    for number, row in enumerate(plan.table.to_pylist()):
        offered = {key.split("|")[0] for key in row["candidates"]} & incentives
        told = json.loads(row["suppressed"])
        if number % 10 in (1, 2, 3) or number == 4:
            assert not offered
            assert {told[name] for name in incentives} == {"blocked"}
            assert any(key.startswith("pick") for key in row["candidates"])
        else:
            assert offered
    assert "worth money" in str(plan.explain("c00001"))


def test_offers_of_one_stacking_group_exclude_each_other() -> None:
    offers = [
        Offer("ten", "coupon", {"percent": 10, "stack": "welcome"}),
        Offer("ship", "free_shipping", {"shipping": 300, "stack": "welcome"}),
        Offer("pick", "product"),
    ]
    held = pa.table({"customer": ["c00000", "c00001"], "offer": ["ten", "another"]})
    rows = decide(WORLD.request(offers=offers, held=held)).table.to_pylist()
    told = json.loads(rows[0]["suppressed"])
    assert (told["ten"], told["ship"]) == ("stacking", "stacking")
    assert any(key.startswith("pick") for key in rows[0]["candidates"])
    assert "stacking" not in rows[1]["suppressed"]


def test_an_exposure_floor_is_met_in_expectation_or_refused() -> None:
    request = WORLD.request(holdout=0.0, budget=20_000)

    def share(plan: Plan) -> float:
        stage = dict(zip(request.profiles["customer"].to_pylist(), request.profiles["stage"].to_pylist(), strict=True))
        rows = plan.table.to_pylist()
        chance = np.array([1 - row["propensities"][0] for row in rows])
        return float(chance[[stage[row["customer"]] == "new" for row in rows]].sum() / chance.sum())

    assert share(decide(request)) < 0.4
    plan = decide(replace(request, exposure=Exposure("stage", {"new": 0.5})))
    assert 0.495 <= share(plan) < 0.55
    assert abs(plan.meta["exposure"]["new"]["reached"] - share(plan)) < 1e-9
    assert plan.meta["exposure_prices"]["new"] > 0
    assert plan.meta["certificate"]["gap"] >= -1e-6
    assert recompute(plan).tobytes() == flat(plan, "propensities").tobytes()
    assert plan.table["reserved"].to_numpy().sum() <= 20_000
    with pytest.raises(InputError, match=r'at most \d+\.\d% .* group "new", the floor is 99.0%'):
        decide(replace(request, exposure=Exposure("stage", {"new": 0.99})))
    with pytest.raises(InputError, match=r"add up to 1\.20"):
        decide(replace(request, exposure=Exposure("stage", {"new": 0.6, "active": 0.6})))
    with pytest.raises(InputError, match='no column "stag"'):
        decide(replace(request, exposure=Exposure("stag", {"new": 0.1})))
