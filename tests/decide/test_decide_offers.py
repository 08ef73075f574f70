"""The contract of offer kinds, run over every kind that exists; and what the shipped kinds refuse."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from decide_world import AS_OF, World
from hypothesis import given
from hypothesis import strategies as st

from tradewind import plugins
from tradewind.decide.offers.base import OfferKind, kind_of
from tradewind.decide.policy import decide
from tradewind.errors import InputError
from tradewind.types import Offer

KINDS = sorted(plugins.names("decide.offers"))
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "product": [{}, {"margin_floor": 0.2}],
    "free_shipping": [{"shipping": 800}, {"shipping": 800, "threshold": 9_900, "stack": "shipping", "stock": 5}],
    "points": [{"points": 200, "worth": 1}, {"points": 50, "worth": 0.4, "threshold": 100}],
    "bundle": [{"pieces": 2, "percent": 15}, {"pieces": 3, "fixed": 900}],
    "ad": [{}, {"impression": 3}],
    "coupon": [{"percent": 12.5}, {"percent": 100}, {"fixed": 500, "threshold": 900}, {"percent": 50, "cap": 300}, {"fixed": 1}],
}


def kind(name: str) -> OfferKind:
    found: OfferKind = plugins.load("decide.offers", name)()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_keeps_the_contract(name: str) -> None:
    plugin = kind(name)
    assert isinstance(plugin, OfferKind)
    assert plugin.name == name
    examples = EXAMPLES.get(name, [{}])
    amounts = np.array([1, 7, 99, 100, 899, 900, 12_345, 10**9], dtype=np.int64)
    for terms in examples:
        plugin.check(terms)
        off = plugin.discounts(amounts, terms)
        assert off.dtype == np.int64
        assert off.shape == amounts.shape
        assert ((off >= 0) & (off <= amounts)).all()
        assert [plugin.discount(int(amount), 1, terms) for amount in amounts] == off.tolist()
        assert plugin.discount(50, 20, terms) == plugin.discount(1_000, 1, terms)
        assert (off[amounts < plugin.threshold(terms)] == 0).all()
        assert plugin.keeps_margin(amounts, np.zeros(8), terms).shape == amounts.shape
        assert not plugin.keeps_margin(amounts, amounts + 1.0, terms).any()
    with pytest.raises(InputError, match="has no term"):
        plugin.check({"colour": "red"})
    with pytest.raises(InputError, match="margin_floor must be"):
        plugin.check(examples[0] | {"margin_floor": 1.5})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "exactly one"),
        ({"percent": 10, "fixed": 100}, "exactly one"),
        ({"percent": -1}, "percent must be a number from 0 to 100; got -1"),
        ({"percent": 101}, "percent must be a number from 0 to 100; got 101"),
        ({"percent": 0}, "more than 0"),
        ({"percent": "10"}, "got '10'"),
        ({"percent": True}, "got True"),
        ({"fixed": 0}, "fixed must be a whole number"),
        ({"fixed": -5}, "fixed must be a whole number"),
        ({"fixed": 9.5}, "fixed must be a whole number"),
        ({"fixed": 500, "threshold": 400}, "a basket would cost nothing"),
        ({"percnt": 10}, 'Did you mean "percent"'),
    ],
)
def test_wrong_coupons_are_refused(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind("coupon").check(terms)
    with pytest.raises(InputError, match='Offer "spring"'):
        kind_of(Offer("spring", "coupon", terms))


def test_an_offer_must_start_before_it_ends() -> None:
    with pytest.raises(InputError, match="before it starts"):
        kind_of(Offer("spring", "product", starts_at=AS_OF, ends_at=AS_OF - timedelta(days=1)))


@given(price=st.integers(0, 10**7), percent=st.floats(0.01, 100))
def test_percent_rounds_to_the_nearest_minor_unit(price: int, percent: float) -> None:
    points = round(percent * 100)
    off = kind("coupon").discount(price, 1, {"percent": percent})
    assert abs(off - price * points / 10_000) <= 0.5


def test_margin_floor_counts_the_discount() -> None:
    coupon, amounts, costs = kind("coupon"), np.array([1_000]), np.array([700.0])
    assert coupon.keeps_margin(amounts, costs, {"percent": 30}).all()
    assert not coupon.keeps_margin(amounts, costs, {"percent": 31}).any()
    assert not coupon.keeps_margin(amounts, costs, {"percent": 30, "margin_floor": 0.1}).any()


def test_what_the_new_kinds_cost_and_need() -> None:
    assert kind("free_shipping").discounts(np.array([500, 2_000]), {"shipping": 800, "threshold": 1_000}).tolist() == [0, 800]
    assert kind("points").discounts(np.array([99, 100]), {"points": 50, "worth": 0.5, "threshold": 100}).tolist() == [0, 25]
    assert kind("bundle").discount(1_000, 3, {"pieces": 3, "percent": 10}) == 300
    assert kind("ad").contact({"impression": 3}) == 3
    assert {name for name in KINDS if not kind(name).incentive} >= {"product", "ad", "post"}
    for name, terms, message in (
        ("free_shipping", {}, 'needs "shipping"'),
        ("points", {"points": 10}, "needs worth"),
        ("bundle", {"percent": 10}, 'needs "pieces"'),
        ("bundle", {"pieces": 1, "percent": 10}, "pieces must be a whole number from 2"),
        ("coupon", {"percent": 10, "stack": 3}, "stack must be the name of a group"),
        ("coupon", {"percent": 10, "stock": -1}, "stock must be a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            kind(name).check(terms)
    with pytest.raises(InputError, match='Offer "two": a bundle needs items of its own'):
        kind_of(Offer("two", "bundle", {"pieces": 2, "percent": 5}))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "terms", [{"list_price": 900}, {"price": {"vip": 900}}, {"percent": {"vip": 20, "new": 5}}, {"margin_floor": [0.1, 0.2]}]
)
def test_no_offer_sets_a_list_price_or_differs_between_people(name: str, terms: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="same terms for everybody"):
        kind(name).check(terms)


def test_a_basket_at_the_threshold_and_a_bundle_are_priced_by_what_must_be_bought() -> None:
    offers = [
        Offer("big", "coupon", {"fixed": 2_000, "threshold": 20_000}, items=frozenset({"i1"})),
        Offer("pair", "bundle", {"pieces": 2, "percent": 25}, items=frozenset({"i1"})),
        Offer("seen", "ad", {"impression": 7}, items=frozenset({"i1"})),
    ]
    plan = decide(World(n=20).request(offers=offers, channels={"inapp": 1, "email": 5}, holdout=0.0, budget=10**6,
                  allowed=pa.table({"customer": World(n=20).customers * 2, "channel": ["inapp"] * 20 + ["email"] * 20})))  # fmt: skip
    assert plan.features is not None
    keys = [key for keys in plan.table["candidates"].to_pylist() for key in keys[1:]]
    discounts = dict(zip(keys, plan.features["discount"].combine_chunks().flatten().to_pylist(), strict=True))
    assert discounts["big|i1|email"] == 0.1
    assert discounts["pair|i1|email"] == 0.25
    costs = dict(zip(keys, [cost for costs in plan.table["costs"].to_pylist() for cost in costs[1:]], strict=True))
    assert costs["seen|i1|inapp"] == 8
    assert "seen|i1|email" not in keys
