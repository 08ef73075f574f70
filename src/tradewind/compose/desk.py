"""The desk of words: what ``tradewind compose`` does besides composing - show, add, approve, retire, ask for and export words."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.compose.approval import Approvals, Entry, libraries
from tradewind.compose.base import Verdict
from tradewind.compose.choosing import MODEL
from tradewind.compose.copy_report import Line, lines
from tradewind.compose.library import read as read_library
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.preference import preferences, write
from tradewind.compose.propose import Proposed, Proposer, Wish, propose, wishes
from tradewind.compose.sent import read
from tradewind.compose.template import SLOTS
from tradewind.errors import InputError, unknown
from tradewind.learn.registry import active

if TYPE_CHECKING:
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class Review:
    """A version that waits for a person, with what speaks for and against it: its claims, the facts that fill it, what the guard said."""

    entry: Entry
    claims: tuple[str, ...]
    facts: Mapping[str, str]  # name -> kind of value: what code writes into the text, from the catalogue and the offer
    verdicts: tuple[Verdict, ...]
    approved: str | None  # the text that is in use now


class Words:
    """The words of one shop; ``now`` is its clock."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self.home, self.now = home, now
        self.approvals = Approvals(home)

    def add(self, path: str | Path, *, by: str) -> list[Entry]:
        """Enter the components of a library file (TOML: ``locale`` and ``[[component]]``) as drafts; rules approve what is low risk.

        Raises
        ------
        InputError
            The file cannot be read, or a component breaks the rules; then none of them is entered.
        """
        try:
            told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f'Cannot read "{path}" as TOML: {error}. It needs locale = "en" and [[component]] tables.') from error
        if not isinstance(told.get("component"), list) or "locale" not in told:
            raise InputError(f'"{path}" has no locale or no [[component]]. Write them as in the shipped library (docs/copy_learning.md).')
        return self.enter(told["component"], locale=told["locale"], by=by)

    def enter(self, rows: Sequence[Mapping[str, Any]], *, locale: str, by: str) -> list[Entry]:
        """The same of rows as they stand in a library file; a wrong one keeps all of them out."""
        read_library({"locale": locale, "joiner": "", "colon": "", "component": list(rows)})
        found = [self.approvals.draft(row, locale=locale, by=by, at=self.now()) for row in rows]
        self.approvals.approve_by_rule(at=self.now())
        newest = self.approvals.current()
        return [newest[entry.component, entry.version] for entry in found]

    def approve(self, component: str, *, by: str, version: int | None = None, why: str = "") -> Entry:
        """See :meth:`tradewind.compose.approval.Approvals.approve`."""
        return self.approvals.approve(component, by=by, at=self.now(), version=version, why=why)

    def retire(self, component: str, *, by: str, version: int | None = None, why: str = "") -> Entry:
        """See :meth:`tradewind.compose.approval.Approvals.retire`."""
        return self.approvals.retire(component, by=by, at=self.now(), version=version, why=why)

    def reviews(self) -> list[Review]:
        """What waits for a person, the oldest first, each with the evidence for what it says."""
        current, found = self.approvals.current(), []
        for entry in self.approvals.waiting():
            (component,) = read_library({"locale": entry.locale, "joiner": "", "colon": "", "component": [entry.row]}).components
            facts = {slot: SLOTS[slot].value for slot in component.template.slots}
            used = [one for (name, _), one in current.items() if name == entry.component and one.state == "approved"]
            text = str(used[-1].row["text"]) if used else None
            found.append(Review(entry, component.claims, facts, self.approvals.verdicts(component), text))
        return found

    def lines(self, *, as_of: datetime) -> list[Line]:
        """Every component that had an alternative, with its clicks and its verdict; see :func:`tradewind.compose.copy_report.lines`."""
        rows, _ = read(self.home, as_of=as_of)
        return lines(rows, libraries(self.home))

    def wishes(self) -> list[Wish]:
        """What is worth writing next in each language; raises StateError where no policy is learned."""
        policy = CopyPolicy.load(active(self.home, MODEL).path)
        return [wish for library in libraries(self.home).values() for wish in wishes(policy, library)]

    def propose(self, proposer: Proposer | None = None, *, by: str) -> Proposed:
        """Ask ``proposer`` for every wish, the language model of ``[chat]`` when None; see :func:`tradewind.compose.propose.propose`."""
        if proposer is None:
            from tradewind.compose.chat import Chat
            from tradewind.compose.propose_chat import from_chat

            proposer = from_chat(Chat.open(self.home, now=self.now()))
        return propose(self.home, proposer, self.wishes(), by=by, now=self.now())

    def export(self, path: str | Path, *, style: str = "pairs") -> int:
        """Write preference data as JSON lines and return how many; see :mod:`tradewind.compose.preference`."""
        rows, _ = read(self.home, as_of=self.now())
        return write(preferences(rows, libraries(self.home), style=style), Path(path))


def act(words: Words, *, show: str | None, add: Path | None, approve: str | None, retire: str | None, by: str | None, export: Path | None,
        style: str) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Do what the options of the command line ask, and return it for machines and for people.

    Raises
    ------
    InputError
        An unknown thing to show, or nobody is named for what somebody must answer for.
    """
    done: dict[str, Any] = {}
    if (add or approve or retire) and not (by or "").strip():
        raise InputError("Say who answers for the words: --by NAME. It is kept in the log of approvals.")
    entries = words.add(add, by=by or "") if add else []
    entries += [words.approve(approve, by=by or "")] if approve else []
    entries += [words.retire(retire, by=by or "")] if retire else []
    if entries:
        done["entries"] = [asdict(entry) for entry in entries]
    if export:
        done["exported"] = words.export(export, style=style)
    lines = [_line(entry) for entry in entries]
    lines += [f"{done['exported']:,} lines written to {export}"] if export else []
    if show == "wishes":
        asked = words.wishes()
        done["wishes"] = [wish.to_json() for wish in asked]
        lines += [f"{w.locale} {w.role}: {w.trait} ({w.effect:+.4f} clicks per message, {w.share:.0%} of the role have it)" for w in asked]
        lines += [] if asked else ["No trait wins for sure and is rare. Send more messages and learn again."]
    elif show == "propose":
        found = words.propose(by=by or "chat")
        done["entries"] = [asdict(entry) for entry in found.entries]
        done["refused"] = [{"text": text, "why": why} for text, why in found.refused]
        lines += [_line(entry) for entry in found.entries] + [f"refused: {text!r}: {why}" for text, why in found.refused]
        lines += [] if lines else ["Nothing is worth asking for: no trait wins for sure and is rare."]
    elif show == "approvals":
        waiting = words.approvals.waiting()
        done["waiting"] = [asdict(entry) for entry in waiting]
        lines += [_line(entry) for entry in waiting] or ["No words wait for approval."]
    elif show is not None:
        raise unknown("thing to show of words", show, ("report", "approvals", "wishes", "propose"))
    return done, "\n".join(lines)


def _line(entry: Entry) -> str:
    why = f": {entry.why}" if entry.why else ""
    return f"{entry.component} version {entry.version} is {entry.state} ({entry.by}, {entry.at[:16]}){why}\n  {entry.row.get('text', '')}"
