"""When people buy: weekly and yearly rhythm, festival peaks, and the hours of a day in the customer's zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

ZONES = (
    "Asia/Shanghai",
    "Asia/Urumqi",
    "Asia/Hong_Kong",
    "Asia/Singapore",
    "Europe/London",
    "America/New_York",
    "America/Los_Angeles",
)
FESTIVALS = (((6, 18), 2.4), ((11, 11), 3.2), ((12, 12), 2.0))  # (month, day), demand on the day as a multiple of a normal one


def demand(day: datetime) -> float:
    """Demand of a day as a multiple of an average one: weekend, season of the year, festivals with a three-day ramp."""
    weekend = 1.18 if day.weekday() >= 5 else 0.93
    yearly = 1 + 0.12 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 330) / 365.25)
    peak = 1.0
    for (month, number), height in FESTIVALS:
        distance = abs((day.date() - day.date().replace(month=month, day=number)).days)
        peak = max(peak, 1 + (height - 1) * max(0.0, 1 - distance / 4))
    return float(weekend * yearly * peak)


def demands(start: datetime, days: int) -> NDArray[np.float64]:
    """Demand of each 24-hour block from ``start``, float64[days]."""
    return np.array([demand(start + timedelta(days=number)) for number in range(days)])


def offsets(at: datetime) -> NDArray[np.int64]:
    """Whole hours that each of ``ZONES`` is ahead of UTC at a moment."""
    return np.array([_hours(ZoneInfo(name).utcoffset(at)) for name in ZONES])


@cache
def profile() -> NDArray[np.float64]:
    """Share of a day's activity per hour, float64[24 peaks, 24 hours]: quiet nights, one broad peak."""
    hour = np.arange(24)
    distance = (hour[None, :] - hour[:, None] + 12) % 24 - 12
    share = 0.15 + np.exp(-0.5 * (distance / 3.0) ** 2)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def fit(peak: NDArray[np.int64], hour: NDArray[np.int64]) -> NDArray[np.float64]:
    """How well an hour suits a person whose best hour is ``peak`` (same clock): 0.65 at worst, 1.15 at best."""
    return np.asarray(0.65 + 0.5 * np.exp(2 * (np.cos(2 * np.pi * (hour - peak) / 24) - 1)))


def _hours(delta: timedelta | None) -> int:
    assert delta is not None
    return round(delta.total_seconds() / 3600)
