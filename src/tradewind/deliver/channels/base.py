"""What a channel is: it hands one message at a time to a provider and says honestly what became of it.

==============================  ====================================================================================
``send`` then ``flush`` return  the provider has taken the message: it is accepted
raises ``Transient``            certainly not taken; trying again later may work; ``Later`` says from when on
raises ``Terminal``             certainly not taken, and trying again will not help
raises ``Uncertain``            nobody knows; the message waits for reconciliation and is never blindly sent again
raises ``StateError``,          certainly not taken; the channel itself cannot work (credentials, certificate, settings):
``InputError``                  the run stops and the message stays ready
anything else                   a fault of the channel: the message counts as uncertain, and the run stops
==============================  ====================================================================================

A channel with ``idempotent = True`` promises that its provider takes a message id once, whatever is sent how often. After a
crash its messages are sent again; those of all other channels are not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tradewind.errors import TradewindError, Transient
from tradewind.types import Message, Receipt

if TYPE_CHECKING:
    from tradewind.engine.home import Home


class Uncertain(TradewindError):
    """The provider may or may not have taken the message."""


class Later(Transient):
    """Certainly not taken, and the provider said for how long (seconds) it wants to hear nothing at all."""

    def __init__(self, text: str, *, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class Channel(ABC):
    """One way out. One file of this folder per channel, named in ``PLUGIN``; used by one thread at a time."""

    idempotent: bool = False  # the provider honours ``message_id`` as a key
    addressed: bool = True  # a message without an address cannot be sent
    carries: tuple[str, ...] = ()  # the channels (``schema.Channel``) whose messages it takes; empty: all of them

    @property
    def provider(self) -> str:
        """Who takes the messages and remembers their ids, without secrets: after a crash only the same one is tried again."""
        return type(self).__name__.lower()

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:  # noqa: ARG003 - the default needs neither
        """The channel as a shop uses it when it is asked for by name; raises InputError when a setting is missing."""
        return cls()

    def ahead(self, message: Message, *, address: str | None, at: datetime) -> None:  # noqa: B027 - most have nothing to prepare
        """What is sent after the next call of :meth:`send`, so that it can be prepared meanwhile; it may not leave, and may not be sent."""

    @abstractmethod
    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Hand one message to the provider; the receipt counts once :meth:`flush` has returned too."""

    def flush(self) -> None:
        """Return when everything that was sent is as safe as the provider makes it; raises like :meth:`send`."""
        return

    def close(self) -> None:
        """Give back connections and files; the channel opens them again when it is used again."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def accepted(message: Message, *, at: datetime, detail: str = "", provider_id: str | None = None) -> Receipt:
    """The receipt of a message that the provider has taken."""
    return Receipt(message_id=message.message_id, state="accepted", at=at, detail=detail, provider_id=provider_id)
