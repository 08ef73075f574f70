"""Fitted models on disk: a version is a folder named by the hash of its files; one version of each name is active.

The files are written and made durable first; the ledger row that names them is the only switch. A process that is killed
in between leaves a folder that nobody reads, and the next ``publish`` removes it. Two that publish at once take turns.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from tradewind.collect.erase_trained import record
from tradewind.engine import ledger as books
from tradewind.engine.files import fsync_dir, fsync_file
from tradewind.engine.home import Home
from tradewind.errors import StateError
from tradewind.types import from_micros, micros

DRAFT = ".draft-"
LOCK = ".lock"


@dataclass(frozen=True)
class Version:
    """One stored model: what it is called, where it lies, what it learned from."""

    name: str
    version: str
    path: Path
    as_of: datetime
    card: Mapping[str, Any]


def publish(home: Home, name: str, save: Callable[[Path], None], *, as_of: datetime, card: Mapping[str, Any], now: datetime) -> Version:
    """Store what ``save`` writes into an empty folder and make it the active version of ``name``.

    The same bytes are the same version: publishing twice changes nothing but which one is active.
    """
    shelf = home.root / "models" / name
    shelf.mkdir(parents=True, exist_ok=True)
    with _turn(shelf):
        _tidy(home, name, shelf)
        return _publish(home, name, shelf, save, as_of=as_of, card=card, now=now)


def _publish(
    home: Home, name: str, shelf: Path, save: Callable[[Path], None], *, as_of: datetime, card: Mapping[str, Any], now: datetime
) -> Version:
    draft = shelf / f"{DRAFT}{micros(now)}"
    draft.mkdir()
    save(draft)
    version = _seal(draft)
    final = shelf / version
    if final.exists():
        shutil.rmtree(draft)
    else:
        draft.replace(final)
        fsync_dir(shelf)
    row = {
        "name": name,
        "version": version,
        "path": str(final.relative_to(home.root)),
        "as_of": micros(as_of),
        "created_at": micros(now),
        "active": True,
        "card": json.dumps(dict(card), ensure_ascii=False, sort_keys=True, default=str),
    }
    with home.ledger.write() as connection:
        connection.execute(update(books.models).where(books.models.c.name == name).values(active=False))
        books.upsert(connection, books.models, [row], update=["active", "card", "as_of"])
        record(connection, name, version, as_of=micros(as_of))
    return Version(name, version, final, as_of, dict(card))


@contextmanager
def _turn(shelf: Path) -> Iterator[None]:
    """One publisher at a time; the kernel lets go of the lock when the process ends, however it ends."""
    with (shelf / LOCK).open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _tidy(home: Home, name: str, shelf: Path) -> None:
    """Remove what a killed publisher left: drafts, and versions that the ledger never named."""
    with home.ledger.read() as connection:
        known = set(connection.execute(select(books.models.c.version).where(books.models.c.name == name)).scalars())
    for left in shelf.iterdir():
        if left.is_dir() and left.name not in known:
            shutil.rmtree(left)


def active(home: Home, name: str, *, before: datetime | None = None) -> Version:
    """The active version of a model.

    Raises
    ------
    StateError
        Nothing of that name was learned, its folder is gone, or it learned from what happened after ``before``.
    """
    with home.ledger.read() as connection:
        row = connection.execute(select(books.models).where(books.models.c.name == name, books.models.c.active)).mappings().first()
    if row is None:
        raise StateError(f'The shop has no learned "{name}". Run: tradewind learn --shop {home.root}')
    path = home.root / str(row["path"])
    if not path.is_dir():
        raise StateError(f'The folder of model "{name}" is gone: {path}. Run: tradewind learn --shop {home.root}')
    found = Version(name, str(row["version"]), path, from_micros(int(row["as_of"])), json.loads(row["card"]))
    if before is not None and found.as_of > before:
        raise StateError(
            f'The active "{name}" learned from what happened until {found.as_of.isoformat()}, after {before.isoformat()}: it knows the '
            f"future. Run: tradewind learn --as-of {before.isoformat()} --shop {home.root}"
        )
    return found


def retire(home: Home, name: str) -> None:
    """No version of ``name`` is active any more: what was asked to be learned anew could not be learned. Its files stay."""
    with home.ledger.write() as connection:
        connection.execute(update(books.models).where(books.models.c.name == name).values(active=False))


def learned(home: Home, name: str) -> bool:
    """Whether any version of ``name`` is active."""
    with home.ledger.read() as connection:
        return connection.execute(select(books.models.c.name).where(books.models.c.name == name, books.models.c.active)).first() is not None


def _seal(folder: Path) -> str:
    """Make every file durable and return the hash of all names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
        fsync_file(path)
    fsync_dir(folder)
    return digest.hexdigest()[:24]
