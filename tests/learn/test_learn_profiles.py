"""Profiles: right values by a naive second computation, and nothing of the future in any of them."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_kit import AS_OF, EDGES, KINDS, event, fill, random_events

from tradewind.engine.home import Home
from tradewind.learn import _derived, _wide, features
from tradewind.learn.profiles import PROFILE, STAGES, profiles

DAY = timedelta(days=1)
fresh = itertools.count()


RANDOM = random_events(7, 400)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """All columns for a generated log."""
    with Home.open(tmp_path_factory.mktemp("made") / "shop") as home:
        return _wide.profile_rows(fill(home, RANDOM).tables, as_of=AS_OF)


def test_an_empty_shop_has_no_profiles(home: Home) -> None:
    table = profiles(home.tables, as_of=AS_OF)
    assert table.num_rows == 0
    assert table.schema.equals(PROFILE)


def test_the_columns_are_the_schema(made: pa.Table) -> None:
    assert set(PROFILE.names) <= set(made.column_names)
    assert set(_derived.DERIVED) <= set(made.column_names)
    assert {name for grain in features.FEATURES.values() for name in grain} <= set(made.column_names)
    assert set(made["stage"].to_pylist()) <= set(STAGES)


def naive(rows: list[dict[str, Any]], customer: str) -> dict[str, Any]:
    """The plain reading of the definitions, in Python, for features without decay."""
    mine = [row for row in rows if row["customer"] == customer and row["at"] < AS_OF]
    bought = [row for row in mine if row["kind"] == "purchase"]
    own = [row for row in mine if row["kind"] not in ("sent", "bounce", "coupon")]
    orders: dict[str, list[datetime]] = defaultdict(list)
    for row in bought:
        orders[row["order_id"] or row["id"]].append(row["at"])
    starts = sorted(min(times) for times in orders.values())
    paid = sum(row["value"] or 0 for row in bought)
    returned = sum(row["value"] or 0 for row in mine if row["kind"] == "refund")
    recent = [row for row in mine if row["at"] >= AS_OF - 90 * DAY]
    month = Counter(row["kind"] for row in mine if row["at"] >= AS_OF - 30 * DAY)
    sent = [row["at"] for row in mine if row["kind"] == "sent"]
    return {
        "frequency": len(orders),
        "monetary": paid - returned,
        "aov": (paid - returned) / len(orders) if orders else None,
        "active_days": len({row["at"].date() for row in own}),
        "recency_days": (AS_OF - max(row["at"] for row in bought)) / DAY if bought else None,
        "interval_days": (starts[-1] - starts[0]) / DAY / (len(starts) - 1) if len(starts) > 1 else None,
        "views_30d": month["view"],
        "carts_30d": month["cart"],
        "messages_30d": month["sent"],
        "orders_30d": sum(start >= AS_OF - 30 * DAY for start in starts),
        "spend_90d": sum((row["value"] or 0) * {"purchase": 1, "refund": -1}.get(row["kind"], 0) for row in recent),
        "refund_share": returned / paid if paid else None,
        "last_message_at": max(sent, default=None),
        "last_at": max((row["at"] for row in own), default=None),
    }


def test_values_equal_a_naive_computation(made: pa.Table) -> None:
    found = {row["customer"]: row for row in made.to_pylist()}
    for customer in {row["customer"] for row in RANDOM if row["at"] < AS_OF} - {None}:
        for name, value in naive(RANDOM, customer).items():
            assert found[customer][name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), (customer, name)


NIGHT = (AS_OF - 5 * DAY).replace(hour=23, minute=59, second=59, microsecond=999_999)
RHYTHMS = {"new": (3,), "active": (40, 30, 20, 10), "at_risk": (64, 54, 44, 24), "lapsed": (200, 190, 180)}
CASES: list[dict[str, Any]] = [
    {"at": AS_OF - DAY, "kind": "purchase", "item": "i1", "value": 500, "customer": "taste"},
    {"at": AS_OF - 90 * DAY, "kind": "purchase", "item": "i2", "value": 500, "customer": "taste"},
    {"at": AS_OF - 10 * DAY, "item": "i2", "customer": "one view"},
    *({"at": AS_OF - timedelta(hours=1 + n), "kind": "purchase", "item": "i1", "customer": "few"} for n in range(2)),
    *({"at": AS_OF - timedelta(hours=1 + n), "kind": "purchase", "item": "i1", "customer": "many"} for n in range(20)),
    *({"at": NIGHT, "kind": "sent", "channel": "email", "decision_id": f"d{n}", "customer": "reader"} for n in range(4)),
    *({"at": NIGHT, "kind": "open", "channel": "email", "decision_id": "d1", "customer": "reader"} for n in range(3)),  # opened thrice
    {"at": NIGHT, "kind": "click", "channel": "sms", "decision_id": "d1", "customer": "reader"},
    {"at": NIGHT, "kind": "click", "channel": "sms", "decision_id": "d1", "customer": "reader"},
    *({"at": AS_OF - day * DAY, "kind": "purchase", "customer": stage} for stage, days in RHYTHMS.items() for day in days),
    {"at": AS_OF - DAY, "customer": "客户三"},
    {"at": AS_OF, "customer": "late"},
    {"at": AS_OF - DAY, "kind": "purchase", "item": "i1", "value": 1, "customer": "at the cut"},
    {"at": AS_OF, "kind": "purchase", "item": "i1", "value": 1, "customer": "at the cut"},
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One profile per case, from one shop."""
    with Home.open(tmp_path_factory.mktemp("cases") / "shop") as home:
        fill(home, [event(number, **case) for number, case in enumerate(CASES)])
        return {row["customer"]: row for row in profiles(home.tables, as_of=AS_OF).to_pylist()}


def test_who_is_known(cases: dict[str, dict[str, Any]]) -> None:
    assert list(cases) == sorted(cases)
    assert {"客户三", "c-1", "quiet", "quiet too"} <= set(cases)
    assert not {"late", "not yet"} & set(cases)
    assert cases["quiet"]["stage"] == "prospect"
    assert cases["quiet"]["recency_days"] is None
    assert cases["客户三"]["zone"] == "America/New_York"
    assert cases["客户三"]["first_at"] == AS_OF - DAY  # a sign-up in the future is not known yet
    assert cases["at the cut"]["monetary"] == 1


def test_preferences_follow_weight_and_age(cases: dict[str, dict[str, Any]]) -> None:
    mine = cases["taste"]
    assert mine["top_category"] == "Tea > Green"
    assert mine["top_category_share"] == pytest.approx(1 / (1 + 0.5), abs=0.01)  # the older one counts half
    assert mine["top_brand"] == "b"
    assert mine["top_brand_share"] == 1.0  # i2 has no brand
    assert 0 < mine["category_confidence"] < 0.25 < mine["top_category_share"]  # two purchases are little evidence
    assert cases["one view"]["top_category"] == "Tea > Black"
    assert cases["one view"]["category_confidence"] < mine["category_confidence"]
    assert cases["few"]["category_confidence"] < 0.5 < cases["many"]["category_confidence"] < 1.0
    assert cases["few"]["top_category_share"] == cases["many"]["top_category_share"] == 1.0


def test_hours_channels_and_rates(cases: dict[str, dict[str, Any]]) -> None:
    mine = cases["reader"]
    assert mine["best_hour"] == 23
    assert mine["best_channel"] == "sms"  # two clicks outweigh three opens
    assert mine["open_rate"] == pytest.approx((1 + 10 * 0.25) / 14)  # shrunk towards the shop's 1 of 4
    assert mine["messages_30d"] == 4
    assert mine["last_message_at"] == NIGHT


@pytest.mark.parametrize("stage", list(RHYTHMS))
def test_stages_follow_the_own_rhythm(cases: dict[str, dict[str, Any]], stage: str) -> None:
    assert cases[stage]["stage"] == stage


def test_price_bands_are_quintiles_with_ties_together() -> None:
    import numpy as np

    from tradewind.learn._grains import quintiles

    assert quintiles(np.array([10, 10, 30, 40, 50, -1])).tolist() == [0, 0, 2, 3, 4, -1]
    assert quintiles(np.array([-1])).tolist() == [-1]


future = st.lists(
    st.tuples(
        st.sampled_from(["c-1", "c-2", "客户三", "somebody new"]),
        st.sampled_from(list(KINDS)),
        st.integers(0, 10**12),
        st.sampled_from(["i1", "i-unlisted", "a new item", None]),
        st.one_of(st.none(), st.integers(0, 10**9)),
    ),
    max_size=12,
)
PAST = [row for row in random_events(5, 250) if row["at"] < AS_OF]
EXPECTED: dict[str, Any] = {}


@pytest.mark.slow
@given(future=future)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rewriting_the_future_leaves_every_feature_bit_identical(tmp_path: Path, future: list[Any]) -> None:
    later = [
        event(10_000 + n, AS_OF + timedelta(microseconds=wait), kind=str(kind), customer=who, item=item, value=value, quantity=1.0)
        for n, (who, kind, wait, item, value) in enumerate(future)
    ]
    with Home.open(tmp_path / f"shop-{next(fresh)}") as home:
        table = _wide.profile_rows(fill(home, PAST + later).tables, as_of=AS_OF).sort_by("customer")
    assert table.num_rows > 5
    expected = EXPECTED.setdefault("rows", table)
    assert table.equals(expected), [name for name in table.column_names if not table[name].equals(expected[name])]


def test_the_edges_are_in_the_log() -> None:
    assert {row["at"] for row in RANDOM} >= set(EDGES)
