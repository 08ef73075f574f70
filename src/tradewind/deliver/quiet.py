"""Quiet hours on the recipient's own clock. Where the zone is not known, those of every zone where the recipient may be.

A day (UTC) is cut into spans in which nobody is disturbed, from the real offsets of the zones: what a change of the clocks skips or
repeats is treated as what people's clocks show. Countries of zones are those of the IANA table ``zone.tab``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from tradewind.deliver.rules import DAY, SECOND, Rules

AHEAD = 9  # days that are searched for a moment
SOLSTICES = (20_625, 20_808)  # days since 1970, in 2026: when the clocks of either hemisphere are in summer time
_HOUR, _MINUTE = 3600, 60
Windows = tuple[tuple[int, int], ...]  # minutes of the local day, start and end
Spans = tuple[tuple[int, int], ...]  # microseconds UTC, start and end


@dataclass(frozen=True, slots=True)
class Hours:
    """When one recipient may be reached on one channel."""

    zones: frozenset[str]
    windows: Windows

    def opens(self, at: int) -> int | None:
        """The first moment from ``at`` on (microseconds UTC) that is quiet in none of the zones; None when nine days hold none."""
        if not self.windows:
            return at
        for start, end in self._spans(at):
            if end > at:
                return max(start, at)
        return None

    def closes(self, at: int) -> int:
        """When the next quiet hours begin, for an ``at`` outside them; at most a day or two ahead."""
        last = at
        for start, end in self._spans(at) if self.windows else ():
            if start <= last <= end:
                last = end
            elif start > last:
                break
        return last if self.windows else at + 2 * DAY

    def _spans(self, at: int) -> Iterator[tuple[int, int]]:
        day = at // DAY
        for number in range(day, day + AHEAD):
            yield from spans(self.zones, self.windows, number)


def hours(rules: Rules, channel: str, *, zone_name: str | None, country: str | None) -> Hours:
    """The hours of a recipient; ``zone_name`` and ``country`` as far as they are known."""
    return _hours(rules.quiet, rules.zones, channel, zone_name, country)


@lru_cache(maxsize=4096)
def _hours(quiet: tuple, shop: tuple[str, ...], channel: str, zone_name: str | None, country: str | None) -> Hours:  # type: ignore[type-arg]
    known, country = zone(zone_name), country.upper() if country else None
    of_country = places()[0].get(country or "", frozenset())
    zones = frozenset([known]) if known else of_country or frozenset(shop or ("UTC",))
    # The country of a zone that no country owns, such as UTC, is not known: then the hours of all countries hold.
    countries = {country} if country else {each for name in zones for each in places()[1].get(name, ())}
    windows = {
        rule.minutes
        for rule in quiet
        if channel in (rule.channels or (channel,)) and (not rule.countries or not countries or countries & {*rule.countries})
    }
    return Hours(zones, tuple(sorted(windows)))


def never(rules: Rules, channel: str) -> bool:
    """Whether a recipient of unknown whereabouts could never be reached."""
    at = hours(rules, channel, zone_name=None, country=None)
    return any(at.opens(day * DAY) is None for day in SOLSTICES)


@cache
def zone(name: str | None) -> str | None:
    """The name when it is a time zone's, else None."""
    try:
        return ZoneInfo(name).key if name else None
    except (KeyError, ValueError, OSError):
        return None


@cache
def places() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """Country -> zones, and zone -> countries, from the IANA table."""
    zones: dict[str, set[str]] = {}
    countries: dict[str, set[str]] = {}
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            country, _, name = line.split("\t")[:3]
            zones.setdefault(country, set()).add(name)
            countries.setdefault(name, set()).add(country)
    return tuple({key: frozenset(found) for key, found in table.items()} for table in (zones, countries))  # type: ignore[return-value]


@lru_cache(maxsize=8192)
def spans(zones: frozenset[str], windows: Windows, day: int) -> Spans:
    """The parts of day number ``day`` (UTC, since 1970) that are quiet in no zone."""
    start, end = day * DAY, (day + 1) * DAY
    shut = sorted(one for name in zones for one in _quiet(name, windows, day))
    found, last = [], start
    for begin, until in shut:
        if begin > last:
            found.append((last, begin))
        last = max(last, until)
    if last < end:
        found.append((last, end))
    return tuple(found)


@lru_cache(maxsize=65536)
def _quiet(name: str, windows: Windows, day: int) -> Spans:
    found = []
    for begin, until, offset in _offsets(name, day):
        first, last = (begin + offset) // 86_400, (until + offset) // 86_400
        for local in range(first - 1, last + 1):
            for start, end in windows:
                low = local * 86_400 + start * _MINUTE - offset
                high = (local + (end <= start)) * 86_400 + end * _MINUTE - offset
                if max(low, begin) < min(high, until):
                    found.append((max(low, begin) * SECOND, min(high, until) * SECOND))
    return tuple(found)


def _offsets(name: str, day: int) -> Iterator[tuple[int, int, int]]:
    """The parts of a UTC day in which a zone keeps one offset: start, end, offset, all in seconds."""
    clock = ZoneInfo(name)

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, clock).utcoffset()
        assert shift is not None, "a zone has an offset"
        return shift.days * 86_400 + shift.seconds

    begin = day * 86_400
    here = offset(begin)
    for hour in range(begin + _HOUR, begin + 25 * _HOUR, _HOUR):
        if offset(hour) != here:
            low, high = hour - _HOUR, hour  # the change lies in (low, high]
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == here else (low, middle)
            if high < (day + 1) * 86_400:
                yield begin, high, here
                begin, here = high, offset(high)
    yield begin, (day + 1) * 86_400, here
