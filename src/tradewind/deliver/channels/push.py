"""Push notifications through any provider's HTTP gateway, as ``[push]`` in ``channels.toml`` describes it.

``vendor`` names whose limits hold (``compose/packs/push.toml``): a text that this vendor refuses and a payload above its bytes do not
leave; a text that it only shows shortened does. How many a day a device gets is a cap (``deliver/rules.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from tradewind.compose.clean import width
from tradewind.compose.packs.push import Limits, limits
from tradewind.deliver.channels._gateway import Gateway
from tradewind.deliver.channels._settings import needed
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.links import Links, links_base
from tradewind.errors import Terminal
from tradewind.types import Message, Receipt, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HOLES = ("token", "title", "body", "link", "message_id", "category", "seconds_left", "at")
WEEK = 7 * 86_400  # seconds that a message without an expiry may wait for its device


class Push(Channel):
    """Send push notifications through ``gateway`` under the limits of ``vendor``."""

    carries = ("push",)

    def __init__(self, gateway: Gateway, vendor: Limits, *, links: Links | None = None) -> None:
        self.gateway = gateway
        self.vendor = vendor
        self.links = links
        self.idempotent = gateway.key_header is not None

    def __repr__(self) -> str:
        return f"Push({self.gateway.endpoint.host!r}, {self.vendor.vendor!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:
        """From ``[push]`` in ``channels.toml``; its secrets from the environment variables that it names."""
        table = needed(home, "push")
        vendor, base = limits(table.get("vendor", str)), links_base(home)
        gateway = Gateway.of(table, home, environment, known=HOLES)
        table.table("receipts")
        table.end()
        return cls(gateway, vendor, links=Links.of(home, base) if base else None)

    @property
    def provider(self) -> str:
        """Host and port."""
        return f"push {self.gateway.endpoint.host}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Hand one notification to the provider; see :class:`Channel` for what is raised."""
        parts = (self.links.fill(message, at=at) if self.links else message).parts
        if not address or not address.isascii() or not address.isprintable():
            raise Terminal("the contact is no device token")
        for name in ("title", "body"):
            self._fits(name, parts.get(name, ""))
        left = WEEK if message.expires_at is None else (micros(message.expires_at) - micros(at)) // 1_000_000
        values: dict[str, Any] = {
            "token": address,
            "title": parts["title"],
            "body": parts["body"],
            "link": parts.get("link", ""),
            "message_id": message.message_id,
            "category": self.vendor.category,
            "seconds_left": max(0, left),
            "at": micros(at) // 1_000_000,
        }
        payload = self.gateway.payload(values)
        if len(payload) > self.vendor.payload:
            raise Terminal(f"the payload has {len(payload):,} bytes; {self.vendor.vendor} takes {self.vendor.payload:,}")
        return accepted(message, at=at, provider_id=self.gateway.post(payload, key=message.message_id))

    def close(self) -> None:
        """End the connection."""
        self.gateway.close()

    def _fits(self, name: str, text: str) -> None:
        if not text.strip():
            raise Terminal(f"a push notification needs the part {name}")
        most, unit = self.vendor.lengths[name]
        size = len(text) if unit == "chars" else width(text)
        if self.vendor.refuses and size > most:
            raise Terminal(f"the {name} has {size} {unit}; {self.vendor.vendor} refuses more than {most}")


PLUGIN = Push
