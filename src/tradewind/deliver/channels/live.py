"""The script of a live stream as a feed: what the host, or a voice, says next, in a file that grows by versions.

A programme is published as a whole (:meth:`Live.publish`): every line that names an item is looked at again with the facts of that moment,
and one that no longer holds is withheld with the reason, never shown as it was. A reader takes ``feed.json``, which is replaced in one step
and whose ``version`` only grows; the versions before it stay beside it. Single messages with ``speech`` and ``label`` can be
handed off like any other (:meth:`Live.send`): they are appended, each once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tradewind.compose.facts import Facts
from tradewind.compose.script import Line
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.engine.files import atomic_write
from tradewind.errors import InputError, Transient
from tradewind.types import Message, Receipt

if TYPE_CHECKING:
    from tradewind.engine.home import Home

FEED = "feed.json"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
Check = Callable[[str | None, datetime], tuple[Facts, str | None]]


@dataclass(frozen=True)
class Feed:
    """One version of a programme's feed: ``lines`` as they were written, ``withheld`` of them with a reason."""

    path: Path
    version: int
    lines: int
    withheld: int


class Live(Channel):
    """Keeps one folder per programme below ``folder``; the programme of a message is its plan."""

    idempotent = True
    addressed = False

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._waiting: dict[str, dict[str, dict[str, Any]]] = {}

    def __repr__(self) -> str:
        return f"Live({str(self.folder)!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:  # noqa: ARG003 - it needs no settings
        """The shop's folder ``outbox/live``; it needs no settings."""
        return cls(home.root / "outbox" / "live")

    @property
    def provider(self) -> str:
        """The folder: another one does not know what was written here."""
        return f"live {self.folder.resolve()}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:  # noqa: ARG002 - a stream has no address
        """Take one line; it is in the feed when :meth:`flush` has returned."""
        if not message.parts.get("speech") or "label" not in message.parts:
            raise InputError("A line of a live stream has the parts speech and label; this message has not. Deliver its plan elsewhere.")
        line = {"id": message.message_id, "at": at.isoformat(), "kind": "line", "item": message.headers.get("item")}
        line |= {"speech": message.parts["speech"], "label": message.parts["label"], "facts": message.facts, "withheld": None}
        self._waiting.setdefault(_named(message.plan_id), {})[message.message_id] = line
        return accepted(message, at=at, provider_id=f"live {message.plan_id}")

    def flush(self) -> None:
        """Write what waits, a new version per programme; raises Transient when the disk refuses."""
        waiting, self._waiting = self._waiting, {}
        for programme, lines in waiting.items():
            try:
                with self._locked(programme) as place:
                    feed = _read(place)
                    known = {line["id"] for line in feed["lines"]}
                    fresh = [line for name, line in lines.items() if name not in known]
                    if fresh:
                        _put(place, feed, [*feed["lines"], *fresh])
            except OSError as error:
                raise Transient(f"{self.folder / programme} cannot be written: {error.strerror}. Make room, then deliver again.") from error

    def publish(self, programme: str, lines: Sequence[Line], *, now: datetime, facts: Check) -> Feed:
        """Replace a programme's feed by ``lines`` (of ``compose.script.perform``), each looked at with the facts of ``now``.

        ``facts`` tells of an item (None: of the shop) what is true at a moment, and why nothing may be said of it, if so. A line whose
        facts are not those that it was checked against is withheld: perform the rest of the programme again.

        Raises
        ------
        InputError
            The programme's name is not allowed, or its folder cannot be written.
        """
        told = [_told(line, now, facts) for line in lines]
        try:
            with self._locked(_named(programme)) as place:
                feed = _put(place, _read(place), told)
        except OSError as error:
            raise InputError(f"{self.folder / programme} cannot be written: {error.strerror}. Choose a folder of your own.") from error
        return Feed(place / FEED, feed["version"], len(told), sum(line["withheld"] is not None for line in told))

    @contextmanager
    def _locked(self, programme: str) -> Iterator[Path]:
        place = self.folder / programme
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield place


def _told(line: Line, now: datetime, facts: Check) -> dict[str, Any]:
    segment, why = line.segment, line.withheld
    if why is None:
        known, why = facts(segment.item, now)
        if why is None and known.hash != line.facts:
            why = "the facts have changed"
    about = {"kind": segment.kind, "item": segment.item, "start": segment.start, "seconds": segment.seconds}
    name = hashlib.sha256(json.dumps([about, line.speech, line.facts], sort_keys=True).encode()).hexdigest()[:32]
    words = {"speech": "" if why else line.speech, "label": "" if why else line.label}
    return {"id": name, "at": now.isoformat(), **about, **words, "facts": line.facts, "withheld": why}


def _read(place: Path) -> dict[str, Any]:
    try:
        feed: dict[str, Any] = json.loads((place / FEED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"version": 0, "lines": []}
    return feed


def _put(place: Path, feed: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the next version: first beside the others under its number, then as the feed. A kill in between repeats the number."""
    following = {"version": feed["version"] + 1, "lines": list(lines)}
    data = json.dumps(following, ensure_ascii=False, indent=1).encode()
    atomic_write(place / f"feed-{following['version']:06d}.json", data)
    atomic_write(place / FEED, data)
    return following


def _named(programme: str) -> str:
    if not _NAME.fullmatch(programme):
        raise InputError(f'The programme "{programme}" cannot name a folder. Allowed: letters, digits, "_", "-", "."; at most 128.')
    return programme


PLUGIN = Live
