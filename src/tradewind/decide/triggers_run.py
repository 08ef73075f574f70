"""Triggers on a shop: read the event log up to a watermark, remember per customer, and record every firing once.

The watermark is now minus ``grace``: how late an event may arrive and still be heard in its place. Everything before it is read
once, in order of time, so that firings depend on the events alone. State, watermark and firings change in one transaction that
only succeeds from the watermark that was read: killed anywhere, or run twice at a time, nothing is lost or doubled.
What arrives after the watermark has passed it is counted as late, never heard.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, select, update

from tradewind import plugins
from tradewind.collect.studied import studied
from tradewind.decide.hashing import canonical, digest
from tradewind.decide.triggers.base import DAY, HOUR, Firing, Memory, Signal, Trigger, fold
from tradewind.engine import books_campaigns as books
from tradewind.engine.ledger import CHUNK, insert_new, upsert
from tradewind.errors import InputError, did_you_mean
from tradewind.params import Number, check
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

ROOM = "decide.triggers"
MOST = 200_000  # events that are read, and committed, at once; a day is never cut
_COMMON = {"cooldown_days": Number(0, 3_660), "grace_minutes": Number(0, 60 * 24 * 31)}


@dataclass(frozen=True)
class Watch:
    """A trigger with the rules that every kind has.

    After a firing a customer is left alone for ``cooldown`` microseconds; events may arrive ``grace`` microseconds late.
    """

    kind: str
    machine: Trigger
    cooldown: int
    grace: int

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Watch:
        """From the table ``[trigger]`` of a campaign.

        Raises
        ------
        InputError
            The kind or a setting is not known, or a value is not allowed.
        """
        known = plugins.names(ROOM)
        kind = told.get("kind")
        if not isinstance(kind, str) or kind not in known:
            hint = did_you_mean(kind, known) if isinstance(kind, str) else ""
            raise InputError(f"[trigger] kind must be one of {', '.join(known)}; got {kind!r}.{hint}")
        maker = plugins.load(ROOM, kind, what="trigger")
        own = [name for name in told if name not in ("kind", *_COMMON)]
        for name in own:
            if name not in maker.RULES:
                names = ["kind", *maker.RULES, *_COMMON]
                raise InputError(f'[trigger] has no "{name}" for the kind "{kind}".{did_you_mean(name, names)} Known: {", ".join(names)}.')
        common = {"cooldown_days": 7.0, "grace_minutes": 10.0} | {name: told[name] for name in _COMMON if name in told}
        check("[trigger]", common, _COMMON)
        machine: Trigger = maker(**{name: told[name] for name in own})
        machine.check()
        return cls(kind, machine, int(common["cooldown_days"] * DAY), int(common["grace_minutes"] * HOUR / 60))

    def name(self, campaign: str) -> str:
        """Under which its memory is kept: other settings of the machine begin anew, with the same names of firings."""
        return digest("trigger", campaign, self.kind, canonical(self.machine.settings()))


@dataclass(frozen=True)
class Ran:
    """What one reading brought: new firings, how far it read, how many events came too late since the beginning, what was unreadable."""

    firings: int = 0
    watermark: datetime | None = None
    late: int = 0
    unread: Mapping[str, int] = field(default_factory=dict)


def observe(home: Home, *, now: datetime) -> int:
    """Compare the catalogue with what it was at the last look; a price that fell and an item that is back become part of the log."""
    rows = home.tables.to_arrow(home.tables.get("items").select("item", "price", "stock")).to_pylist()
    at, table = micros(now), books.item_states
    with home.ledger.write() as conn:
        known = {row.item: row for row in conn.execute(select(table))}
        fresh = [row for row in rows if row["item"] not in known or (row["price"], row["stock"]) != tuple(known[row["item"]])[1:]]
        found = []
        for row in fresh:
            if (old := known.get(row["item"])) is None:
                continue
            if old.price and row["price"] is not None and row["price"] < old.price:
                found.append({"item": row["item"], "at": at, "kind": "price_drop", "before": old.price, "after": row["price"]})
            if old.stock is not None and old.stock <= 0 < (row["stock"] or 0):
                found.append({"item": row["item"], "at": at, "kind": "back_in_stock", "before": old.stock, "after": row["stock"]})
        if fresh:
            upsert(conn, table, fresh, update=["price", "stock"])
        if found:
            insert_new(conn, books.item_changes, found)
    return len(found)


def replay(home: Home, watch: Watch, *, since: datetime, until: datetime) -> list[Firing]:
    """The firings in [since, until) if the trigger had always been there; nothing is written."""
    end, memories, found = micros(until), dict[str, Memory](), list[Firing]()
    start = _beginning(home, watch, since=since, end=end)
    for cut in _cuts(home, watch, start, end):
        signals, _, _ = _signals(home, watch, start, cut)
        heard = {one.customer for one in signals}
        due = {name: one for name, one in memories.items() if name in heard or (watch.machine.due(one.state) or cut) < cut}
        changed, fired = step(watch, due, signals, until=cut, since=micros(since))
        memories |= changed
        found += fired
        start = cut
    return found


def step(
    watch: Watch, memories: Mapping[str, Memory], signals: Iterable[Signal], *, until: int, since: int
) -> tuple[dict[str, Memory], list[Firing]]:
    """The memories that change, and the firings in order of time, when ``signals`` (in any order, before ``until``) are heard.

    ``memories`` holds those of all customers of the signals, and of all whose time has come.
    """
    mine: dict[str, list[Signal]] = defaultdict(list)
    for signal in signals:
        mine[signal.customer].append(signal)
    changed, found = {}, []
    for customer in mine.keys() | memories.keys():
        memory, fired = fold(
            watch.machine, memories.get(customer, Memory()), sorted(mine.get(customer, ())),
            customer=customer, until=until, since=since, cooldown=watch.cooldown,
        )  # fmt: skip
        changed[customer] = memory
        found += fired
    return changed, sorted(found, key=lambda one: (one.at, one.customer, one.key))


def run(home: Home, watch: Watch, *, campaign: str, since: datetime, now: datetime) -> Ran:
    """Read on from the last watermark to now minus the grace, and record what fired.

    The first time the whole log is read, so that the machines know the past; only what is due from ``since`` on fires.
    """
    home.log.compact(now=now)
    trigger, end = watch.name(campaign), micros(now) - watch.grace
    with home.ledger.read() as conn:
        mark = conn.execute(select(books.trigger_marks).where(books.trigger_marks.c.trigger == trigger)).one_or_none()
    start = _beginning(home, watch, since=since, end=end) if mark is None else int(mark.watermark)
    if mark is None:
        row = {"trigger": trigger, "campaign": campaign, "since": micros(since), "watermark": start, "counted": 0, "late": 0}
        with home.ledger.write() as conn:
            insert_new(conn, books.trigger_marks, [row])
    floor, late = micros(since) if mark is None else int(mark.since), 0 if mark is None else int(mark.late)
    seen = _count(home, watch, start)
    late += max(0, seen - (0 if mark is None else int(mark.counted)))
    fired, unread = 0, Counter[str]()
    for until in _cuts(home, watch, start, end):
        signals, heard, odd = _signals(home, watch, start, until)
        seen += heard
        with home.ledger.write() as conn:
            if not _moved(conn, trigger, start, {"watermark": until, "counted": seen, "late": late}):
                break  # somebody else read on
            before = _memories(conn, trigger, {one.customer for one in signals}, until)
            after, found = step(watch, before, signals, until=until, since=floor)
            _remember(conn, trigger, watch, after)
            rows = [_row(campaign, watch.kind, one, until) for one in found]
            fired += insert_new(conn, books.firings, rows) if rows else 0
        unread |= Counter(odd)  # each slice looks at the same people
        start = until
    return Ran(fired, from_micros(start), late, dict(unread))


def _moved(conn: Connection, trigger: str, start: int, values: Mapping[str, int]) -> bool:
    """Take the watermark on from ``start``; False when it is elsewhere by now."""
    marks = books.trigger_marks.c
    return conn.execute(update(books.trigger_marks).where(marks.trigger == trigger, marks.watermark == start).values(values)).rowcount == 1


def _memories(conn: Connection, trigger: str, heard: set[str], until: int) -> dict[str, Memory]:
    """Of the customers who are heard of, and of those whose time has come."""
    c = books.trigger_states.c
    columns = select(c.customer, c.state).where(c.trigger == trigger)
    rows = list(conn.execute(columns.where(c.due < until)))
    names = sorted(heard)
    for first in range(0, len(names), CHUNK):
        rows += conn.execute(columns.where(c.customer.in_(names[first : first + CHUNK])))
    return {row.customer: Memory(**json.loads(row.state)) for row in rows}


def _remember(conn: Connection, trigger: str, watch: Watch, memories: Mapping[str, Memory]) -> None:
    empty = sorted(name for name, one in memories.items() if one.state is None and one.fired is None)
    c = books.trigger_states.c
    for first in range(0, len(empty), CHUNK):
        conn.execute(delete(books.trigger_states).where(c.trigger == trigger, c.customer.in_(empty[first : first + CHUNK])))
    kept = [
        {"trigger": trigger, "customer": name, "state": canonical(one.to_json()), "due": watch.machine.due(one.state)}
        for name, one in sorted(memories.items())
        if not (one.state is None and one.fired is None)
    ]
    if kept:
        upsert(conn, books.trigger_states, kept, update=["state", "due"])


def _row(campaign: str, kind: str, one: Firing, at: int) -> dict[str, Any]:
    return {
        "firing_id": one.id(campaign, kind), "campaign": campaign, "customer": one.customer, "episode": one.episode, "at": one.at,
        "detail": canonical({"kind": kind, "items": list(one.items)}), "state": "pending", "plan_id": None, "updated_at": at,
    }  # fmt: skip


def _heard(home: Home, watch: Watch, end: int) -> Any:
    events = studied(home).events(as_of=from_micros(end))
    return events.filter(events.customer.notnull() & events.kind.isin(sorted(watch.machine.hears)))


def _signals(home: Home, watch: Watch, start: int, end: int) -> tuple[list[Signal], int, Mapping[str, int]]:
    """What happened in [start, end) that the machine hears, how much of it is in the log, and what could not be read."""
    outside = watch.machine.outside(home, start, end)
    events = _heard(home, watch, end)
    mine = events.filter(events.at >= from_micros(start))
    rows = home.tables.to_arrow(mine.select("at", "id", "kind", "customer", "item", "value", "order_id")).to_pylist()
    found = [Signal(micros(r["at"]), r["id"], r["kind"], r["customer"], r["item"], r["value"], r["order_id"]) for r in rows]
    return [*found, *outside.signals], len(found), outside.unread or {}


def _cuts(home: Home, watch: Watch, start: int, end: int) -> list[int]:
    """Where to cut [start, end): at midnights, so that a part holds at most ``MOST`` events, or is a single day; the last is ``end``."""
    if start >= end:
        return []
    events = _heard(home, watch, end)
    mine = events.filter(events.at >= from_micros(start))
    days = home.tables.to_arrow(mine.group_by(day=mine.at.date()).aggregate(n=lambda t: t.count())).to_pylist()
    cuts, held = [], 0
    for row in sorted(days, key=lambda row: row["day"]):
        if held and held + row["n"] > MOST:
            cuts.append(micros(datetime.combine(row["day"], time(), UTC)))
            held = 0
        held += row["n"]
    return [*(cut for cut in cuts if start < cut < end), end]


def _count(home: Home, watch: Watch, end: int) -> int:
    """How many events before ``end`` the log holds: more than were read means that some came too late."""
    return int(home.tables.to_arrow(_heard(home, watch, end).aggregate(n=lambda t: t.count()))["n"][0].as_py())


def _beginning(home: Home, watch: Watch, *, since: datetime, end: int) -> int:
    """From when a machine reads for the first time: the first event, or ``since`` where it needs no past; at most ``end``."""
    if not watch.machine.remembers:
        return min(micros(since), end)
    events = home.tables.events()
    found = home.tables.to_arrow(events.aggregate(first=events.at.min()))["first"][0].as_py()
    return end if found is None else min(micros(found), end)
