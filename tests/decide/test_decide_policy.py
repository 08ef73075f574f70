"""Invariants 3, 4, 7, 10 and 11 of the policy, and its defined edges."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decide_world import AS_OF, OFFERS, World, catalogue, learned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind.decide.holdout import held_out, in_holdout
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Limits, decide, recompute
from tradewind.errors import InputError, SchemaError
from tradewind.schema import PLAN
from tradewind.types import NOTHING, Offer

SMALL = World(n=120)


def flat(plan: Plan, name: str) -> np.ndarray:
    return np.asarray(plan.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(-(2**62), 2**62),
    budget=st.sampled_from([0, 3, 40, 900, 4_000, 10**7]),
    floor=st.floats(1e-4, 0.09),
    holdout=st.sampled_from([0.0, 0.1, 0.5]),
    size=st.integers(2, 10),
)
def test_propensities_and_budget_hold(seed: int, budget: int, floor: float, holdout: float, size: int) -> None:
    plan = decide(SMALL.request(seed=seed, budget=budget, floor=floor, holdout=holdout, size=size))
    assert plan.table.schema.equals(PLAN)
    chances = flat(plan, "propensities")
    counts = pc.list_value_length(plan.table["candidates"]).to_numpy()
    assert counts.max() <= size
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    np.testing.assert_allclose(np.add.reduceat(chances, starts), 1.0, atol=1e-12)
    assert plan.meta["floor"] <= floor
    assert (chances >= plan.meta["floor"] - 1e-15).all()
    assert recompute(plan).tobytes() == chances.tobytes()
    rows = plan.table.to_pylist()
    for row in rows:
        assert row["candidates"][0] == NOTHING
        assert len(set(row["candidates"])) == len(row["candidates"])
        assert row["propensity"] == row["propensities"][row["candidates"].index(row["action"])]
        assert (row["variant"] == "holdout") == in_holdout(row["unit"], salt=plan.meta["salt"], share=holdout)
        idle = row["action"] == NOTHING or row["variant"] == "holdout"
        assert row["reserved"] == 0 if idle else row["reserved"] >= row["cost"]
        if row["mode"] == "override":
            assert row["action"] == NOTHING
            assert row["variant"] == "treat"
            assert json.loads(row["suppressed"])["budget"] == "budget_full"
    assert sum(row["reserved"] for row in rows) <= budget
    assert plan.meta["certificate"]["gap"] >= 0


def test_same_request_gives_the_same_bytes_and_another_seed_does_not() -> None:
    request = SMALL.request()
    plan = decide(request)
    shuffled = replace(request, profiles=request.profiles.take(pa.array(np.random.default_rng(3).permutation(SMALL.n))))
    assert decide(shuffled).to_bytes() == plan.to_bytes()
    assert decide(replace(request, seed=12)).to_bytes() != plan.to_bytes()
    assert Plan.from_bytes(plan.to_bytes()).to_bytes() == plan.to_bytes()


def test_chosen_frequency_matches_the_logged_propensity() -> None:
    counts: dict[str, list[float]] = {}
    for seed in range(15):
        for row in decide(SMALL.request(seed=seed, holdout=0.0)).table.select(["candidates", "propensities", "action", "mode"]).to_pylist():
            for action, chance in zip(row["candidates"], row["propensities"], strict=True):
                if row["mode"] == "policy":
                    offer = action.partition("|")[0]
                    hit = float(action == row["action"])
                    total = counts.setdefault(offer, [0.0, 0.0, 0.0])
                    total[0] += hit - chance
                    total[1] += chance * (1 - chance)
                    total[2] += hit
    for miss, variance, hits in counts.values():
        assert hits > 30
        assert abs(miss) < 4 * variance**0.5


def test_holdout_is_nested_keeps_households_together_and_ignores_everything_else() -> None:
    names = [f"u{k}" for k in range(20_000)]
    small, large = (held_out(names, salt="s", share=share) for share in (0.05, 0.2))
    assert not (small & ~large).any()
    assert abs(small.mean() - 0.05) < 0.006
    homes = [f"h{k // 2}" for k in range(SMALL.n)]
    request = SMALL.request(profiles=SMALL.profiles().append_column("household", pa.array(homes)), holdout=0.4)
    table = decide(request).table
    assert table["unit"].to_pylist() == homes
    variants = table["variant"].to_pylist()
    assert variants[::2] == variants[1::2]
    later = decide(replace(request, as_of=AS_OF + timedelta(days=40), seed=99, budget=5)).table
    assert later["variant"].to_pylist() == variants


def test_holdout_logs_the_ghost_decision() -> None:
    plan = decide(SMALL.request(holdout=0.5))
    ghosts = plan.table.filter(pc.and_(pc.equal(plan.table["variant"], "holdout"), pc.not_equal(plan.table["action"], NOTHING)))
    assert ghosts.num_rows > 5
    assert pc.sum(ghosts["reserved"]).as_py() == 0
    assert ghosts["offer"].null_count == 0


def test_list_price_and_terms_are_the_same_for_everybody() -> None:
    world = World(n=300)
    request = world.request(offers=[Offer("five", "coupon", {"fixed": 500}, items=frozenset({"i1", "i2"}))])
    plan = decide(request)
    assert plan.features is not None
    assert np.allclose(plan.features["discount"].combine_chunks().flatten().to_numpy(), 500 / 4_000)
    assert all(set(json.loads(reason)[-1]["details"]) == {"fixed", "kind"} for reason in flat(plan, "reasons") if "offer" in reason)


def test_impersonal_customers_are_decided_by_the_shop_not_by_their_profile() -> None:
    world = World(n=200)
    request = world.request(
        impersonal=frozenset({"c00000", "c00001"}), offers=[*OFFERS, Offer("vip", "coupon", {"percent": 20}, eligible="frequency > 0")]
    )
    rows = decide(request).table.to_pylist()
    for name in ("candidates", "propensities", "values", "sds", "costs"):
        assert rows[0][name] == rows[1][name]
    assert len(rows[0]["candidates"]) > 1
    assert json.loads(rows[0]["suppressed"])["vip"] == "impersonal"


def test_zero_budget_allows_only_what_is_free() -> None:
    plan = decide(SMALL.request(budget=0))
    assert set(plan.table["action"].to_pylist()) == {NOTHING}
    assert set(plan.table["propensity"].to_pylist()) == {1.0}
    assert json.loads(plan.table["suppressed"][0].as_py())["pick"] == "budget"
    free = decide(SMALL.request(budget=0, channels={"email": 0}))
    assert {offer for offer in free.table["offer"].to_pylist() if offer} == {"pick"}
    assert free.summary()["reserved"] == 0


def test_negative_margin_never_becomes_a_candidate() -> None:
    items = catalogue(20).set_column(4 + 5, "cost", pa.array([5_000] * 20, pa.int64()))
    plan = decide(SMALL.request(items=items))
    assert set(plan.table["action"].to_pylist()) == {NOTHING}
    reasons = set(json.loads(plan.table["suppressed"][0].as_py()).values())
    assert reasons == {"margin_floor", "no_item"}


def test_nobody_eligible_no_offer_and_no_customer_are_defined() -> None:
    nobody = decide(SMALL.request(offers=[Offer("vip", "product", eligible="frequency > 1000")]))
    assert set(nobody.table["action"].to_pylist()) == {NOTHING}
    assert json.loads(nobody.table["suppressed"][0].as_py()) == {"vip": "expression"}
    assert set(decide(SMALL.request(offers=[])).table["action"].to_pylist()) == {NOTHING}
    assert set(decide(SMALL.request(shortlist=None, offers=[Offer("p", "product")])).table["action"].to_pylist()) == {NOTHING}
    empty = decide(SMALL.request(profiles=SMALL.profiles().slice(0, 0)))
    assert len(empty) == 0
    assert empty.summary()["treated"] == 0
    assert recompute(empty).size == 0


def test_single_offer_gets_its_floor_and_a_basket_coupon_needs_no_item() -> None:
    plan = decide(SMALL.request(shortlist=None, offers=[Offer("ten", "coupon", {"percent": 10})]))
    assert set(flat(plan, "candidates")) == {NOTHING, "ten||email"}
    assert plan.table["item"].null_count == len(plan)


def test_consent_caps_windows_audience_and_stock_are_coded() -> None:
    request = SMALL.request(
        offers=[
            Offer("gone", "product", ends_at=AS_OF),
            Offer("some", "product", audience=frozenset({"c00001"})),
            Offer("set", "coupon", {"percent": 5}, items=frozenset({"i3"})),
        ],
        allowed=pa.table({"customer": ["c00001", "c00002", "c00003"], "channel": ["email"] * 3, "granted": [True, True, False]}),
        items=catalogue(20).set_column(11, "stock", pa.array([0] * 20, pa.int64())),
        limits=Limits(messages_30d=0),
    )
    rows = {row["customer"]: json.loads(row["suppressed"]) for row in decide(request).table.to_pylist()}
    assert rows["c00001"]["channel:email"] == "messages_cap"
    assert rows["c00003"]["channel:email"] == "no_consent"
    assert rows["c00002"]["gone"] == "ended"
    assert rows["c00002"]["some"] == "audience"
    assert rows["c00001"]["some"] == "no_item"
    assert "stock" in rows["c00001"].values()


def test_messages_keep_out_of_the_quiet_hours_of_the_customers_zone() -> None:
    from zoneinfo import ZoneInfo

    plan = decide(World(n=300).request(budget=10**7))
    zones = World(n=300).profiles()["zone"].to_pylist()
    sent = [(at, zone) for at, zone in zip(plan.table["send_at"].to_pylist(), zones, strict=True) if at]
    assert len(sent) > 100
    assert all(8 <= at.astimezone(ZoneInfo(zone)).hour < 22 for at, zone in sent)
    assert all(AS_OF <= at <= AS_OF + timedelta(days=2) for at, _ in sent)


def test_an_indifferent_world_is_left_alone() -> None:
    """After one randomised plan nothing is worth its cost on the mean, and what is spent is exploration."""
    world = World(n=2_000, effects={"pick": (0.0,) * 4, "ten": (0.0,) * 4}, noise=100.0)
    request = world.request(budget=10**6, channels={"email": 60}, explore=1.0)
    first = decide(request)
    plan = decide(replace(request, model=learned(world, [first]), seed=5))
    acting = flat(plan, "candidates") != NOTHING
    assert (flat(plan, "scores")[acting] > 0).mean() < 0.01
    chance, cost = flat(plan, "propensities")[acting], flat(plan, "costs")[acting]
    beyond = ((chance - plan.meta["floor"]) * cost).sum()
    assert beyond < 0.1 * first.meta["certificate"]["expected_cost"]


@pytest.mark.slow
def test_the_second_plan_beats_the_best_constant_policy_at_equal_spend() -> None:
    gains = []
    for seed in range(3):
        world = World(n=2_500, seed=seed)
        request = world.request(budget=60_000, seed=seed)
        model = learned(world, [decide(replace(request, budget=10**6))])
        profit, spend = world.truth(decide(replace(request, model=model, seed=seed + 50)))
        gains.append((profit, world.best_constant(spend)))
    assert all(profit > 1.3 * constant > 0 for profit, constant in gains), gains


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": -1}, "budget must be a whole number"),
        ({"budget": True}, "budget must be a whole number"),
        ({"floor": 0.2}, "floor must be a number"),
        ({"holdout": 1.0}, "holdout must be a number"),
        ({"channels": {"email": 1.5}}, "email must be a whole number"),
        ({"offers": [Offer("a", "coupn", {})]}, 'Did you mean "coupon"'),
        ({"offers": [Offer("a", "product"), Offer("a", "product")]}, "must be unique"),
        ({"offers": [Offer("a", "product", eligible="frequnecy > 1")]}, 'Did you mean "frequency"'),
        ({"offers": [Offer("a", "product", starts_at=AS_OF, ends_at=AS_OF)]}, "before it starts"),
        ({"limits": Limits(default_hour=23)}, "quiet hours"),
        ({"profiles": pa.table({"customer": ["a", "a"]})}, 'customer "a" has two profiles'),
    ],
)
def test_wrong_requests_say_what_is_wrong(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        decide(SMALL.request(**changes))


def test_missing_columns_and_margins_say_what_is_needed() -> None:
    with pytest.raises(SchemaError, match='shortlist needs the column "score"'):
        decide(SMALL.request(shortlist=pa.table({"customer": ["a"], "item": ["b"]})))
    bare = catalogue(20).set_column(9, "cost", pa.nulls(20, pa.int64()))
    with pytest.raises(InputError, match="declare a margin"):
        decide(SMALL.request(items=bare))
    assert decide(SMALL.request(items=bare, margin=0.4)).summary()["treated"] > 0


def test_an_offer_that_was_sent_before_is_expected_to_be_redeemed_as_often_as_it_was() -> None:
    """A stranger to the shop redeems whenever it buys; history says one in fifty, and more where messages are answered more."""
    world = World(n=40)
    profiles = world.profiles().append_column("answer_rate", pa.array(np.where(np.arange(40) < 20, 0.3, 0.1)))
    asked = world.request(profiles=profiles, shortlist=None, holdout=0.0)
    plans = [decide(replace(asked, redeemed=redeemed)) for redeemed in ({}, {"ten": 0.02})]
    costs = [[dict(zip(row["candidates"], row["costs"], strict=True))["ten||email"] for row in plan.table.to_pylist()] for plan in plans]
    assert plans[0].plan_id != plans[1].plan_id
    assert min(costs[0]) > max(costs[1])
    assert min(costs[1][:20]) > max(costs[1][20:]) - 3  # the amounts of customers differ, their answers more
    assert np.mean(costs[1][:20]) > 1.5 * np.mean(costs[1][20:])
    with pytest.raises(InputError, match="redeemed of ten"):
        decide(replace(asked, redeemed={"ten": 1.5}))


def test_two_plans_that_explore_differently_are_two_plans() -> None:
    plans = [decide(SMALL.request(explore=share)) for share in (0.1, 0.5)]
    assert plans[0].plan_id != plans[1].plan_id
