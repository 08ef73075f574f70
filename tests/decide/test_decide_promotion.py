"""Coupons against abuse: caps of rings, cooling of new accounts and blocked customers, at planning, claiming and using."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from decide_world import World

from tradewind.decide.limits import read_limits
from tradewind.decide.policy import decide
from tradewind.decide.promotion_guard import COLUMN, Guard, Promotion, closed
from tradewind.errors import InputError
from tradewind.learn.risk_rings import Known, mark
from tradewind.types import micros

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RINGS = Known({"a": "R", "b": "R", "c": "R"}, {mark("device", "phone"): "R"})


def guard(ring_coupons: int = 1) -> Guard:
    return Guard(
        Promotion(ring_coupons=ring_coupons), rings=RINGS, blocked={"bad"}, opened={"new": micros(NOW - timedelta(hours=3)), "old": 0}
    )


def test_claims_are_judged_with_a_reason() -> None:
    one = guard(ring_coupons=2)
    assert one.claim("bad", "ten", at=NOW).reason.code == "blocked"
    verdict = one.claim("new", "ten", at=NOW)
    assert (verdict.allow, verdict.reason.code, verdict.reason.details["days"]) == (False, "cooling", pytest.approx(0.125))
    assert one.claim("new", "ten", at=NOW + timedelta(days=1)).allow
    assert one.claim("nobody knows", "ten", at=NOW).allow
    for name in ("a", "b"):
        assert one.claim(name, "ten", at=NOW).allow
        one.note("claim", name, "ten", NOW)
    verdict = one.claim("c", "twenty", at=NOW)
    assert verdict.reason.code == "ring_cap"
    assert verdict.reason.details == {"ring": "R", "had": 2, "cap": 2}
    assert one.claim("c", "ten", at=NOW + timedelta(days=31)).allow
    assert one.claim("old", "ten", at=NOW, device="other").allow


def test_a_fresh_account_on_a_device_of_a_ring_counts_as_of_the_ring() -> None:
    one = guard()
    one.note("claim", "fresh", "ten", NOW, device="phone")
    assert not one.claim("a", "ten", at=NOW).allow
    assert not one.claim("fresher", "ten", at=NOW, device="phone", address=None).allow
    assert one.claim("fresher", "ten", at=NOW, address="phone").allow  # a mark is of one kind


def test_each_coupon_is_used_by_a_ring_no_more_than_its_cap() -> None:
    one = guard()
    one.note("redeem", "a", "ten", NOW)
    assert not one.redeem("b", "ten", at=NOW).allow
    assert one.redeem("b", "twenty", at=NOW).allow
    assert one.claim("b", "ten", at=NOW).allow  # nothing was claimed yet


def test_a_plan_gives_a_ring_what_is_left_for_it() -> None:
    profiles = pa.table({"customer": ["d", "c", "b", "a", "e"], "tenure_days": [50.0, 50.0, 50.0, 50.0, 0.5]})
    marks = closed(profiles, Promotion(ring_coupons=2), rings=RINGS.customers, had={"R": 1})
    assert marks.to_pylist() == [None, "ring_cap", "ring_cap", None, "cooling"]
    every = closed(profiles, Promotion(ring_coupons=0, cooling_days=0), rings=RINGS.customers, had={})
    assert every.to_pylist() == [None, "ring_cap", "ring_cap", "ring_cap", None]


def test_the_plan_says_why_and_gives_others_the_same() -> None:
    world = World()
    request = world.request()
    names = request.profiles["customer"].to_pylist()
    why = [("cooling", "ring_cap", None)[n % 3] for n in range(len(names))]
    guarded = decide(replace(request, profiles=request.profiles.append_column(COLUMN, pa.array(why, pa.string()))))
    by_name = dict(zip(names, why, strict=True))
    incentives = {one.offer for one in request.offers if one.kind == "coupon"}
    assert incentives
    told = 0
    for row in guarded.table.to_pylist():
        if by_name[row["customer"]] is not None:
            assert not incentives & {key.split("|")[0] for key in row["candidates"]}
            told += by_name[row["customer"]] in row["suppressed"]
    assert told == sum(one is not None for one in why)
    assert np.isfinite(guarded.table["value"].to_numpy()).all()


def test_the_table_promotion_is_read_and_checked() -> None:
    assert read_limits(None, currency="CNY")[0].promotion is None
    assert read_limits({"promotion": {}}, currency="CNY")[0].promotion == Promotion()
    assert read_limits({"promotion": {"ring_coupons": 3}}, currency="CNY")[0].promotion == Promotion(ring_coupons=3)
    with pytest.raises(InputError, match="Did you mean"):
        read_limits({"promotion": {"ring_coupon": 3}}, currency="CNY")
    with pytest.raises(InputError, match="cooling_days"):
        read_limits({"promotion": {"cooling_days": -1}}, currency="CNY")
