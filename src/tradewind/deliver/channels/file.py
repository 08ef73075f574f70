"""Write messages as JSON lines, one file per plan: for another sender to pick up, and for the record.

Idempotent by message id, also between processes that write the same file: under the file's lock the lines of others are
read before new ones are added. When ``flush`` returns, the lines survive a power cut; a line that a kill cut short was
never acknowledged and is removed by the next writer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.links import Links
from tradewind.errors import InputError, Transient
from tradewind.types import Message, Receipt

if TYPE_CHECKING:
    from tradewind.engine.home import Home

BLOCK = 1 << 20  # bytes per read


@dataclass
class _Book:
    """One file: how far it was read, the ids in it, and the lines that wait for a flush."""

    descriptor: int
    end: int = 0
    ids: set[bytes] = field(default_factory=set)
    waiting: dict[bytes, bytes] = field(default_factory=dict)


class File(Channel):
    """Append messages to ``folder/<plan_id>.jsonl``.

    Without ``addresses`` a line names the customer only; with it the address leaves the vault in clear text, and whoever
    keeps the file answers for its erasure. ``links`` fills the unsubscribe placeholder; without it the reader does.
    Takes about 130 bytes of memory per message of a plan.
    """

    idempotent = True

    def __init__(self, folder: str | Path, *, addresses: bool = False, links: Links | None = None) -> None:
        self.folder = Path(folder)
        self.addressed = addresses
        self.links = links
        self._books: dict[str, _Book] = {}

    def __repr__(self) -> str:
        return f"File({str(self.folder)!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:
        """The shop's ``outbox`` folder; with ``TRADEWIND_FILE_ADDRESSES=yes`` lines hold the address."""
        return cls(home.root / "outbox", addresses=environment.get("TRADEWIND_FILE_ADDRESSES") == "yes")

    @property
    def provider(self) -> str:
        """The folder: another one does not know what was written here."""
        return f"file {self.folder.resolve()}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Take one message; it is on the disk when :meth:`flush` has returned."""
        filled = self.links.fill(message, at=at) if self.links else message
        line = {"at": at.isoformat(), **json.loads(filled.to_json())}
        if self.addressed:
            line["address"] = address
        book = self._book(message.plan_id)
        book.waiting[_key(message.message_id)] = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        return accepted(message, at=at, provider_id=self._path(message.plan_id).name)

    def flush(self) -> None:
        """Write and fsync what waits; raises Transient when the disk refuses, with nothing half-written left."""
        for plan_id, book in self._books.items():
            waiting, book.waiting = book.waiting, {}
            if not waiting:
                continue
            try:
                with _locked(book):
                    _write(book, b"".join(line for key, line in waiting.items() if key not in book.ids))
                    book.ids.update(waiting)
            except OSError as error:
                raise Transient(f"{self._path(plan_id)} cannot be written: {error.strerror}. Make room, then deliver again.") from error

    def close(self) -> None:
        """Close the files; what was not flushed is forgotten."""
        for book in self._books.values():
            os.close(book.descriptor)
        self._books.clear()

    def _path(self, plan_id: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", plan_id):
            raise InputError(f'The plan id "{plan_id}" cannot name a file. Allowed: letters, digits, "_", "-", "."; at most 128.')
        return self.folder / f"{plan_id}.jsonl"

    def _book(self, plan_id: str) -> _Book:
        if plan_id not in self._books:
            path = self._path(plan_id)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._books[plan_id] = _Book(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise InputError(f"{path} cannot be opened for writing: {error.strerror}. Choose a folder of your own.") from error
        return self._books[plan_id]


@contextmanager
def _locked(book: _Book) -> Iterator[None]:
    """Hold the file's lock with ``book.ids`` and ``book.end`` up to date and a cut last line removed."""
    fcntl.flock(book.descriptor, fcntl.LOCK_EX)
    try:
        rest = b""
        while block := os.pread(book.descriptor, BLOCK, book.end + len(rest)):
            *lines, rest = (rest + block).split(b"\n")
            book.end += sum(len(line) + 1 for line in lines)
            book.ids.update(_key(json.loads(line)["message_id"]) for line in lines)
        if rest:
            os.ftruncate(book.descriptor, book.end)
        yield
    finally:
        fcntl.flock(book.descriptor, fcntl.LOCK_UN)


def _write(book: _Book, data: bytes) -> None:
    try:
        at = book.end
        while at < book.end + len(data):
            at += os.pwrite(book.descriptor, data[at - book.end :], at)
        os.fsync(book.descriptor)
    except OSError:
        os.ftruncate(book.descriptor, book.end)
        raise
    book.end += len(data)


def _key(message_id: str) -> bytes:
    return hashlib.blake2b(message_id.encode(), digest_size=16).digest()


PLUGIN = File
