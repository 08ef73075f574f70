"""Signed links that carry a decision id: nobody can guess one, change one, or unsubscribe somebody else.

The token is the base64url of a JSON list and of the first 16 bytes of its HMAC-SHA256. Where a click leads is inside the
signature, so there is no address to put in its place: an open redirect cannot be made of it. Only links to the shop's own
hosts are tracked. Clicking shows where to go; only a POST to an unsubscribe link may change state (RFC 8058), which is for whoever
serves the link to honour. ``feedback_clicks`` says what a visit means.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tradewind.compose.base import UNSUBSCRIBE
from tradewind.errors import InputError
from tradewind.types import Message, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PURPOSES = ("click", "unsubscribe", "open")
DAYS = 180  # how long a tracked link says who came; an unsubscribe link never ends
_VERSION = 2
_MAC = 16  # bytes: 128 bits, as long as a forger has to guess
_HREF = re.compile(r"""(<a\b[^<>]*?\shref=)(["'])(.*?)\2""", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(r"https?://[^\s\\/@]+(?:[/?#][^\s\\]*)?")
_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. ``made`` and ``until``: microseconds when it was handed off and when it ends; 0: not said."""

    purpose: str  # of PURPOSES
    decision_id: str
    customer: str
    channel: str
    url: str = ""  # where a click leads
    made: int = 0
    until: int = 0


@dataclass(frozen=True)
class Links:
    """Make and verify the links of one shop: ``base`` is an https address, ``key`` comes from ``Vault.key("links")``.

    Links to one of ``hosts`` are tracked for ``days``; without hosts none is. ``utm`` is the ``utm_source`` added to them, None for no
    UTM parameters. ``opens`` adds a picture of one pixel to HTML.
    """

    base: str
    key: bytes = field(repr=False)
    hosts: frozenset[str] = frozenset()
    days: int = DAYS
    utm: str | None = None
    opens: bool = False

    @classmethod
    def of(cls, home: Home, base: str) -> Links:
        """The links of a shop, as ``[links]`` in its ``channels.toml`` says; tracking is off unless ``track = true`` there."""
        from tradewind.collect.vault import Vault
        from tradewind.deliver.channels._settings import Section, section

        table = section(home, "links") or Section("channels.toml, [links]", {})
        own = urlsplit(home.settings.url or "").hostname
        track, hosts = table.get("track", bool, False), table.get("hosts", list, [own] if own else [])
        utm, days, opens = table.get("utm", str, None), table.get("days", int, DAYS), table.get("opens", bool, False)
        table.get("base", str, None)
        table.end()
        if track and not hosts:
            raise InputError(f'{table.where}: track = true needs hosts, such as hosts = ["shop.example"]: links to them are tracked.')
        if not 1 <= days <= 3650:
            raise InputError(f"{table.where}: days must be a whole number from 1 to 3650; got {days}.")
        names = frozenset(host.lower() for host in hosts)
        return cls(base, Vault(home).key("links"), names if track else frozenset(), days, utm, bool(track and opens))

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

    def click(self, message: Message, url: str, *, at: datetime | None = None) -> str:
        """An address that leads to ``url`` and says which decision brought the visitor; ``at``: when it is handed off."""
        if not _TARGET.fullmatch(url) or not url.isprintable():
            raise InputError(f'A tracked link leads to http or https; got "{url}".')
        return self._url(self._tracked("click", message, at, self._marked(message, url)))

    def open(self, message: Message, *, at: datetime | None = None) -> str:
        """The address of the picture that says that a message was shown."""
        return self._url(self._tracked("open", message, at))

    def verify(self, token: str, *, purpose: str) -> Link:
        """Read the token of a link for one purpose.

        Raises
        ------
        InputError
            It was not made with this key, was changed, or was made for another purpose.
        """
        try:
            payload, mac = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
            # One spelling only: base64 has others that decode to the same.
            genuine = hmac.compare_digest(mac, self._mac(payload)) and token == f"{_text(payload)}.{_text(mac)}"
        except (binascii.Error, ValueError):
            genuine = False
        if genuine:
            version, *values = json.loads(payload)
            if version in (1, _VERSION) and values[0] == purpose:
                return Link(*values)
        raise InputError(f"This is no valid {purpose} link of this shop. Take the link from the message, whole.")

    def fill(self, message: Message, *, at: datetime | None = None) -> Message:
        """The message with its unsubscribe placeholder replaced in every part (escaped in ``html``).

        With ``at``, the moment of the hand-off, links to the shop's own hosts are tracked: in ``html`` and ``link``, and in ``body`` of
        an e-mail without HTML. A text message keeps its links: a tracked one is longer than a whole part of it.
        """
        filled = fill(message, self.unsubscribe(message))
        if at is None or not self.hosts:
            return filled
        parts = dict(filled.parts)
        if "html" in parts:
            parts["html"] = _HREF.sub(lambda hit: f"{hit[1]}{hit[2]}{self._in_html(hit[3], message, at)}{hit[2]}", parts["html"])
            if self.opens:
                pixel = f'<img src="{html.escape(self.open(message, at=at))}" width="1" height="1" alt="">'
                before, end, after = parts["html"].rpartition("</body>")
                parts["html"] = f"{before}{pixel}{end}{after}" if end else parts["html"] + pixel
        elif message.channel == "email" and "body" in parts:
            parts["body"] = _URL.sub(lambda hit: self._if_own(hit[0], message, at), parts["body"])
        if "link" in parts:
            parts["link"] = self._if_own(parts["link"], message, at)
        return replace(filled, parts=parts)

    def _in_html(self, text: str, message: Message, at: datetime) -> str:
        url = html.unescape(text)
        found = self._if_own(url, message, at)
        return text if found == url else html.escape(found)

    def _if_own(self, url: str, message: Message, at: datetime) -> str:
        if url.startswith(self.base):
            return url
        try:
            parts = urlsplit(url)
            own = parts.hostname in self.hosts and parts.username is None and _TARGET.fullmatch(url) is not None and url.isprintable()
        except ValueError:
            return url
        return self.click(message, url, at=at) if own else url

    def _marked(self, message: Message, url: str) -> str:
        """The address with UTM parameters where it has none of that name."""
        if self.utm is None:
            return url
        parts = urlsplit(url)
        there = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        marks = {"source": self.utm, "medium": message.channel, "campaign": message.plan_id, "content": message.decision_id}
        more = urlencode({f"utm_{name}": value for name, value in marks.items() if f"utm_{name}" not in there})
        return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, more) if part)))

    def _tracked(self, purpose: str, message: Message, at: datetime | None, url: str = "") -> Link:
        made, until = (0, 0) if at is None else (micros(at), micros(at + timedelta(days=self.days)))
        return Link(purpose, message.decision_id, message.customer, message.channel, url, made, until)

    def _url(self, link: Link) -> str:
        values = [_VERSION, link.purpose, link.decision_id, link.customer, link.channel]
        values += [link.url, link.made, link.until] if link.purpose != "unsubscribe" else []
        payload = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        return f"{self.base.rstrip('/')}/{link.purpose}/{_text(payload)}.{_text(self._mac(payload))}"

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self.key, payload, hashlib.sha256).digest()[:_MAC]


def links_base(home: Home) -> str | None:
    """Where the shop serves its links: ``base`` of ``[links]`` in ``channels.toml``."""
    from tradewind.deliver.channels._settings import section

    table = section(home, "links")
    base: str | None = table.get("base", str, None) if table else None
    return base


def fill(message: Message, url: str) -> Message:
    """Replace the unsubscribe placeholder of ``compose`` by ``url`` in every part; escaped in ``html``."""

    def filled(parts: Mapping[str, str]) -> dict[str, str]:
        return {name: text.replace(UNSUBSCRIBE, html.escape(url) if name == "html" else url) for name, text in parts.items()}

    return replace(message, parts=filled(message.parts))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
