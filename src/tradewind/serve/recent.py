"""What customers did since their histories were read: so that an event is in the next answer."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple

EACH = 50  # events kept of one customer or session
MOST = 500_000  # events kept in all: some 150 MB

_START = datetime(1970, 1, 1, tzinfo=UTC)


class Seen(NamedTuple):
    """One event: ``number`` counts all that came in. It has what the histories of a recommender are made of."""

    number: int
    id: str
    at: datetime
    kind: str
    item: str | None
    value: int
    channel: str | None


class Recent:
    """The last events of customers, and of sessions of nobody who was recognised; who was quiet longest is forgotten first."""

    def __init__(self, *, each: int = EACH, most: int = MOST) -> None:
        self._each, self.most = each, most
        self._by: OrderedDict[str, deque[Seen]] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self.number = 0

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows of the inbox (``at`` in microseconds), once each."""
        with self._lock:
            for row in rows:
                key = _key(row.get("customer"), row.get("session"))
                if key is None:
                    continue
                self.number += 1
                mine = self._by.get(key)
                if mine is None:
                    mine = self._by[key] = deque(maxlen=self._each)
                else:
                    self._by.move_to_end(key)
                self._size += len(mine) < self._each
                seen = Seen(
                    self.number,
                    row["id"],
                    _START + timedelta(microseconds=row["at"]),
                    row["kind"],
                    row.get("item"),
                    row.get("value", 0),
                    row.get("channel"),
                )
                mine.append(seen)
                while self._size > self.most:
                    self._size -= len(self._by.popitem(last=False)[1])

    def of(self, customer: str | None, session: str | None) -> list[Seen]:
        """What a customer did, and what was done in a session before anybody was recognised."""
        with self._lock:
            mine = self._by.get(f"c{customer}", ()) if customer is not None else ()
            here = self._by.get(f"s{session}", ()) if session is not None else ()
            return [*mine, *here]

    def forget(self, customer: str) -> None:
        """Let go of what one customer did."""
        with self._lock:
            self._size -= len(self._by.pop(f"c{customer}", ()))

    def only(self, keep: frozenset[str], upto: int) -> None:
        """Let go of all events up to the ``upto``-th but those whose id is in ``keep``: the histories hold them now."""
        with self._lock:
            for key in list(self._by):
                left = [seen for seen in self._by[key] if seen.number > upto or seen.id in keep]
                self._size += len(left) - len(self._by[key])
                if left:
                    self._by[key] = deque(left, maxlen=self._each)
                else:
                    del self._by[key]


def _key(customer: str | None, session: str | None) -> str | None:
    if customer is not None:
        return f"c{customer}"
    return None if session is None else f"s{session}"
