"""Text message templates as the vendors in mainland China register them: nothing may be sent there that a vendor has not approved.

    draft -> submitted -> approved -> expired
                       -> rejected

A new version starts again at draft. The register is one file of lines (``sms_templates.jsonl`` in the shop's folder): one JSON object per
step, never changed and never removed, so that who did what and when can be read off it. Which texts a shop wants is the
business of ``approval``; this is what became of them at each vendor. What a vendor asks for is a table in ``packs/sms.toml``
(their public rules as of 2025); ``faults`` says before the submission what its review would refuse.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tradewind.compose.locales import data
from tradewind.compose.template import SLOTS
from tradewind.errors import InputError, StateError, unknown

FILE = "sms_templates.jsonl"
STATES = ("draft", "submitted", "approved", "rejected", "expired")
_BEFORE = {"submitted": ("draft",), "approved": ("submitted",), "rejected": ("submitted",), "expired": ("approved",)}
_SLOT = re.compile(r"\{(\w*)\}")
_LINK = re.compile(r"https?:|www\.|[a-z0-9]\.(?:com|cn|net|org|example)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a template at one vendor, as it stands after its last step. ``code``: the vendor's number for it."""

    name: str
    vendor: str
    version: int
    text: str  # without the signature, which is registered by itself; slots as ``{title}``
    state: str
    at: datetime  # of the last step, UTC
    by: str
    code: str | None = None
    expires_at: datetime | None = None
    why: str | None = None  # of a rejection

    def usable(self, now: datetime) -> bool:
        """Whether it may be sent now."""
        return self.state == "approved" and (self.expires_at is None or now < self.expires_at)


class Register:
    """The register of one shop."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def draft(self, name: str, *, vendor: str, text: str, at: datetime, by: str) -> Registered:
        """Enter a template, or a new version of it.

        Raises
        ------
        NotFound
            There is no such vendor.
        StateError
            The version before is submitted: its answer comes first.
        """
        _vendor(vendor)
        old = self._all().get((name, vendor))
        if old is not None and old.state == "submitted":
            raise StateError(f'"{name}" version {old.version} is under review at {vendor}. Record the answer (approve or reject) first.')
        return self._add(Registered(name, vendor, 1 if old is None else old.version + 1, text, "draft", at, by))

    def submit(self, name: str, *, vendor: str, at: datetime, by: str) -> Registered:
        """Record that a draft was handed in; refuses one that the review would.

        Raises
        ------
        InputError
            The vendor's rules are broken; the message says which.
        StateError
            It is no draft.
        """
        found = self._step(name, vendor, "submitted", at, by)
        if wrong := faults(found.text, vendor=vendor):
            raise InputError(f'"{name}" would be refused by {vendor}: {"; ".join(wrong)}. Enter a new version with ``draft``.')
        return self._add(found)

    def approve(self, name: str, *, vendor: str, code: str, at: datetime, by: str, expires_at: datetime | None = None) -> Registered:
        """Record the vendor's approval under its number ``code``; without ``expires_at`` the vendor's usual term holds."""
        found = self._step(name, vendor, "approved", at, by)
        if not code.strip():
            raise InputError(f'The approval of "{name}" needs the number that {vendor} gave it: without it nothing can be sent.')
        days = int(_vendor(vendor)["valid_days"])
        return self._add(replace(found, code=code, expires_at=expires_at or (at + timedelta(days=days) if days else None)))

    def reject(self, name: str, *, vendor: str, why: str, at: datetime, by: str) -> Registered:
        """Record the vendor's refusal and its words."""
        return self._add(replace(self._step(name, vendor, "rejected", at, by), why=why))

    def expire(self, name: str, *, vendor: str, at: datetime, by: str) -> Registered:
        """Record that an approval has ended or was withdrawn."""
        return self._add(self._step(name, vendor, "expired", at, by))

    def get(self, name: str, *, vendor: str, now: datetime) -> Registered:
        """Return the newest version as it stands at ``now``: an approval whose time is over is expired.

        Raises
        ------
        NotFound
            It was never entered for that vendor.
        """
        known = {entry.name: entry for (_, at_vendor), entry in self._all().items() if at_vendor == vendor}
        if name not in known:
            raise unknown(f"template at {vendor}", name, known)
        return _aged(known[name], now)

    def usable(self, *, vendor: str, now: datetime) -> tuple[Registered, ...]:
        """Return what may be sent through ``vendor`` at ``now``, by name: the newest approved version of each template.

        A version that is under review does not take the place of the approved one before it.
        """
        _vendor(vendor)
        newest: dict[str, Registered] = {}
        for entry in self._entries().values():
            if entry.vendor == vendor and entry.usable(now):
                newest[entry.name] = entry
        return tuple(newest[name] for name in sorted(newest))

    def _step(self, name: str, vendor: str, state: str, at: datetime, by: str) -> Registered:
        old = self.get(name, vendor=vendor, now=at)
        if old.state not in _BEFORE[state]:
            raise StateError(
                f'"{name}" version {old.version} at {vendor} is {old.state}; only {" or ".join(_BEFORE[state])} becomes {state}.'
            )
        return replace(old, state=state, at=at, by=by)

    def _add(self, entry: Registered) -> Registered:
        if entry.at.tzinfo is None or not entry.by.strip() or not entry.name.strip():
            raise InputError("A step of the register needs a name, who did it (by) and a time with its zone (at).")
        row = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(entry).items()}
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return entry

    def _all(self) -> dict[tuple[str, str], Registered]:
        """The newest version of each template at each vendor."""
        return {(entry.name, entry.vendor): entry for entry in self._entries().values()}

    def _entries(self) -> dict[tuple[str, str, int], Registered]:
        """Every version as its last step left it, oldest first."""
        found: dict[tuple[str, str, int], Registered] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            entry = _entry(self.path, number, line)
            found[entry.name, entry.vendor, entry.version] = entry
        return found


def faults(text: str, *, vendor: str) -> list[str]:
    """Say what the review of ``vendor`` would refuse in a promotional template; an empty list when nothing is known against it.

    Raises
    ------
    NotFound
        There is no such vendor.
    """
    table, found, slots = _vendor(vendor), [], _SLOT.findall(text)
    if len(text) > table["length"]:
        found.append(f"{len(text)} characters, at most {table['length']}")
    if bad := [slot for slot in slots if slot not in SLOTS]:
        found.append(f"{{{bad[0]}}} is no slot")
    if slots and not table["variables"]:
        found.append("promotional templates may hold no variables here, only fixed text")
    if re.search(r"\}\s*\{", text):
        found.append("two variables stand side by side")
    if slots and not re.search(r"\w{2}", _SLOT.sub("", _without_end(text, table))):
        found.append("a template of variables alone")
    if marks := sorted(set(text) & set(table["marks"])):
        found.append(f"characters that the review refuses: {' '.join(marks)}")
    if not text.rstrip().endswith(tuple(table["opt_out"])):
        found.append(f"it must end with {' or '.join(table['opt_out'])}")
    topics = next(rule["patterns"] for rule in data("sms")["rule"] if rule["id"] == "topic")
    if hit := re.search("|".join([*topics, table["topics"]]), text, re.IGNORECASE):
        found.append(f'a refused topic: "{hit.group()}"')
    if "needs" in table and not re.search(table["needs"], text):
        found.append(f"it must say {table['needs']}")
    return found


def wording(entry: Registered) -> str:
    """Return the text as its vendor writes variables: ``${title}``, ``{1}`` ..."""
    style, places = str(_vendor(entry.vendor)["variable"]), iter(range(1, 100))
    return _SLOT.sub(lambda slot: style % (next(places) if "%d" in style else slot[1]) if style else slot[0], entry.text)


def values(entry: Registered, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a template's variables, of facts' ``texts``, as the vendor takes them.

    Raises
    ------
    InputError
        A slot without a text, a value that is too long, or one that holds a link.
    """
    room, found = int(_vendor(entry.vendor)["variable_chars"]), {}
    for slot in _SLOT.findall(entry.text):
        if slot not in texts:
            raise InputError(f'There is no fact "{slot}" for the registered template "{entry.name}".')
        if len(texts[slot]) > room:
            raise InputError(f'"{texts[slot][:40]}" for {{{slot}}} has {len(texts[slot])} characters; {entry.vendor} takes {room}.')
        if _LINK.search(texts[slot]):
            raise InputError(f"{{{slot}}} holds a link: {entry.vendor} takes links in the fixed text only.")
        found[slot] = texts[slot]
    return found


def hours(vendor: str) -> tuple[int, int]:
    """Return from which to which hour (China time) the vendor sends promotional texts."""
    first, last = _vendor(vendor)["hours"]
    return int(first), int(last)


def _without_end(text: str, table: Mapping[str, Any]) -> str:
    return next((text.rstrip().removesuffix(end) for end in table["opt_out"] if text.rstrip().endswith(end)), text)


def _vendor(name: str) -> Mapping[str, Any]:
    table: Mapping[str, Mapping[str, Any]] = data("sms")["vendor"]
    if name not in table:
        raise unknown("SMS vendor", name, table)
    return table[name]


def _aged(entry: Registered, now: datetime) -> Registered:
    if entry.state == "approved" and not entry.usable(now) and entry.expires_at is not None:
        return replace(entry, state="expired", at=entry.expires_at)
    return entry


def _entry(path: Path, number: int, line: str) -> Registered:
    try:
        row = json.loads(line)
        times = {key: datetime.fromisoformat(row[key]) if row[key] else None for key in ("at", "expires_at")}
        entry = Registered(**{**row, **times})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}, line {number} is no step of the register ({error}). Restore the file from a backup; lines are only added."
        ) from error
    if entry.state not in STATES:
        raise InputError(f'{path}, line {number}: there is no state "{entry.state}". Allowed: {", ".join(STATES)}.')
    return entry
