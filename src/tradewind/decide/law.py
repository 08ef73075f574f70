"""What the law asks of messages and decisions: profiles of CN, EU and US as data (``laws.toml``), each line with its source.

Not legal advice. A profile says which basis a message needs, within which local hours it may arrive, what its text must hold
and which duties a decision has. Tradewind asks for a recorded grant everywhere; a profile says whether its basis is enough.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from tradewind.errors import InputError, unknown

DATA = Path(__file__).with_name("laws.toml")
TEXTS = ("email", "sms")  # channels whose texts name their sender
DUTIES = ("personalisation_off", "explain", "equal_price", "withdraw", "erase")


@dataclass(frozen=True, slots=True)
class Basis:
    """Any of ``any_of`` lets one send on a channel, or use data in a way; ``opt_in``: the person must have agreed before."""

    any_of: tuple[str, ...]
    source: str

    @property
    def opt_in(self) -> bool:
        """Whether only a person's own word is a basis (an own customer's purchase counts as one where the law says so)."""
        return "legitimate_interest" not in self.any_of


@dataclass(frozen=True, slots=True)
class Hours:
    """From ``start`` (inclusive) until ``end`` (exclusive), whole local hours; ``practice``: no law sets them."""

    start: int
    end: int
    practice: bool
    source: str


@dataclass(frozen=True, slots=True)
class Needed:
    """What the text of a message must hold: parts of the sender block, or words (any one of them; none set: your own)."""

    what: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Law:
    """The profile of one jurisdiction."""

    code: str
    name: str
    regions: tuple[str, ...]
    told: Mapping[str, Any]

    def basis(self, channel: str) -> Basis:
        """What a message on ``channel``, or a use of data such as ``personalisation``, needs; raises NotFound for neither."""
        table = self.told["basis"]
        if channel not in table:
            raise unknown(f"channel or use in the law of {self.code}", channel, table)
        return Basis(tuple(table[channel]["any"]), table[channel]["source"])

    def hours(self, channel: str) -> Hours | None:
        """When a message may arrive; None: at any hour."""
        row = self.told["hours"].get(channel)
        return None if row is None else Hours(row["from"], row["until"], row["practice"], row["source"])

    def sender(self, channel: str) -> Needed | None:
        """The parts of the sender block: ``name``, ``address`` (postal), ``contact``."""
        row = self.told["text"]["sender"]
        return Needed(tuple(row[channel]), row["source"]) if channel in row and channel != "source" else None

    def opt_out(self, channel: str) -> Needed | None:
        """Whether each message must offer a way out."""
        return self._needed("opt_out", channel, "words")

    def mark(self, channel: str) -> Needed | None:
        """The words by which a message says that it is an advertisement."""
        return self._needed("mark", channel, "words")

    def duty(self, name: str) -> str:
        """The source of a duty of :data:`DUTIES`; raises NotFound for another name."""
        if name not in DUTIES:
            raise unknown("duty", name, DUTIES)
        return str(self.told["duties"][name])

    def _needed(self, what: str, channel: str, key: str) -> Needed | None:
        row = self.told["text"].get(what)
        return None if row is None or channel not in row["channels"] else Needed(tuple(row.get(key, ())), row["source"])


@cache
def laws() -> Mapping[str, Law]:
    """All profiles by code."""
    told = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return {code: Law(code, row["name"], tuple(row["regions"]), row) for code, row in told.items()}


def law(jurisdiction: str) -> Law:
    """The profile of ``CN``, ``EU`` or ``US``, or of a country of theirs such as ``DE``; raises NotFound for another."""
    found = of_region(jurisdiction)
    if found is None:
        raise unknown("law profile", jurisdiction, laws())
    return found


def of_region(region: str | None) -> Law | None:
    """The profile of a region (ISO 3166, upper case, or a profile's own code); None where there is none."""
    known = laws()
    return known.get(region or "") or next((one for one in known.values() if region in one.regions), None)


def of_locale(tag: str | None) -> Law | None:
    """The profile of a customer by the region of a BCP 47 tag (``zh-CN``, ``de-DE``); None for a tag without one that we know."""
    parts = (tag or "").replace("_", "-").split("-")[1:]
    return next((found for part in parts if (found := of_region(part.upper())) is not None), None)


def contact_hours(jurisdiction: str | None, channel: str) -> tuple[int, int] | None:
    """From which hour until which (exclusive) a message may arrive, local to the customer; None: at any hour.

    Without a jurisdiction, or with one that has no profile, the intersection of all profiles holds: whoever it is, it is allowed.
    """
    found = of_region(jurisdiction)
    hours = [one.hours(channel) for one in ([found] if found else laws().values())]
    told = [hour for hour in hours if hour is not None]
    return (max(hour.start for hour in told), min(hour.end for hour in told)) if told else None


def pack(jurisdiction: str, sender: Mapping[str, str]) -> str:
    """A rule pack for the folder ``packs`` of a shop (``compose/own_packs.py``): no text leaves without its sender block and mark.

    ``sender`` maps ``name``, ``address`` (postal) and ``contact`` to the words as they stand in your footer and signature.

    Raises
    ------
    InputError
        A part that the law of the jurisdiction asks for is missing or empty.
    """
    found, rules = law(jurisdiction), []
    for channel in TEXTS:
        needed, mark = found.sender(channel), found.mark(channel)
        for part in needed.what if needed else ():
            words = sender.get(part, "").strip()
            if not words:
                raise InputError(f'The law of {found.code} asks for the sender\'s {part} in "{channel}". Give sender["{part}"].')
            reason = f"the sender's {part} ({needed.source if needed else ''})"
            rules.append({"id": f"sender_{part}_{channel}", "reason": reason, "terms": [words], "channels": [channel], "parts": ["body"]})
        if mark and mark.what:
            rules.append({"id": "mark", "reason": mark.source, "terms": list(mark.what), "channels": [channel], "parts": ["subject"]})
    return tomli_w.dumps({"required": rules})


def fault(jurisdiction: str, channel: str, basis: str) -> str:
    """Why a law refuses ``basis`` for ``channel`` (or a use), or an empty text. A declared ("assumed") grant is refused where only a
    person's own word counts.
    """
    found = law(jurisdiction)
    needed = found.basis(channel)
    if basis in needed.any_of or (basis == "assumed" and not needed.opt_in):
        return ""
    allowed = ", ".join(needed.any_of)
    return f'"{basis}" is no basis for {channel} in {found.code} ({needed.source}). Allowed: {allowed}. Ask the customer first.'
