"""Copy a shop while it works, and bring a copy back without those who were erased since.

A backup is a folder: the ledger as one SQLite file (of a PostgreSQL shop, too), the files that it names, and ``backup.json`` with
the hash of each. It is written last: a folder without it is no backup. **A backup holds no key.** The data keys, the sealed root
and the journal of erasures lie in the shop's folder ``keys``, which is backed up apart and is small enough to be overwritten
everywhere: who is erased loses the key there, and with it the contact points in every backup; restoring asks for that folder and
erases again whoever is in its journal. ``renew`` writes a backup anew without the erased.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tradewind.collect import backup_ledger, erase_journal
from tradewind.collect.erase import Also, Erased, erase, erased
from tradewind.collect.erase_events import known_ids
from tradewind.collect.erase_plans import features_of
from tradewind.collect.erase_verify import recover
from tradewind.collect.vault import ROOT, Vault
from tradewind.engine import audit
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import erasures
from tradewind.engine.files import atomic_write, fsync_dir, fsync_file, sha256_file
from tradewind.engine.home import Home, locate
from tradewind.engine.settings import NAME as SETTINGS
from tradewind.errors import InputError, Locked, StateError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.ledger import Ledger

ABOUT = "backup.json"
FORMAT = 1
TRIES = 5  # snapshots: one is taken anew when a file that it names was replaced before it could be copied
_APART = {"keys", "data", "plans", "models", "outbox", "ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", ABOUT}


@dataclass(frozen=True)
class Saved:
    """What one backup holds."""

    folder: str
    backup_id: str
    files: int
    bytes: int
    keys: str  # the file with its data keys

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def to_text(self) -> str:
        """Lines for people."""
        return (
            f"backup {self.backup_id}: {self.files:,} files, {self.bytes:,} bytes in {self.folder}\n"
            f"It holds no key. Back up the folder {Path(self.keys).parent} apart from it, and overwrite that copy after every erasure."
        )


@dataclass(frozen=True)
class Restored:
    """What came back."""

    root: str
    files: int
    keys: int  # customers whose contact points open again
    erased: int  # customers of the backup who were erased since, and now again

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def to_text(self) -> str:
        """One line for people."""
        again = f"; {self.erased:,} customer(s) who were erased since were erased again" if self.erased else ""
        return f"restored {self.files:,} files into {self.root}; {self.keys:,} customers' contact points open again{again}"


def backup(home: Home, folder: Path, *, now: datetime, actor: str = "person:operator") -> Saved:
    """Copy the shop as it is at one moment into a new folder; writers go on meanwhile.

    Raises
    ------
    InputError
        The folder exists and is not empty, lies in the shop, or cannot be written.
    StateError
        A file that the ledger names is missing or changed: then there is nothing whole to copy.
    Locked
        Files were replaced faster than they could be copied.
    """
    folder = folder.expanduser().absolute()
    if folder.is_relative_to(home.root):
        raise InputError(f"{folder} lies in the shop. Give a folder outside, best on another machine.")
    _fresh(folder)
    name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    try:
        files, wrapped = _consistent(home, folder)
        about = {"format": FORMAT, "id": name, "shop": home.settings.name, "at": now.isoformat(), "files": files}
        about["mac"] = Vault(home).sign(json.dumps(about, sort_keys=True))
        kept = erase_journal.keep(home, name, wrapped)
        _durable(folder)
        atomic_write(folder / ABOUT, json.dumps(about, sort_keys=True).encode())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    size = sum(int(one["bytes"]) for one in files.values())
    with home.ledger.write() as conn:
        audit.note(conn, actor, "backup.make", f"backup:{name}", {"files": len(files), "bytes": size}, at=now)
    return Saved(str(folder), name, len(files), size, str(kept))


def check(folder: Path) -> dict[str, Any]:
    """What a backup says of itself, after its files were compared with it.

    Raises
    ------
    InputError
        There is no backup.
    StateError
        It was cut off, or a file is missing, cut short or changed.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise InputError(f"{folder} is no backup, or one that was cut off: it has no {ABOUT}. Give the folder of a whole one.")
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files: Mapping[str, Mapping[str, Any]] = about["files"]
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise StateError(f"{path} is damaged: {error}. Use another backup.") from error
    for name, told in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != told["bytes"] or sha256_file(file) != told["sha256"]:
            raise StateError(f"{file} is missing, cut short or changed since the backup was made. Use another backup.")
    return about


def restore(
    folder: Path, url: str | Path, *, keys: Path, now: datetime, also: Also | None = None, actor: str = "person:operator"
) -> Restored:
    """Make a new shop at ``url`` of a backup; ``keys`` is the folder that was kept apart, as it is today.

    Raises
    ------
    InputError
        There is no backup, or the target is not empty: nothing is ever overwritten.
    StateError
        The backup is damaged, or ``keys`` lacks the master key, the journal or this backup's data keys, or is of another shop.
    """
    about = check(folder)
    target = locate(url)
    for name in (f"{about['id']}.keys", erase_journal.NAME, erase_journal.SEALED):
        if not (keys / name).is_file():
            raise StateError(f"{keys} lacks {name}: it is not the folder of keys that belongs to this backup, or not whole. Give that one.")
    _fresh(target.root)
    book: Ledger | None = None
    try:
        (target.root / "data").mkdir()
        shutil.copytree(keys, target.root / "keys")
        (target.root / "keys").chmod(0o700)
        for name in sorted(set(about["files"]) - {SETTINGS, "ledger.db"}):
            _copy(folder / name, target.root / name)
        book = backup_ledger.bring(folder / "ledger.db", target)
        with book.write() as conn:
            books.upsert(conn, books.meta, [{"key": ROOT, "value": erase_journal.root_of(target.root)}], update=["value"])
        _copy(folder / SETTINGS, target.root / SETTINGS)  # last: without it the folder is no shop
        book.close()
        with Home.open(url, create=False) as home:
            return _opened(home, about, now=now, also=also, actor=actor)
    except BaseException:
        if book is not None:
            book.close()
        shutil.rmtree(target.root, ignore_errors=True)
        raise


def renew(home: Home, folder: Path, *, now: datetime, also: Also | None = None) -> Saved:
    """Write a backup anew without those who were erased since; the old one is replaced when the new one is whole.

    Raises what :func:`restore` and :func:`backup` raise; then the old backup is as it was.
    """
    folder = folder.expanduser().absolute()
    old, fresh = folder.with_name(f"{folder.name}.old"), folder.with_name(f"{folder.name}.new")
    if old.is_dir() and not folder.is_dir():
        old.replace(folder)  # a renewal was cut off between its two steps
    about = check(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".renew-", dir=folder.parent) as scratch:
        place = Path(scratch) / "shop"
        restore(folder, place, keys=home.root / "keys", now=now, also=also)
        with Home.open(place, create=False) as copy:
            saved = backup(copy, fresh, now=now)
        kept = home.root / "keys" / Path(saved.keys).name
        shutil.copy2(saved.keys, kept)
    folder.replace(old)
    fresh.replace(folder)
    (home.root / "keys" / f"{about['id']}.keys").unlink(missing_ok=True)
    shutil.rmtree(old)
    return Saved(str(folder), saved.backup_id, saved.files, saved.bytes, str(kept))


# -- inside ------------------------------------------------------------------------------------------------------------------


def _fresh(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; nothing is overwritten. Give a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}. Give a folder that you may write to.") from error


def _consistent(home: Home, folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """A ledger and the files that it names, as of one moment; the data keys, which the copy does not hold."""
    for _ in range(TRIES):
        (folder / "ledger.db").unlink(missing_ok=True)
        copy, wrapped = backup_ledger.snapshot(home, folder / "ledger.db")
        try:
            named = _named(home, copy)
        finally:
            copy.close()
        try:
            files = {name: _kept(home.root / name, folder / name, told) for name, told in named}
        except FileNotFoundError:
            if missing := next((name for name, _ in named if not (home.root / name).exists()), None):
                _still(home, missing)
            continue
        return files | {"ledger.db": _about(folder / "ledger.db")}, wrapped
    raise Locked(f"Files of the shop were replaced while they were copied, {TRIES} times. Try again when nothing is being loaded.")


def _still(home: Home, name: str) -> None:
    """Raise when the ledger names a missing file now, too: then it was not replaced, it is lost."""
    with home.ledger.read() as conn:
        paths = {*conn.execute(select(books.manifest.c.path)).scalars(), *conn.execute(select(books.plans.c.path)).scalars()}
    if name in paths:
        raise StateError(f"{home.root / name} is gone, so that there is nothing whole to back up. Run: tradewind doctor --shop {home.root}")


def _named(home: Home, copy: Ledger) -> list[tuple[str, str | None]]:
    """Every file of the snapshot with its hash, where the ledger knows that."""
    with copy.read() as conn:
        found: list[tuple[str, str | None]] = [
            (row.path, row.sha256) for row in conn.execute(select(books.manifest.c.path, books.manifest.c.sha256))
        ]
        plans = [(row.path, row.sha256) for row in conn.execute(select(books.plans.c.path, books.plans.c.sha256))]
        models = list(conn.execute(select(books.models.c.path)).scalars())
    found += plans
    found += [(str(beside), None) for path, _ in plans if (home.root / (beside := features_of(Path(path)))).exists()]
    for folder in (*(home.root / path for path in models), home.root / "outbox"):
        found += [(str(path.relative_to(home.root)), None) for path in sorted(folder.rglob("*")) if path.is_file()]
    found += [(name, None) for name in _beside(home.root)]
    return found


def _beside(root: Path) -> Iterator[str]:
    for top in sorted(root.iterdir()):
        if top.name in _APART or top.name.startswith(".") or top.name.endswith((".writing", ".old")):
            continue
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(root))


def _kept(source: Path, target: Path, sha256: str | None) -> dict[str, Any]:
    """Copy one file unless an earlier try has; raises StateError when it is not the file that the ledger names."""
    if not target.exists() or sha256 is None:
        _copy(source, target)
    about = _about(target)
    if sha256 is not None and about["sha256"] != sha256:
        target.unlink()
        if not source.exists():
            raise FileNotFoundError(source)
        raise StateError(f"{source} is not the file that the ledger names. Run: tradewind doctor")
    return about


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if target.suffix == ".jsonl" and (data := target.read_bytes()) and not data.endswith(b"\n"):  # a line that is being written
        os.truncate(target, data.rfind(b"\n") + 1)


def _about(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _durable(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        (fsync_dir if path.is_dir() else fsync_file)(path)


def _opened(home: Home, about: Mapping[str, Any], *, now: datetime, also: Callable[..., int] | None, actor: str) -> Restored:
    """Keys, journal, erasures: what makes a copy of files a shop again."""
    vault = Vault(home)
    told = {name: value for name, value in about.items() if name != "mac"}
    if vault.sign(json.dumps(told, sort_keys=True)) != about.get("mac"):
        raise StateError("This backup is of another shop than the folder of keys, or its list of files was changed. Use the right pair.")
    count = erase_journal.bring(home, erase_journal.folder(home.root) / f"{about['id']}.keys")
    entries = erase_journal.read(erase_journal.folder(home.root) / erase_journal.NAME, vault.key("erasure journal"))
    rows = [{"subject": one.subject, "at": micros(one.at), "finished_at": micros(now), "sealed": b""} for one in entries]
    stops = [{"address_hash": h, "channel": c, "reason": "erased", "at": micros(one.at)} for one in entries for c, h in one.addresses]
    with home.ledger.write() as conn:
        books.insert_new(conn, erasures, rows)
        books.insert_new(conn, books.suppressions, stops)
        audit.note(conn, actor, "backup.restore", f"backup:{about['id']}", {"keys": count, "journal": len(entries)}, at=now)
    back = erased(home, list(known_ids(home)))
    done: Erased | None = None
    if back:
        words = recover(home, {h for one in entries for _, h in one.addresses})
        done = erase(home, back, now=now, actor="policy:erasure", also=also, known=False, addresses=words)
    return Restored(str(home.root), len(about["files"]), count, done.customers if done else 0)
