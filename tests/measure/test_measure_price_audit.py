"""Who paid more, and why: offers and price changes explain, personal prices do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import tradewind as tw
from tradewind import schema
from tradewind.collect.memory import collect_table
from tradewind.compose.pricelog import note
from tradewind.demo import Clock
from tradewind.engine.home import Home
from tradewind.measure.price_audit import Audited, audit_prices
from tradewind.simulate.world import World
from tradewind.types import Event

NOW = datetime(2026, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=2)
Bought = tuple[str, float, int, int, str | None]  # customer, minute, price paid, discount, offer


@pytest.fixture
def audit(home: Home) -> Callable[..., Audited]:
    offers = {"offer": ["ten"], "kind": ["coupon"], "terms": ['{"percent": 10}']}
    collect_table(home, schema.conform(pa.table(offers), schema.OFFERS), now=NOW)

    def run(*bought: Bought, item: str = "tea", quantity: float = 1.0) -> Audited:
        events = [
            Event(
                f"e{number}", NOW + timedelta(minutes=minute), "purchase", "t", customer=who, item=item, quantity=quantity,
                value=int(paid * quantity), discount=int(off * quantity), currency="CNY", offer=offer,
            )
            for number, (who, minute, paid, off, offer) in enumerate(bought)
        ]  # fmt: skip
        home.log.append(events, now=NOW)
        home.log.compact(now=NOW)
        return audit_prices(home, as_of=END)

    return run


@pytest.mark.parametrize("quantity", [1.0, 3.0])
def test_an_offer_explains_a_lower_price_and_is_named(audit: Callable[..., Audited], quantity: float) -> None:
    found = audit(("ann", 0, 1000, 0, None), ("bob", 5, 900, 100, "ten"), ("cat", 9, 1000, 0, None), quantity=quantity)
    assert (found.compared, found.counts, found.faults) == (2, {"offer": 2}, 0)
    assert "bob had ten" in found.to_text()
    assert found.pairs[0].first.paid == pytest.approx(1000)


WRONG = {"unnamed": (100, None), "unknown_offer": (100, "secret"), "personal": (0, None)}


@pytest.mark.parametrize("why", WRONG)
def test_what_no_offer_explains_is_a_fault(audit: Callable[..., Audited], why: str) -> None:
    found = audit(("ann", 0, 1000, 0, None), ("bob", 5, 900, *WRONG[why]), ("cat", 9, 1000, 0, None), ("dan", 10, 1000, 0, None))
    assert found.counts == {why: 2}
    assert found.faults == 2
    assert found.pairs[0].fault
    assert "FAULT tea at 2026-03-01 00:05: ann paid 1,000, bob 900" in found.to_text()
    assert found.to_json()["pairs"][0]["second"]["customer"] == "bob"


def test_a_price_that_changes_for_everybody_is_no_fault(audit: Callable[..., Audited]) -> None:
    found = audit(("ann", 0, 1000, 0, None), ("bob", 5, 1000, 0, None), ("cat", 9, 1200, 0, None), ("ann", 20, 1200, 0, None))
    assert found.counts == {"changed": 1}


def test_a_price_that_changes_back_within_the_hour_is_one(audit: Callable[..., Audited]) -> None:
    assert audit(("ann", 0, 1000, 0, None), ("bob", 5, 1200, 0, None), ("cat", 9, 1000, 0, None)).counts == {"personal": 2}


def test_people_who_bought_at_other_times_or_twice_are_not_compared(audit: Callable[..., Audited]) -> None:
    found = audit(("ann", 0, 1000, 0, None), ("bob", 61, 900, 0, None), ("bob", 62, 800, 0, None))
    assert (found.lines, found.compared, found.counts) == (3, 0, {})


def test_a_price_that_the_shop_noted_is_explained_by_the_note(home: Home, audit: Callable[..., Audited]) -> None:
    for minute, price in ((0, 1000), (4, 1200), (7, 1100)):
        items = {"item": ["tea"], "price": [price], "currency": ["CNY"]}
        collect_table(home, schema.conform(pa.table(items), schema.ITEMS), now=NOW + timedelta(minutes=minute))
        note(home, now=NOW + timedelta(minutes=minute))
    assert audit(("ann", 1, 1000, 0, None), ("bob", 5, 1200, 0, None), ("cat", 9, 1100, 0, None)).counts == {"noted": 2}


def test_rounding_and_gaps_are_no_difference(audit: Callable[..., Audited], home: Home) -> None:
    home.log.append([Event("x", NOW, "purchase", "t", customer="zoe", item="tea"), Event("y", NOW, "purchase", "t", value=5)], now=NOW)
    found = audit(("ann", 0, 1000, 0, None), ("bob", 5, 1001, 0, None))
    assert (found.lines, found.left_out, found.compared, found.counts) == (2, 2, 1, {})


def test_a_simulated_shop_has_no_personal_price_and_one_that_is_put_in_is_found(tmp_path: Path) -> None:
    world = World.make(300, seed=5, start=date(2026, 1, 5), days=45)
    world.write(tmp_path / "export")
    with tw.Shop.open(tmp_path / "shop", now=Clock(world.end)) as shop:
        shop.collect(tmp_path / "export", mapping=tmp_path / "export" / "mapping.toml")
        found = audit_prices(shop.home, as_of=world.end, within=timedelta(days=7))
        assert found.lines > 100
        assert found.compared > 20
        assert found.faults == 0
        events = shop.home.tables.events()
        one = shop.home.tables.to_arrow(events.filter((events.kind == "purchase") & (events.discount == 0))).to_pylist()[0]
        mine = {"quantity": 1.0, "discount": 0, "currency": one["currency"], "item": one["item"]}
        price = round(one["value"] / one["quantity"])
        for number, (who, paid) in enumerate((("eve", price + 500), ("adam", price))):
            at = one["at"] + timedelta(seconds=number + 1)
            shop.home.log.append([Event(f"put{number}", at, "purchase", "t", customer=who, value=paid, **mine)], now=shop.now())
        shop.home.log.compact(now=shop.now())
        bad = [pair for pair in audit_prices(shop.home, as_of=world.end).pairs if pair.fault]
    assert {"eve"} <= {line.customer for pair in bad for line in (pair.first, pair.second)}
    assert all("eve" in (pair.first.customer, pair.second.customer) for pair in bad)
