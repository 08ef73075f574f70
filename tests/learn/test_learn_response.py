"""The response model: rows that see no future, probabilities that mean what they say, and files that give them back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFitted, NotFound, SchemaError
from tradewind.learn._contacts import half_over
from tradewind.learn._linear import ODDS
from tradewind.learn.response import FEATURES, Response, campaign_rows, centred_isotonic, training_rows
from tradewind.stats.binary import auc, interval, lift

DAY = timedelta(days=1)
PEOPLE = [f"p{n}" for n in range(6)]
CAMPAIGNS = {"old": (-60, -40, "A"), "now": (0, 20, "A"), "open": (-5, 40, "B"), "ancient": (-900, -880, "A")}
REFERENCE: dict[str, list[dict[str, Any]]] = {
    "campaigns": [
        {"campaign": name, "kind": kind, "starts_at": AS_OF + start * DAY, "ends_at": AS_OF + end * DAY}
        for name, (start, end, kind) in CAMPAIGNS.items()
    ],
    "audiences": [{"campaign": name, "customer": who} for name in CAMPAIGNS for who in PEOPLE],
    "offers": [{"offer": f"{name}:1", "kind": "coupon", "terms": "{}", "campaign": name} for name in CAMPAIGNS],
    "offer_items": [{"offer": "now:1", "item": "i1"}, {"offer": "now:1", "item": "i-unlisted"}, {"offer": "old:1", "item": "i2"}],
}
EVENTS = [
    event(1, AS_OF - 100 * DAY, kind="purchase", customer="p0", item="i1", value=300, quantity=1.0),
    event(2, AS_OF - 50 * DAY, kind="purchase", customer="p0", item="cafe\u0301", value=100, quantity=1.0),  # of the same category
    event(3, AS_OF - 45 * DAY, kind="redeem", customer="p0", offer="old:1"),
    event(4, AS_OF - 44 * DAY, kind="redeem", customer="p0", offer="old:1"),
    event(5, AS_OF, kind="redeem", customer="p1", offer="now:1"),
    event(6, AS_OF + 19 * DAY, kind="redeem", customer="p2", offer="now:1"),
    event(7, AS_OF + 20 * DAY, kind="redeem", customer="p3", offer="now:1"),  # too late
    event(8, AS_OF + 2 * DAY, kind="redeem", customer="p4", offer="old:1"),  # another campaign
    event(9, AS_OF - DAY, kind="redeem", customer="p5", offer="now:1"),  # before the start
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with Home.open(tmp_path_factory.mktemp("campaigns") / "shop") as home:
        yield fill(home, EVENTS, more=REFERENCE)


@pytest.fixture(scope="module")
def rows(shop: Home) -> pa.Table:
    return campaign_rows(shop.tables, "now", as_of=AS_OF, until=AS_OF + 30 * DAY)


def test_features_are_those_of_the_start(rows: pa.Table) -> None:
    first, *others = rows.to_pylist()
    assert [row["customer"] for row in (first, *others)] == PEOPLE
    assert (first["match_lines"], first["match_items"], first["match_spend"], first["shelf_lines"]) == (1, 1, 300, 2)
    assert first["match_recency_days"] == 100
    assert (first["redemptions"], first["redeemed_campaigns"], first["same_kind_redeemed"], first["redeem_recency_days"]) == (2, 1, 1, 44)
    assert first["targeted"] == 3  # old, open and ancient had started
    assert (first["days"], first["offers"], first["items"]) == (20, 1, 2)
    assert first["kind_rate"] == pytest.approx((1 + 20 * 0.05) / (12 + 20))  # one of two audiences of six answered
    assert others[0]["match_recency_days"] is None
    assert others[0]["recency_days"] is None


def test_labels_lie_inside_the_window(shop: Home, rows: pa.Table) -> None:
    assert rows["label"].to_pylist() == [0, 1, 1, 0, 0, 0]
    cut = campaign_rows(shop.tables, "now", as_of=AS_OF, until=AS_OF + 19 * DAY)
    assert cut["label"].to_pylist() == [0, 1, 0, 0, 0, 0]


def test_rewriting_the_future_changes_no_feature(rows: pa.Table, tmp_path: Path) -> None:
    past = [row for row in EVENTS if row["at"] < AS_OF]
    later = [
        event(50 + n, AS_OF + n * DAY, kind=kind, customer=f"p{n % 6}", item="i1", offer="now:1", value=7, quantity=1.0)
        for n, kind in enumerate(("purchase", "redeem", "view", "refund", "purchase", "redeem"))
    ]
    with Home.open(tmp_path / "shop") as home:
        other = campaign_rows(fill(home, past + later, more=REFERENCE).tables, "now", as_of=AS_OF)
    assert other["label"].null_count == 6  # no `until`: nobody asked for outcomes
    assert other.select(FEATURES).equals(rows.select(FEATURES))


def test_training_uses_what_was_over_by_the_cut(shop: Home) -> None:
    chosen = training_rows(shop.tables, before=AS_OF)
    assert set(chosen["campaign"].to_pylist()) == {"old"}  # "open" has hardly begun, "ancient" is older than the log
    assert dict(zip(chosen["customer"].to_pylist(), chosen["label"].to_pylist(), strict=True))["p0"] == 1
    found = {row["campaign"]: half_over(row, since=AS_OF - 100 * DAY, before=AS_OF + 10 * DAY) for row in REFERENCE["campaigns"]}
    assert found == {"old": True, "now": True, "open": False, "ancient": False}
    assert not half_over({"starts_at": None, "ends_at": AS_OF}, since=AS_OF - DAY, before=AS_OF)
    with pytest.raises(InputError, match="No campaign with an audience"):
        training_rows(shop.tables, before=AS_OF - 200 * DAY)
    with pytest.raises(NotFound, match=r'campaign "noww"\. Did you mean "now"'):
        campaign_rows(shop.tables, "noww", as_of=AS_OF)


def world(n: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Rows whose true probability of a response is known."""
    rng = np.random.default_rng(seed)
    x = {name: rng.random(n) if name in ODDS else rng.normal(size=n) for name in FEATURES}
    truth = 1 / (1 + np.exp(2.0 - 1.5 * x["match_lines"] - np.abs(x["redemptions"])))
    columns: dict[str, Any] = {name: np.where(rng.random(n) < 0.05, np.nan, values) for name, values in x.items()}
    columns["match_lines"], columns["redemptions"] = x["match_lines"], x["redemptions"]
    at = pa.array(np.sort(rng.integers(0, 6, n)) * 86_400_000_000, pa.timestamp("us", tz="UTC"))
    return pa.table({"at": at, "label": (rng.random(n) < truth).astype(np.int8), **columns}), truth


@pytest.fixture(scope="module")
def fitted() -> Response:
    return Response(trees=120).fit(world(6000, 1)[0])


def test_it_finds_the_truth_and_is_calibrated(fitted: Response) -> None:
    table, truth = world(4000, 2)
    predicted, y = fitted.predict(table), table["label"].to_numpy().astype(float)
    assert auc(y, predicted) > auc(y, truth) - 0.03
    assert abs(predicted.mean() - y.mean()) < 0.02
    edges = np.quantile(predicted, [0, 0.25, 0.5, 0.75, 1])
    for low, high in itertools.pairwise(edges):
        part = (predicted >= low) & (predicted <= high)
        assert abs(predicted[part].mean() - truth[part].mean()) < 0.05
    assert set(list(fitted.importance(table))[:2]) == {"match_lines", "redemptions"}


def test_saving_gives_the_same_bits_back(fitted: Response, tmp_path: Path) -> None:
    table, _ = world(300, 3)
    fitted.save(tmp_path / "model")
    again = Response.load(tmp_path / "model")
    assert np.array_equal(again.predict(table), fitted.predict(table))
    assert np.array_equal(Response(trees=120).fit(world(6000, 1)[0]).predict(table), fitted.predict(table))
    about = json.loads((tmp_path / "model" / "response.json").read_text())
    (tmp_path / "model" / "response.json").write_text(json.dumps({**about, "features": ["other"]}))
    with pytest.raises(SchemaError, match="other features"):
        Response.load(tmp_path / "model")


def test_without_trees_it_is_the_regression(tmp_path: Path) -> None:
    model = Response(trees=0).fit(world(2000, 5)[0])
    table, truth = world(2000, 6)
    assert 0.7 < auc(table["label"].to_numpy().astype(float), model.predict(table)) < auc(table["label"].to_numpy().astype(float), truth)
    model.save(tmp_path)
    assert np.array_equal(Response.load(tmp_path).predict(table), model.predict(table))


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    table, _ = world(200, 4)
    with pytest.raises(NotFitted, match="has not learned yet"):
        Response().predict(table)
    with pytest.raises(NotFound, match="no response model"):
        Response.load(tmp_path)
    with pytest.raises(InputError, match="trees must be a whole number"):
        Response(trees=-1).fit(table)
    with pytest.raises(InputError, match="every label must be 0 or 1"):
        Response().fit(table.set_column(1, "label", pa.nulls(200, pa.int8())))
    with pytest.raises(InputError, match="the earlier slice has"):
        Response().fit(table.set_column(1, "label", pa.array([0] * 200, pa.int8())))
    with pytest.raises(SchemaError, match="match_lines"):
        Response().fit(table.drop_columns("match_lines"))


pairs = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60)


@given(pairs=pairs)
def test_calibration_rises_and_is_never_certain(pairs: list[tuple[int, bool]]) -> None:
    score, y = np.array([float(score) for score, _ in pairs]), np.array([float(hit) for _, hit in pairs])
    centres = centred_isotonic(score, y)
    assert (np.diff(centres[:, 0]) > 0).all()
    assert (np.diff(centres[:, 1]) >= 0).all()
    if 0 < y.mean() < 1:
        assert ((centres[:, 1] > 0) & (centres[:, 1] < 1)).all()


@given(pairs=pairs)
def test_auc_is_the_share_of_ordered_pairs(pairs: list[tuple[int, bool]]) -> None:
    score, y = np.array([float(score) for score, _ in pairs]), np.array([float(hit) for _, hit in pairs])
    good, bad = score[y == 1][:, None], score[y == 0][None, :]
    if good.size and bad.size:
        assert auc(y, score) == pytest.approx(((good > bad) + 0.5 * (good == bad)).mean())
    else:
        assert np.isnan(auc(y, score))


def test_lift_and_intervals() -> None:
    y, score = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), np.arange(10, 0, -1.0)
    assert lift(y, score, share=0.1) == 5.0
    assert lift(y, np.zeros(10), share=0.1) == pytest.approx(1.0)  # ties count in proportion
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.3).astype(float)
    found = interval(auc, y, y + rng.normal(size=400), np.arange(400) // 2, name="auc", seed=1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    with pytest.raises(InputError, match="it needs both"):
        interval(auc, np.zeros(4), np.zeros(4), np.arange(4), name="auc", seed=1)
