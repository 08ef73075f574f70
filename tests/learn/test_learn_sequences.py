"""Sequences: order, ties, cuts, and the same arrays from tables as from a plain sort."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_kit import AS_OF, event, fill, random_events

from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound
from tradewind.learn.sequences import EVENT_ARRAYS, KINDS, Sequences, sequences
from tradewind.types import from_micros, micros

DAY = timedelta(days=1)


def plain(rows: list[dict[str, Any]], customer: str) -> list[tuple[Any, ...]]:
    mine = [row for row in rows if row["customer"] == customer and row["at"] < AS_OF]
    return [
        (row["item"], row["kind"], micros(row["at"]), row["value"] or 0) for row in sorted(mine, key=lambda row: (row["at"], row["id"]))
    ]


def read(log: Sequences, row: int) -> list[tuple[Any, ...]]:
    part = slice(log.offsets[row], log.offsets[row + 1])
    names = [log.items[code] if code >= 0 else None for code in log.item[part]]
    kinds = [KINDS[code] for code in log.kind[part]]
    return list(zip(names, kinds, log.at[part].tolist(), log.value[part].tolist(), strict=True))


@pytest.mark.parametrize("last", [None, 1, 7])
def test_sequences_equal_a_plain_sort(home: Home, last: int | None) -> None:
    rows = random_events(2, 500)
    log = sequences(fill(home, rows).tables, as_of=AS_OF, last=last)
    assert list(log.customers) == sorted({row["customer"] for row in rows if row["customer"] and row["at"] < AS_OF})
    for number, customer in enumerate(log.customers):
        assert read(log, number) == plain(rows, customer)[-(last or 10**6) :]
    assert {"i-unlisted", "never sold"} <= set(log.items)
    assert list(log.items) == sorted(log.items)
    assert [getattr(log, name).dtype for name in EVENT_ARRAYS] == ["int32", "int8", "int64", "int64", "int8", "int32", "int8"]


def test_categories_bands_and_channels(home: Home) -> None:
    rows = [
        event(1, AS_OF - 2 * DAY, kind="purchase", item="i1", quantity=2.0, value=10, channel="sms"),
        event(2, AS_OF - DAY, item="i-unlisted", channel="pigeon"),
        event(3, AS_OF - DAY, item=None, kind="search"),
        event(4, AS_OF - DAY, item="café"),
    ]
    log = sequences(fill(home, rows).tables, as_of=AS_OF)
    assert [log.categories[code] if code >= 0 else None for code in log.category] == ["Tea > Green", None, None, None]
    assert log.channel.tolist() == [1, -1, -1, -1]
    assert log.band.tolist()[1:3] == [-1, -1]
    assert log.band[3] == 4 > log.band[0] >= 0  # café is the dearest


def test_kinds_are_counted_after_the_choice(home: Home) -> None:
    rows = [event(n, AS_OF - n * DAY, kind="view" if n % 2 else "purchase", item="i1") for n in range(1, 9)]
    log = sequences(fill(home, rows).tables, as_of=AS_OF, last=2, kinds=["purchase"])
    assert [(AS_OF - from_micros(at)).days for at in log.at.tolist()] == [4, 2]


def test_an_empty_shop_has_empty_sequences(home: Home) -> None:
    log = sequences(home.tables, as_of=AS_OF, last=3)
    assert len(log) == len(log.items) == len(log.at) == 0
    assert log.offsets.tolist() == [0]
    assert log.histories(["nobody"]).lengths.tolist() == [0]


def test_wrong_arguments(home: Home) -> None:
    with pytest.raises(InputError, match="1 or more"):
        sequences(home.tables, as_of=AS_OF, last=0)
    with pytest.raises(NotFound, match='event kind "buy"'):
        sequences(home.tables, as_of=AS_OF, kinds=["buy"])


Rows = list[tuple[str, str | None, int]]
events = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y", None]), st.integers(0, 5)), max_size=30)


def log_of(events: Rows, *, kind: str = "purchase") -> Sequences:
    who, what, when = [row[0] for row in events], [row[1] for row in events], [row[2] for row in events]
    return Sequences.from_arrays(who, item=what, at=when, kind=kind)


@given(events=events, cut=st.integers(0, 6))
@settings(deadline=None)
def test_a_split_loses_and_doubles_nothing(events: Rows, cut: int) -> None:
    log = log_of(events, kind="view")
    train, targets = log.split(from_micros(cut))
    assert train.customers is log.customers
    assert (train.at < cut).all()
    assert (targets.at >= cut).all()
    for row in range(len(log)):
        assert read(train, row) + read(targets, row) == read(log, row)
        assert read(log.last(2), row) == read(log, row)[-2:]
    assert train.at.tolist() == log.before(from_micros(cut)).at.tolist()


@given(events=events, wanted=st.lists(st.sampled_from("abcdz"), max_size=6))
@settings(deadline=None)
def test_histories_come_in_the_asked_order(events: Rows, wanted: list[str]) -> None:
    log = log_of(events)
    row_of = {name: row for row, name in enumerate(log.customers)}
    some = log.histories(wanted)
    assert list(some.customers) == wanted
    for row, name in enumerate(wanted):
        assert read(some, row) == (read(log, row_of[name]) if name in row_of else [])
    assert len(some.owner) == some.offsets[-1]


def test_ties_keep_the_given_order() -> None:
    log = Sequences.from_arrays(["a"] * 5, item=list("vwxyz"), at=[1, 1, 0, 1, 1], categories={"x": "c"})
    assert [log.items[code] for code in log.item] == list("xvwyz")
    assert log.category.tolist() == [0, -1, -1, -1, -1]
    assert log.kind.tolist() == [KINDS.index("purchase")] * 5
    assert np.array_equal(log.only(["view"]).lengths, [0])
