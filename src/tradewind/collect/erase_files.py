"""Files beside the log and the ledger after an erasure: handed-off messages, reports, whatever else lies in the shop's folder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tradewind.collect.erase_clean import People

TEXT = (".html", ".md", ".txt", ".json", ".csv", ".toml", ".log")
ELSEWHERE = ("data", "models", "plans", "keys")  # other modules forget there


def forget(root: Path, people: People) -> int:
    """Take ``people`` out of the files of a shop's folder; returns how many were changed."""
    return sum(_lines(path, people) for path in sorted((root / "outbox").glob("*.jsonl"))) + sum(
        people.clean_file(path) for path in others(root)
    )


def others(root: Path) -> Iterator[Path]:
    """Text files that no other module writes: reports, settings, rules of the shop."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.is_file() and not path.is_symlink() and inside[0] not in ELSEWHERE and path.suffix in TEXT:
            yield path


def _lines(path: Path, people: People) -> bool:
    """Overwrite the lines of these people with blanks of the same length: who appends to the file meanwhile keeps his place."""
    if not any(word.encode() in path.read_bytes() for word in (*people.ids, *people.words)):
        return False
    changed = False
    with path.open("r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        while True:
            at = handle.tell()
            line = handle.readline()
            if not line.endswith(b"\n"):
                break
            if _names(line, people):
                handle.seek(at)
                handle.write(_blank(len(line)))
                changed = True
        handle.flush()
        os.fsync(handle.fileno())
    return changed


def _names(line: bytes, people: People) -> bool:
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return told.get("customer") in people.ids or people.mentioned(line.decode())


def _blank(length: int) -> bytes:
    """A line of this many bytes that says that something was erased; a message id of its own, for readers ask for one."""
    line = json.dumps({"message_id": secrets.token_hex(16), "erased": True}).encode()
    assert len(line) < length, "a message is longer than its mark"
    return line[:-1] + b" " * (length - 1 - len(line)) + b"}\n"
