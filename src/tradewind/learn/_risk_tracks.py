"""Counts in windows of time, twice: over a whole log by sorting and searching, and kept per key for one moment at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._risk_log import CLAIM, KEYS, ORDER, REFUND, VIEW, Moment, Moments

Ints = NDArray[np.int64]
HOUR = 3_600_000_000  # microseconds
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR}
LONGEST = max(WINDOWS.values())
NAN = float("nan")


class Stream(NamedTuple):
    """Moments of one action counted by one key; ``paid`` sums what they paid, too; ``total`` counts all of them ever."""

    key: str
    what: str
    action: int
    windows: tuple[str, ...] = tuple(WINDOWS)
    paid: bool = False
    total: bool = False
    with_coupon: bool = False

    @property
    def name(self) -> str:
        return f"{self.key}_{self.what}"


STREAMS = (
    *(Stream(key, "orders", ORDER, paid=key in ("customer", "device", "card"), total=key == "customer") for key in KEYS),
    *(Stream(key, "claims", CLAIM) for key in ("customer", "device", "address", "coupon")),
    *(Stream(key, "refunds", REFUND, windows=("30d",)) for key in ("customer", "device", "address")),
    Stream("customer", "views", VIEW, windows=("1h", "24h")),
    Stream("customer", "coupons", ORDER, windows=(), total=True, with_coupon=True),
)
# (a, b): how many values of b a value of a met in its orders and claims.
PAIRS = (
    ("device", "customer"),
    ("address", "customer"),
    ("card", "customer"),
    ("coupon", "customer"),
    ("customer", "device"),
    ("customer", "address"),
    ("customer", "card"),
    ("device", "card"),
    ("address", "card"),
    ("card", "device"),
)


def many(key: str) -> str:
    """The plural in the names of features."""
    return "addresses" if key == "address" else f"{key}s"


def _names() -> tuple[str, ...]:
    found: list[str] = []
    for stream in STREAMS:
        found += [f"{stream.name}_{window}" for window in stream.windows]
        found += [f"{stream.key}_amount_{window}" for window in stream.windows if stream.paid]
        found += [stream.name] if stream.total else []
    for one, other in PAIRS:
        found += [f"{one}_new_{many(other)}_{window}" for window in WINDOWS] + [f"{one}_{many(other)}"]
    return tuple(found)


ALL = _names()


def met(one: str, other: str) -> str:
    """The hidden column that says whether a moment is not the first of its pair (1.0), or is (0.0)."""
    return f"{one}_met_{other}"


def over(moments: Moments, rows: Ints) -> dict[str, NDArray[np.float64]]:
    """The columns of ``ALL`` and the hidden ones for moments ``rows``, each from the moments before it; float64, NaN: key not known."""
    total = len(moments)
    bounds = {name: np.searchsorted(moments.at, moments.at[rows] - width, side="left") for name, width in WINDOWS.items()}
    columns: dict[str, NDArray[np.float64]] = {}
    for stream in STREAMS:
        code = moments.code[stream.key]
        counted = (moments.action == stream.action) & (code >= 0)
        if stream.with_coupon:
            counted &= moments.code["coupon"] >= 0
        track = _Sorted(code, np.flatnonzero(counted), moments.amount, total)
        mine, known = code[rows], code[rows] >= 0
        end, begin = track.place(mine, rows), track.place(mine, np.zeros_like(rows))
        for window in stream.windows:
            start = track.place(mine, bounds[window])
            columns[f"{stream.name}_{window}"] = np.where(known, end - start, NAN)
            if stream.paid:
                columns[f"{stream.key}_amount_{window}"] = np.where(known, track.sums[end] - track.sums[start], NAN)
        if stream.total:
            columns[stream.name] = np.where(known, end - begin, NAN)
        if stream.total and stream.paid:
            columns[f"{stream.key}_paid"] = np.where(known, track.sums[end] - track.sums[begin], NAN)
    for one, other in PAIRS:
        columns |= _pair(moments, rows, (one, other), bounds)
    columns["claimed_at"] = _claimed(moments, rows)
    return columns


class _Sorted:
    """Moments ``rows`` sorted by (code, place in the log), with running sums of ``weight``."""

    def __init__(self, code: Ints, rows: Ints, weight: Ints, total: int) -> None:
        self._step = total + 1
        keys = code[rows] * self._step + rows
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        self.sums = np.concatenate(([0], np.cumsum(weight[rows][order])))

    def place(self, code: Ints, before: Ints) -> Ints:
        """How many entries come before (code, place ``before``)."""
        return np.searchsorted(self.keys, code * self._step + before, side="left")


def _pair(moments: Moments, rows: Ints, pair: tuple[str, str], bounds: dict[str, Ints]) -> dict[str, NDArray[np.float64]]:
    one, other = pair
    code, second = moments.code[one], moments.code[other]
    both = np.flatnonzero(np.isin(moments.action, (CLAIM, ORDER)) & (code >= 0) & (second >= 0))
    joint = code[both] * (len(moments.names[other]) + 1) + second[both]
    first = np.sort(both[np.unique(joint, return_index=True)[1]])
    is_first = np.zeros(len(moments), dtype=bool)
    is_first[first] = True
    track = _Sorted(code, first, np.zeros(len(moments), dtype=np.int64), len(moments))
    mine, known = code[rows], code[rows] >= 0
    end, begin = track.place(mine, rows), track.place(mine, np.zeros_like(rows))
    fresh = is_first[rows]
    found = {f"{one}_new_{many(other)}_{name}": np.where(known, end - track.place(mine, bounds[name]), NAN) for name in WINDOWS}
    found[f"{one}_{many(other)}"] = np.where(known, end - begin + fresh, NAN)
    found[met(one, other)] = np.where(known & (second[rows] >= 0), ~fresh, NAN)
    return found


def _claimed(moments: Moments, rows: Ints) -> NDArray[np.float64]:
    """When the customer last claimed the coupon of a moment; NaN where never."""
    coupons = len(moments.names["coupon"]) + 1
    joint = np.where(
        (moments.code["customer"] >= 0) & (moments.code["coupon"] >= 0), moments.code["customer"] * coupons + moments.code["coupon"], -1
    )
    claims = np.flatnonzero((moments.action == CLAIM) & (joint >= 0))
    track = _Sorted(joint, claims, moments.amount, len(moments))
    end = track.place(joint[rows], rows)
    found = (joint[rows] >= 0) & (end > track.place(joint[rows], np.zeros_like(rows)))
    latest = track.keys % (len(moments) + 1)
    at = np.full(len(rows), NAN)
    at[found] = moments.at[latest[end[found] - 1]]
    return at


class Track:
    """Times of one key in order, with running sums; what is older than the longest window is only counted."""

    __slots__ = ("gone", "spent", "sums", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.sums: list[int] = []  # of all that came before, this entry included
        self.gone = 0  # entries that were dropped
        self.spent = 0  # what those paid

    def add(self, at: int, amount: int) -> None:
        """Enter a moment; a late one takes its place in time."""
        place = bisect_right(self.times, at)
        before = self.sums[place - 1] if place else self.spent
        self.times.insert(place, at)
        self.sums.insert(place, before + amount)
        for later in range(place + 1, len(self.sums)):
            self.sums[later] += amount
        half = len(self.times) // 2
        if half > 32 and self.times[half - 1] < at - 2 * LONGEST:
            self.gone, self.spent = self.gone + half, self.sums[half - 1]
            del self.times[:half], self.sums[:half]

    def move(self, known: int, at: int) -> None:
        """An entry that pays nothing belongs to another time."""
        place = bisect_left(self.times, known)
        if place < len(self.times) and self.times[place] == known:
            del self.times[place]
            self.times.insert(bisect_right(self.times, at), at)

    def window(self, at: int, width: int) -> tuple[int, int]:
        """How many moments of the last ``width`` microseconds there are, and what they paid."""
        end, start = bisect_right(self.times, at), bisect_left(self.times, at - width)
        return end - start, (self.sums[end - 1] if end else self.spent) - (self.sums[start - 1] if start else self.spent)

    def all(self, at: int) -> tuple[int, int]:
        """The same for all time before."""
        end = bisect_right(self.times, at)
        return self.gone + end, self.sums[end - 1] if end else self.spent


_NONE = Track()


class Tracks:
    """The counts of ``over`` for one moment at a time."""

    def __init__(self) -> None:
        self._streams: list[defaultdict[str, Track]] = [defaultdict(Track) for _ in STREAMS]
        self._firsts: list[defaultdict[str, Track]] = [defaultdict(Track) for _ in PAIRS]
        self._met: list[dict[tuple[str, str], int]] = [{} for _ in PAIRS]
        self._claims: dict[tuple[str, str], list[int]] = {}

    def look(self, moment: Moment) -> dict[str, Any]:
        """The values of ``ALL`` and the hidden ones; reads only."""
        row: dict[str, Any] = {}
        for stream, tracks in zip(STREAMS, self._streams, strict=True):
            value = getattr(moment, stream.key)
            track = _NONE if value is None else tracks.get(value, _NONE)
            for window in stream.windows:
                count, paid = (NAN, NAN) if value is None else track.window(moment.at, WINDOWS[window])
                row[f"{stream.name}_{window}"] = float(count)
                if stream.paid:
                    row[f"{stream.key}_amount_{window}"] = float(paid)
            if stream.total:
                count, paid = (NAN, NAN) if value is None else track.all(moment.at)
                row[stream.name] = float(count)
                if stream.paid:
                    row[f"{stream.key}_paid"] = float(paid)
        for number, (one, other) in enumerate(PAIRS):
            row |= self._look_pair(number, one, other, moment)
        row["claimed_at"] = self._claimed(moment)
        return row

    def _look_pair(self, number: int, one: str, other: str, moment: Moment) -> dict[str, float]:
        value, second = getattr(moment, one), getattr(moment, other)
        track = _NONE if value is None else self._firsts[number].get(value, _NONE)
        fresh = value is not None and second is not None and self._met[number].get((value, second), moment.at + 1) > moment.at
        row = {
            f"{one}_new_{many(other)}_{name}": NAN if value is None else float(track.window(moment.at, width)[0])
            for name, width in WINDOWS.items()
        }
        row[f"{one}_{many(other)}"] = NAN if value is None else float(track.all(moment.at)[0] + fresh)
        row[met(one, other)] = NAN if value is None or second is None else float(not fresh)
        return row

    def _claimed(self, moment: Moment) -> float:
        times = self._claims.get((moment.customer or "", moment.coupon or ""), ())
        place = bisect_right(times, moment.at)
        return float(times[place - 1]) if place else NAN

    def add(self, moment: Moment) -> None:
        """Take in a moment."""
        for stream, tracks in zip(STREAMS, self._streams, strict=True):
            value = getattr(moment, stream.key)
            if stream.action == moment.action and value is not None and not (stream.with_coupon and moment.coupon is None):
                tracks[value].add(moment.at, moment.amount)
        if moment.action not in (CLAIM, ORDER):
            return
        for number, (one, other) in enumerate(PAIRS):
            value, second = getattr(moment, one), getattr(moment, other)
            if value is not None and second is not None:
                self._meet(number, (value, second), moment.at)
        if moment.action == CLAIM and moment.customer is not None and moment.coupon is not None:
            times = self._claims.setdefault((moment.customer, moment.coupon), [])
            times.insert(bisect_right(times, moment.at), moment.at)

    def _meet(self, number: int, pair: tuple[str, str], at: int) -> None:
        """Note when a pair first met; a late moment may move it to before what was thought."""
        known = self._met[number].get(pair)
        if known is not None and known <= at:
            return
        track = self._firsts[number][pair[0]]
        if known is not None:
            track.move(known, at)
        else:
            track.add(at, 0)
        self._met[number][pair] = at
