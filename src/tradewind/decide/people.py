"""Single customers, for whoever looks one up: who they are, how sure that is, and what happened in order of time. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Select, and_, or_, select

from tradewind.decide import expression as expressions
from tradewind.decide.segment_live import Why, values
from tradewind.engine.books_serve import decisions
from tradewind.engine.ledger import outbox, plans
from tradewind.errors import NotFound
from tradewind.learn import customers
from tradewind.learn.answers import Answers
from tradewind.learn.profiles import PROFILE
from tradewind.learn.registry import active, learned
from tradewind.types import from_micros, micros, utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

Place = tuple[datetime, str]  # time and id of an entry: what comes before it is older
_EVENT = (
    "id",
    "at",
    "kind",
    "item",
    "quantity",
    "value",
    "discount",
    "currency",
    "order_id",
    "offer",
    "channel",
    "decision_id",
    "text",
    "rating",
)
_DECIDED = ("decision_id", "plan_id", "at", "customer", "variant", "action", "offer", "item", "channel", "mode")


class People:
    """The customers of one shop as its tables are now; ``as_of()`` is the moment just after the last event."""

    def __init__(self, home: Home, *, as_of: Callable[[], datetime]) -> None:
        self._home, self._as_of = home, as_of

    def table(self) -> tuple[datetime, pa.Table]:
        """The moment, and everybody: see :func:`tradewind.learn.customers.customers`. Takes seconds for many customers."""
        as_of = self._as_of()
        table = customers.customers(self._home, as_of=as_of)
        return as_of, Answers.load(active(self._home, "answers").path).added(table) if learned(self._home, "answers") else table

    def columns(self, table: pa.Table) -> pa.Table:
        """What an audience may name, of :meth:`table`: the profile, and how readily a customer answers."""
        return table.select([name for name in (*PROFILE.names, "answer_rate") if name in table.column_names])

    def inside(self, table: pa.Table, expression: str) -> pa.Table:
        """The rows of :meth:`table` in an audience. Raises InputError for an expression that campaigns would refuse."""
        return table.filter(pa.array(expressions.matches(expression, self.columns(table))))

    def why(self, table: pa.Table, expression: str | None, customer: str) -> Why:
        """Why a customer of :meth:`table` is in an audience or not (None: everybody is). Raises NotFound for a stranger."""
        row = self.columns(table.filter(pc.equal(table["customer"], customer)))
        if not row.num_rows:
            raise NotFound(f'The shop knows no customer "{customer}".')
        if not expression:
            return Why("", customer, inside=True, expression="everybody", parts=())
        inside = bool(expressions.matches(expression, row)[0])
        return Why("", customer, inside, expression, values(expression, row.schema, expressions.Cells(row)))

    def tags(self, row: pa.Table, *, as_of: datetime) -> pa.Table:
        """The statements about the customers of some rows of :meth:`table`."""
        return customers.stated(self._home, row, as_of=as_of)

    def timeline(self, customer: str, *, before: Place | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Events, decisions and messages of one customer, the newest first, those older than ``before``; times are UTC.

        Every entry has ``at``, ``sort`` ("event", "decision", "message") and ``id``; the rest are the columns of its own table.
        """
        found = [
            *self._events(customer, before, limit),
            *self._decisions(customer, before, limit),
            *self._messages(customer, before, limit),
        ]
        return sorted(found, key=lambda row: (row["at"], row["id"]), reverse=True)[:limit]

    def _events(self, customer: str, before: Place | None, limit: int) -> Iterator[dict[str, Any]]:
        import ibis

        events = self._home.tables.events()
        events = events.filter(events.customer == customer)
        if before is not None:
            at = ibis.literal(before[0]).cast("timestamp('UTC')")
            events = events.filter((events.at < at) | ((events.at == at) & (events.id < before[1])))
        events = events.order_by([ibis.desc("at"), ibis.desc("id")]).limit(limit)
        for row in self._home.tables.to_arrow(events.select(*_EVENT)).to_pylist():
            yield row | {"at": utc(row["at"]), "sort": "event"}

    def _decisions(self, customer: str, before: Place | None, limit: int) -> list[dict[str, Any]]:
        """From the newest plans that know the customer, and the single visits that were answered."""
        p, d = plans.c, decisions.c
        found: list[dict[str, Any]] = []
        whole: Select[Any] = select(p.path).where(p.meta.not_like('%"live_of":%')).order_by(p.as_of.desc())
        if before is not None:
            whole = whole.where(p.as_of <= micros(before[0]))
        with self._home.ledger.read() as conn:
            paths = list(conn.execute(whole).scalars())
            visits = conn.execute(
                select(d.told, plans.c.path).join_from(decisions, plans, p.plan_id == d.plan_id, isouter=True).where(d.customer == customer)
            ).all()
        rows = [json.loads(told)["row"] for told, _ in visits if told]
        for path in {path for told, path in visits if path and not told}:
            rows += self._of_plan(path, customer)
        for path in paths:
            if len(found) >= limit:
                break
            found += [row for row in map(_decided, self._of_plan(path, customer)) if _older(row, before)]
        found += [row for row in map(_decided, rows) if _older(row, before)]
        return sorted(found, key=lambda row: (row["at"], row["id"]), reverse=True)[:limit]

    def _of_plan(self, path: str, customer: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(
            self._home.root / path, columns=list(_DECIDED), filters=[("customer", "=", customer)]
        ).to_pylist()
        return rows

    def _messages(self, customer: str, before: Place | None, limit: int) -> Iterator[dict[str, Any]]:
        c = outbox.c
        columns = (c.message_id, c.updated_at, c.state, c.channel, c.plan_id, c.decision_id)
        query = select(*columns).where(c.customer == customer).order_by(c.updated_at.desc(), c.message_id.desc()).limit(limit)
        if before is not None:
            at = micros(before[0])
            query = query.where(or_(c.updated_at < at, and_(c.updated_at == at, c.message_id < before[1])))
        with self._home.ledger.read() as conn:
            rows = conn.execute(query).mappings().all()
        for row in rows:
            told = {name: row[name] for name in ("state", "channel", "plan_id", "decision_id")}
            yield told | {"at": from_micros(row["updated_at"]), "sort": "message", "id": row["message_id"]}


def found(table: pa.Table, text: str | None) -> pa.Table:
    """The rows of :meth:`People.table` whose id begins with ``text``, all of them without one."""
    return table if not text else table.filter(pc.starts_with(table["customer"], pattern=text))


def _decided(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in _DECIDED if name not in ("at", "customer", "decision_id")}
    return told | {"at": utc(row["at"]), "sort": "decision", "id": row["decision_id"]}


def _older(row: dict[str, Any], before: Place | None) -> bool:
    return before is None or (row["at"], row["id"]) < before
