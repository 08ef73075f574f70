"""Bids, campaign budgets, sponsored slots and exports: truth where it can be computed, and what must never happen."""

from __future__ import annotations

import csv
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.decide.advertising import calibrate, first_price, second_price, split
from tradewind.decide.audiences import HEADER, Exported, Worth, export, hashed_email
from tradewind.decide.slots import Ad, auction
from tradewind.engine.home import Home
from tradewind.errors import InputError

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


# -- bids ------------------------------------------------------------------------------------------------------------


def test_a_second_price_bid_is_the_value_over_the_price_within_the_target() -> None:
    chance = np.array([0.01, 0.1, 0.0])
    assert second_price(chance, np.array(5_000.0), price=2.0) == pytest.approx([25, 250, 0])
    assert second_price(chance, np.array(5_000.0), price=2.0, target_cpa=1_000) == pytest.approx([10, 100, 0])
    assert second_price(chance, np.array(-5.0), price=1.0) == pytest.approx([0, 0, 0])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), target=st.floats(0, 500), price=st.floats(0.01, 100))
def test_the_expected_cost_per_conversion_stays_within_the_target(seed: int, target: float, price: float) -> None:
    rng = np.random.default_rng(seed)
    chance, market = rng.beta(1, 50, 500), rng.exponential(5, 500)
    won = second_price(chance, rng.gamma(2, 100, 500), price=price, target_cpa=target) >= market
    assert market[won].sum() <= target * chance[won].sum() + 1e-9


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), worth=st.floats(0, 50))
def test_no_first_price_bid_earned_more_against_the_same_rivals(seed: int, worth: float) -> None:
    rivals = np.random.default_rng(seed).gamma(2, 5, 200)
    (bid,) = first_price(np.array([worth]), rivals)
    assert 0 <= bid <= worth

    def profit(offer: float) -> float:
        return (worth - offer) * float((rivals <= offer).mean())

    assert profit(bid) >= max(profit(offer) for offer in np.linspace(0, worth, 300)) - 1e-9


def test_many_rivals_are_seen_through_their_quantiles() -> None:
    rivals = np.random.default_rng(1).uniform(0, 100, 50_000)
    (bid,) = first_price(np.array([80.0]), rivals)
    assert bid == pytest.approx(40, abs=2)  # half the worth, when rivals are uniform


def test_wrong_bids_are_refused() -> None:
    with pytest.raises(InputError, match="chances must be 0-1"):
        second_price(np.array([1.5]), np.array(1.0), price=1)
    with pytest.raises(InputError, match="must be positive"):
        second_price(np.array([0.5]), np.array(1.0), price=0)
    with pytest.raises(InputError, match="target_cpa"):
        second_price(np.array([0.5]), np.array(1.0), price=1, target_cpa=-1)
    for rivals in ([], [-1.0], [np.nan]):
        with pytest.raises(InputError, match="highest rival bids"):
            first_price(np.array([1.0]), np.array(rivals))


# -- campaign budgets ------------------------------------------------------------------------------------------------


def test_concave_curves_end_at_one_marginal_value() -> None:
    spend = np.linspace(0, 10_000, 2_001)
    found = split({name: (spend, scale * np.sqrt(spend)) for name, scale in (("a", 3.0), ("b", 4.0))}, 10_000)
    # d/ds 3 sqrt(s) = d/ds 4 sqrt(t) with s + t = 10,000 gives s = 3,600 and t = 6,400.
    assert found.spend["a"] == pytest.approx(3_600, abs=10)
    assert sum(found.spend.values()) == 10_000
    assert found.value == pytest.approx(3 * 60 + 4 * 80, rel=1e-4)
    assert found.price == pytest.approx(3 / (2 * 60), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    curves=st.dictionaries(
        st.sampled_from("abcd"), st.lists(st.tuples(st.integers(0, 1000), st.floats(-100, 1000)), max_size=5), min_size=1
    ),
    total=st.integers(0, 3000),
    least=st.floats(0, 2),
)
def test_a_split_never_spends_more_than_the_total_nor_money_that_earns_too_little(
    curves: dict[str, list[tuple[int, float]]], total: int, least: float
) -> None:
    given = {name: ([spend for spend, _ in points], [value for _, value in points]) for name, points in curves.items()}
    found = split(given, total, least=least)
    assert set(found.spend) == set(curves)
    assert sum(found.spend.values()) <= total
    assert all(spend >= 0 for spend in found.spend.values())
    assert found.price >= least
    assert found.value >= least * sum(found.spend.values()) - 1e-6
    for name, points in curves.items():  # no single campaign alone does better within the total
        assert found.value >= max((value - least * spend for spend, value in points if spend <= total), default=0) - 1e-6, name


def test_a_split_leaves_what_earns_too_little() -> None:
    curves = {"good": ([100.0], [300.0]), "bad": ([100.0], [50.0])}
    assert split(curves, 500, least=1.0).spend == {"good": 100, "bad": 0}
    assert split(curves, 500).spend == {"good": 100, "bad": 100}
    assert split(curves, 0).spend == {"good": 0, "bad": 0}
    for wrong in ({}, {"a": ([1.0], [1.0, 2.0])}, {"a": ([-1.0], [1.0])}, {"a": ([1.0], [np.nan])}):
        with pytest.raises(InputError, match="split: "):
            split(wrong, 10)
    with pytest.raises(InputError, match="split: "):
        split(curves, -1)


def test_calibrated_values_are_true_on_average() -> None:
    rng = np.random.default_rng(2)
    predicted = rng.uniform(100, 1_000, 5_000)
    realised = rng.gamma(2.0, predicted / 4)  # predictions are twice too high
    found = calibrate(predicted, realised)
    assert found(predicted).sum() == pytest.approx(realised.sum(), rel=0.04)
    assert found(np.array([500.0]))[0] == pytest.approx(250, rel=0.1)
    assert (np.diff(found(np.sort(predicted))) >= 0).all()
    for wrong in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0])):
        with pytest.raises(InputError, match="calibrate: "):
            calibrate(*(np.array(each) for each in wrong))


# -- sponsored slots -------------------------------------------------------------------------------------------------

ads = st.lists(
    st.builds(
        Ad,
        ad=st.uuids().map(str),
        seller=st.sampled_from("stuvw"),
        bid=st.integers(0, 500),
        quality=st.floats(0, 1),
        relevance=st.floats(0, 1),
        left=st.none() | st.integers(0, 600),
    ),
    max_size=12,
    unique_by=lambda ad: ad.ad,
)


@settings(max_examples=150, deadline=None)
@given(ads=ads, slots=st.integers(0, 5), reserve=st.integers(0, 100), relevance=st.floats(0, 1))
def test_slots_are_fair(ads: list[Ad], slots: int, reserve: int, relevance: float) -> None:
    placed = auction(ads, slots=slots, reserve=reserve, relevance=relevance)
    by_name = {ad.ad: ad for ad in ads}
    assert len(placed) <= slots
    assert [one.slot for one in placed] == list(range(len(placed)))
    assert len({one.seller for one in placed}) == len(placed)
    for one in placed:
        ad = by_name[one.ad]
        assert ad.relevance >= relevance
        assert reserve <= one.price <= ad.bid
        assert ad.left is None or one.price <= ad.left
    assert auction(ads[::-1], slots=slots, reserve=reserve, relevance=relevance) == placed


@settings(max_examples=100, deadline=None)
@given(ads=ads, value=st.integers(0, 500), lie=st.integers(0, 500))
def test_with_one_slot_no_other_bid_earns_more_than_the_true_value(ads: list[Ad], value: int, lie: int) -> None:
    """Up to the rounding of the price to a whole minor unit."""

    def profit(bid: int) -> float:
        placed = auction([*ads, Ad("mine", "me", bid, 0.5, 1.0)], slots=1)
        return value - placed[0].price if placed[0:] and placed[0].ad == "mine" else 0

    assert profit(value) >= profit(lie) - 1


def test_quality_counts_as_much_as_money() -> None:
    rich, liked = Ad("rich", "r", 200, 0.01, 1.0), Ad("liked", "l", 100, 0.04, 1.0)
    first, second = auction([rich, liked], slots=2, reserve=10)
    assert (first.ad, first.price) == ("liked", 50)  # 200 * .01 / .04
    assert (second.ad, second.price) == ("rich", 10)
    assert auction([rich, liked], slots=2, relevance=1.0, reserve=150)[0].ad == "rich"
    assert auction([], slots=3) == []


@pytest.mark.parametrize(
    ("ad", "options"),
    [
        (Ad("a", "s", -1, 0.5, 0.5), {}),
        (Ad("a", "s", 1, 1.5, 0.5), {}),
        (Ad("a", "s", 1, 0.5, float("nan")), {}),
        (Ad("a", "s", 1, 0.5, 0.5, left=-1), {}),
        (Ad("a", "s", 1, 0.5, 0.5), {"slots": -1}),
        (Ad("a", "s", 1, 0.5, 0.5), {"reserve": -1}),
        (Ad("a", "s", 1, 0.5, 0.5), {"relevance": 2.0}),
    ],
)
def test_wrong_auctions_are_refused(ad: Ad, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="auction: "):
        auction([ad], **{"slots": 1, **options})
    with pytest.raises(InputError, match="twice"):
        auction([Ad("a", "s", 1, 0.5, 0.5)] * 2, slots=1)


# -- exports ---------------------------------------------------------------------------------------------------------


def people(home: Home, consents: dict[str, bool], addresses: dict[str, str], channel: str = "ads") -> None:
    rows = [{"customer": name, "channel": channel, "granted": yes, "at": AT, "source": "form"} for name, yes in consents.items()]
    Consents(home).record(pa.Table.from_pylist(rows, schema=schema.CONSENTS))
    points = [{"customer": name, "channel": "email", "address": address} for name, address in addresses.items()]
    Vault(home).put(pa.Table.from_pylist(points, schema=schema.CONTACTS))


def test_nobody_without_consent_is_exported(home: Home, tmp_path: Path) -> None:
    names = ["yes", "no", "never", "gone", "stopped", "unreachable"]
    people(
        home, {"yes": True, "no": False, "gone": True, "stopped": True, "unreachable": True}, {n: f"{n}@shop.example" for n in names[:-1]}
    )
    people(home, {"never": True}, {}, channel="email")  # a consent to e-mail is none to advertising
    vault = Vault(home)
    vault.erase("gone", now=AT)
    Consents(home).suppress(vault.hash("stopped@shop.example"), "email", "complaint", AT)
    file = tmp_path / "out.csv"
    given = [Worth(name, 1_230, "CNY", AT) for name in names]
    assert export(home, given, file, platform="meta") == Exported(written=1, without_consent=3, suppressed=1, without_address=1)
    rows = list(csv.reader(file.read_text().splitlines()))
    assert rows[0] == list(HEADER)
    assert rows[1:] == [[hashlib.sha256(b"yes@shop.example").hexdigest(), "2026-03-01T09:00:00Z", "12.30", "CNY", "GRANTED"]]
    Consents(home).withdraw("yes", "ads", source="form", at=datetime(2026, 3, 2, tzinfo=UTC))
    assert export(home, given, file, platform="meta").written == 0
    assert "shop.example" not in file.read_text()


def test_values_have_the_decimals_of_their_currency(home: Home, tmp_path: Path) -> None:
    people(home, {"a": True}, {"a": "a@shop.example"})
    export(home, [Worth("a", 1_230, "JPY"), Worth("a", 1_230, "KWD"), Worth("a", 5, "EUR")], tmp_path / "out.csv", platform="google")
    rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert [row[1:3] for row in rows][1:] == [["", "1230"], ["", "1.230"], ["", "0.05"]]


def test_addresses_are_spelt_as_the_platform_hashes_them() -> None:
    plain = hashlib.sha256(b"jane.doe+x@gmail.com").hexdigest()
    assert hashed_email("  Jane.Doe+x@Gmail.com ", platform="meta") == plain
    assert hashed_email("Jane.Doe+x@Gmail.com", platform="google") == hashlib.sha256(b"janedoe@gmail.com").hexdigest()
    assert hashed_email("Jane.Doe+x@Other.com", platform="google") == hashlib.sha256(b"jane.doe+x@other.com").hexdigest()
    for wrong in ("", "nobody", "@shop", "a@", "a b@shop"):
        with pytest.raises(InputError, match="no e-mail address"):
            hashed_email(wrong, platform="meta")
    with pytest.raises(InputError, match="Known: google, meta"):
        hashed_email("a@b.example", platform="other")


def test_wrong_exports_are_refused_and_leave_no_file(home: Home, tmp_path: Path) -> None:
    people(home, {"a": True}, {"a": "a@shop.example"})
    with pytest.raises(InputError, match="no platform"):
        export(home, [], tmp_path / "out.csv", platform="other")
    with pytest.raises(InputError, match="0 or more"):
        export(home, [Worth("a", -1, "EUR")], tmp_path / "out.csv", platform="meta")
    with pytest.raises(InputError, match="no time zone"):
        export(home, [Worth("a", 1, "EUR", datetime(2026, 1, 1))], tmp_path / "out.csv", platform="meta")  # noqa: DTZ001
    assert list(tmp_path.glob("*.csv")) == []
