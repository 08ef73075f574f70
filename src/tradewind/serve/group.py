"""Group commit: many wait, one thread commits for all of them at once, and everybody is answered after the disk has it.

While a transaction waits for the disk the next group gathers, so that the rate does not depend on how slow a flush is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

from fastapi import HTTPException

T = TypeVar("T")
R = TypeVar("R")
_Waiting = tuple[Any, int, asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Group(Generic[T, R]):
    """Hands everything that waits to ``commit``, in order, in a thread of its own; it returns one result per thing.

    ``most``: how much may wait (the sum of sizes); beyond it :meth:`put` answers 429. ``at_once``: the most of one commit. An exception of
    ``commit`` goes to everybody of that group; one that it returns as a result goes to that one alone.
    """

    def __init__(self, name: str, commit: Callable[[Sequence[T]], Sequence[R | Exception]], *, most: int, at_once: int) -> None:
        self._commit, self._most, self._at_once = commit, most, at_once
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._ready = Condition()
        self._open = True
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How much waits now."""
        return self._size

    async def put(self, thing: T, size: int = 1) -> R:
        """Wait until ``thing`` is committed.

        Raises
        ------
        HTTPException
            429: too much waits already. 503: the service stops.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._ready:
            if not self._open:
                raise HTTPException(503, "The service stops. Send it again.", {"retry-after": "1"})
            if self._size and self._size + size > self._most:
                raise HTTPException(
                    429, "More comes in than the disk takes. Nothing of this request was stored: send it again.", {"retry-after": "1"}
                )
            self._waiting.append((thing, size, loop, future))
            self._size += size
            self._ready.notify()
        return await future

    def close(self) -> None:
        """Commit what waits, then stop."""
        with self._ready:
            self._open = False
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        while group := self._next():
            try:
                results = self._commit([thing for thing, *_ in group])
            except Exception as error:  # noqa: BLE001 - everybody who waits is told
                results = [error] * len(group)
            by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
            for (_, _, loop, future), result in zip(group, results, strict=True):
                by_loop.setdefault(loop, []).append((future, result))
            for loop, answers in by_loop.items():
                loop.call_soon_threadsafe(_answer, answers)

    def _next(self) -> list[_Waiting]:
        with self._ready:
            while self._open and not self._waiting:
                self._ready.wait()
            group: list[_Waiting] = []
            size = 0
            while self._waiting and (not group or size + self._waiting[0][1] <= self._at_once):
                group.append(self._waiting.popleft())
                size += group[-1][1]
            self._size -= size
            return group


def _answer(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in answers:
        if future.done():  # who asked has gone
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
