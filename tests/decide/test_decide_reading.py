"""What people read of a plan: explain, diff, summary; and the hours of sending."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from decide_world import World, learned
from hypothesis import given
from hypothesis import strategies as st

from tradewind.decide.plan import Plan
from tradewind.decide.policy import Limits, decide
from tradewind.decide.timing import send_times
from tradewind.errors import InputError, NotFound
from tradewind.types import NOTHING, from_micros

WORLD = World(n=150)


@pytest.fixture(scope="module")
def plan() -> Plan:
    allowed = pa.table({"customer": WORLD.customers[1:], "channel": ["email"] * (WORLD.n - 1)})
    return decide(WORLD.request(allowed=allowed, holdout=0.3))


def test_explain_tells_the_whole_decision(plan: Plan) -> None:
    for row in plan.table.to_pylist()[:40]:
        told = plan.explain(row["customer"])
        text = str(told)
        assert [one.action for one in told.candidates] == row["candidates"]
        assert all(action in text for action in row["candidates"])
        assert ("held out" in text) == (row["variant"] == "holdout")
        assert json.loads(json.dumps(told.to_dict()))["decision_id"] == row["decision_id"]
        if row["action"] != NOTHING:
            assert f"{row['send_at']:%Y-%m-%d %H:%M}" in text
    silent = str(plan.explain("c00000"))
    assert "channel:email: no consent for this channel" in silent
    with pytest.raises(NotFound, match="nobody"):
        plan.explain("nobody")


def test_explain_says_it_the_same_way(plan: Plan) -> None:
    row = next(row for row in plan.table.to_pylist() if row["variant"] == "treat" and row["action"].startswith("ten"))
    at = row["candidates"].index(row["action"])
    lines = str(plan.explain(row["customer"])).splitlines()
    assert lines[0] == f"Customer {row['customer']} in plan {plan.plan_id}"
    chance = f"{row['propensities'][at]:.1%}"
    assert lines[1] == f"Gets {row['action']}, to be sent at {row['send_at']:%Y-%m-%d %H:%M} UTC (chance {chance})."
    shown = next(line for line in lines if line.startswith(" > "))
    assert shown == (
        f" > {row['action']}: chance {chance}, value {row['values'][at]:.1f} +- {row['sds'][at]:.1f}, "
        f"cost {row['costs'][at]:.0f}, score {row['scores'][at]:.1f}"
    )
    assert "     offer of kind coupon: percent 10" in lines


def test_recommenders_reasons_and_odd_names_stay_json() -> None:
    odd = 'gra"ph|\\'
    said = '[{"code":"also_bought","details":{"item":"i|3"}}]'
    request = WORLD.request()
    assert request.shortlist is not None
    n = request.shortlist.num_rows
    listed = request.shortlist.set_column(3, "source", pa.array([odd] * n)).append_column("reasons", pa.array([said] * n))
    rows = decide(replace(request, shortlist=listed)).table.to_pylist()
    told = [json.loads(reason) for row in rows for reason in row["reasons"][1:]]
    assert told
    assert all(reasons[0]["details"]["source"] == odd and reasons[1]["code"] == "also_bought" for reasons in told)


def test_item_ids_with_bars_survive() -> None:
    request = WORLD.request()
    assert request.shortlist is not None
    items = request.items.set_column(0, "item", pa.array([f"a|{k}" for k in range(20)]))
    listed = request.shortlist.set_column(1, "item", pa.array([f"a|{name[1:]}" for name in request.shortlist["item"].to_pylist()]))
    table = decide(replace(request, items=items, shortlist=listed)).table
    chosen = [row for row in table.to_pylist() if row["action"] != NOTHING]
    assert all(row["action"] == f"{row['offer']}|{row['item']}|{row['channel']}" and "|" in row["item"] for row in chosen)


def test_diff_says_who_changed_and_why() -> None:
    request = WORLD.request(budget=10**6)
    old = decide(request)
    assert old.diff(old).changes == ()
    assert old.diff(old).same == WORLD.n
    redrawn = old.diff(Plan(decide(request).table, old.meta))
    assert redrawn.changes == ()
    poor = old.diff(decide(replace(request, budget=1_000)))
    assert poor.changes
    fewer = decide(replace(request, profiles=request.profiles.slice(1), offers=request.offers[:1]))
    found = old.diff(fewer)
    assert found.counts["left"] == 1
    assert found.why("c00000") == "only in the old plan"
    assert found.counts.keys() >= {"left", "suppressed"}
    other = old.diff(decide(replace(request, salt="another")))
    assert "moved between treatment and holdout" in str(other)
    smarter = old.diff(decide(replace(request, model=learned(WORLD, [old]))))
    assert smarter.counts["value"] > 0
    assert json.loads(json.dumps(smarter.to_dict()))["counts"] == smarter.counts


def test_summary_adds_up(plan: Plan) -> None:
    told = plan.summary()
    assert told["customers"] == WORLD.n
    assert told["treated"] == sum(told["offers"].values()) == sum(told["channels"].values())
    assert told["reserved"] <= told["budget"]
    assert plan.meta["worst_cost"] >= told["expected_cost"]


@given(
    hour=st.integers(0, 23),
    sure=st.booleans(),
    minutes=st.integers(0, 365 * 24 * 60),
    zone=st.sampled_from(["Asia/Shanghai", "America/New_York", "Europe/London", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_sending_is_soon_and_never_in_the_quiet_hours(hour: int, sure: bool, minutes: int, zone: str) -> None:
    as_of = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    profiles = pa.table({"customer": ["a"], "zone": [zone], "best_hour": pa.array([hour], pa.int8()), "hour_confidence": [float(sure)]})
    times, bad = send_times(profiles, as_of=as_of, limits=Limits(), zone="UTC", impersonal=np.array([False]))
    at = from_micros(int(times[0]))
    assert bad == 0
    assert as_of <= at
    assert (at - as_of).total_seconds() <= 36 * 3_600
    assert 8 <= at.astimezone(ZoneInfo(zone)).hour < 22
    if sure and 8 <= at.replace(hour=hour).astimezone(ZoneInfo(zone)).hour < 22:
        assert at.hour == hour or at.astimezone(ZoneInfo(zone)).hour == 8


def test_unknown_zones_fall_back_and_are_counted() -> None:
    profiles = pa.table({"customer": ["a", "b"], "zone": ["Mars/Olympus", None]})
    times, bad = send_times(
        profiles, as_of=datetime(2026, 3, 1, tzinfo=UTC), limits=Limits(), zone="Asia/Shanghai", impersonal=np.array([False, False])
    )
    assert bad == 1
    assert times[0] == times[1]
    assert from_micros(int(times[0])).astimezone(ZoneInfo("Asia/Shanghai")).hour == 10


def test_limits_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="messages_30d must be a whole number"):
        Limits(messages_30d=-1).check()
    assert Limits(quiet_from=1, quiet_until=5).quiet(3)
    assert not Limits(quiet_from=1, quiet_until=5).quiet(23)
    with pytest.raises(InputError, match="Choose an hour outside"):
        Limits(quiet_from=9, quiet_until=12).check()
