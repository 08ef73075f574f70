"""How what comes back names its message: references that carry a keyed signature, so that nobody can forge a bounce.

Two of them go out with every e-mail: the ``Message-ID`` and, where the shop has a mailbox for returns, an envelope sender of the
message's own (VERP: variable envelope return path). Either is enough. A report without a genuine one is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tradewind.errors import InputError, Terminal

_MAC = 10  # bytes: 80 bits, 16 characters; a forger has to guess online
_SHORT = 24  # characters of a message id in an envelope sender, whose part before the @ has room for 64
_ID = re.compile(r"[0-9a-z]{24,64}")
_MESSAGE_ID = re.compile(r"<([A-Za-z0-9_-]{1,64})\.([a-z2-7]{16})@[^<>@\s]{1,253}>")


@dataclass(frozen=True, slots=True)
class Reference:
    """A genuine reference: the whole message id, or the first characters of it (``whole`` is false)."""

    message_id: str
    whole: bool


@dataclass(frozen=True)
class Returns:
    """Makes and verifies references. ``mailbox`` is where returns arrive, such as ``"bounces@harbour.example"``; None: no VERP."""

    key: bytes = field(repr=False)
    mailbox: str | None = None

    def __post_init__(self) -> None:
        if len(self.key) < 32:
            raise InputError(f'A key for returns has 32 bytes or more; got {len(self.key)}. Take Vault(home).key("returns").')
        if self.mailbox is not None and not re.fullmatch(r"[a-z0-9._-]{1,22}@[a-z0-9.-]{1,200}", self.mailbox):
            raise InputError(f'The mailbox for returns must be such as "bounces@harbour.example", in lower case; got "{self.mailbox}".')

    def message_id(self, message_id: str, *, domain: str) -> str:
        """The header ``Message-ID`` of a message."""
        safe = re.sub(r"[^A-Za-z0-9_-]", "-", message_id)
        return f"<{safe}.{self._mac('id', safe)}@{domain}>"

    def sender(self, message_id: str) -> str | None:
        """The envelope sender of a message; None without a mailbox for returns."""
        if self.mailbox is None:
            return None
        if not _ID.fullmatch(message_id):
            raise Terminal("an envelope sender of its own needs a message id of 24 to 64 digits and lower-case letters")
        local, _, domain = self.mailbox.partition("@")
        short = message_id[:_SHORT]
        return f"{local}+{short}{self._mac('verp', short)}@{domain}"

    def genuine(self, text: str) -> Iterator[Reference]:
        """Every genuine reference in a piece of a report, in order; forged and foreign ones are passed over."""
        for found in _MESSAGE_ID.finditer(text):
            if hmac.compare_digest(self._mac("id", found[1]), found[2]):
                yield Reference(found[1], whole=True)
        if self.mailbox is not None:
            local, _, domain = self.mailbox.partition("@")
            for found in re.finditer(
                rf"{re.escape(local)}\+([0-9a-z]{{24}})([a-z2-7]{{16}})@{re.escape(domain)}(?![a-z0-9.-])", text.lower()
            ):
                if hmac.compare_digest(self._mac("verp", found[1]), found[2]):
                    yield Reference(found[1], whole=False)

    def _mac(self, purpose: str, text: str) -> str:
        mac = hmac.new(self.key, f"{purpose}|{text}".encode(), hashlib.sha256).digest()[:_MAC]
        return base64.b32encode(mac).decode().lower()
