"""What lies apart from backups, in the folder ``keys``: the journal of erasures, the sealed root, the data keys of each backup.

A backup holds no key. To read it again one needs this folder, which is small and can be overwritten: whoever was erased
after a backup was made is in the journal, and the backup's data key of that person is gone from here. Nothing in it names anybody:
customers and addresses are keyed hashes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tradewind.collect import keys
from tradewind.collect.vault import DESTROYED, ROOT, Vault, bound
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import erasures
from tradewind.engine.files import atomic_write, fsync_dir
from tradewind.engine.home import Home
from tradewind.errors import StateError
from tradewind.types import utc

NAME = "erasures.jsonl"
SEALED = "root.sealed"
START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One erasure: whom as a keyed hash, when."""

    subject: str
    at: datetime
    addresses: tuple[tuple[str, str], ...]  # channel, keyed hash: what is suppressed


def folder(root: Path) -> Path:
    """Where the keys of a shop lie."""
    return root / "keys"


def append(home: Home, entries: Iterable[Entry]) -> None:
    """Enter erasures durably, before anything is destroyed; each line holds a keyed hash of itself and of the line before."""
    path = folder(home.root) / NAME
    secret = Vault(home).key("erasure journal")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    known = list(_lines(path, secret))
    have, previous = {one["subject"] for one in known}, known[-1]["mac"] if known else START
    with path.open("ab") as handle:
        path.chmod(0o600)
        for entry in entries:
            if entry.subject in have:
                continue
            row = {"subject": entry.subject, "at": entry.at.isoformat(), "addresses": [list(pair) for pair in entry.addresses]}
            previous = _mac(secret, previous, row)
            handle.write(json.dumps({**row, "mac": previous}, sort_keys=True).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
    fsync_dir(path.parent)


def read(path: Path, secret: bytes) -> list[Entry]:
    """The entries of a journal.

    Raises
    ------
    StateError
        A line was changed or removed, or belongs to another shop.
    """
    return [Entry(one["subject"], utc(one["at"]), tuple((c, h) for c, h in one["addresses"])) for one in _lines(path, secret)]


def _lines(path: Path, secret: bytes) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    previous = START
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            mac = str(row.pop("mac"))
        except (ValueError, KeyError, AttributeError):
            row, mac = {}, ""
        if not hmac.compare_digest(mac, _mac(secret, previous, row)):
            raise StateError(f"Line {number} of {path} is not as it was written, or the journal is of another shop. Use the whole journal.")
        previous = mac
        yield {**row, "mac": mac}


def _mac(secret: bytes, previous: str, row: Mapping[str, Any]) -> str:
    return hmac.new(secret, (previous + json.dumps(row, sort_keys=True)).encode(), hashlib.sha256).hexdigest()


# -- the keys of backups ---------------------------------------------------------------------------------------------------


def keep(home: Home, name: str, wrapped: Mapping[str, bytes]) -> Path:
    """Keep the data keys of the backup ``name``, by customer, sealed under the shop's root, which a rotation of the master key keeps."""
    vault = Vault(home)
    secret = vault.key("backup keys")
    lines = []
    for (customer, key), subject in zip(wrapped.items(), vault.subjects(wrapped), strict=True):
        sealed = keys.seal(secret, vault.opened(customer, key), bound=subject.encode())
        lines.append(f"{subject} {base64.b64encode(sealed).decode()}\n")
    path = folder(home.root) / f"{name}.keys"
    atomic_write(path, "".join(sorted(lines)).encode())
    path.chmod(0o600)
    append(home, ())  # restoring asks for the journal, also for an empty one
    keep_root(home)
    with home.ledger.read() as conn:  # who was erased while the backup was made
        destroy(home.root, conn.execute(select(erasures.c.subject)).scalars())
    return path


def bring(home: Home, path: Path) -> int:
    """Put the data keys of a backup into a restored ledger; a customer without one was erased since. Returns how many were there."""
    vault = Vault(home)
    secret, wrap = vault.key("backup keys"), vault.wrap()
    known = dict(held(path))
    c = books.contacts.c
    with home.ledger.write() as conn:
        names = list(conn.execute(select(c.customer).distinct().order_by(c.customer)).scalars())
        rows = []
        for name, subject in zip(names, vault.subjects(names), strict=True):
            plain = keys.unseal(secret, known.get(subject, b""), bound=subject.encode())
            rows.append({"customer": name, "wrapped_key": DESTROYED if plain is None else keys.seal(wrap, plain, bound=bound(name))})
        books.insert_new(conn, books.vault_keys, rows)
    return sum(row["wrapped_key"] != DESTROYED for row in rows)


def keep_root(home: Home, *coming: str) -> None:
    """Write the sealed root beside the master key: without it the keys of backups open nothing. ``coming``: those of a rotation."""
    with home.ledger.read() as conn:
        text: str = conn.execute(select(books.meta.c.value).where(books.meta.c.key == ROOT)).scalar_one()
    path = folder(home.root) / SEALED
    atomic_write(path, "".join(f"{one}\n" for one in (text, *coming)).encode())
    path.chmod(0o600)


def root_of(root: Path) -> str:
    """The sealed root that the master key of the shop in ``root`` opens; raises StateError when it opens none."""
    lines = (folder(root) / SEALED).read_text(encoding="ascii").split()
    wrap = keys.derive(keys.master(root, create=False), "wrap")
    for line in lines:
        if keys.unseal(wrap, base64.b64decode(line), bound=bound(ROOT)) is not None:
            return line
    raise StateError(
        f"The master key does not open {folder(root) / SEALED}: they are of different shops, or of different times. Give both of one."
    )


def held(path: Path) -> Iterator[tuple[str, bytes]]:
    """Subject and sealed data key of every customer of a backup."""
    for line in path.read_text(encoding="ascii").splitlines():
        subject, _, sealed = line.partition(" ")
        yield subject, base64.b64decode(sealed)


def destroy(root: Path, subjects: Iterable[str]) -> int:
    """Take the data keys of these people from the keys of all backups; returns how many were there."""
    gone = set(subjects)
    count = 0
    for path in sorted(folder(root).glob("*.keys")):
        lines = path.read_text(encoding="ascii").splitlines(keepends=True)
        left = [line for line in lines if line[:64] not in gone]
        if len(left) < len(lines):
            overwritten = path.stat().st_size
            atomic_write(path, "".join(left).encode())
            path.chmod(0o600)
            assert path.stat().st_size < overwritten
            count += len(lines) - len(left)
    return count
