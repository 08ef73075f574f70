"""Who withdraws ``analytics`` is read by no model and no profile, as if the events had never come; who allows it again is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tradewind as tw
from tradewind.collect.studied import studied
from tradewind.decide.triggers_run import Watch, replay
from tradewind.demo import Clock
from tradewind.learn.profiles import profiles
from tradewind.learn.registry import active
from tradewind.learn.sequences import sequences
from tradewind.simulate.world import World

WORLD = World.make(70, seed=7, start=date(2026, 1, 5), days=42)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("studied") / "export"
    WORLD.write(folder)
    return folder


def opened(folder: Path, export: Path) -> tw.Shop:
    shop = tw.Shop.open(folder, now=Clock(WORLD.end))
    shop.collect(export, mapping=export / "mapping.toml")
    return shop


def buyers(shop: tw.Shop, number: int) -> list[str]:
    events = shop.home.tables.to_arrow(shop.home.tables.events())
    bought = events.filter(pc.and_(pc.equal(events["kind"], "purchase"), pc.is_valid(events["customer"])))
    return sorted(pc.unique(bought["customer"]).to_pylist())[:number]


def versions(shop: tw.Shop) -> dict[str, str]:
    return {name: active(shop.home, name).version for name in ("recommend", "customer_value")}


def told(shop: tw.Shop) -> dict[str, dict[str, object]]:
    return {row["customer"]: row for row in profiles(studied(shop.home), as_of=shop.now()).to_pylist()}


def test_models_and_profiles_are_those_of_a_shop_that_never_had_the_events(tmp_path: Path, export: Path) -> None:
    shop, other = opened(tmp_path / "one", export), opened(tmp_path / "two", export)
    out = buyers(shop, 5)
    before = told(shop)
    for name in out:
        shop.consents.withdraw(name, "analytics", source="phone")
    shop.learn(recommend="popular", as_of=WORLD.end)
    drop(other, out)
    other.learn(recommend="popular", as_of=WORLD.end)
    assert versions(shop) == versions(other)
    assert told(shop) == told(other)
    assert {told(shop)[name]["frequency"] for name in out} == {0} != {before[name]["frequency"] for name in out}
    histories = sequences(studied(shop.home), as_of=shop.now())
    assert not set(out) & set(histories.customers.tolist())
    assert len(shop.home.tables.to_arrow(shop.home.tables.events())) > len(other.home.tables.to_arrow(other.home.tables.events()))
    for name in out:
        shop.consents.grant(name, "analytics", source="page", locale="en")
    assert told(shop) == before


def drop(shop: tw.Shop, customers: Collection[str]) -> None:
    """Take the events of some customers out of the files, behind the shop's back."""
    import pyarrow.parquet as pq

    for path in shop.home.log.files("events"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.invert(pc.is_in(table["customer"], value_set=pa.array(sorted(customers))))), path)


def test_a_decision_about_them_rests_on_nothing_personal_and_no_trigger_hears_them(tmp_path: Path, export: Path) -> None:
    shop = opened(tmp_path / "shop", export)
    shop.learn(recommend="popular")
    watch = Watch.read({"kind": "first_purchase", "wait_hours": 1})
    begins = datetime.combine(WORLD.start, datetime.min.time(), UTC)
    fired = {one.customer for one in replay(shop.home, watch, since=begins, until=shop.now())}
    out = sorted(fired)[:5]
    assert len(out) == 5
    for name in out:
        shop.consents.withdraw(name, "analytics", source="phone")
    assert {one.customer for one in replay(shop.home, watch, since=begins, until=shop.now())} == fired - {*out}
    assert not {*shop.campaigns.segments({"buyers": "frequency > 0"}).members("buyers")} & {*out}
    plan = shop.decide(offers=["product"], channels=["inapp"], budget="100 CNY")
    rows = {row["customer"]: row for row in plan.table.to_pylist()}
    for name in out:
        assert "personalisation_off" in rows[name]["suppressed"]
