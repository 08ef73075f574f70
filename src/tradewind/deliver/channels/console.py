"""Print messages to the terminal: to look at, or as the smallest channel to copy."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TextIO

from tradewind.deliver.channels.base import Channel, accepted
from tradewind.types import Message, Receipt


class Console(Channel):
    """Print every message to ``stream`` (standard output when None). A terminal takes the same message twice."""

    addressed = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:  # noqa: ARG002 - an address is never shown
        """Print one message; control characters are shown as escapes, the address is not shown."""
        head = f"[{message.channel}] {message.customer} ({message.locale}) {message.message_id}"
        lines = [f"  {name}: {line}" for name, text in message.parts.items() if name != "html" for line in text.splitlines()]
        print(_plain(head), *map(_plain, lines), sep="\n", file=self._stream or sys.stdout)
        return accepted(message, at=at)

    def flush(self) -> None:
        """Flush the stream."""
        (self._stream or sys.stdout).flush()


def _plain(text: str) -> str:
    # A name or a subject could otherwise steer the terminal.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


PLUGIN = Console
