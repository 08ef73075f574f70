"""What cannot work is refused with a text that says what to do; what is merely extreme has a defined answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from decide_world import World, catalogue

from tradewind.decide.live import Live
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Exposure, Limits, decide, recompute
from tradewind.decide.value import ValueModel
from tradewind.errors import InputError
from tradewind.types import NOTHING, Offer

WORLD = World(n=60)


def answers(request: Any) -> Plan:
    """The plan, which must be whole: one row each, chances that add up, and a live answer that agrees."""
    plan = decide(request)
    assert len(plan) == WORLD.n
    assert recompute(plan).tobytes() == plan.table["propensities"].combine_chunks().flatten().to_numpy().tobytes()
    assert all(abs(sum(chances) - 1) < 1e-9 for chances in plan.table["propensities"].to_pylist())
    live = Live(request, plan).decide(request.profiles.slice(0, 1), channels=["email"])
    assert live.row["candidates"][0] == NOTHING
    return plan


def test_zero_budget_a_single_offer_and_all_ineligible_are_defined() -> None:
    zero = answers(WORLD.request(budget=0))
    assert set(zero.table["action"].to_pylist()) == {NOTHING}
    assert zero.summary()["reserved"] == 0
    single = answers(WORLD.request(offers=[Offer("ten", "coupon", {"percent": 10})], shortlist=None))
    assert {key for keys in single.table["candidates"].to_pylist() for key in keys} == {NOTHING, "ten||email"}
    for nobody in (
        {"offers": [Offer("vip", "coupon", {"percent": 5}, eligible="frequency > 10000")]},
        {"allowed": pa.table({"customer": pa.array([], pa.string()), "channel": pa.array([], pa.string())})},
        {"limits": Limits(messages_30d=0)},
        {"blocked": frozenset(WORLD.customers), "offers": [Offer("ten", "coupon", {"percent": 10})]},
        {"items": catalogue(20).set_column(11, "stock", pa.array([0] * 20, pa.int64())), "offers": [Offer("pick", "product")]},
    ):
        plan = answers(WORLD.request(**nobody))
        assert set(plan.table["action"].to_pylist()) == {NOTHING}
        assert all(json.loads(text) for text in plan.table["suppressed"].to_pylist()), nobody


def test_a_budget_too_small_for_everybody_leaves_what_is_free() -> None:
    both = pa.table({"customer": WORLD.customers * 2, "channel": ["email"] * WORLD.n + ["inapp"] * WORLD.n})
    plan = answers(WORLD.request(budget=60, channels={"email": 50, "inapp": 0}, allowed=both, holdout=0.0, explore=1.0))
    assert plan.meta["reach"] < 1
    assert plan.summary()["reserved"] <= 60
    free = [any(key.startswith("pick") and key.endswith("inapp") for key in keys) for keys in plan.table["candidates"].to_pylist()]
    assert all(free)
    assert plan.meta["expected_profit"] > 0
    assert any("budget_reach" in text for text in plan.table["suppressed"].to_pylist())


def test_negative_margin_is_never_offered_and_always_said() -> None:
    items = catalogue(20).set_column(9, "cost", pa.array([3_800] * 20, pa.int64()))
    plan = answers(WORLD.request(items=items, holdout=0.0))
    told = [json.loads(text) for text in plan.table["suppressed"].to_pylist()]
    offered = {key.split("|")[0] for keys in plan.table["candidates"].to_pylist() for key in keys}
    assert offered == {NOTHING, "pick"}  # five percent are left; the coupon takes ten
    assert all("margin_floor" in one.values() for one in told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": Limits(quiet_from=20, quiet_until=12)}, "default_hour 10 lies in the quiet hours 20-12"),
        ({"limits": Limits(risk=2.0)}, "risk must be a number from 0 to 1"),
        ({"offers": [Offer("a", "coupon", {"fixed": 500, "cap": 300})]}, "cap 300 contradicts the fixed discount 500"),
        ({"offers": [Offer("a", "coupon", {"fixed": 500, "threshold": 100})]}, "would cost nothing"),
        ({"exposure": Exposure("stage", {"new": 0.7, "lapsed": 0.7})}, r"add up to 1\.40"),
        ({"exposure": Exposure("stage", {"new": -0.1})}, "new must be a number from 0 to 1"),
        ({"floor": 0.2, "size": 10}, "floor must be a number"),
        ({"held": pa.table({"customer": ["a"]})}, 'table held needs the column "offer"'),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError), match=message):
        decide(WORLD.request(**changes))


def imported(plan: Plan, change: Any) -> Plan:
    """The plan with other propensities, as a log from elsewhere may have them."""
    lists = [change(chances) for chances in plan.table["propensities"].to_pylist()]
    at = plan.table.schema.get_field_index("propensities")
    return replace(plan, table=plan.table.set_column(at, plan.table.schema.field(at), pa.array(lists, pa.list_(pa.float64()))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda chances: [None] * len(chances), "missing or impossible propensities.*one number from 0 to 1"),
        (lambda chances: [float("nan"), *chances[1:]], "missing or impossible"),
        (lambda chances: chances[:1], "missing or impossible"),
        (lambda chances: [1.5, *chances[1:]], "missing or impossible"),
        (lambda chances: [chance / 2 for chance in chances], "do not add up to 1"),
    ],
)
def test_an_imported_log_without_propensities_teaches_nothing(change: Any, message: str) -> None:
    plan = decide(WORLD.request())
    outcomes = WORLD.outcomes(plan, seed=1)
    assert np.isfinite(ValueModel().fit([(plan, outcomes)]).rows)
    with pytest.raises(InputError, match=message):
        ValueModel().fit([(imported(plan, change), outcomes)])
