"""Live segments: at every moment the members are those of the batch evaluation, whatever came in which order and how time passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind import schema
from tradewind.collect.memory import collect_table
from tradewind.decide import segment_live_store
from tradewind.decide.segment_live import LiveSegments, evaluate
from tradewind.decide.segment_live_store import LIVE
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound
from tradewind.learn.profiles import profiles
from tradewind.types import Event

T0 = datetime(2026, 3, 1, tzinfo=UTC)
SEGMENTS = {
    "asleep": "recency_days > 30",
    "exactly": "recency_days == 30 or recency_days <= 2.5",
    "old": "not (tenure_days < 45) and frequency > 0",
    "keen": "views_30d >= 2 and carts_30d == 0",
    "rich": "spend_90d > 150 or monetary > 400 or aov >= 100",
    "steady": "orders_30d >= 2 and interval_days < 20",
    "told": "messages_30d > 0 and refund_share is null",
    "here": 'locale in ("zh-CN", "en") and currency == "CNY"',
    "unknown": "recency_days is null and zone is not null",
    "returns": "refund_share > 0.3",
}
NONE = schema.EVENTS.empty_table()


def event(name: str, days: float, kind: str, customer: str | None = "c", **more: Any) -> Event:
    return Event(name, T0 + timedelta(days=days), kind, "test", customer=customer, **more)


def table(events: Sequence[Event]) -> pa.Table:
    return pa.Table.from_pylist([asdict(one) for one in events], schema=schema.EVENTS)


def people(**signed: tuple[float | None, str | None, str | None]) -> pa.Table:
    rows = [
        {"customer": name, "signed_up_at": None if days is None else T0 + timedelta(days=days), "locale": locale, "zone": zone}
        for name, (days, locale, zone) in signed.items()
    ]
    return pa.Table.from_pylist(rows, schema=schema.CUSTOMERS)


NOBODY = people()


def moves(changes: Sequence[Any]) -> list[tuple[str, bool]]:
    return [(one.customer, one.entered) for one in changes]


def test_time_alone_lets_somebody_enter_to_the_microsecond() -> None:
    live = LiveSegments({"asleep": "recency_days > 30"}, table([event("p", 0, "purchase")]), NOBODY, now=T0 + timedelta(days=1))
    assert live.members("asleep") == []
    assert live.advance(now=T0 + timedelta(days=30)) == ()
    [change] = live.advance(now=T0 + timedelta(days=30, microseconds=1))
    assert (change.customer, change.entered, change.segment) == ("c", True, "asleep")
    assert moves(live.apply([event("q", 30, "purchase")], now=T0 + timedelta(days=31))) == [("c", False)]
    assert moves(live.advance(now=T0 + timedelta(days=99))) == [("c", True)]


def test_what_counts_for_thirty_days_leaves_after_them() -> None:
    live = LiveSegments({"keen": "views_30d >= 2"}, NONE, NOBODY, now=T0)
    assert live.apply([event("a", 0, "view")], now=T0 + timedelta(days=1)) == ()
    assert moves(live.apply([event("b", 1, "view")], now=T0 + timedelta(days=2))) == [("c", True)]
    assert live.advance(now=T0 + timedelta(days=30)) == ()
    assert moves(live.advance(now=T0 + timedelta(days=30, microseconds=1))) == [("c", False)]


def test_an_event_is_heard_once_and_not_before_its_time() -> None:
    live = LiveSegments({"seen": "views_30d >= 1", "twice": "views_30d >= 2"}, table([event("a", -1, "view")]), NOBODY, now=T0)
    again = [event("a", -1, "view"), event("b", 5, "view"), event("b", 5, "view")]
    assert live.apply(again, now=T0) == (), "one is known, the other lies in the future"
    assert live.apply(again, now=T0 + timedelta(days=5)) == (), "an event at the moment is not seen yet"
    assert moves(live.advance(now=T0 + timedelta(days=5, microseconds=1))) == [("c", True)]
    assert live.contains("twice", "c")


def test_many_new_ids_join_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_live_store, "MERGE", 7)
    live = LiveSegments({"many": "views_30d > 49"}, table([event("x0", -1, "view")]), NOBODY, now=T0)
    events = [event(f"x{n}", -1, "view") for n in range(50)]
    for one in [*events, *events]:
        live.apply([one], now=T0)
    assert live.members("many") == ["c"]
    assert live.why("many", "c").parts[0].value == 50


def test_a_late_line_makes_an_order_older() -> None:
    """The order's time is that of its first line: what counted, and which order is the last, is put right."""
    lines = [event("a", 0, "purchase", order_id="1", value=5), event("b", 10, "purchase", order_id="2", value=5)]
    live = LiveSegments({"now": "orders_30d == 2", "every": "interval_days == 10"}, table(lines), NOBODY, now=T0 + timedelta(days=12))
    assert live.contains("every", "c")
    live.apply([event("d", 2, "purchase", order_id="2", value=5)], now=T0 + timedelta(days=12))
    assert live.why("every", "c").parts[0].value == 2
    assert live.contains("now", "c")
    live.advance(now=T0 + timedelta(days=31))
    assert live.why("now", "c").parts[0].value == 1
    live.advance(now=T0 + timedelta(days=33))
    assert live.why("now", "c").parts[0].value == 0


def test_why_names_the_value_of_every_part() -> None:
    live = LiveSegments(
        SEGMENTS, table([event("a", 0, "view"), event("b", 0, "view")]), people(c=(-100, "en", None)), now=T0 + timedelta(days=2)
    )
    why = live.why("keen", "c")
    assert why.inside
    assert [(part.text, part.value, part.holds) for part in why.parts] == [("views_30d >= 2", 2, True), ("carts_30d == 0", 0, True)]
    out = live.why("asleep", "c")
    assert (out.inside, out.parts[0].value, out.parts[0].holds) == (False, None, None)
    assert "unknown: the cell is empty" in str(out)
    assert live.why("old", "c").turns is None or live.why("old", "c").turns > live.now  # type: ignore[operator]
    assert 'locale in ("zh-CN", "en"): true ("en")' in str(live.why("here", "c"))
    with pytest.raises(NotFound, match='no segment "kene"'):
        live.why("kene", "c")
    with pytest.raises(NotFound, match='no customer "d"'):
        live.why("keen", "d")
    assert not live.contains("keen", "d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stage == "new"', '"stage" hangs on more than'),
        ("frequenzy > 3", 'no column "frequenzy"'),
        ("frequency >", "expected a number"),
        ("last_at > 3", "last_at"),
    ],
)
def test_what_cannot_be_kept_up_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f'Segment "odd": .*{message}'):
        LiveSegments({"odd": text}, NONE, NOBODY, now=T0)


def test_time_does_not_go_back() -> None:
    live = LiveSegments({"keen": "views_30d >= 2"}, NONE, NOBODY, now=T0)
    with pytest.raises(InputError, match="cannot go back"):
        live.advance(now=T0 - timedelta(seconds=1))


KINDS = ("view", "cart", "purchase", "purchase", "refund", "sent", "open", "coupon")
HAPPENED = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from("abcd"), st.integers(0, 40), st.sampled_from([0, 50, 200]), st.sampled_from("12"),
        st.sampled_from([None, "CNY", "EUR"]), st.integers(0, 40),
    ),
    max_size=30,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(rows=HAPPENED, loaded=st.integers(0, 30), steps=st.lists(st.integers(1, 60), min_size=2, max_size=4))
def test_equal_to_the_batch_at_every_moment(
    rows: list[Any], loaded: int, steps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    equal_to_batch(rows, loaded, steps, tmp_path_factory.mktemp("batch"))


@settings(max_examples=3, deadline=None)
@given(rows=HAPPENED, loaded=st.integers(0, 30), steps=st.lists(st.integers(1, 60), min_size=2, max_size=3))
def test_equal_to_the_batch(rows: list[Any], loaded: int, steps: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    equal_to_batch(rows, loaded, steps, tmp_path_factory.mktemp("batch"))


def equal_to_batch(rows: list[Any], loaded: int, steps: list[int], folder: Path) -> None:
    """Some events are loaded, the others come late, twice and out of order, and some before their time; then time passes."""
    events = [
        event(f"e{n:02d}", day + (n % 3) / 7, kind, who, value=value, order_id=None if value == 50 else f"{who}{order}", currency=currency)
        for n, (kind, who, day, value, order, currency, _) in enumerate(rows)
    ]
    signed = people(a=(None, "zh-CN", "UTC"), b=(10, "en", None), e=(50, None, "UTC"), f=(None, None, None))
    now = T0 + timedelta(days=20)
    early = [one for one in events[:loaded] if one.at < now]
    live = LiveSegments(SEGMENTS, table(early), signed, now=now)
    with Home.open(folder / "shop") as home:
        collect_table(home, signed, now=T0)
        home.log.append(events, now=T0)
        home.log.compact(now=T0)
        late = sorted((one for one in events if one not in early), key=lambda one: rows[int(one.id[1:])][6])
        inside: dict[str, set[str]] = {name: set(live.members(name)) for name in SEGMENTS}
        for step in steps:
            now += timedelta(days=step / 3)
            arrived = late[: len(late) // 2] if step is not steps[-1] else late  # again and again: each counts once
            for change in live.apply([*arrived, *arrived[:3]], now=now):
                (inside[change.segment].add if change.entered else inside[change.segment].remove)(change.customer)
        batch = evaluate(SEGMENTS, profiles(home.tables, as_of=now))
        for name in SEGMENTS:
            assert set(live.members(name)) == set(batch[name]) == inside[name], (name, now)
        fresh = LiveSegments.of(home, SEGMENTS, now=now)
        assert {name: set(fresh.members(name)) for name in SEGMENTS} == inside, "a restart comes to the same"


def test_a_shop_catches_up_from_its_log(home: Home) -> None:
    home.log.append([event("a", 0, "view")], now=T0)
    live = LiveSegments.of(home, {"keen": "views_30d >= 2"}, now=T0 + timedelta(days=1))
    home.log.append([event("b", 0.5, "view"), event("z", 0.5, "view", None)], now=T0)
    assert moves(live.catch_up(home, now=T0 + timedelta(days=1.5))) == [("c", True)]
    assert live.catch_up(home, now=T0 + timedelta(days=1.6)) == ()
    assert len(live) == 1


def test_every_live_column_is_the_profiles(home: Home) -> None:
    """All values, not only memberships, are those of the batch profile, bit for bit."""
    import numpy as np

    events = [
        event(f"n{n}", n / 5, KINDS[n % len(KINDS)], "abc"[n % 3], value=n * 7, order_id=f"o{n // 4}", currency=[None, "CNY"][n % 2])
        for n in range(150)
    ]
    collect_table(home, people(a=(-3, "en", "UTC"), d=(-5, None, None)), now=T0)
    home.log.append(events, now=T0)
    now = T0 + timedelta(days=40, microseconds=123_457)
    live = LiveSegments.of(home, {"all": "frequency >= 0"}, now=T0 + timedelta(days=15))
    live.catch_up(home, now=now)
    live.apply(events, now=now)
    batch = profiles(home.tables, as_of=now)
    names = batch["customer"].to_pylist()
    rows = np.array([live._store.rows[name] for name in names])
    for column in LIVE.names:
        values, empty = live._store.cells(column, rows)
        got = [None if gone else value for value, gone in zip(values.tolist(), empty.tolist(), strict=True)]
        want = batch[column].to_pylist()
        assert got == [None if value is None else value if isinstance(value, str) else float(value) for value in want], column
