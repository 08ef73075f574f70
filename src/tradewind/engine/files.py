"""Files that are either whole or absent, whatever is killed when."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Force the bytes of a file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_dir(path: Path) -> None:
    """Force the names in a folder to the disk: without it a renamed file may be gone after a power cut."""
    fsync_file(path)


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` so that readers and crashes see the old bytes or the new ones, never a part.

    The folder must exist. Raises ``OSError`` when the disk refuses; nothing is left behind then.
    """
    draft = draft_write(path, data)
    try:
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def create_once(path: Path, data: bytes) -> bool:
    """Write ``data`` to a file that does not exist yet; False when somebody else was first (their bytes stay)."""
    draft = draft_write(path, data)
    try:
        os.link(draft, path)  # fails when the name exists, unlike a rename
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    fsync_dir(path.parent)
    return True


def draft_write(path: Path, data: bytes) -> Path:
    """Write ``data`` durably beside ``path`` under a name of its own, and return that."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
