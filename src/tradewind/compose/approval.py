"""Who allowed which words, and when: the life of a shop's own components, from draft to retirement.

    draft -> checked (the guard found nothing that blocks) -> approved -> retired

Only what is approved reaches a customer: :meth:`Approvals.library` is the shipped library, which its release approved, less what the
shop retired, with what the shop approved. A changed text is a new version and starts as a draft; the last approved version stays in use
until the new one is approved. Low-risk text may be approved by rule (:func:`low_risk`); the rule then stands in the log as who did it.

Everything is kept as lines of ``copy/approvals.jsonl`` in the shop's folder, only ever added to, under a lock and made durable before a
call returns: a file beside the shop's models rather than a table of the ledger, because people read, diff and review it, and nothing in
it must commit together with money. A line that a killed process left unfinished is ignored and cut off by the next writer.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import func, select

from tradewind.compose.base import BLOCK, Verdict
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.library import Component, Library, load, read
from tradewind.compose.locales import LOCALES
from tradewind.compose.template import SLOTS, Slot
from tradewind.engine import audit
from tradewind.engine.books_people import audit as books
from tradewind.engine.files import fsync_dir
from tradewind.errors import InputError, StateError, unknown
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

STATES = ("draft", "checked", "approved", "retired")
NEXT: Mapping[str, tuple[str, ...]] = {
    "draft": ("checked", "retired"),
    "checked": ("approved", "retired"),
    "approved": ("retired",),
    "retired": (),
}
RULE = "rule: low risk"
_NOTED = "copy."  # how the actions of this log begin in the audit log
RISKY = (Slot.MONEY, Slot.SHARE, Slot.DATE, Slot.NUMBER)
PLAIN_ROLES = frozenset({"subject", "title", "preheader", "hook", "benefit", "action"})  # no legal text, no terms


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: what became of one version of one component."""

    component: str
    version: int
    state: str
    at: str  # ISO 8601, UTC
    by: str
    why: str
    locale: str
    row: Mapping[str, Any]  # as in a library file: id, role, tone, channels, text ...


class Approvals:
    """The approvals of one shop."""

    def __init__(self, home: Home, *, guard: Guard | None = None) -> None:
        self._home = home
        self.path = home.root / "copy" / "approvals.jsonl"
        self.guard = guard or Guard(own=home.root / "packs")

    def log(self) -> list[Entry]:
        """All entries, in the order in which they were made.

        Raises
        ------
        StateError
            The file is damaged other than by an unfinished last line.
        """
        if not self.path.is_file():
            return []
        return _entries(self.path.read_bytes(), self.path)

    def current(self) -> dict[tuple[str, int], Entry]:
        """The newest entry of every version, by component and version."""
        return {(entry.component, entry.version): entry for entry in self.log()}

    def draft(self, row: Mapping[str, Any], *, locale: str, by: str, at: datetime, why: str = "") -> Entry:
        """Enter a component (a row as in a library file) and check it: ``checked``, or still ``draft`` where the guard blocks it.

        The same row again is the same version; another text, tone or the like of a known id is its next version.

        Raises
        ------
        InputError
            The row breaks the rules of the library, or its id is one of the shipped library.
        """
        component = _component(row, locale)
        if component.id in load(locale).by_id:
            raise InputError(f'"{component.id}" is a component of the shipped library and cannot be changed. Give yours an id of its own.')
        row = json.loads(json.dumps(dict(row), ensure_ascii=False))
        with self._turn() as (handle, entries):
            mine = [entry for entry in entries if entry.component == component.id]
            last = mine[-1] if mine else None
            if last is not None and last.locale != locale:
                raise InputError(f'"{component.id}" is a component in {last.locale}. Give the one in {locale} an id of its own.')
            newest = max((entry.version for entry in mine), default=0)
            same = [entry for entry in mine if entry.version == newest and entry.row == row]
            if same and same[-1].state != "retired":
                return same[-1]
            entry = Entry(component.id, newest + 1, "draft", _stamp(at), _name(by), why, locale, row)
            self._add(handle, entry)
            verdicts = self.verdicts(component)
            if blocked(verdicts):
                return entry
            checked = Entry(entry.component, entry.version, "checked", _stamp(at), "guard", _said(verdicts), locale, row)
            self._add(handle, checked)
            return checked

    def verdicts(self, component: Component) -> tuple[Verdict, ...]:
        """What the guard says of a component's template."""
        return self.guard.template(component.template, locale=component.locale)

    def approve(self, component: str, *, by: str, at: datetime, version: int | None = None, why: str = "") -> Entry:
        """Approve the newest version (or ``version``); it replaces an approved older one.

        Raises
        ------
        NotFound, StateError
            There is no such component or version, or it is not ``checked``.
        """
        return self._move(component, "approved", by=by, at=at, version=version, why=why)

    def retire(self, component: str, *, by: str, at: datetime, version: int | None = None, why: str = "") -> Entry:
        """Take a component out of use for good; one of the shipped library, too. Raises as :meth:`approve`."""
        return self._move(component, "retired", by=by, at=at, version=version, why=why)

    def approve_by_rule(self, *, at: datetime) -> list[Entry]:
        """Approve every checked version that is :func:`low_risk`, and return the new entries."""
        found = []
        for entry in self.current().values():
            if entry.state == "checked":
                component = _component(entry.row, entry.locale)
                if low_risk(component, self.verdicts(component)):
                    found.append(self.approve(entry.component, by=RULE, at=at, version=entry.version))
        return found

    def waiting(self) -> list[Entry]:
        """Versions that a person should look at: drafts that the guard stopped, and checked ones that no rule approved."""
        return [entry for entry in self.current().values() if entry.state in ("draft", "checked")]

    def diff(self, component: str, first: int, second: int) -> str:
        """What changed between two versions, as a unified diff of their fields; raises NotFound for a version that does not exist."""
        told = {entry.version: entry for entry in self.log() if entry.component == component}
        for version in (first, second):
            if version not in told:
                raise unknown("version", f"{component} {version}", [f"{component} {known}" for known in told])
        old, new = (json.dumps(told[v].row, ensure_ascii=False, indent=1, sort_keys=True).splitlines() for v in (first, second))
        lines = difflib.unified_diff(old, new, f"{component} version {first}", f"{component} version {second}", lineterm="", n=0)
        return "\n".join(lines)

    def library(self, locale: str) -> Library:
        """The components in ``locale`` that may reach a customer."""
        shipped, entries = load(locale), self.log()
        if not entries:
            return shipped
        state: dict[str, dict[int, Entry]] = {}
        for entry in entries:
            if entry.locale == locale:
                state.setdefault(entry.component, {})[entry.version] = entry
        gone = {name for name in state if name in shipped.by_id}  # the only entry of a shipped component is its retirement
        added = []
        for name, versions in state.items():
            live = [entry for entry in versions.values() if entry.state == "approved"]
            if live and name not in shipped.by_id:
                added.append(_component(max(live, key=lambda e: e.version).row, locale))
        kept = tuple(component for component in shipped.components if component.id not in gone)
        return Library(locale, shipped.joiner, shipped.colon, (*kept, *added))

    def _move(self, component: str, state: str, *, by: str, at: datetime, version: int | None, why: str) -> Entry:
        with self._turn() as (handle, entries):
            mine = {entry.version: entry for entry in entries if entry.component == component}
            if not mine and state == "retired":
                old = _shipped(component, at)
            else:
                if not mine:
                    raise unknown("component under approval", component, sorted({entry.component for entry in entries}))
                number = max(mine) if version is None else version
                if number not in mine:
                    raise unknown("version", f"{component} {number}", [f"{component} {known}" for known in mine])
                old = mine[number]
            if old.state == state:
                return old
            if state not in NEXT[old.state]:
                raise StateError(
                    f'"{component}" version {old.version} is {old.state} and cannot become {state}. From there it can become: '
                    f"{', '.join(NEXT[old.state]) or 'nothing; enter it as a draft again'}."
                    + (f" The guard said: {_said(self.verdicts(_component(old.row, old.locale)))}" if old.state == "draft" else "")
                )
            entry = Entry(component, old.version, state, _stamp(at), _name(by), why, old.locale, old.row)
            self._add(handle, entry)
            if state == "approved":
                for other in mine.values():
                    if other.state == "approved" and other.version != entry.version:
                        replaced = f"replaced by version {entry.version}"
                        self._add(
                            handle, Entry(component, other.version, "retired", _stamp(at), _name(by), replaced, other.locale, other.row)
                        )
            return entry

    @contextmanager
    def _turn(self) -> Iterator[tuple[IO[bytes], list[Entry]]]:
        """One writer at a time; what a killed one left unfinished is cut off."""
        fresh = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            handle.seek(0)
            data = handle.read()
            entries = _entries(data, self.path)
            handle.truncate(data.rfind(b"\n") + 1)
            yield handle, entries
            if fresh:
                fsync_dir(self.path.parent)

    def _add(self, handle: IO[bytes], entry: Entry) -> None:
        handle.write(json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
        self._note([entry])

    def connect(self) -> int:
        """Enter into the audit log what a killed writer left out, or an older version never entered; return how many lines."""
        if not self.path.is_file():
            return 0
        query = select(func.count()).select_from(books).where(books.c.action.startswith(_NOTED, autoescape=True))
        with self._turn() as (_, entries), self._home.ledger.read() as conn:
            known = conn.execute(query).scalar_one()
        self._note(entries[known:])
        return len(entries[known:])

    def _note(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            actor = f"policy:{entry.by}" if entry.by in (RULE, "guard") else f"person:{entry.by}"
            line = hashlib.sha256(json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True).encode()).hexdigest()
            detail = {"version": entry.version, "locale": entry.locale, "line": line}
            with self._home.ledger.write() as conn:
                audit.note(conn, actor[:255], f"{_NOTED}{entry.state}", f"copy:{entry.component}"[:300], detail, at=utc(entry.at))


def low_risk(component: Component, verdicts: Sequence[Verdict]) -> bool:
    """Whether a rule may approve it: no warning, no claim, no offer, amount, date or condition, in a role without legal weight."""
    risky = any(SLOTS[slot] in RISKY for slot in component.template.slots)
    told = component.needs - frozenset(component.template.slots)
    return not verdicts and not component.claims and not risky and not told and component.role in PLAIN_ROLES


def libraries(home: Home) -> dict[str, Library]:
    """The approved library of every language."""
    approvals = Approvals(home)
    return {locale: approvals.library(locale) for locale in LOCALES}


def _entries(data: bytes, path: object) -> list[Entry]:
    found = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise StateError(
                f"{path}, line {number}, is damaged: {error}. Restore the file from a backup; nothing is sent by guessing."
            ) from error
        found.append(entry)
    return found


def _component(row: Mapping[str, Any], locale: str) -> Component:
    if locale not in LOCALES:
        raise unknown("locale", locale, LOCALES)
    return read({"locale": locale, "joiner": "", "colon": "", "component": [row]}).components[0]


def _shipped(component: str, at: datetime) -> Entry:
    for locale in LOCALES:
        if component in load(locale).by_id:
            text = load(locale).by_id[component].template.text
            return Entry(component, 1, "approved", _stamp(at), "release", "shipped", locale, {"id": component, "text": text})
    known = [name for locale in LOCALES for name in load(locale).by_id]
    raise unknown("component", component, difflib.get_close_matches(component, known) or known[:5])


def _stamp(at: datetime) -> str:
    return utc(at, what="at").isoformat()


def _name(by: str) -> str:
    if not by.strip():
        raise InputError("by: say who approves, for example a name or a role. It is kept with the words.")
    return by.strip()


def _said(verdicts: Sequence[Verdict]) -> str:
    kept = [f"{v.rule} {'blocks' if v.severity == BLOCK else v.severity}: {v.reason} ({v.found!r})" for v in verdicts]
    return "; ".join(kept)
