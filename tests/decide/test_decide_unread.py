"""Personalisation off is an arm of the same decision: scrambling what is known of such a customer changes nothing at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decide_world import AS_OF, OFFERS, World, learned

import tradewind as tw
from tradewind.decide.live import Live
from tradewind.decide.policy import decide
from tradewind.decide.unread import KEPT
from tradewind.demo import Clock
from tradewind.simulate.world import World as Simulated
from tradewind.types import Offer

WORLD = World(n=240)
OFF = frozenset({"c00003", "c00004", "c00120"})
SOME = (*OFFERS, Offer("vip", "coupon", {"percent": 20}, eligible="frequency > 0"))


def scrambled(table: pa.Table, seed: int) -> pa.Table:
    """Every column of the customers of ``OFF`` taken from somebody else, but who they are, where they live and what reached them."""
    rng = np.random.default_rng(seed)
    mine = pc.is_in(table["customer"], value_set=pa.array(sorted(OFF)))
    for at, name in enumerate(table.column_names):
        if name not in KEPT:
            other = table[name].take(pa.array(rng.permutation(table.num_rows)))
            table = table.set_column(at, table.schema.field(at), pc.if_else(mine, other, table[name]))
    return table


@pytest.mark.parametrize("seed", range(3))
def test_scrambling_the_profile_and_the_list_changes_no_byte_of_the_plan(seed: int) -> None:
    model = learned(WORLD, [decide(WORLD.request(seed=5))])
    request = WORLD.request(impersonal=OFF, offers=SOME, model=model)
    plan = decide(request)
    profiles, shortlist = scrambled(WORLD.profiles(), seed), scrambled(WORLD.request().shortlist, seed)
    assert not profiles.equals(WORLD.profiles())
    assert not shortlist.equals(WORLD.request().shortlist)
    other = decide(WORLD.request(impersonal=OFF, offers=SOME, model=model, profiles=profiles, shortlist=shortlist))
    assert other.table.equals(plan.table)
    assert other.features is not None
    assert other.features.equals(plan.features)
    assert other.plan_id == plan.plan_id
    assert decide(WORLD.request(offers=SOME, model=model, profiles=profiles, shortlist=shortlist)).plan_id != plan.plan_id


def test_the_log_says_so_and_keeps_everything_else() -> None:
    rows = {row["customer"]: row for row in decide(WORLD.request(impersonal=OFF, offers=SOME)).table.to_pylist()}
    for name, row in rows.items():
        told = json.loads(row["suppressed"])
        assert (told.get("profile") == "personalisation_off") == (name in OFF)
        assert sum(row["propensities"]) == pytest.approx(1)
        if name in OFF:
            assert told["vip"] == "impersonal"
            codes = {reason["code"] for text in row["reasons"] for reason in json.loads(text)}
            assert codes <= {"nothing", "popular", "basket", "offer"}
    assert len(rows["c00003"]["candidates"]) > 1, "she gets an answer from the same API"


def test_a_live_decision_forgets_who_switched_it_off_since() -> None:
    request = WORLD.request(offers=SOME)
    live = Live(request, decide(request))
    rows = {row["customer"]: row for row in request.profiles.to_pylist()}
    mine, other = rows["c00003"], {**rows["c00009"], "customer": "c00003"}
    for name in KEPT - {"customer"}:
        if name in mine:
            other[name] = mine[name]
    assert request.shortlist is not None
    listed = request.shortlist.filter(pc.equal(request.shortlist["customer"], "c00009"))
    asked: dict[str, Any] = {"channels": ["email"], "at": AS_OF + timedelta(hours=2), "request_id": "v"}
    first = live.decide(mine, impersonal=True, **asked).row
    again = live.decide(other, impersonal=True, shortlist=listed.drop(["customer"]), **asked).row
    assert first == again
    assert live.decide(mine, **asked).row["features"] != first["features"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tw.Shop]:
    folder: Path = tmp_path_factory.mktemp("off")
    world = Simulated.make(80, seed=5, start=date(2026, 1, 5), days=45)
    world.write(folder / "export")
    with tw.Shop.open(folder / "shop", now=Clock(world.end)) as opened:
        opened.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        opened.learn(recommend="item_knn")
        yield opened


def test_a_switch_in_the_ledger_reaches_plan_door_and_text(shop: tw.Shop) -> None:
    plan = shop.decide(budget="60 CNY", holdout=0.0)
    got = [row for row in plan.table.to_pylist() if row["action"] != "nothing" and '"recommended"' in "".join(row["reasons"])]
    name = got[0]["customer"]
    door = shop.live()
    before = door.decide(name)
    shop.consents.withdraw(name, "personalisation", source="page")
    after = door.decide(name)
    assert "personalisation_off" not in before.row["suppressed"]
    assert json.loads(after.row["suppressed"])["profile"] == "personalisation_off", "an open door asks the ledger each time"
    second = shop.decide(budget="60 CNY", holdout=0.0, seed=1)
    row = second.row(name)
    assert json.loads(row["suppressed"])["profile"] == "personalisation_off"
    assert not any('"recommended"' in text for text in row["reasons"])
    assert "personalisation" in str(second.explain(name))
    channels = {key.rpartition("|")[2] for key in after.row["candidates"]} - {"nothing"}
    assert channels
    for channel in channels:
        shop.consents.withdraw(name, channel, source="page")
    assert not {key.rpartition("|")[2] for key in door.decide(name).row["candidates"]} & channels, "a withdrawal since the plan counts"
