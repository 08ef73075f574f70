"""Several limits at once: none is exceeded, the certificate holds, the live answer is the plan's, the ledger stops what does not fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decide_world import AS_OF, World, catalogue, learned
from sqlalchemy import select

from tradewind import schema
from tradewind.decide import caps
from tradewind.decide.commit import promised, settle
from tradewind.decide.live import Live, commit
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Caps, Exposure, decide, recompute
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound
from tradewind.types import NOTHING

WORLD = World(n=400)
BOTH = {
    "channels": {"email": 5, "sms": 8},
    "allowed": pa.table({"customer": WORLD.customers * 2, "channel": ["email"] * WORLD.n + ["sms"] * WORLD.n}),
    "model": learned(WORLD, [decide(WORLD.request())]),
    "extra_orders": {"pick": 0.1, "ten": 0.1},  # so that there is a profit to limit
}


def taken(plan: Plan) -> Counter[str]:
    """What the decisions that really act take of every limit, by the name of the limit."""
    found: Counter[str] = Counter()
    for row in plan.table.to_pylist():
        if row["variant"] == "treat" and row["action"] != NOTHING:
            found[f"channel:{row['channel']}:{row['send_at']:%Y-%m-%d}"] += 1
            found[f"spend:{row['offer']}"] += row["reserved"]
            found[f"item:{row['item']}"] += 1
            found["budget"] += row["reserved"]
    return found


@pytest.mark.parametrize(
    "asked",
    [
        Caps(channels={"sms": 20}),
        Caps(channels={"sms": 15, "email": 30}, offers={"ten": 4_000}, stock={"i3": 2, "i7": 0}),
        Caps(channels={"sms": 0, "email": 7}, offers={"ten": 0}),
        Caps(offers={"ten": 300, "pick": 300}),
    ],
)
def test_no_limit_is_exceeded_and_the_certificate_says_so(asked: Caps) -> None:
    request = WORLD.request(caps=asked, **BOTH)
    plan = decide(request)
    used = taken(plan)
    assert used["budget"] <= request.budget
    for name, one in plan.meta["caps"].items():
        assert used[name] == one["used"] <= one["free"], name
        assert name.startswith("item:") or one["expected"] + one["safety"] <= one["free"] + 1e-6, (
            "what is expected, with its safety, fits before the draw"
        )
    proof = plan.meta["certificate"]
    assert proof["violation"] == 0
    assert proof["bound"] >= proof["primal"]
    assert recompute(plan).tobytes() == plan.table["propensities"].combine_chunks().flatten().to_numpy().tobytes()
    assert "exceeded by 0" in caps.text(plan.meta)[0]
    assert decide(request).to_bytes() == plan.to_bytes()


def test_prices_use_what_there_is_and_beat_a_rule_of_thumb() -> None:
    """Against the same limit met by leaving out customers at random, the priced plan expects more."""
    plan = decide(WORLD.request(caps=Caps(channels={"email": 60, "sms": 30}), **BOTH))
    tight = [one for one in plan.meta["caps"].values() if one["price"] > 0]
    assert tight
    assert all(one["expected"] + one["safety"] >= 0.9 * one["free"] for one in tight), "a price is paid for what is nearly used up"
    free = decide(WORLD.request(**BOTH))
    assert free.meta["expected_profit"] > 0
    messages = sum(one["expected"] for one in plan.meta["caps"].values())
    nothing = np.array([chances[0] for chances in free.table["propensities"].to_pylist()])
    treated = np.array(free.table["variant"].to_pylist()) == "treat"
    share = messages / float((1 - nothing)[treated].sum())
    assert plan.meta["expected_profit"] > 1.05 * share * free.meta["expected_profit"]
    assert plan.meta["expected_profit"] <= free.meta["expected_profit"], "a limit earns nothing"


def test_without_limits_nothing_changes() -> None:
    assert decide(WORLD.request(caps=Caps())).to_bytes() == decide(WORLD.request()).to_bytes()


def test_floors_and_limits_hold_together() -> None:
    plan = decide(WORLD.request(caps=Caps(channels={"email": 40}), exposure=Exposure("stage", {"new": 0.4}), **BOTH))
    assert plan.meta["exposure"]["new"]["reached"] >= 0.395
    assert plan.meta["certificate"]["violation"] == 0


def test_the_live_answer_is_the_row_of_the_plan() -> None:
    request = WORLD.request(caps=Caps(channels={"sms": 15}, offers={"ten": 4_000}, stock={"i3": 2}), **BOTH)
    plan = decide(request)
    live, shortlist = Live(request, plan), request.shortlist
    assert shortlist is not None
    rows = {row["customer"]: row for row in plan.table.to_pylist()}
    for profile in request.profiles.slice(0, 40).to_pylist():
        mine = shortlist.filter(pc.equal(shortlist["customer"], profile["customer"]))
        one = live.decide(profile, channels=["email", "sms"], shortlist=mine)
        if rows[one.customer]["mode"] == "policy":
            assert {**one.row, "plan_id": ""} == {**rows[one.customer], "plan_id": ""}
    later = live.decide(request.profiles.slice(0, 1), channels=["sms"], at=AS_OF + timedelta(days=3), request_id="later")
    assert set(later.meta["stock"]) >= {f"spend:{plan.plan_id}|ten"}, "a day that the plan did not know has a limit, too"


def test_the_ledger_counts_across_plans_and_gives_back(tmp_path: Path) -> None:
    request = WORLD.request(caps=Caps(channels={"sms": 20}), holdout=0.0, **BOTH)
    with Home.open(tmp_path / "shop") as home:
        first = decide(request)
        first.commit(home, AS_OF)
        held = promised(home, at=AS_OF)
        sms = {name: pieces for name, pieces in held.items() if name.startswith("channel:sms")}
        assert sms == {name: count for name, count in taken(first).items() if name.startswith("channel:sms")}
        assert promised(home, at=AS_OF, before=AS_OF) == {}, "a replay of that moment does not know them"
        second = decide(replace(request, seed=12, promised=held))
        second.commit(home, AS_OF)
        both = taken(first) + taken(second)
        assert all(both[name] <= 20 for name in both if name.startswith("channel:sms"))
        with home.ledger.write() as conn:
            for decision in first.table["decision_id"].to_pylist():
                settle(conn, decision, spent=0)
        left = {name: pieces for name, pieces in promised(home, at=AS_OF).items() if name.startswith("channel:sms")}
        assert left == {name: count for name, count in taken(second).items() if name.startswith("channel:sms")}


def test_live_decisions_stop_hard_at_an_offers_money(tmp_path: Path) -> None:
    request = WORLD.request(caps=Caps(offers={"ten": 1_500}), holdout=0.0, budget=10**6, model=BOTH["model"])
    plan = decide(request)
    live = Live(request, plan)
    chances = [
        sum(chance for key, chance in zip(row["candidates"], row["propensities"], strict=True) if key.startswith("ten"))
        for row in plan.table.to_pylist()
    ]
    ordered, listed = request.profiles.sort_by("customer"), request.shortlist
    assert listed is not None
    found = []
    for at in np.argsort(chances)[-12:].tolist():
        profile = ordered.slice(at, 1)
        mine = listed.filter(pc.equal(listed["customer"], profile["customer"][0]))
        found += [live.decide(profile, channels=["email"], shortlist=mine, request_id=f"visit {turn}") for turn in range(8)]
    with Home.open(tmp_path / "shop") as home:
        plan.commit(home, AS_OF)
        done = commit(home, found, AS_OF)
        with home.ledger.read() as conn:
            name = caps.spend(str(plan.meta["budget_id"]), "ten")
            reserved = conn.execute(select(books.stock.c.reserved).where(books.stock.c.thing == name)).scalar_one()
        assert reserved == taken(plan)["spend:ten"] + taken(done)["spend:ten"] <= 1_500
        assert promised(home, at=AS_OF)[name] == reserved
        assert any("limit_full" in text for text in done.table["suppressed"].to_pylist()), "more wanted it than there was money for"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"caps": Caps(channels={"smss": 3})}, NotFound, 'no channel "smss".*Known: email'),
        ({"caps": Caps(offers={"tenn": 3})}, NotFound, 'no offer "tenn".*did you mean|no offer "tenn"'),
        ({"caps": Caps(stock={"nothing": 3})}, NotFound, 'no item "nothing"'),
        ({"caps": Caps(channels={"email": -1})}, InputError, "channels.email must be a whole number"),
        ({"caps": Caps(offers={"ten": 0.5})}, InputError, "offers.ten must be a whole number"),  # type: ignore[dict-item]
        ({"caps": Caps(offers={"ten": 500}), "budget": 0}, InputError, "offers.ten may cost 500 minor units, but the budget is 0"),
    ],
)
def test_limits_that_cannot_be_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        decide(WORLD.request(**changes))


def test_a_declared_stock_counts_below_the_items_own() -> None:
    items = schema.conform(catalogue(20), schema.ITEMS)
    plan = decide(WORLD.request(items=items, caps=Caps(stock={f"i{k}": 1 for k in range(20)}), holdout=0.0, model=BOTH["model"]))
    assert max(count for name, count in taken(plan).items() if name.startswith("item:i")) == 1
