"""The grid of demand: what odd input means is defined; holidays fall on their days."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tradewind.errors import InputError, NotFound
from tradewind.learn._demand_calendar import distance, easter, holidays, regions
from tradewind.learn._demand_grid import Panel, masked, regular, with_promotions

END = date(2026, 1, 11)


def sales(*given: tuple[str, int, float | None], **more: list[Any]) -> pa.Table:
    """Rows (item, day of January, quantity)."""
    item, day, quantity = zip(*given, strict=True) if given else ((), (), ())
    days = pa.array([date(2026, 1, one) for one in day], pa.date32())
    return pa.table({"item": pa.array(item, pa.string()), "day": days, "quantity": pa.array(quantity, pa.float64()), **more})


def test_days_without_a_sale_are_zero_from_the_first_sale_on() -> None:
    panel = regular(sales(("a", 1, 2), ("b", 8, 1), ("a", 4, 3)), end=END)
    assert panel.items == ("a", "b")
    assert panel.y[0].tolist() == [2, 0, 0, 3, 0, 0, 0, 0, 0, 0]
    assert np.isnan(panel.y[1, :7]).all()
    assert panel.y[1, 7:].tolist() == [1, 0, 0]
    assert panel.dates(ahead=1)[-1] == np.datetime64(END)


def test_duplicates_add_up_returns_are_counted_and_nulls_are_unknown() -> None:
    panel = regular(sales(("a", 1, 2), ("a", 1, 3), ("a", 2, -4), ("a", 3, None), ("a", 4, 1), ("a", 12, 9)), end=END)
    assert panel.y[0, :2].tolist() == [5, 0]
    assert np.isnan(panel.y[0, 2])
    assert panel.y[0, 3] == 1
    assert panel.left_out == {"returns": 1, "outside": 1}


def test_stores_are_series_of_their_own() -> None:
    panel = regular(sales(("a", 1, 2), ("a", 1, 3), store=["x", "y"]), end=END)
    assert (panel.items, panel.stores) == (("a", "a"), ("x", "y"))
    gone = masked(panel, pa.table({"item": ["a"], "store": ["y"], "start": [date(2026, 1, 3)], "end": pa.array([None], pa.date32())}))
    assert np.isnan(gone.y[1, 2:]).all()
    assert np.isfinite(gone.y[0]).all()


def test_weeks_and_months_that_are_not_over_are_left_out() -> None:
    assert regular(sales(("a", 1, 2), ("a", 9, 3)), end=END, step="week").y.tolist() == [[2]]
    with pytest.raises(InputError, match="no whole month"):
        regular(sales(("a", 1, 2)), end=END, step="month")


def test_intervals_touch_the_periods_that_they_overlap() -> None:
    panel = regular(sales(("a", 1, 2)), end=END)
    when = pa.table({"item": ["a", "?"], "start": [date(2026, 1, 3), date(2026, 1, 1)], "end": [date(2026, 1, 5), date(2026, 1, 5)]})
    assert np.flatnonzero(np.isnan(masked(panel, when).y[0])).tolist() == [2, 3]
    plan = pa.table({"item": ["a"], "start": [date(2026, 1, 10)], "end": [date(2026, 1, 13)]})
    known = with_promotions(panel, plan, ahead=3).promotions(13)[0]
    assert np.flatnonzero(known).tolist() == [9, 10, 11]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (sales(), "no sale before"),
        (sales(("a", 20, 1)), "no sale before"),
        (sales(("a", 1, float("inf"))), "infinite"),
        (sales(("a", 1, 1)).drop_columns(["quantity"]), "quantity"),
        (pa.table({"item": pa.array([None], pa.string()), "day": [date(2026, 1, 1)], "quantity": [1.0]}), 'no "item"'),
        (pa.table({"item": ["a"], "day": pa.array([None], pa.date32()), "quantity": [1.0]}), 'no "day"'),
    ],
)
def test_what_cannot_be_used_is_refused(table: pa.Table, told: str) -> None:
    with pytest.raises(InputError, match=told):
        regular(table, end=END)


def test_a_panel_refuses_returns_and_wrong_shapes() -> None:
    with pytest.raises(InputError, match="Returns are no demand"):
        Panel(("a",), END, np.array([[1.0, -1.0]]))
    with pytest.raises(InputError, match="must be"):
        Panel(("a", "b"), END, np.ones((1, 3)))


def test_holidays_fall_on_their_days() -> None:
    assert regions() == ["cn", "eu", "us"]
    assert [easter(year) for year in (1961, 2000, 2024, 2026)] == [
        date(1961, 4, 2), date(2000, 4, 23), date(2024, 3, 31), date(2026, 4, 5)
    ]  # fmt: skip
    us, eu, cn = (holidays(name, range(2026, 2027)) for name in ("us", "eu", "cn"))
    assert us[date(2026, 11, 26)] == "thanksgiving"
    assert us[date(2026, 5, 25)] == "memorial"
    assert us[date(2026, 11, 30)] == "cyber_monday"
    assert eu[date(2026, 4, 3)] == "good_friday"
    assert eu[date(2026, 11, 27)] == "black_friday"
    assert cn[date(2026, 2, 17)] == "spring_festival"
    until, since = distance(np.array(["2026-12-24", "2026-12-25", "2026-12-28"], dtype="datetime64[D]"), "us")
    assert (until.tolist(), since.tolist()) == ([1, 0, 4], [24, 0, 3])
    with pytest.raises(NotFound, match='"uk"'):
        holidays("uk", range(2026, 2027))


def test_lunar_days_agree_with_the_moon() -> None:
    """The first of a lunar month is the day of a new moon in China, so the other festivals are so many days after one."""
    for name, day_of_month in (("spring_festival", 1), ("dragon_boat", 5), ("qixi", 7), ("mid_autumn", 15)):
        found = sorted(day for day, said in holidays("cn", range(2009, 2031)).items() if said == name)
        assert [day.year for day in found] == list(range(2009, 2031)), name
        for day in found:
            first = day - timedelta(days=day_of_month - 1)
            age = ((first - date(2000, 1, 6)).days - 0.1) % 29.530588853  # a mean new moon: 2000-01-06 18:14 UTC, 02:14 of the 7th in China
            assert min(age, 29.530588853 - age) < 1.7, (name, day)  # the true moon strays up to 0.6 days from the mean one
