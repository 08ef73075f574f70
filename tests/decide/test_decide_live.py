"""One decision at a time: the row of the batch plan, bit by bit; and a ledger that nobody overspends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decide_world import AS_OF, World, catalogue, learned
from sqlalchemy import func, select

from tradewind.decide.live import Live, commit, gather
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Exposure, Request, decide, recompute
from tradewind.decide.value import ValueModel
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError
from tradewind.types import NOTHING, Offer

WORLD = World(n=70)
NOW = AS_OF + timedelta(minutes=5)
OFFERS = [
    *(
        Offer(
            f"o{k}", "coupon", {"percent": 5 + k % 20, "threshold": 100 * (k % 5)}, eligible=f"frequency > {k % 3}" if k % 4 == 0 else None
        )
        for k in range(14)
    ),
    Offer("some", "coupon", {"fixed": 300}, items=frozenset({"i1", "i2"}), audience=frozenset(WORLD.customers[:30])),
    Offer("best", "product", items=frozenset({"i3"})),
    Offer("over", "product", ends_at=AS_OF),
    Offer("pair", "bundle", {"pieces": 2, "percent": 10}, items=frozenset({"i4", "i5"})),
    Offer("free", "free_shipping", {"shipping": 500, "threshold": 3_000}),
    Offer("points", "points", {"points": 300, "worth": 0.5}),
    Offer("read", "post"),
    Offer("seen", "ad", {"impression": 2}),
]


@cache
def model() -> ValueModel:
    return learned(WORLD, [decide(WORLD.request(budget=10**6))])


def everything() -> Request:
    """Every offer kind, several channels, households, risks, impersonal customers, reasons, and a learned model."""
    n = WORLD.n
    profiles = WORLD.profiles().append_column("household", pa.array([f"h{k // 2}" if k % 3 else None for k in range(n)]))
    profiles = profiles.append_column("risk", pa.array([0.95 if k % 11 == 0 else None for k in range(n)]))
    request = WORLD.request(profiles=profiles, offers=OFFERS, model=model(), impersonal=frozenset(WORLD.customers[3:9]))
    listed = request.shortlist
    assert listed is not None
    told = pa.array(['[{"code":"viewed","details":{"item":"i1"}}]' if k % 2 else None for k in range(listed.num_rows)])
    allowed = pa.table(
        {"customer": WORLD.customers * 2, "channel": ["email"] * n + ["inapp"] * n, "granted": [True] * n + [False, True] * (n // 2)}
    )
    request = replace(request, extra_orders={one.offer: 0.3 for one in OFFERS}, heard={"email": 1.3, "inapp": 0.6})
    return replace(request, shortlist=listed.append_column("reasons", told), allowed=allowed, channels={"email": 3, "inapp": 0})


REQUESTS: dict[str, Any] = {
    "plain": lambda: WORLD.request(explore=1.0),
    "everything": everything,
    "scarce money": lambda: replace(everything(), budget=600),
    "scarce pieces": lambda: replace(everything(), items=catalogue(20).set_column(11, "stock", pa.array([2, 0, 5, 1] * 5, pa.int64()))),
    "no list": lambda: replace(everything(), shortlist=None),
    "exposure": lambda: replace(everything(), exposure=Exposure("stage", {"new": 0.35, "lapsed": 0.3})),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_live_decision_is_the_row_of_the_batch_plan(name: str) -> None:
    request: Request = REQUESTS[name]()
    plan = decide(request)
    live = Live(request, plan)
    lists: dict[str, list[dict[str, Any]]] = {}
    for row in request.shortlist.to_pylist() if request.shortlist is not None else []:
        lists.setdefault(row["customer"], []).append(row)
    granted: dict[str, list[str]] = {}
    for row in request.allowed.to_pylist():
        if row.get("granted", True):
            granted.setdefault(row["customer"], []).append(row["channel"])
    policy = acting = 0
    for profile in request.profiles.to_pylist():
        batch = plan.row(profile["customer"])
        customer = profile["customer"]
        found = live.decide(profile, channels=granted.get(customer, []), shortlist=lists.get(customer, [])).row
        hard = ("action", "offer", "item", "channel", "send_at", "propensity", "mode", "value", "cost", "reserved", "suppressed")
        skip = {"plan_id", *(hard if batch["mode"] == "override" else ())}  # the end of the budget is the ledger's to say
        assert {key: value for key, value in found.items() if key not in skip} == {k: v for k, v in batch.items() if k not in skip}
        assert list(found) == list(batch)
        policy += batch["mode"] == "policy"
        acting += batch["action"] != NOTHING
    assert policy > (0.7 if name.startswith("scarce") else 0.9) * WORLD.n
    assert acting > (0 if name == "scarce money" else 10)


def one(live: Live, number: int, **more: Any) -> Any:
    profile = WORLD.profiles().to_pylist()[number]
    return live.decide(profile, channels=["email"], shortlist=[{"item": "i1", "score": 1.0}], **more)


def test_an_occasion_has_its_own_draw_and_its_own_time() -> None:
    request = WORLD.request(holdout=0.0)
    live = Live(request, decide(request))
    first, again = one(live, 0, request_id="a"), one(live, 0, request_id="a")
    assert first.row == again.row
    draws = [one(live, 0, request_id=str(k)) for k in range(200)]
    assert len({each.decision_id for each in draws}) == 200
    for action, chance in zip(first.row["candidates"], first.row["propensities"], strict=True):
        hits = sum(each.row["action"] == action for each in draws)
        assert abs(hits - 200 * chance) < 4 * (200 * chance * (1 - chance)) ** 0.5 + 1
    later = one(live, 0, at=AS_OF + timedelta(days=3), request_id="b")
    assert later.row["at"] == AS_OF + timedelta(days=3)
    assert later.row["send_at"] is None or later.row["send_at"] >= later.row["at"]


def test_items_that_end_are_left_out_when_the_time_comes() -> None:
    items = catalogue(20)
    ends = pa.array([AS_OF + timedelta(days=5)] * 20, items.schema.field("available_until").type)
    request = WORLD.request(items=items.set_column(items.schema.get_field_index("available_until"), "available_until", ends))
    live = Live(request, decide(request))
    assert any("i1" in key for key in one(live, 0).row["candidates"])
    gone = one(live, 0, at=AS_OF + timedelta(days=6))
    assert not any("i1" in key for key in gone.row["candidates"])
    assert "unavailable" in gone.row["suppressed"]


def test_wrong_input_is_said() -> None:
    request = WORLD.request()
    plan = decide(request)
    live = Live(request, plan)
    with pytest.raises(InputError, match="decided from another request"):
        Live(replace(request, budget=1), plan)
    with pytest.raises(InputError, match=r'no column "frequnecy"\. Did you mean "frequency"'):
        live.decide({"customer": "c00000", "frequnecy": 1}, channels=["email"])
    with pytest.raises(InputError, match="has no customer"):
        live.decide({"frequency": 1}, channels=["email"])
    with pytest.raises(InputError, match="does not fit"):
        live.decide({"customer": "a", "frequency": "often"}, channels=["email"])
    with pytest.raises(InputError, match="got 2 rows"):
        live.decide(WORLD.profiles().slice(0, 2), channels=["email"])
    with pytest.raises(InputError, match='needs the column "score"'):
        live.decide({"customer": "a"}, channels=["email"], shortlist=[{"item": "i1"}])
    with pytest.raises(InputError, match="there is no decision"):
        gather([])
    with pytest.raises(InputError, match="is there twice"):
        gather([one(live, 0), one(live, 0)])
    stranger = live.decide({"customer": "nobody we know"}, channels=[], shortlist=[{"item": "not ours", "score": 1.0}])
    assert stranger.action == NOTHING
    assert "no_consent" in str(stranger.explain().to_dict()["suppressed"])


def test_live_decisions_are_a_plan_that_can_be_replayed(home: Home) -> None:
    request = WORLD.request(budget=10**6)
    live = Live(request, decide(request))
    found = [one(live, k, request_id="visit") for k in range(30)]
    plan = commit(home, found, NOW)
    loaded = Plan.load(home, plan.plan_id)
    assert loaded.to_bytes() == plan.to_bytes()
    assert recompute(loaded).tobytes() == loaded.table["propensities"].combine_chunks().flatten().to_numpy().tobytes()
    assert commit(home, found, NOW).to_bytes() == plan.to_bytes()
    assert loaded.features is not None
    assert loaded.features.num_rows == 30
    assert found[0].explain().to_dict()["decision_id"] == found[0].decision_id
    with pytest.raises(StateError, match="request_id"):
        commit(home, found[:20], NOW)


def test_many_servers_cannot_overspend_the_budget(each_home: Home) -> None:
    request = WORLD.request(budget_id="spring", holdout=0.0, floor=0.09)
    with each_home.ledger.write() as conn:  # others have used most of it
        conn.execute(books.budgets.insert().values(budget="spring", currency="CNY", amount=400, reserved=100, spent=100))
    live = Live(request, decide(request))
    batches = [
        [one(live, k, request_id=f"{server}/{turn}") for k in range(turn * 10, turn * 10 + 10)] for server in range(2) for turn in range(7)
    ]
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda each: commit(each_home, each, NOW), batches))
    with each_home.ledger.read() as conn:
        budget = conn.execute(select(books.budgets)).mappings().one()
        held = conn.execute(select(func.sum(books.reservations.c.amount))).scalar_one()
    rows = [row for plan in plans for row in plan.table.to_pylist()]
    late = [row for row in rows if row["mode"] == "override"]
    assert budget["reserved"] - 100 == held == sum(row["reserved"] for row in rows) <= 200
    assert held > 150
    assert late
    assert all(row["action"] == NOTHING and "budget_full" in row["suppressed"] for row in late)


def test_nothing_now_says_when_to_look_again() -> None:
    world = World(n=40)
    last = AS_OF - timedelta(hours=3)
    profiles = world.profiles().append_column("last_message_at", pa.array([last] * world.n, pa.timestamp("us", tz="UTC")))
    request = world.request(profiles=profiles, holdout=0.0)
    plan = decide(request)
    live = Live(request, plan)
    gap = {row["customer"] for row in plan.table.to_pylist() if "messages_gap" in row["suppressed"]}
    assert gap
    for name in sorted(gap):
        one = live.decide(profiles.filter(pc.equal(profiles["customer"], name)), channels=["email"])
        assert one.look_again is not None
        assert last + timedelta(hours=24) <= one.look_again <= last + timedelta(hours=49)
    unreached = live.decide({**profiles.slice(0, 1).to_pylist()[0], "last_message_at": None}, channels=[])
    assert unreached.look_again is not None
    assert AS_OF + timedelta(days=1) <= unreached.look_again <= AS_OF + timedelta(days=2, hours=1)
