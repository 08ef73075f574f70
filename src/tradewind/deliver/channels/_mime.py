"""The bytes of one e-mail: fixed headers, a text, an HTML alternative. By hand, because the standard library takes
milliseconds a message and cuts long addresses into encoded words that mail clients do not put together again.

Every value is either checked to be printable ASCII or encoded (RFC 2047 in headers, RFC 2045 in bodies), so that no value can
end its line and begin a header of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime

from tradewind.errors import Terminal

_WORD = 45  # bytes of UTF-8 in one encoded word: 60 characters of base64, 72 with its frame (RFC 2047 allows 75)
_ASCII = bytes(range(128))
_LINE = 900  # characters of a header line that is never folded (RFC 5322 allows 998)


def mail(headers: Iterable[tuple[str, str]], *, text: str, html: str | None, key: str) -> bytes:
    """A whole message with CRLF line ends. ``headers`` are ASCII, made with :func:`words` where they hold free text.

    The same values give the same bytes; ``key`` keeps the boundary apart from other messages'.
    """
    head = [f"{name}: {_safe(name, value)}" for name, value in headers]
    head.append("MIME-Version: 1.0")
    if html is None:
        return _join(head) + _body("plain", text)
    boundary = f"=_{hashlib.sha256(key.encode()).hexdigest()[:32]}"  # "=_" is in no quoted-printable or base64 line
    head.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
    mark = f"--{boundary}".encode()
    return b"".join([_join(head), b"\r\n", mark, b"\r\n", _body("plain", text), mark, b"\r\n", _body("html", html), mark, b"--\r\n"])


def words(text: str) -> str:
    """Free text for a header: as it is when it is plain, else as encoded words that fold at 76 characters."""
    if any(ord(character) < 32 or ord(character) == 127 or character in "\x85\u2028\u2029" for character in text):
        raise Terminal("a header of this message would hold a control character")
    if text.isascii() and len(text) <= 60 and "=?" not in text and text == text.strip():
        return text
    chunks, chunk = [], ""
    for character in text:
        if len((chunk + character).encode()) > _WORD:
            chunks.append(chunk)
            chunk = ""
        chunk += character
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(part.encode()).decode()}?=" for part in [*chunks, chunk])


def date(at: datetime) -> str:
    """A time as RFC 5322 writes it."""
    return format_datetime(at)


def stuffed(message: bytes) -> bytes:
    """The bytes after DATA: leading dots doubled, and the final dot (RFC 5321, 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"


def _safe(name: str, value: str) -> str:
    lines = value.split("\r\n ")  # what words() folds
    if not all(line.isascii() and line.isprintable() and 0 < len(line) <= _LINE for line in lines):
        raise Terminal(f"the header {name} of this message is not allowed")
    return value


def _join(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _body(kind: str, text: str) -> bytes:
    data = "\r\n".join(text.splitlines()).encode("utf-8", "replace") + b"\r\n"
    plain = len(data.translate(None, _ASCII)) < 0.2 * len(data)  # quoted-printable stays readable, base64 is short for Chinese
    coded = binascii.b2a_qp(data, istext=True) if plain else base64.encodebytes(data).replace(b"\n", b"\r\n")
    name = "quoted-printable" if plain else "base64"
    return _join([f'Content-Type: text/{kind}; charset="utf-8"', f"Content-Transfer-Encoding: {name}", ""]) + coded
