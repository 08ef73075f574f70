"""Signed tokens for the pages on which people speak for themselves: nobody can guess one, change one, or use it for another page.

The token is the base64url of a JSON list and of the first 16 bytes of its HMAC-SHA256 under a key of the vault. It names a
customer by the shop's own id and never an address.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from tradewind.errors import InputError

CONFIRM, PREFERENCES = "confirm", "preferences"
_VERSION = 1
_MAC = 16  # bytes
_LONGEST = 4_096  # characters


def sign(key: bytes, page: str, *values: str) -> str:
    """A token for one page that carries ``values``."""
    payload = json.dumps([_VERSION, page, *values], ensure_ascii=False, separators=(",", ":")).encode()
    return f"{_text(payload)}.{_text(_mac(key, payload))}"


def verify(key: bytes, page: str, token: str) -> tuple[str, ...]:
    """The values of a token for ``page``; raises InputError for any other text, and says nothing more."""
    try:
        parts = token.split(".") if len(token) <= _LONGEST else []
        payload, mac = (base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts)
        genuine = hmac.compare_digest(mac, _mac(key, payload))
    except (binascii.Error, ValueError):
        genuine = False
    if genuine:
        version, made_for, *values = json.loads(payload)
        if version == _VERSION and made_for == page:
            return tuple(values)
    raise InputError(f"This is no valid {page} link of this shop. Take the link from the message, whole.")


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.new(key, payload, hashlib.sha256).digest()[:_MAC]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
