"""The master key of a shop and what hangs from it.

::

    master key   keys/master.key (0600) or the environment; never in the ledger. While it is replaced, the new one lies beside it
      wrap key   HKDF-SHA256 of the master key; wraps everything below
        root     random, wrapped in ledger.meta; the same for ever, also under another master key
          hash key, link key   HKDF-SHA256 of the root
        data keys   random, one per customer, wrapped in ledger.vault_keys
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tradewind.engine.files import create_once, fsync_dir
from tradewind.errors import InputError, StateError

ENV = "TRADEWIND_MASTER_KEY"
NEXT_ENV = "TRADEWIND_MASTER_KEY_NEXT"
SIZE = 32  # bytes: AES-256
NONCE = 12  # bytes: what AES-GCM asks for
_NEXT = f"Restore it from your backup, or set {ENV}. Without it nothing in the vault can be read."


def path(root: Path) -> Path:
    """Where the master key of the shop in ``root`` lies."""
    return root / "keys" / "master.key"


def next_path(root: Path) -> Path:
    """Where the new master key lies while it replaces the old one."""
    return root / "keys" / "master.next"


def master(root: Path, *, create: bool) -> bytes:
    """The 32 bytes of the master key: from the environment when set there, else from the file.

    ``create`` makes a new one when there is none; two processes agree on one.

    Raises
    ------
    StateError
        The file is missing and may not be made, or others than its owner may read it.
    InputError
        It is not 32 bytes as base64 or as 64 hexadecimal digits.
    """
    if value := os.environ.get(ENV):
        return _parse(value, where=f"the environment variable {ENV}")
    file = path(root)
    if not file.exists():
        if not create:
            raise StateError(f"The master key {file} is missing. {_NEXT}")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_once(file, base64.b64encode(os.urandom(SIZE)) + b"\n")
        file.chmod(0o600)
    return _read(file)


def following(root: Path, *, create: bool = False) -> bytes | None:
    """The 32 bytes of the key that a rotation moves to: from the environment or the file; None when there is none.

    ``create`` makes one in the file, unless the master key is in the environment: then the new one has to be there, too.

    Raises
    ------
    InputError
        A new key has to come from the environment and does not, or it is malformed.
    """
    if value := os.environ.get(NEXT_ENV):
        return _parse(value, where=f"the environment variable {NEXT_ENV}")
    file = next_path(root)
    if not file.exists():
        if not create:
            return None
        if os.environ.get(ENV):
            raise InputError(
                f"The master key is in the environment ({ENV}), so the new one has to be there, too. Make one (openssl rand -base64 32) "
                f"and set {NEXT_ENV} to it."
            )
        create_once(file, base64.b64encode(os.urandom(SIZE)) + b"\n")
        file.chmod(0o600)
    return _read(file)


def settle(root: Path) -> None:
    """Make the new key of the file the master key; the old one is overwritten first. Safe to call twice."""
    fresh, old = next_path(root), path(root)
    if not fresh.exists():
        return
    if old.exists():
        with old.open("r+b") as handle:
            handle.write(base64.b64encode(os.urandom(SIZE)) + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    with suppress(FileNotFoundError):  # another process was first
        fresh.replace(old)
    fsync_dir(old.parent)


def _read(file: Path) -> bytes:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise StateError(f"The master key {file} can be read by others (mode {mode:04o}). Run: chmod 600 {file}")
    return _parse(file.read_text(encoding="ascii", errors="replace"), where=str(file))


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=SIZE, salt=None, info=f"tradewind 1 {purpose}".encode()).derive(secret)


def seal(key: bytes, plain: bytes, *, bound: bytes) -> bytes:
    """Encrypt with AES-256-GCM under a fresh nonce; ``bound`` is authenticated and must be given again to open it."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def unseal(key: bytes, sealed: bytes, *, bound: bytes) -> bytes | None:
    """The inverse of :func:`seal`; None when the key is another one or a byte was changed."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], bound)
    except (InvalidTag, ValueError):
        return None


def _parse(text: str, *, where: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F]{64}", text) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != SIZE:
        # The text itself is never shown: it may be the key with one character too many.
        raise InputError(f"The master key in {where} is not 32 bytes as base64 or as 64 hexadecimal digits. {_NEXT}")
    return key
