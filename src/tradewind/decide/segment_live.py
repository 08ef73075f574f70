"""Live segments: an event changes who is in at once, time changes it by itself, and every membership has its reason.

    live = LiveSegments({"asleep": "recency_days > 30"}, events, people, now=now)
    live.apply([event], now=now)     # -> (Change("asleep", "customer-42", entered=False, ...),)
    live.advance(now=later)          # who has not bought for thirty days by then enters
    print(live.why("asleep", "customer-42"))

The expressions are those of offers and audiences over the profile; the columns are those that follow from a customer's own events
(``segment_live_store.LIVE``). At every moment the members are exactly those of the batch evaluation of the same expression on the
profiles as of that moment: a wheel holds, per customer, the next microsecond at which a comparison can turn over.

When not to use: for columns that hang on the whole shop or on models (stage, top_category, open_rate); they are refused by name.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tradewind.collect.studied import studied
from tradewind.decide import expression
from tradewind.decide.segment_live_store import DAY, LIVE, NEEDED, NEVER, Store
from tradewind.errors import InputError, did_you_mean, unknown
from tradewind.learn.profiles import PROFILE
from tradewind.types import Event, from_micros, micros, utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

TIMED = ("recency_days", "tenure_days")  # they grow by themselves
OVERLAP = timedelta(days=1)  # how late an event may be for catch_up to find it


@dataclass(frozen=True, slots=True)
class Change:
    """A customer came into a segment or left it; ``at``: the moment at which that was noticed."""

    segment: str
    customer: str
    entered: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class PartValue:
    """One comparison of an expression for one customer: its words, the value of the column (None: empty), and whether it holds.

    ``holds`` is None where the cell is empty: the comparison is neither true nor false.
    """

    text: str
    value: float | str | None
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a customer is in a segment or not; ``turns``: when a comparison with days turns over next. Prints as English."""

    segment: str
    customer: str
    inside: bool
    expression: str
    parts: tuple[PartValue, ...]
    turns: datetime | None = None

    def __str__(self) -> str:
        words = {True: "true", False: "false", None: "unknown: the cell is empty"}
        lines = [f"{self.customer} is {'in' if self.inside else 'not in'} {self.segment}: {self.expression}"]
        lines += [f"  {part.text}: {words[part.holds]} ({_shown(part.value)})" for part in self.parts]
        if self.turns is not None:
            lines.append(f"  a comparison with days turns over at {self.turns:%Y-%m-%d %H:%M:%S} UTC")
        return "\n".join(lines)


class _Cells(expression.Cells):
    """Columns of some rows of the store, read when an expression asks for them."""

    def __init__(self, store: Store, rows: np.ndarray) -> None:
        dict.__init__(self)
        self._store, self._rows = store, rows

    def __missing__(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        self[name] = found = self._store.cells(name, self._rows)
        return found


class LiveSegments:
    """Named segments over one shop's customers, kept up by single events. Not safe to share between threads."""

    def __init__(self, segments: Mapping[str, str], events: pa.Table, people: pa.Table, *, now: datetime) -> None:
        """``segments``: name -> expression; ``events`` with the columns ``NEEDED`` and ``people`` as ``schema.CUSTOMERS``, until ``now``.

        Raises
        ------
        InputError
            An expression cannot be read, or names a column that no single event can change.
        """
        self._texts = dict(segments)
        self._conditions = {name: _compiled(name, text) for name, text in self._texts.items()}
        self._steps = {column: _steps(self._texts.values(), column) for column in TIMED}
        self._store = Store(events, people, now=micros(now))
        size = len(self._store)
        self._inside = {name: np.zeros(size, dtype=bool) for name in self._texts}
        self._timers: list[tuple[int, int]] = []
        self._due = self._judge(np.arange(size))
        self._loaded = np.argsort(self._due, kind="stable")  # rows by the timers that the load set; later ones are in the heap
        self._first = self._due[self._loaded]
        self._next = 0

    @classmethod
    def of(cls, home: Home, segments: Mapping[str, str], *, now: datetime) -> LiveSegments:
        """The segments of a shop from all events before ``now`` that were collected, those in the inbox included."""
        home.log.compact(now=now)
        tables = studied(home)
        events = tables.to_arrow(tables.events(as_of=now).select(*NEEDED))
        return cls(segments, events, tables.to_arrow(tables.get("customers")), now=now)

    def __len__(self) -> int:
        return len(self._store)

    @property
    def now(self) -> datetime:
        """The moment that the members are those of."""
        return from_micros(self._store.now)

    def apply(self, events: Iterable[Event], *, now: datetime) -> tuple[Change, ...]:
        """Take events in, each once whatever is repeated, go on to ``now``, and return who came and who left.

        An event at ``now`` or later is seen when time has passed it, as in profiles.
        """
        touched = self._advance(now)
        touched.update(row for event in events if (row := self._store.hear(event)) is not None)
        return self._changed(touched)

    def advance(self, *, now: datetime) -> tuple[Change, ...]:
        """Let time pass; who is touched by that alone is looked at."""
        return self._changed(self._advance(now))

    def catch_up(self, home: Home, *, now: datetime) -> tuple[Change, ...]:
        """Take in what the shop's log holds since a day before the last moment, inbox included."""
        home.log.compact(now=now)
        events = studied(home).events(as_of=now)
        fresh = home.tables.to_arrow(events.filter(events.at >= self.now - OVERLAP).select(*NEEDED))
        return self.apply((Event(**row) for row in fresh.to_pylist()), now=now)

    def members(self, segment: str) -> list[str]:
        """Who is in, in no order.

        Raises
        ------
        NotFound
            There is no such segment.
        """
        inside = self._mask(segment)
        return [self._store.names[row] for row in np.flatnonzero(inside[: len(self._store)]).tolist()]

    def contains(self, segment: str, customer: str) -> bool:
        """Whether a customer is in; an unknown one is in none."""
        row = self._store.rows.get(customer)
        return row is not None and row < len(self._mask(segment)) and bool(self._mask(segment)[row])

    def why(self, segment: str, customer: str) -> Why:
        """Why a customer is in a segment or not: every comparison with the value that it looked at.

        Raises
        ------
        NotFound
            There is no such segment or customer.
        """
        inside = self._mask(segment)
        if customer not in self._store.rows:
            raise unknown("customer", customer, self._store.names[:3])
        row = self._store.rows[customer]
        text, due = self._texts[segment], int(self._due[row])
        parts = values(text, LIVE, _Cells(self._store, np.array([row])))
        return Why(segment, customer, bool(inside[row]), text, parts, from_micros(due) if due < NEVER else None)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _mask(self, segment: str) -> np.ndarray:
        if segment not in self._inside:
            raise unknown("segment", segment, self._inside)
        return self._inside[segment]

    def _advance(self, now: datetime) -> set[int]:
        moment = micros(utc(now, what="now"))
        if moment < self._store.now:
            raise InputError(f"Live segments are at {self.now:%Y-%m-%d %H:%M:%S} UTC and cannot go back to {now:%Y-%m-%d %H:%M:%S}.")
        touched = self._store.advance(moment)
        end = self._next + int(np.searchsorted(self._first[self._next :], moment, side="right"))
        touched.update(self._loaded[self._next : end].tolist())
        self._next = end
        while self._timers and self._timers[0][0] <= moment:
            touched.add(heapq.heappop(self._timers)[1])
        return touched

    def _changed(self, touched: set[int]) -> tuple[Change, ...]:
        self._grow()
        rows = np.fromiter(sorted(touched), dtype=np.int64, count=len(touched))
        if not len(rows):
            return ()
        before = {name: inside[rows] for name, inside in self._inside.items()}
        due = self._judge(rows)
        for row, when, known in zip(rows.tolist(), due.tolist(), self._due[rows].tolist(), strict=True):
            if when < NEVER and when != known:
                heapq.heappush(self._timers, (when, row))
        self._due[rows] = due
        names, at = self._store.names, self.now
        return tuple(
            Change(name, names[row], bool(self._inside[name][row]), at)
            for name, was in before.items()
            for row in rows[was != self._inside[name][rows]].tolist()
        )

    def _judge(self, rows: np.ndarray) -> np.ndarray:
        """Settle the membership of some rows now; returns when a comparison with days turns over next, NEVER: not at all."""
        cells, known = _Cells(self._store, rows), self._store.known(rows)
        for name, condition in self._conditions.items():
            self._inside[name][rows] = condition(cells).yes & known
        due = np.full(len(rows), NEVER, dtype=np.int64)
        now = self._store.now
        signed = self._store.column("signed")[rows]
        due = np.where((signed >= now) & (signed < NEVER), signed + 1, due)
        for column, steps in self._steps.items():
            if not len(steps):
                continue
            since = self._store.since(column, rows)
            there = np.abs(since) < NEVER
            place = np.searchsorted(steps, np.where(there, now - since, 0), side="right")
            soon = there & (place < len(steps))
            due = np.minimum(due, np.where(soon, since + steps[np.minimum(place, len(steps) - 1)], NEVER))
        return due

    def _grow(self) -> None:
        size = len(self._store)
        if size > len(self._due):
            more = max(size, 2 * len(self._due)) - len(self._due)
            self._due = np.concatenate([self._due, np.full(more, NEVER, dtype=np.int64)])
            self._inside = {name: np.concatenate([inside, np.zeros(more, dtype=bool)]) for name, inside in self._inside.items()}


def _compiled(name: str, text: str) -> expression.Condition:
    try:
        found = expression.compiled(text, PROFILE)
    except InputError as error:
        raise InputError(f'Segment "{name}": {error}') from error
    for column in sorted(expression.columns(text)):
        if column not in LIVE.names:
            raise InputError(
                f'Segment "{name}": "{column}" hangs on more than the customer\'s own events, so that it cannot be kept up event by event.'
                f"{did_you_mean(column, LIVE.names)} Use one of {', '.join(LIVE.names)}; a campaign's audience takes every column."
            )
    return found


def _steps(texts: Iterable[str], column: str) -> np.ndarray:
    """After how many microseconds a comparison of a column in days turns over: int64, sorted.

    For each number v the first n with n / DAY >= v, and the first with n / DAY > v, in the arithmetic of the comparison itself.
    """
    numbers = {number for text in texts for part in expression.parts(text) if part.column == column for number in part.numbers}
    found = set()
    for number in (number for number in numbers if 0 <= number < 100_000):
        n = max(int(number * DAY) - 2, 0)
        while n / float(DAY) < number:
            n += 1
        found.add(n)
        while n / float(DAY) <= number:
            n += 1
        found.add(n)
    return np.array(sorted(found), dtype=np.int64)


def values(text: str, schema: pa.Schema, cells: expression.Cells) -> tuple[PartValue, ...]:
    """Every comparison of an expression for one customer: ``cells`` of one row."""
    found = []
    for part in expression.parts(text):
        truth = expression.compiled(part.text, schema)(cells)
        cell, empty = cells[part.column]
        value = None if empty[0] else cell[0].item() if isinstance(cell[0], np.generic) else cell[0]
        found.append(PartValue(part.text, value, True if truth.yes[0] else False if truth.no[0] else None))
    return tuple(found)


def _shown(value: float | str | None) -> str:
    return "empty" if value is None else f'"{value}"' if isinstance(value, str) else f"{value:,.6g}"


def evaluate(segments: Mapping[str, str], profiles: pa.Table) -> dict[str, Sequence[str]]:
    """The members of the same segments in batch: the expressions on a table of profiles."""
    return {name: profiles["customer"].filter(pa.array(expression.matches(text, profiles))).to_pylist() for name, text in segments.items()}
