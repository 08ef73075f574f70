"""Holidays of China, Europe and the United States, from ``demand_holidays.toml``: what is known of the future without asking anybody."""

from __future__ import annotations

import re
import tomllib
from datetime import date, timedelta
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import SchemaError, unknown

FAR = 30  # days: a holiday further away says nothing
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE = re.compile(r"(?P<fixed>\d\d-\d\d)|easter(?P<easter>[+-]\d+)|(?P<month>\d\d)/(?P<day>[a-z]{3})/(?P<nth>-?\d)(?:\+(?P<plus>\d+))?")


def regions() -> list[str]:
    """Names of the regions that have a calendar."""
    return sorted(_rules())


def holidays(region: str, years: range) -> dict[date, str]:
    """The days of a region in some years with their names.

    Raises
    ------
    NotFound
        There is no calendar of that name.
    """
    rules = _rules()
    if region not in rules:
        raise unknown("holiday calendar", region, rules)
    found: dict[date, str] = {}
    for name, rule in rules[region].items():
        days = [date.fromisoformat(one) for one in rule] if isinstance(rule, list) else [_day(rule, year) for year in years]
        found |= {day: name for day in days if day.year in years}
    return found


def distance(days: NDArray[np.datetime64], region: str | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Days until the next holiday and since the last one, for each of ``days``; at most ``FAR``, which also stands for no calendar."""
    far = np.full(len(days), float(FAR))
    if region is None or not len(days):
        return far, far.copy()
    known = _sorted(region, days[0].item().year - 1, days[-1].item().year + 1)
    at = np.searchsorted(known, days, side="left")
    until = (known[np.minimum(at, len(known) - 1)] - days).astype(np.int64)
    since = (days - known[np.maximum(np.searchsorted(known, days, side="right") - 1, 0)]).astype(np.int64)
    until, since = np.where(until < 0, FAR, until), np.where(since < 0, FAR, since)
    return np.minimum(until, FAR).astype(np.float64), np.minimum(since, FAR).astype(np.float64)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm of 1876, after Meeus, Astronomical Algorithms, ch. 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def _day(rule: str, year: int) -> date:
    told = _RULE.fullmatch(rule)
    if told is None:
        raise SchemaError(f'demand_holidays.toml: "{rule}" is no rule of that file.')
    if told["fixed"]:
        return date.fromisoformat(f"{year}-{told['fixed']}")
    if told["easter"]:
        return easter(year) + timedelta(days=int(told["easter"]))
    month, wanted, nth = int(told["month"]), WEEKDAYS.index(told["day"]), int(told["nth"])
    if nth > 0:
        first = date(year, month, 1)
        found = first + timedelta(days=(wanted - first.weekday()) % 7 + 7 * (nth - 1))
    else:
        end = (date(year, month, 28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        found = end - timedelta(days=(end.weekday() - wanted) % 7 + 7 * (-nth - 1))
    return found + timedelta(days=int(told["plus"] or 0))


@cache
def _sorted(region: str, first: int, last: int) -> NDArray[np.datetime64]:
    return np.array(sorted(holidays(region, range(first, last + 1))), dtype="datetime64[D]")


@cache
def _rules() -> dict[str, dict[str, str | list[str]]]:
    text = resources.files("tradewind.learn").joinpath("demand_holidays.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
