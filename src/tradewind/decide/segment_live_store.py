"""What live segments know per customer: sums, counts and times that an event changes in place, and a wheel of due times.

Everything is a sum, a minimum or a maximum, so that late events fit in wherever they belong. What counts for thirty or ninety days
is added when an event comes and taken off by an entry of the wheel. The columns are those of the profile (``learn/features.py``)
that follow from a customer's own events; times are microseconds, strictly before the moment, as there.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.learn.features import NOT_OWN
from tradewind.learn.profiles import PROFILE
from tradewind.schema import Kind
from tradewind.types import Event, micros

DAY = 86_400_000_000
NEVER = 2**62
NEEDED = ("id", "at", "kind", "source", "customer", "value", "order_id", "currency")  # columns of events
TEXTS = ("household", "locale", "zone")
LIVE = pa.schema(
    [
        PROFILE.field(name)
        for name in (
            *TEXTS, "currency", "tenure_days", "recency_days", "frequency", "monetary", "aov", "interval_days", "views_30d", "carts_30d",
            "orders_30d", "spend_90d", "refund_share", "messages_30d",
        )
    ]
)  # fmt: skip
WINDOWS = {"views_30d": 30, "carts_30d": 30, "messages_30d": 30, "orders_30d": 30, "spend_90d": 90}  # days that count
COUNTED = {Kind.VIEW: "views_30d", Kind.CART: "carts_30d", Kind.SENT: "messages_30d"}
_NUMBERS = (*WINDOWS, "events", "frequency", "bought", "refunded")
_TIMES = {"first": NEVER, "signed": NEVER, "first_order": NEVER, "last_order": -NEVER, "last_purchase": -NEVER}
_CODES = tuple(WINDOWS)
MERGE = 500_000  # ids after which the set of new ones joins the sorted array


def number(text: str) -> int:
    """64 bits of BLAKE2 of a text, signed: two ids share one with a chance of one in 10^19."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class Ids:
    """Which event ids were heard: a sorted array, and a set of the newest."""

    def __init__(self, known: np.ndarray) -> None:
        self._old, self._new = np.sort(known), set[int]()

    def add(self, name: str) -> bool:
        """Remember an id; False when it was known."""
        key = number(name)
        place = int(np.searchsorted(self._old, key))
        if key in self._new or (place < len(self._old) and self._old[place] == key):
            return False
        self._new.add(key)
        if len(self._new) >= MERGE:
            fresh = np.sort(np.fromiter(self._new, dtype=np.int64, count=len(self._new)))
            self._old = np.insert(self._old, np.searchsorted(self._old, fresh), fresh)
            self._new.clear()
        return True


class Wheel:
    """Entries (due, customer, window, amount): those of the load sorted in arrays, those that came later in a heap."""

    def __init__(self) -> None:
        self._base = np.empty((0, 4), dtype=np.int64)
        self._next = 0
        self._heap: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._base) - self._next + len(self._heap)

    def load(self, rows: np.ndarray) -> None:
        """Entries at once, int64 of shape (n, 4), on an empty wheel."""
        self._base, self._next = rows[np.argsort(rows[:, 0], kind="stable")], 0

    def push(self, due: int, who: int, window: int, amount: int) -> None:
        heapq.heappush(self._heap, (due, who, window, amount))

    def pop(self, now: int) -> Iterator[tuple[int, int, int, int]]:
        """Everything that is due at ``now``, in any order."""
        end = self._next + int(np.searchsorted(self._base[self._next :, 0], now, side="right"))
        for row in self._base[self._next : end].tolist():
            yield row[0], row[1], row[2], row[3]
        self._next = end
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)


class Store:
    """The customers as rows of arrays. ``now`` is the moment, microseconds; what happens at it or later is not seen yet."""

    def __init__(self, events: pa.Table, people: pa.Table, *, now: int) -> None:
        """``events`` with the columns ``NEEDED`` (each id once), ``people`` as ``schema.CUSTOMERS``."""
        self.now = now
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self._columns: dict[str, np.ndarray] = {}
        self._texts: dict[str, list[str | None]] = {name: [] for name in (*TEXTS, "currency")}
        self._orders: dict[int, dict[int, int]] = {}  # of customers who bought since the load: order -> its first line
        self._ahead: list[tuple[int, str, Event]] = []
        self.wheel = Wheel()
        self._grow(1_024)
        events = events.filter(pc.is_valid(events["customer"]))
        self._people(events, people)
        self._load(events)

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> np.ndarray:
        """One of the arrays, of all customers."""
        return self._columns[name][: len(self.names)]

    # -- single events ------------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> int | None:
        """Take an event in and return the customer's row; None when it is known, nobody's, or in the future (it waits)."""
        if event.customer is None or not self.ids.add(event.id):
            return None
        at = micros(event.at)
        if at >= self.now:
            heapq.heappush(self._ahead, (at, event.id, event))
            return None
        return self._take(event, at)

    def advance(self, now: int) -> set[int]:
        """Go on to ``now`` and return the rows that something happened to."""
        self.now = max(now, self.now)
        touched = set()
        while self._ahead and self._ahead[0][0] < self.now:
            at, _, event = heapq.heappop(self._ahead)
            touched.add(self._take(event, at))
        for _, who, window, amount in self.wheel.pop(self.now):
            self._columns[_CODES[window]][who] += amount
            touched.add(who)
        return touched

    def _take(self, event: Event, at: int) -> int:
        assert event.customer is not None
        who = self.row(event.customer)
        c, paid = self._columns, int(event.value or 0)
        c["events"][who] += 1
        if event.kind not in NOT_OWN:
            c["first"][who] = min(c["first"][who], at)
        if (window := COUNTED.get(Kind(event.kind))) is not None:
            self._count(window, who, at, 1)
        elif event.kind == Kind.PURCHASE:
            c["bought"][who] += paid
            c["last_purchase"][who] = max(c["last_purchase"][who], at)
            c["first_order"][who] = min(c["first_order"][who], at)
            self._count("spend_90d", who, at, paid)
            self._order(who, number(f"{event.customer}\x1f{event.order_id or event.id}"), at)
            known = self._texts["currency"][who]
            if event.currency is not None and (known is None or event.currency > known):
                self._texts["currency"][who] = event.currency
        elif event.kind == Kind.REFUND:
            c["refunded"][who] += paid
            self._count("spend_90d", who, at, -paid)
        return who

    def _count(self, window: str, who: int, at: int, amount: int) -> None:
        """Add what counts for the days of ``window``, if it does not lie behind them, and plan to take it off."""
        due = at + WINDOWS[window] * DAY + 1
        if due > self.now and amount:
            self._columns[window][who] += amount
            self.wheel.push(due, who, _CODES.index(window), -amount)

    def _order(self, who: int, key: int, at: int) -> None:
        """A line of an order: an order is as old as its first line."""
        mine = self._orders.get(who)
        if mine is None:
            mine = self._orders[who] = self._known_orders(who)
        c, before = self._columns, mine.get(key)
        if before is None:
            c["frequency"][who] += 1
        elif before <= at:
            return
        else:  # a line of before: what the order counted since is taken back, and off the wheel
            self._count("orders_30d", who, before, -1)
        mine[key] = at
        self._count("orders_30d", who, at, 1)
        c["last_order"][who] = max(mine.values())

    def _known_orders(self, who: int) -> dict[int, int]:
        if who + 1 >= len(self._starts):
            return {}
        mine = slice(self._starts[who], self._starts[who + 1])
        return dict(zip(self._keys[mine].tolist(), self._began[mine].tolist(), strict=True))

    def row(self, customer: str) -> int:
        """The row of a customer, made when there is none."""
        found = self.rows.get(customer)
        if found is None:
            found = self.rows[customer] = len(self.names)
            self.names.append(customer)
            for texts in self._texts.values():
                texts.append(None)
            if found >= len(self._columns["first"]):
                self._grow(2 * found)
        return found

    def _grow(self, size: int) -> None:
        for name in _NUMBERS:
            old = self._columns.get(name, np.zeros(0, dtype=np.int64))
            self._columns[name] = np.concatenate([old, np.zeros(size - len(old), dtype=np.int64)])
        for name, missing in _TIMES.items():
            old = self._columns.get(name, np.zeros(0, dtype=np.int64))
            self._columns[name] = np.concatenate([old, np.full(size - len(old), missing, dtype=np.int64)])

    # -- the load -----------------------------------------------------------------------------------------------------

    def _people(self, events: pa.Table, people: pa.Table) -> None:
        told = pc.unique(pa.concat_arrays([people["customer"].combine_chunks(), pc.unique(events["customer"]).cast(pa.string())]))
        self.names = told.to_pylist()
        self.rows = {name: row for row, name in enumerate(self.names)}
        self._grow(max(len(self.names), 1_024))
        rows = pc.index_in(people["customer"], value_set=told).to_numpy()
        signed = people["signed_up_at"].cast(pa.int64()).fill_null(-NEVER).to_numpy()  # no time: known always, without a tenure
        self._columns["signed"][rows] = signed
        for name in self._texts:
            self._texts[name] = [None] * len(self.names)
        for name in TEXTS:
            texts = self._texts[name]
            for row, value in zip(rows.tolist(), people[name].to_pylist(), strict=True):
                texts[row] = value

    def _load(self, events: pa.Table) -> None:
        at = events["at"].cast(pa.int64()).to_numpy()
        self.ids = Ids(np.fromiter(map(number, events["id"].to_pylist()), dtype=np.int64, count=len(at)))
        for row in events.filter(pa.array(at >= self.now)).select(list(NEEDED)).to_pylist():
            event = Event(**row)
            heapq.heappush(self._ahead, (micros(event.at), event.id, event))
        events, at = events.filter(pa.array(at < self.now)), at[at < self.now]
        who = pc.index_in(events["customer"].cast(pa.string()), value_set=pa.array(self.names, pa.string())).to_numpy()
        paid = events["value"].fill_null(0).to_numpy()
        kind = events["kind"]
        c = self._columns
        own = pc.invert(pc.is_in(kind, value_set=pa.array(NOT_OWN))).to_numpy()
        np.add.at(c["events"], who, 1)
        np.minimum.at(c["first"], who[own], at[own])
        due = [self._counted(name, pc.equal(kind, str(what)).to_numpy(), who, at, None) for what, name in COUNTED.items()]
        bought, back = pc.equal(kind, str(Kind.PURCHASE)).to_numpy(), pc.equal(kind, str(Kind.REFUND)).to_numpy()
        np.add.at(c["bought"], who[bought], paid[bought])
        np.add.at(c["refunded"], who[back], paid[back])
        np.maximum.at(c["last_purchase"], who[bought], at[bought])
        np.minimum.at(c["first_order"], who[bought], at[bought])
        due.append(self._counted("spend_90d", bought | back, who, at, np.where(back, -paid, paid)))
        lines = events.filter(pa.array(bought))
        keys = self._load_orders(lines, who[bought], at[bought])
        due.append(self._counted("orders_30d", np.ones(len(self._began), dtype=bool), keys, self._began, None))
        self.wheel.load(np.concatenate(due))
        self._load_currency(lines["currency"], who[bought])

    def _counted(self, name: str, which: np.ndarray, who: np.ndarray, at: np.ndarray, amount: np.ndarray | None) -> np.ndarray:
        """Add what still counts, and return the entries of the wheel that take it off."""
        due = at + WINDOWS[name] * DAY + 1
        which = which & (due > self.now)
        much = np.ones(int(which.sum()), dtype=np.int64) if amount is None else amount[which]
        np.add.at(self._columns[name], who[which], much)
        return np.column_stack([due[which], who[which], np.full(len(much), _CODES.index(name)), -much]).astype(np.int64)

    def _load_orders(self, lines: pa.Table, who: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Every order with its first line, by customer; returns whose it is."""
        names = pc.coalesce(lines["order_id"], lines["id"]).to_pylist()
        keys = np.fromiter(
            (number(f"{self.names[row]}\x1f{name}") for row, name in zip(who.tolist(), names, strict=True)), dtype=np.int64, count=len(who)
        )
        order = np.lexsort((at, keys, who))
        who, keys, at = who[order], keys[order], at[order]
        first = np.ones(len(who), dtype=bool)
        first[1:] = (who[1:] != who[:-1]) | (keys[1:] != keys[:-1])
        whose, self._keys, self._began = who[first].astype(np.int64), keys[first], at[first]
        self._starts = np.searchsorted(whose, np.arange(len(self.names) + 1))
        np.add.at(self._columns["frequency"], whose, 1)
        np.maximum.at(self._columns["last_order"], whose, self._began)
        return whose

    def _load_currency(self, currency: pa.ChunkedArray, who: np.ndarray) -> None:
        texts = self._texts["currency"]
        pairs = pa.table({"who": pa.array(who), "currency": currency}).group_by("who").aggregate([("currency", "max")])
        for row in pairs.to_pylist():
            texts[row["who"]] = row["currency_max"]

    # -- columns of the profile ---------------------------------------------------------------------------------------

    def known(self, rows: np.ndarray) -> np.ndarray:
        """Who is a customer by now: something happened, or the sign-up (if there is a time) has passed; bool."""
        return np.asarray((self._columns["events"][rows] > 0) | (self._columns["signed"][rows] < self.now))

    def cells(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A column of ``LIVE`` as an expression reads it: values with a filler, and which are empty."""
        c = self._columns
        if name in self._texts:
            texts = self._texts[name]
            found = np.array([texts[row] for row in rows.tolist()], dtype=object)
            empty = np.array([value is None for value in found.tolist()], dtype=bool)
            return np.where(empty, "", found), empty
        if name in WINDOWS or name == "frequency":
            return c[name][rows].astype(np.float64), np.zeros(len(rows), dtype=bool)
        if name == "monetary":
            return (c["bought"][rows] - c["refunded"][rows]).astype(np.float64), np.zeros(len(rows), dtype=bool)
        if name == "aov":
            return _ratio(c["bought"][rows] - c["refunded"][rows], c["frequency"][rows])
        if name == "refund_share":
            return _ratio(c["refunded"][rows], c["bought"][rows])
        if name == "interval_days":
            more = np.maximum(c["frequency"][rows] - 1, 0)
            return _ratio(np.where(more > 0, c["last_order"][rows] - c["first_order"][rows], 0), more * DAY)
        since = self.since(name, rows)
        empty = np.abs(since) >= NEVER
        return np.where(empty, 0.0, (self.now - np.where(empty, self.now, since)) / float(DAY)), empty

    def since(self, name: str, rows: np.ndarray) -> np.ndarray:
        """From when ``tenure_days`` or ``recency_days`` are counted; beyond ``NEVER`` where there is nothing."""
        c = self._columns
        if name == "recency_days":
            return np.asarray(c["last_purchase"][rows])
        signed = c["signed"][rows]
        return np.asarray(np.minimum(c["first"][rows], np.where((signed > -NEVER) & (signed < self.now), signed, NEVER)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    empty = whole == 0
    return part.astype(np.float64) / np.where(empty, 1, whole).astype(np.float64), empty
