"""Payloads of Segment and GA4, many requests at once through the very SQL and the rules of ``collect``.

Whoever waits is judged together: a run of the rules costs some tens of milliseconds however many rows it sees. Rules that compare rows
with each other (bots, outliers, near duplicates) wait for ``tradewind collect``: who happens to wait together says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from tradewind import plugins
from tradewind.collect.mapping import SourceMap
from tradewind.collect.memory import collect_table
from tradewind.collect.names import UNUSED
from tradewind.collect.pipeline import Context, run
from tradewind.collect.relation import Relation
from tradewind.collect.sources import _ga4, _segment
from tradewind.collect.sources.base import Part, place, position
from tradewind.collect.vault import Vault
from tradewind.errors import InputError
from tradewind.schema import CONTACTS, CUSTOMERS, conform
from tradewind.serve.group import Group
from tradewind.serve.ingest import Intake, Taken
from tradewind.serve.rows import Fault, unnamed
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

ALONE = ("required", "type", "range", "time_order", "currency_mix", "missing", "exact_duplicates")  # rules that look at one row
WAITING, AT_ONCE = 50_000, 10_000  # calls
_PARTS = {"segment": _segment.parts, "ga4": _ga4.parts}
_TIMES = ("timestamp", "originalTimestamp", "sentAt")


@dataclass
class _Judged:
    """The rows of one request."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[int, list[Fault]] = field(default_factory=dict)
    unused: int = 0
    people: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    form: str
    calls: Sequence[Mapping[str, Any]]
    source: str


class Payloads:
    """Where calls of other shapes come in; events go the way of all events, contact points to the vault, customers to their table."""

    def __init__(self, home: Home, intake: Intake, *, now: Callable[[], datetime]) -> None:
        self._home, self._intake, self._now = home, intake, now
        self._off = {name: {"enabled": False} for name in plugins.names("collect.rules") if name not in ALONE}
        self._group: Group[_Asked, _Judged] = Group("payloads", self._all, most=WAITING, at_once=AT_ONCE)

    async def take(self, form: str, calls: Sequence[Mapping[str, Any]], *, source: str) -> Taken:
        """Judge calls of a form ("segment", "ga4") and store what they say; returns when it is on disk."""
        found = await self._group.put(_Asked(form, calls, source), max(1, len(calls)))
        faults = [(row, None, why) for row, why in sorted(found.faults.items())]
        taken = await self._intake.store(found.rows, faults)
        return replace(taken, unused=found.unused, people=found.people)

    def close(self) -> None:
        """Judge what waits, then stop."""
        self._group.close()

    def _all(self, asked: Sequence[_Asked]) -> list[_Judged | Exception]:
        found: list[_Judged | Exception] = [_Judged() for _ in asked]
        for form in _PARTS:
            mine = [number for number, one in enumerate(asked) if one.form == form]
            if not mine:
                continue
            try:
                judged: Sequence[_Judged | Exception] = self._judge(form, [asked[number] for number in mine])
            except InputError:  # of whom? Each alone, so that nobody suffers for another
                judged = [self._one(form, asked[number]) for number in mine]
            for number, one in zip(mine, judged, strict=True):
                found[number] = one
        return found

    def _one(self, form: str, asked: _Asked) -> _Judged | Exception:
        try:
            return self._judge(form, [asked])[0]
        except InputError as error:
            return error

    def _judge(self, form: str, asked: Sequence[_Asked]) -> list[_Judged]:
        import duckdb

        now, currency = self._now(), self._home.settings.currency
        found = [_Judged(unused=sum(_unused(form, call) for call in one.calls)) for one in asked]
        texts = [orjson.dumps(_timed(form, call, now)).decode() for one in asked for call in one.calls]
        places = [position(number, row + 1) for number, one in enumerate(asked) for row in range(len(one.calls))]
        source = SourceMap(name=form, into="events", currency=currency, rules=self._off)
        with duckdb.connect(config={"threads": 1}) as con:
            con.execute("SET TimeZone = 'UTC'")
            con.register("calls", pa.table({"j": pa.array(texts, pa.string()), "_pos": pa.array(places, pa.int64())}))
            con.execute("CREATE TEMP TABLE objects AS SELECT * FROM calls")
            for part in _PARTS[form](con, "SELECT * FROM objects", [str(number) for number in range(len(asked))], source=source):
                self._part(con, part, source, found, Context(con, now, lambda _table: None, currency))
        for one, judged in zip(asked, found, strict=True):
            judged.people = sum(call.get("type") == "identify" for call in one.calls) if form == "segment" else 0
            judged.rows, faults = unnamed(judged.rows, one.source)
            if faults:
                judged.faults.setdefault(len(one.calls) - 1, []).extend(faults)
        return found

    def _part(self, con: Any, part: Part, source: SourceMap, found: Sequence[_Judged], context: Context) -> None:
        relation = Relation(con, part, source, part.into or source.into)
        outcome = run(context, relation)
        for pos, name, rule, reason in con.execute("SELECT _pos, field, rule, reason FROM held ORDER BY _pos, shown").fetchall():
            number, line = place(pos)
            found[number].faults.setdefault(line - 1, []).append(Fault(name, rule, reason))
        if outcome.table == "contacts":
            Vault(self._home).put(conform(con.sql(f"{outcome.sql} ORDER BY ALL").to_arrow_table(), CONTACTS))
        elif outcome.table == "customers":
            rows = conform(con.sql(outcome.sql).to_arrow_table(), CUSTOMERS)
            if rows.num_rows:
                collect_table(self._home, rows, now=context.now)
        else:
            table = con.sql(f'SELECT * REPLACE (epoch_us("at") AS "at") FROM ({outcome.sql})').to_arrow_table()
            for row in table.to_pylist():
                found[int(row["source"])].rows.append({name: value for name, value in row.items() if value is not None})


def _unused(form: str, call: Mapping[str, Any]) -> int:
    """How many events of a call no table holds."""
    if form == "segment":
        kind = call.get("type")
        return int(kind not in ("track", "page", "identify") or (kind == "track" and call.get("event") in UNUSED))
    events = call.get("events")
    return sum(isinstance(one, dict) and one.get("name") in UNUSED for one in events) if isinstance(events, list) else 0


def _timed(form: str, call: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """The call with the moment that it came in where it names none, as both protocols have it."""
    if form == "segment":
        return call if any(call.get(name) for name in _TIMES) else {**call, "timestamp": now.isoformat()}
    return call if call.get("timestamp_micros") or call.get("event_timestamp") else {**call, "timestamp_micros": micros(now)}
