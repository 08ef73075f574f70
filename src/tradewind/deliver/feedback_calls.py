"""Calls that come in over HTTP with a signature: taken once, refused when forged, old or early, without effect when repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy import delete, select

from tradewind.deliver.channels import _signing
from tradewind.engine.books_channels import callbacks
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

T = TypeVar("T")
KEPT = timedelta(seconds=3 * _signing.TOLERANCE)  # longer than a call can be valid


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A genuine call and what taking it gave; ``repeated``: it was taken before, nothing was done, answer it as if it had been."""

    id: str
    repeated: bool
    result: T | None = None


def receive(
    home: Home,
    source: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Sequence[bytes],
    now: datetime,
    take: Callable[[bytes], T],
) -> Call[T]:
    """Verify a call of ``source`` (Standard Webhooks) and hand its body to ``take``, unless its id was taken before.

    ``take`` must be idempotent: after a kill within it, the sender's next try comes through.

    Raises
    ------
    InputError
        The call is too large, forged, too old or too early: answer 400, nothing was done.
    """
    if len(body) > _signing.LARGEST:
        raise InputError(f"This call has {len(body):,} bytes; at most {_signing.LARGEST:,} are taken. Send less at once.")
    name = _signing.verify(keys, headers, body, now=now)
    c = callbacks.c
    with home.ledger.read() as conn:
        if conn.execute(select(c.at).where(c.source == source, c.id == name)).first() is not None:
            return Call(name, repeated=True)
    result = take(body)
    with home.ledger.write() as conn:
        insert_new(conn, callbacks, [{"source": source, "id": name, "at": micros(now)}])
        conn.execute(delete(callbacks).where(c.source == source, c.at < micros(now - KEPT)))
    return Call(name, repeated=False, result=result)
