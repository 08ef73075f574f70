"""Decisions that the service answers: held and logged in one transaction before the answer leaves, a plan like any other soon after.

A plan is a file; a file per request would cost more than the decision. So the ledger keeps each decision with its trace (:func:`keep`),
in the same transaction that takes its money and its pieces, and :func:`gather` makes one plan of many, with outbox rows for their
messages, in the transaction that marks them as gathered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select, update

from tradewind.decide.commit import Short, commit, hold
from tradewind.decide.live import Decision, bound
from tradewind.decide.plan import Plan
from tradewind.engine.books_serve import decisions
from tradewind.engine.ledger import insert_new, outbox
from tradewind.errors import NotFound, StateError
from tradewind.types import micros, utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

AT_ONCE = 5_000  # decisions of one gathered plan
_FEW = 500  # ids of one statement
_OWN = ("plan_id", "as_of", "stock")  # of the meta, what each decision has of its own


def keep(home: Home, drawn: Sequence[Decision], *, now: datetime) -> list[dict[str, Any] | Exception]:
    """Log decisions and hold what they need, in one transaction; what does not fit any more becomes "nothing".

    Returns the row of each as the ledger has it: a decision whose id was kept before is answered from there.
    """
    at = micros(now)
    found: dict[str, dict[str, Any] | Exception] = {}
    with home.ledger.write() as conn:
        known = _known(conn, [one.decision_id for one in drawn])
        for one in drawn:
            if one.decision_id in known or one.decision_id in found:
                continue
            try:
                kept = _held(conn, one, at)
            except StateError as error:
                found[one.decision_id] = error
                continue
            insert_new(conn, decisions, [_told(kept, at)])
            found[one.decision_id] = dict(kept.row)
    late = {name: read(home, name) for name, told in known.items() if told is None}
    return [late.get(name) or _row(known.get(name)) or found[name] for name in (one.decision_id for one in drawn)]


def _held(conn: Connection, one: Decision, at: int) -> Decision:
    """The decision, or "nothing" where the ledger has no room for it."""
    savepoint = conn.begin_nested()
    try:
        hold(conn, [one.row], one.meta, now=at)
    except Short as short:
        savepoint.rollback()
        return one.overridden(short.why)
    except BaseException:
        savepoint.rollback()
        raise
    savepoint.commit()
    return one


def _told(one: Decision, at: int) -> dict[str, Any]:
    told = {
        "row": one.row,
        "stock": dict(one.meta["stock"]),
        "decided_from": one.meta.get("decided_from"),
        "features": one.features.to_pylist()[0],
    }
    return {
        "decision_id": one.decision_id,
        "customer": one.customer,
        "at": at,
        "live_of": one.meta["live_of"],
        "plan_id": None,
        "told": orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    }


def _known(conn: Connection, ids: Sequence[str]) -> dict[str, str | None]:
    rows = conn.execute(select(decisions.c.decision_id, decisions.c.told).where(decisions.c.decision_id.in_(ids))).all()
    return {row.decision_id: row.told for row in rows}


def _row(told: str | None) -> dict[str, Any] | None:
    return None if told is None else _timed(orjson.loads(told)["row"])


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("at", "send_at"):
        row[name] = None if row[name] is None else utc(row[name])
    return row


def read(home: Home, decision_id: str) -> dict[str, Any]:
    """The row of schema.PLAN of a decision, wherever it is now: here, or in the plan that holds it.

    Raises
    ------
    NotFound
        Nobody decided it.
    """
    held = select(outbox.c.plan_id).where(outbox.c.decision_id == decision_id)
    with home.ledger.read() as conn:
        row = conn.execute(select(decisions.c.told, decisions.c.plan_id).where(decisions.c.decision_id == decision_id)).first()
        plan_id = row.plan_id if row is not None else conn.execute(held.limit(1)).scalar()
    if row is not None and row.told is not None:
        return _timed(orjson.loads(row.told)["row"])
    if plan_id is not None:
        table = Plan.load(home, plan_id).table
        found = table.filter(pc.equal(table["decision_id"], decision_id)).to_pylist()
        if found:
            return dict(found[0])
    raise NotFound(
        f'There is no decision "{decision_id[:80]}" that the service answered or that has a message. Take the id from an answer of POST '
        "/v1/decide, or from an event."
    )


def gather(home: Home, *, now: datetime, at_once: int = AT_ONCE) -> int:
    """Make plans of the decisions that wait, with the messages that they ask for; returns how many decisions."""
    c, done = decisions.c, 0
    with home.ledger.read() as conn:
        rows = conn.execute(select(c.live_of, c.told).where(c.plan_id.is_(None)).order_by(c.at, c.decision_id).limit(at_once)).all()
    by_plan: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        one = orjson.loads(row.told)
        by_plan.setdefault((row.live_of, one["decided_from"]), []).append(one)
    for (live_of, request), told in by_plan.items():
        base = {key: value for key, value in Plan.load(home, live_of).meta.items() if key not in _OWN}
        base |= {} if request is None else {"decided_from": request}
        meta = {**base, "live_of": live_of, "stock": {name: left for one in told for name, left in one["stock"].items()}}
        plan = bound([_timed(one["row"]) for one in told], _features(told), meta)
        ids = [one["row"]["decision_id"] for one in told]

        def gathered(conn: Connection, ids: Sequence[str] = ids, plan_id: str = plan.plan_id) -> None:
            for start in range(0, len(ids), _FEW):
                some = ids[start : start + _FEW]
                conn.execute(update(decisions).where(c.decision_id.in_(some), c.plan_id.is_(None)).values(plan_id=plan_id, told=None))

        commit(plan, home, now, also=gathered, held=True)
        done += len(ids)
    return done


def _features(told: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The features of decisions as ``assemble.features`` types them: numbers of a customer are float32, lists float64."""
    names = list(told[0]["features"])
    kinds = {"decision_id": pa.string()}
    for name in names:
        value = told[0]["features"][name]
        kinds.setdefault(name, pa.list_(pa.float64()) if isinstance(value, list) else pa.float32())
    return pa.table({name: pa.array([one["features"][name] for one in told], kinds[name]) for name in names})
