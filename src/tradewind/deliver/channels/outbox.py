"""Keep messages in memory and let nothing out: for dry runs, for tests, for a first look."""

from __future__ import annotations

from datetime import datetime

from tradewind.deliver.channels.base import Channel, accepted
from tradewind.types import Message, Receipt


class Outbox(Channel):
    """The public fake of a channel: ``messages`` maps message ids to what would have left, in order of hand-off."""

    idempotent = True
    addressed = False

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}

    def __repr__(self) -> str:
        return f"Outbox({len(self.messages)} messages)"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:  # noqa: ARG002 - an address is never kept
        """Keep the message under its id; the address is not kept."""
        self.messages.setdefault(message.message_id, message)
        return accepted(message, at=at)


PLUGIN = Outbox
