"""What a running service holds: the open shop, who may use it, and how to work with both from many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from tradewind.serve.access import Access

if TYPE_CHECKING:
    from tradewind.shop import Shop


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may ask of a service; beyond it the answer is 413 or 429."""

    body: int = 8 * 2**20  # bytes of a request
    per_second: float = 20_000.0  # requests of one key or person
    log_ins: int = 10  # tries per minute, name and address


@dataclass
class Serving:
    """The shop behind a service. Its tables answer one thread at a time: use them within :meth:`use`.

    ``parts`` holds what routes load once, such as models; they are closed with the service.
    """

    shop: Shop
    limits: Limits = field(default_factory=Limits)
    parts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.access = Access(self.shop.home, now=self.shop.now)
        self._lock = RLock()

    @contextmanager
    def use(self) -> Iterator[Shop]:
        """The shop, for this thread alone until the block ends."""
        with self._lock:
            yield self.shop

    def close(self) -> None:
        """Close what was loaded; the shop belongs to who opened it."""
        for part in self.parts.values():
            if hasattr(part, "close"):
                part.close()
        self.parts.clear()


def serving(request: Request) -> Serving:
    """What the running service holds, for a route."""
    return cast("Serving", request.app.state.serving)


async def _held(request: Request) -> Serving:  # a dependency that does not wait must not go through a pool of threads
    return serving(request)


Held = Annotated[Serving, Depends(_held)]
