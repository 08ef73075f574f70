"""A customer's birthday, where the table of customers knows it: the attribute ``birthday``, MM-DD or YYYY-MM-DD."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from tradewind.decide.triggers.base import Episode, Outside, Signal, State, Trigger
from tradewind.params import Number, Rule
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

_DATE = re.compile(r"(?:\d{4}-)?(\d{2})-(\d{2})")


@dataclass(frozen=True)
class Birthday(Trigger):
    """Fires ``days_before`` the birthday at ``hour`` o'clock of the customer's zone; 29 February is 28 in other years."""

    days_before: int = 0
    hour: int = 9

    RULES: ClassVar[Mapping[str, Rule]] = {"days_before": Number(0, 60, whole=True), "hour": Number(0, 23, whole=True)}
    hears: ClassVar[frozenset[str]] = frozenset({"birthday"})
    remembers: ClassVar[bool] = False

    def heard(self, state: State, signal: Signal) -> State:  # noqa: ARG002
        return {"start": signal.at}

    def due(self, state: State) -> int | None:
        return None if state is None else int(state["start"])

    def fire(self, state: State) -> Episode:
        assert state is not None
        return Episode(state["start"], (), None)

    def outside(self, home: Home, start: int, end: int) -> Outside:
        people = home.tables.to_arrow(home.tables.get("customers").select("customer", "zone", "attributes")).to_pylist()
        found, unread = [], 0
        for row in people:
            try:
                told = _told(row["attributes"])
                moments = [] if told is None else list(self._moments(told, _zone(row["zone"], home.settings.zone), start, end))
            except ValueError:  # no JSON, no date
                unread += 1
                continue
            found += [Signal(at, f"birthday:{row['customer']}:{at}", "birthday", row["customer"]) for at in moments]
        return Outside(found, {"birthday": unread} if unread else None)

    def _moments(self, told: Any, zone: ZoneInfo, start: int, end: int) -> Iterator[int]:
        parts = _DATE.fullmatch(told) if isinstance(told, str) else None
        if parts is None:
            raise ValueError(told)
        month, day = int(parts[1]), int(parts[2])
        date(2024, month, day)  # a leap year knows every day
        for year in range(from_micros(start).year - 1, from_micros(end).year + 2):
            on = date(year, 2, 28) if (month, day) == (2, 29) and not _leap(year) else date(year, month, day)
            on -= timedelta(days=self.days_before)
            at = micros(datetime(on.year, on.month, on.day, self.hour, tzinfo=zone).astimezone(UTC))
            if start <= at < end:
                yield at


def _told(attributes: str | None) -> Any:
    if not attributes or "birthday" not in attributes:
        return None
    found = json.loads(attributes)
    return found.get("birthday") if isinstance(found, dict) else None


def _zone(name: str | None, otherwise: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or otherwise)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(otherwise)


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


PLUGIN = Birthday
