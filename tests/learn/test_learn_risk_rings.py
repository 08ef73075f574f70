"""Rings: the planted one is found whole and alone, is stored, and gates coupons."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from risk_kit import BEGAN, farm, table

from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError
from tradewind.learn._risk_log import read
from tradewind.learn.risk_rings import Rings, learn, loaded, mark, rings_of
from tradewind.types import Event


def test_the_ring_is_found_and_nobody_else() -> None:
    events, customers, members = farm()
    (ring,) = Rings().find(read(events, customers))
    assert set(ring.customers) == members
    assert ring.shared == {"device": 2, "address": 1, "card": 2}
    assert (ring.orders, ring.coupon_orders, ring.claims, ring.discount) == (10, 10, 10, 10_000)
    assert {name for name, strength in ring.evidence.items() if strength >= 1} == {"coupons", "burst", "opened"}
    assert "share 2 devices, 1 address, 2 cards" in ring.words()[0]
    assert mark("device", "rd0") in ring.marks


def test_a_ring_that_behaves_like_others_is_none() -> None:
    events, customers, _ = farm(members=0)
    assert Rings().find(read(events, customers)) == []
    assert Rings().find(read(table([]))) == []


def test_the_name_stays_when_a_ring_grows() -> None:
    small, big = (Rings().find(read(*farm(members=count)[:2])) for count in (4, 7))
    assert small[0].ring == big[0].ring
    assert len(big[0].customers) == 7


def test_rings_are_stored_without_identifiers(tmp_path: Path) -> None:
    events, _, members = farm()
    now = BEGAN + timedelta(days=40)
    with Home.open(tmp_path / "shop") as home:
        assert rings_of(home).customers == {}
        home.log.append([Event(**row) for row in events.to_pylist()], now=now)
        home.log.compact(now=now)
        (ring,) = learn(home, as_of=now, now=now)
        assert loaded(home) == [ring]
        known = rings_of(home, before=now)
        assert known.customers == dict.fromkeys(members, ring.ring)
        assert known.marks[mark("address", "ra")] == ring.ring
        assert mark("address", "a-office") not in known.marks
        for path in (tmp_path / "shop" / "models" / "rings").rglob("rings.json"):
            assert '"rd0"' not in path.read_text(encoding="utf-8")
        with pytest.raises(StateError, match="knows the future"):
            rings_of(home, before=BEGAN)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="Rings: hub"):
        Rings(hub=1).find(read(table([])))
