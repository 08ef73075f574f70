"""Push notifications: texts that pose as something else, and the limits of every vendor; list and vendors in ``push.toml``.

``length`` blocks what the strictest column count refuses; this pack says which vendor refuses or cuts a text that passed there, and
``limits`` tells a channel how many marketing messages a vendor takes per device and day, and in which category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tradewind.compose.base import WARN, Verdict
from tradewind.compose.clean import width
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words
from tradewind.compose.locales import data
from tradewind.errors import unknown


@dataclass(frozen=True, slots=True)
class Limits:
    """What one vendor carries. Lengths per part as (count, unit), unit "chars" or "columns"; ``per_day`` 0: no limit known."""

    vendor: str
    lengths: Mapping[str, tuple[int, str]]
    refuses: bool  # a longer text fails; otherwise it is shown shortened
    payload: int  # bytes
    per_day: int
    per_day_news: int  # for apps with a licence for news
    category: str


class Push(Words):
    """Block texts that pose as messages of people or of the system; warn where a vendor refuses or cuts the length."""

    name = "push"
    reads_names = False

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits; other channels pass."""
        if channel != "push":
            return []
        return [*super().check(parts, facts=facts, locale=locale, channel=channel), *_lengths(parts)]


def limits(vendor: str) -> Limits:
    """Return what ``vendor`` ("huawei", "honor", "xiaomi", "oppo", "vivo", "apple", "fcm") carries.

    Raises
    ------
    NotFound
        There is no such vendor in ``push.toml``.
    """
    known = vendors()
    if vendor not in known:
        raise unknown("push vendor", vendor, known)
    return known[vendor]


@cache
def vendors() -> Mapping[str, Limits]:
    """Return all vendors by name."""
    return {name: _limits(name, row) for name, row in data("push")["vendor"].items()}


def _limits(name: str, row: Mapping[str, object]) -> Limits:
    lengths: dict[str, tuple[int, str]] = {}
    for part in ("title", "body"):
        given = row[part]
        assert isinstance(given, Mapping), "a length is a table of one unit"
        lengths[part] = next((int(count), unit) for unit, count in given.items())
    whole = {key: int(str(row.get(key, 0))) for key in ("payload", "per_day", "per_day_news")}
    return Limits(name, lengths, row["over"] == "refused", whole["payload"], whole["per_day"], whole["per_day_news"], str(row["category"]))


def _lengths(parts: Mapping[str, str]) -> list[Verdict]:
    found = []
    for part in ("title", "body"):
        text = parts.get(part, "")
        if 2 * len(text) <= _shortest(part):
            continue  # no character is wider than two columns
        sizes = {"chars": len(text), "columns": width(text)}
        over = [each for each in vendors().values() if sizes[each.lengths[part][1]] > each.lengths[part][0]]
        if over:
            said = ", ".join(
                f"{each.vendor} {'refuses' if each.refuses else 'cuts'} above {each.lengths[part][0]} {each.lengths[part][1]}"
                for each in over
            )
            found.append(Verdict("push.vendor", part, (0, len(text)), text, WARN, f"{sizes['chars']} characters: {said}"))
    return found


@cache
def _shortest(part: str) -> int:
    return min(each.lengths[part][0] for each in vendors().values())


PLUGIN = Push
