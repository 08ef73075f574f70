"""Risk features: known counts, nothing from the future, and the same to the bit for a log and for one moment at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from risk_kit import noise, row, table

from tradewind.errors import InputError
from tradewind.learn._risk_graph import HUB
from tradewind.learn._risk_log import ORDER, Moment, moment, read
from tradewind.learn.risk_features import FIELDS, Columns, Live, asked, matrix, replay
from tradewind.types import Event


def same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)


def differences(columns: Columns, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = [(n, name, columns[name][n], told[name]) for n, told in enumerate(rows) for name in FIELDS]
    return [each for each in found if not same(each[2], each[3])]


@pytest.mark.parametrize("seed", [0, 1])
def test_replay_and_service_agree_to_the_bit(seed: int) -> None:
    moments = read(noise(350, seed=seed))
    live, rows = Live(), []
    for one, ask in zip(moments.each(), asked(moments).tolist(), strict=True):
        if ask:
            rows.append(live.features(one))
        live.hear(one)
    columns = replay(moments)
    assert list(columns) == list(FIELDS)
    assert len(columns["amount"]) == len(rows) > 150
    assert differences(columns, rows) == []


def test_the_future_changes_nothing() -> None:
    moments = read(noise(300, seed=3))
    keep = np.arange(len(moments)) < 200
    early, whole = replay(moments.part(keep)), replay(moments)
    count = len(early["amount"])
    assert 0 < count < len(whole["amount"])
    assert all(same(a, b) for name in FIELDS for a, b in zip(early[name], whole[name][:count], strict=True))


def test_late_moments_count_at_their_own_time() -> None:
    moments = read(noise(200, seed=4)).each()
    moments = [one for number, one in enumerate(moments) if number == 0 or one.at != moments[number - 1].at]  # a tie has no own time
    in_time, late = Live(), Live()
    for one in moments[:100]:
        in_time.hear(one)
    for one in [*moments[:80:2], *moments[1:80:2], *reversed(moments[80:100])]:
        late.hear(one)
    for one in moments[100:]:
        first, second = in_time.features(one), late.features(one)
        assert [name for name in FIELDS if not same(first[name], second[name])] == []


def test_counts_are_what_one_counts_by_hand() -> None:
    told = {"device": "d", "ship_to": "a", "card": "k"}
    events = [
        row("1", "coupon", 0, "ann", offer="ten", device="d"),
        row("2", "purchase", 0.5, "ann", order_id="o1", value=1000, discount=100, offer="ten", **told),
        row("2b", "purchase", 0.5, "ann", order_id="o1", value=500, discount=0, **told),
        row("3", "redeem", 0.5, "ann", order_id="o1", value=1500, discount=100, offer="ten", **told),
        row("4", "refund", 20, "ann", order_id="o1", value=500, **told),
        row("5", "purchase", 30, "bob", order_id="o2", value=3000, discount=0, **told),
        row("6", "purchase", 31, "ann", order_id="o3", value=3000, discount=0, device="new", ship_to="a", card="other"),
    ]
    columns = replay(read(table(events)))
    assert columns["amount"].tolist() == [0, 1500, 3000, 3000]
    assert columns["discount"].tolist() == [0, 100, 0, 0]
    assert columns["coupon"].tolist() == ["ten", "ten", None, None]
    assert columns["device_orders_24h"].tolist() == [0, 0, 0, 0]
    assert columns["device_orders_7d"].tolist() == [0, 0, 1, 0]
    assert columns["card_amount_30d"][2] == 1500
    assert columns["device_customers"].tolist() == [1, 1, 2, 1]
    assert columns["address_customers"][1:].tolist() == [1, 2, 2]
    assert columns["minutes_since_claim"][1] == 30
    assert columns["customer_refunds_30d"].tolist() == [0, 0, 0, 1]
    assert columns["neighbours"].tolist() == [0, 0, 1, 1]
    assert columns["neighbour_refund_share"][2] == 1.0
    assert columns["amount_ratio"][3] == 2.0
    assert columns["new_device"].tolist() == [False, False, False, True]
    assert columns["new_card"].tolist() == [False, False, False, True]
    assert np.isnan(columns["card_orders_1h"][0])
    assert matrix(columns).shape[0] == 4


def test_a_hub_links_nobody() -> None:
    crowd = [
        row(f"{n}", "purchase", n, f"c{n}", order_id=f"o{n}", value=1, discount=0, ship_to="office", device=f"d{n}") for n in range(30)
    ]
    columns = replay(read(table(crowd)))
    assert columns["neighbours"][HUB - 1] == HUB - 1
    assert columns["neighbours"][HUB:].tolist() == [0] * (30 - HUB)
    assert columns["component_customers"][-1] == 1
    assert columns["address_customers"][-1] == 30


def test_a_class_of_devices_is_no_device_and_a_card_number_is_refused() -> None:
    rows = [row("1", "purchase", 0, "ann", order_id="o", value=1, discount=0, device="Mobile")]
    assert read(table(rows)).text("device") == [None]
    rows = [row("1", "purchase", 0, "ann", order_id="o", value=1, discount=0, card="4111 1111 1111 1111")]
    with pytest.raises(InputError, match="keyed hash"):
        read(table(rows))
    with pytest.raises(InputError, match="JSON object"):
        read(table([row("1", "view", 0, "ann") | {"context": "[1]"}]))


def test_an_event_is_the_moment_that_the_log_makes_of_it() -> None:
    one = row("1", "purchase", 1, "ann", order_id="o", value=5, discount=1, device="d", offer="ten")
    told = Event(**one)
    assert (
        moment(told)
        == read(table([one])).each()[0]
        == Moment("o", read(table([one])).at[0], ORDER, "ann", "d", coupon="ten", amount=5, discount=1)
    )
    assert moment(Event("2", told.at, "search", "test", customer="ann")) is None


def test_an_empty_log_has_no_rows() -> None:
    columns = replay(read(table([])))
    assert {len(values) for values in columns.values()} == {0}
    assert isinstance(table([]), pa.Table)
