"""What the desk learns: scores with and without labels, rings for the guard; reasons read as sentences in two languages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from risk_kit import BEGAN, farm, row, table

from tradewind.decide.promotion_guard import Guard, Promotion, marked
from tradewind.errors import InputError, StateError
from tradewind.learn._risk_log import read
from tradewind.learn._risk_words import sentence
from tradewind.learn.risk_clicks import of_people
from tradewind.learn.risk_features import FIELDS, MODELLED, replay
from tradewind.shop import Shop
from tradewind.types import Event, Reason

NOW = BEGAN + timedelta(days=200)


def sold(rows: list[dict], path: Path) -> Shop:  # type: ignore[type-arg]
    shop = Shop.open(path, now=lambda: NOW)
    shop.home.log.append([Event(**one) for one in rows], now=NOW)
    shop.home.log.compact(now=NOW)
    return shop


def stolen(count: int = 240) -> tuple[list[dict], list[str]]:  # type: ignore[type-arg]
    """Orders of honest people, and every fourth one by a thief who changes cards on one device."""
    rows, bad = [], []
    for number in range(count):
        thief = number % 4 == 0
        who = f"t{number // 40}" if thief else f"h{number}"
        told = {"device": f"x{number // 40}" if thief else f"d{number}", "ship_to": f"a{number}", "card": f"k{number}"}
        rows.append(
            row(f"e{number}", "purchase", 10.0 * number, who, order_id=f"o{number}", value=9000 if thief else 5000, discount=0, **told)
        )
        bad += [f"o{number}"] if thief else []
    return rows, bad


def test_the_score_learns_without_labels_and_with_them(tmp_path: Path) -> None:
    rows, bad = stolen()
    with sold(rows, tmp_path / "shop") as shop:
        with pytest.raises(StateError, match="no learned"):
            shop.risk.score(go_on=True)
        plain = shop.risk.score(most=3, delay_days=199)
        assert plain.way == "without labels"
        assert "frauds and" in plain.why
        assert len(plain.riskiest) == 3
        assert all(one.reasons and one.reasons_zh for one in plain.riskiest)
        shop.risk.label(pa.table({"id": bad, "known_at": [NOW - timedelta(days=1)] * len(bad)}))
        found = shop.risk.score(most=5, delay_days=5)
        assert (found.way, found.frauds, found.rows) == ("new", 60, 240)
        with pytest.raises(StateError, match="nothing to go on from"):
            shop.risk.score(go_on=True)


def test_rings_that_the_desk_finds_are_what_the_guard_knows(tmp_path: Path) -> None:
    events, _, members = farm()
    with sold(events.to_pylist(), tmp_path / "shop") as shop:
        (ring,) = shop.risk.rings(as_of=BEGAN + timedelta(days=30))
        assert set(ring.customers) == members
        at = BEGAN + timedelta(days=30)
        guard = Guard.of(shop.home, Promotion(), as_of=at)
        assert guard.claim("r0", "new", at=at).reason.code == "ring_cap"
        assert guard.claim("nobody", "new", at=at, address="ra").reason.code == "ring_cap"
        assert guard.claim("h0", "new", at=at).allow
        people = pa.table({"customer": ["h0", "r0", "r1"]})
        assert marked(shop.home, people, None, as_of=at) is people
        assert marked(shop.home, people, Promotion(), as_of=at)["promotion"].to_pylist() == [None, "ring_cap", "ring_cap"]
        open_ = marked(shop.home, people, Promotion(ring_coupons=11), as_of=at)["promotion"].to_pylist()
        assert open_ == [None, None, "ring_cap"]  # ten were claimed, one is left


def test_a_live_verdict_sees_what_a_replay_sees(tmp_path: Path) -> None:
    events, _, _ = farm()
    rows = sorted(events.to_pylist(), key=lambda one: (one["at"], one["id"]))
    told = {"device": "rd0", "ship_to": "ra", "card": "rc0", "order_id": "late", "value": 700, "discount": 0}
    last = Event(**row("late", "purchase", 800, "new", **told))
    with sold(rows, tmp_path / "shop") as shop:
        shop.risk.score()
        rule = '[[rules]]\nname = "farm"\nrule = "review if device_customers >= 4"\nreason = {zh = "x", en = "y"}\nowner = "me"\n'
        (tmp_path / "shop" / "risk.toml").write_text(rule, encoding="utf-8")
        live = shop.risk.live()
        seen = live.features(last)
        verdict = live.decide(last)
        assert (verdict.moment, verdict.amount, verdict.customer) == ("late", 700, "new")
        assert [one.rule for one in verdict.shadow] == ["farm"]
        assert 0 < seen["risk_score"] <= 100
        whole = read(table([*rows, row("late", "purchase", 800, "new", **told)]))
        replayed = {name: values[-1] for name, values in replay(whole).items()}
        assert [name for name in FIELDS if seen[name] != replayed[name] and replayed[name] == replayed[name]] == []
        live.hear(last)
        live.hear(replace(last, id="line 2"))
        assert live.features(last)["customer_orders"] == 1
        with pytest.raises(InputError, match="kind"):
            live.decide(Event(**row("v", "view", 801, "new")))


def test_nothing_learns_from_machines_that_were_found(tmp_path: Path) -> None:
    rows = [row(f"b{n}", "view", n / 1000, "robot", item=f"i{n % 7}") for n in range(60)]
    rows += [
        row(f"p{who}{n}", "purchase", 30.0 * n + who, f"c{who}", item=f"i{n}", order_id=f"o{who}{n}", value=900)
        for who in range(9)
        for n in range(3)
    ]
    with sold(rows, tmp_path / "shop") as shop:
        assert of_people(shop.home, as_of=NOW)[1] == []
        assert shop.risk.machines().customers == {"robot"}
        tables, (told,) = of_people(shop.home, as_of=NOW)
        assert "1 customers" in told.text[0]
        assert set(tables.to_arrow(tables.events())["customer"].to_pylist()) == {f"c{who}" for who in range(9)}
        twice = tables.without({"c0"})
        assert set(twice.to_arrow(twice.events())["customer"].to_pylist()) == {f"c{who}" for who in range(1, 9)}
        tables, (told,) = of_people(shop.home, as_of=BEGAN)
        assert "later" in told.text[0]
        report = shop.learn(recommend="popular")
        assert "machines were left out" in str(report)


def test_too_little_says_so(tmp_path: Path) -> None:
    with sold([row("1", "purchase", 0, "ann", order_id="o", value=1, discount=0)], tmp_path / "shop") as shop:
        with pytest.raises(InputError, match="too few"):
            shop.risk.score()
        assert shop.risk.rings() == []


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_every_feature_has_a_sentence(locale: str) -> None:
    said = {name: sentence(Reason(name, {"value": 3.0, "weight": 1.0}), locale) for name in (*MODELLED, "rare")}
    assert len(set(said.values())) == len(said)
    assert not any("_" in told or "{" in told for told in said.values())
    assert sentence(Reason("device_customers", {"value": 4.0})) == "4 accounts met by the same device"
    assert "?" in sentence(Reason("neighbour_days", {"value": float("nan")}), locale)
