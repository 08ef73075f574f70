"""When to send: the next best hour of each customer, outside the quiet hours of the customer's own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from tradewind.decide.features import doubles
from tradewind.decide.request import Limits
from tradewind.types import micros

_HOUR = timedelta(hours=1)


def send_times(profiles: pa.Table, *, as_of: datetime, limits: Limits, zone: str, impersonal: np.ndarray) -> tuple[np.ndarray, int]:
    """The moment of sending per row in microseconds UTC (int64), and how many rows named a zone that does not exist.

    The best hour (UTC) of the profile is taken where its confidence reaches ``limits.hour_confidence`` and the
    customer (bool ``impersonal``) allows it, else ``limits.default_hour`` local. A moment in the quiet hours moves to
    their end. Rows without a zone, or with an unknown one, live in ``zone``.
    """
    n = profiles.num_rows
    hours = _numbers(profiles, "best_hour", n)
    sure = (_numbers(profiles, "hour_confidence", n) >= limits.hour_confidence) & np.isfinite(hours) & ~impersonal
    zones = np.array(profiles["zone"].to_pylist() if "zone" in profiles.column_names else [None] * n, dtype=object)
    wanted = np.where(sure, np.nan_to_num(hours), -1).astype(np.int64)
    known: dict[tuple[str | None, int], int] = {}
    bad = 0
    times = np.empty(n, dtype=np.int64)
    clocks: dict[str | None, ZoneInfo | None] = {}
    for row, (name, hour) in enumerate(zip(zones.tolist(), wanted.tolist(), strict=True)):
        if name not in clocks:
            clocks[name] = _clock(name)
        bad += name is not None and clocks[name] is None
        key = (name, hour)
        if key not in known:
            known[key] = micros(_next(as_of, hour, clocks[name] or ZoneInfo(zone), limits))
        times[row] = known[key]
    return times, bad


def _clock(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def _next(as_of: datetime, hour: int, clock: ZoneInfo, limits: Limits) -> datetime:
    """First whole hour at or after ``as_of`` that is the wanted one (UTC ``hour``; -1: the local default), then out of the quiet."""
    moment = as_of.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if moment < as_of:
        moment += _HOUR
    for _ in range(26):  # a day, and the hour that a clock change may skip
        local = moment.astimezone(clock).hour
        if (moment.hour == hour) if hour >= 0 else (local == limits.default_hour):
            break
        moment += _HOUR
    while limits.quiet(moment.astimezone(clock).hour):
        moment += _HOUR
    return moment


def _numbers(table: pa.Table, name: str, n: int) -> np.ndarray:
    if name not in table.column_names:
        return np.full(n, np.nan)
    return doubles(table[name], np.nan)
