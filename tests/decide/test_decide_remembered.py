"""A door that was opened before an erasure knows the person no more, and answers everybody else as before."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import tradewind as tw
from tradewind.demo import Clock
from tradewind.errors import NotFound
from tradewind.simulate.world import World


def test_who_is_erased_by_another_process_is_gone_from_an_open_door(tmp_path: Path) -> None:
    world = World.make(40, seed=7, start=date(2026, 1, 5), days=42)
    world.write(tmp_path / "export")
    with tw.Shop.open(tmp_path / "shop", now=Clock(world.end)) as shop:
        shop.collect(tmp_path / "export", mapping=tmp_path / "export" / "mapping.toml")
        shop.learn(recommend="popular")
        plan = shop.decide(offers=["product"], channels=["inapp", "email"], budget="100 CNY")
        door = shop.live(plan)
        person, *others = sorted(plan.table["customer"].to_pylist())
        before = {name: dict(door.decide(name, channels=["inapp"]).row) for name in others[:5]}
        assert door.decide(person, channels=["inapp"]).customer == person
        with tw.Shop.open(tmp_path / "shop", create=False, now=Clock(world.end)) as other:
            other.privacy.erase(person)
        with pytest.raises(NotFound, match="no customer"):
            door.decide(person, channels=["inapp"])
        held = door._people.now()
        assert person not in {*held.rows, *held.channels, *held.places, *held.profiles["customer"].to_pylist()}
        assert len(held.rows) == len(others)
        assert {name: dict(door.decide(name, channels=["inapp"]).row) for name in others[:5]} == before
        assert door._live._request.profiles.num_rows == 0, "nor does what they share hold anybody"
