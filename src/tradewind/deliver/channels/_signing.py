"""Signatures of HTTP calls as Standard Webhooks describes them: HMAC-SHA256 over id, time and body, several keys at once.

Source: Standard Webhooks specification 1.0.0 (standardwebhooks.com). While a key is being replaced, a call carries one signature per
key, and a receiver takes any of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from tradewind.errors import InputError
from tradewind.types import micros

TOLERANCE = 300  # seconds that a call may be old, or early
PREFIX = "whsec_"
LARGEST = 1 << 20  # bytes of a call


def secret_of(text: str) -> bytes:
    """The key in ``whsec_<base64>``, 24 to 64 bytes; raises InputError that does not show it."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise InputError(f'A webhook secret is "{PREFIX}" and the base64 of 24 to 64 random bytes. Make one: openssl rand -base64 32')
    return key


def sign(keys: Sequence[bytes], *, id: str, at: datetime, body: bytes) -> dict[str, str]:  # noqa: A002 - the header's name
    """The three headers of a call."""
    seconds = str(micros(at) // 1_000_000)
    return {
        "webhook-id": id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{_mark(key, id, seconds, body)}" for key in keys),
    }


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance: int = TOLERANCE) -> str:
    """The id of a genuine call.

    How long it takes does not depend on which signature or key is right, nor on how much of one.

    Raises
    ------
    InputError
        A header is missing, the signature was not made with one of ``keys``, or the call is older or newer than ``tolerance`` seconds.
    """
    given = {name.lower(): value for name, value in headers.items()}
    name, seconds, marks = (given.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not (0 < len(name) <= 255 and name.isascii() and seconds.isascii() and seconds.isdigit() and len(seconds) <= 12):
        raise InputError("This call is not signed: it needs the headers webhook-id, webhook-timestamp and webhook-signature.")
    genuine = 0
    signatures = [mark[3:].encode("ascii", "replace") for mark in marks.split(" ")[:10] if mark.startswith("v1,")]
    for key in keys:
        expected = _mark(key, name, seconds, body).encode()
        for signature in signatures:
            genuine |= hmac.compare_digest(signature, expected)
    if not genuine:
        raise InputError("This call was not signed with the agreed key. Sign it anew, or agree on a key.")
    if abs(micros(now) // 1_000_000 - int(seconds)) > tolerance:
        raise InputError(f"This call is older or newer than {tolerance} seconds. Send it again, and set both clocks.")
    return name


def _mark(key: bytes, name: str, seconds: str, body: bytes) -> str:
    mac = hmac.new(key, f"{name}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return base64.b64encode(mac).decode()
