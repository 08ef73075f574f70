"""Signed links that carry a decision id: nobody can guess one, change one, or unsubscribe somebody else.

The token is the base64url of a JSON list and of the first 16 bytes of its HMAC-SHA256. Clicking shows where to go;
only a POST to an unsubscribe link may change state (RFC 8058), which is for whoever serves the link to honour.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tradewind.compose.base import UNSUBSCRIBE
from tradewind.errors import InputError
from tradewind.types import Message

PURPOSES = ("click", "unsubscribe")
_VERSION = 1
_MAC = 16  # bytes: 128 bits, as long as a forger has to guess


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says."""

    purpose: str  # of PURPOSES
    decision_id: str
    customer: str
    channel: str
    url: str = ""  # where a click leads


@dataclass(frozen=True)
class Links:
    """Make and verify the links of one shop: ``base`` is an https address, ``key`` comes from ``Vault.key("links")``."""

    base: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        plain = self.base.isascii() and self.base.isprintable() and not set(self.base) & set(' <>"') and len(self.base) <= 200
        if (
            not plain
            or not parts.hostname
            or not (parts.scheme == "https" or (parts.scheme == "http" and local))
            or parts.query
            or parts.fragment
        ):
            raise InputError(f'Links need an https address such as "https://shop.example/t"; got "{self.base}".')
        if len(self.key) < 32:
            raise InputError(f'A key for links has 32 bytes or more; got {len(self.key)}. Take Vault(home).key("links").')

    def unsubscribe(self, message: Message) -> str:
        """The one-click unsubscribe address of a message (RFC 8058): the same for the same message."""
        return self._url(Link("unsubscribe", message.decision_id, message.customer, message.channel))

    def click(self, message: Message, url: str) -> str:
        """An address that leads to ``url`` and says which decision brought the visitor."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise InputError(f'A tracked link leads to http or https; got "{url}".')
        return self._url(Link("click", message.decision_id, message.customer, message.channel, url))

    def verify(self, token: str, *, purpose: str) -> Link:
        """Read the token of a link for one purpose.

        Raises
        ------
        InputError
            It was not made with this key, was changed, or was made for another purpose.
        """
        try:
            payload, mac = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
            genuine = hmac.compare_digest(mac, self._mac(payload))
        except (binascii.Error, ValueError):
            genuine = False
        if genuine:
            version, *values = json.loads(payload)
            if version == _VERSION and values[0] == purpose:
                return Link(*values)
        raise InputError(f"This is no valid {purpose} link of this shop. Take the link from the message, whole.")

    def fill(self, message: Message) -> Message:
        """The message with its unsubscribe placeholder replaced in every part; escaped in ``html``."""
        return fill(message, self.unsubscribe(message))

    def _url(self, link: Link) -> str:
        values = [_VERSION, link.purpose, link.decision_id, link.customer, link.channel, link.url]
        payload = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        return f"{self.base.rstrip('/')}/{link.purpose}/{_text(payload)}.{_text(self._mac(payload))}"

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self.key, payload, hashlib.sha256).digest()[:_MAC]


def fill(message: Message, url: str) -> Message:
    """Replace the unsubscribe placeholder of ``compose`` by ``url`` in every part; escaped in ``html``."""

    def filled(parts: Mapping[str, str]) -> dict[str, str]:
        return {name: text.replace(UNSUBSCRIBE, html.escape(url) if name == "html" else url) for name, text in parts.items()}

    return replace(message, parts=filled(message.parts))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
