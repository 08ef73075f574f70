"""Making a plan real: its file first, then one ledger transaction for plan, budget, reservations and outbox rows."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, select, true, update

from tradewind.decide.caps import SPEND, claims
from tradewind.decide.fairness import gate
from tradewind.decide.hashing import canonical, digest
from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.files import atomic_write
from tradewind.errors import InputError, StateError, unknown
from tradewind.types import NOTHING, micros, utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

_FOLDER = "plans"


class Short(StateError):
    """The budget or the stock has less left than a plan takes; ``why`` is the key of ``assemble.OVER`` for it."""

    def __init__(self, text: str, why: int) -> None:
        super().__init__(text)
        self.why = why


def message_id(decision_id: str, channel: str, *, step: int = 1) -> str:
    """The idempotency key of a message: hash of decision, step and channel."""
    return digest("message", decision_id, step, channel)


def commit(plan: Plan, home: Home, now: datetime, *, also: Callable[[Connection], None] | None = None, held: bool = False) -> bool:
    """Write the plan's files, then commit plan, budget, reservations and outbox rows ("planned") together.

    ``also`` writes what shall be true if and only if the plan is, in the same transaction (which campaign made it). ``held``: its
    decisions hold what they need already (:func:`hold`).

    Committing the same plan again changes nothing and returns False. A crash before the transaction leaves at most files
    that nobody reads, and that the next commit of the same plan writes again.

    Raises
    ------
    Unfair
        The plan breaks a rule of the shop's ``fairness.toml``; nothing is changed.
    Short
        The budget or the stock has less left than the plan takes; nothing is changed.
    StateError
        Other plans hold the budget in another currency, or a decision was committed before; nothing is changed.
    """
    data = plan.to_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    # Live decisions may be committed with or without an override: each content has a file of its own.
    path = f"{_FOLDER}/{plan.plan_id}{'.' + sha256[:12] if 'live_of' in plan.meta else ''}.parquet"
    (home.root / _FOLDER).mkdir(parents=True, exist_ok=True)
    with home.ledger.read() as conn:
        if _known(conn, plan.plan_id):
            return False
    if "live_of" not in plan.meta:
        gate(home, plan)
    if plan.features is not None:
        atomic_write(home.root / _features(path), _table_bytes(plan.features))
    atomic_write(home.root / path, data)
    at = micros(utc(now, what="now"))
    row = {
        "plan_id": plan.plan_id,
        "created_at": at,
        "as_of": micros(utc(plan.meta["as_of"])),
        "path": path,
        "sha256": sha256,
        "meta": canonical(plan.meta),
    }
    with home.ledger.write() as conn:
        if not books.insert_new(conn, books.plans, [row]):
            return False
        if not held:
            needed = plan.table.filter(pc.or_(pc.greater(plan.table["reserved"], 0), _acts(plan)))
            hold(conn, needed.select(list(HELD)).to_pylist(), plan.meta, now=at)
        books.insert_new(conn, books.outbox, list(_messages(plan, at)))
        if also is not None:
            also(conn)
    return True


def load(home: Home, plan_id: str) -> Plan:
    """Read a committed plan and check its file against the ledger.

    Raises
    ------
    NotFound
        No plan of that id was committed.
    StateError
        The file is gone or is not the one that was committed.
    """
    with home.ledger.read() as conn:
        row = conn.execute(select(books.plans).where(books.plans.c.plan_id == plan_id)).mappings().first()
        known = (
            []
            if row
            else [name for (name,) in conn.execute(select(books.plans.c.plan_id).order_by(books.plans.c.created_at.desc()).limit(10))]
        )
    if row is None:
        raise unknown("plan", plan_id, known)
    path = home.root / row["path"]
    if not path.exists():
        raise StateError(f"The file of plan {plan_id} is gone: {path}. Restore it from a backup; the ledger names it.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise StateError(f"The file of plan {plan_id} is not the one that was committed: {path}. Restore it from a backup.")
    beside = home.root / _features(row["path"])
    plan = Plan.from_bytes(data, features=beside.read_bytes() if beside.exists() else None)
    return Plan(plan.table, json.loads(row["meta"]), plan.features)


def _known(conn: Connection, plan_id: str) -> bool:
    return conn.execute(select(books.plans.c.plan_id).where(books.plans.c.plan_id == plan_id)).first() is not None


def _features(path: str) -> str:
    return path.removesuffix(".parquet") + ".features.parquet"


def _table_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue()


HELD = ("decision_id", "variant", "action", "offer", "item", "channel", "send_at", "reserved")  # columns of a plan that say what it holds


def hold(conn: Connection, rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any], *, now: int) -> None:
    """Hold money and pieces for decisions (the columns ``HELD``) of a plan with ``meta``, inside the caller's transaction.

    Conditional updates decide, whoever else writes at the same time. ``now`` in microseconds.

    Raises
    ------
    Short
        The budget or the stock has less left than they take; the caller rolls back.
    StateError
        Other plans hold the budget in another currency, or a decision was committed before.
    """
    _hold(conn, [row for row in rows if row["reserved"] > 0], meta)
    _promise(conn, [row for row in rows if row["variant"] == "treat" and row["action"] != NOTHING], meta, now=now)


def _hold(conn: Connection, rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> None:
    """Take the reservations out of the budget."""
    name, currency = str(meta["budget_id"]), str(meta["currency"])
    total = sum(row["reserved"] for row in rows)
    assert total <= meta["budget"]
    books.insert_new(conn, books.budgets, [{"budget": name, "currency": currency, "amount": meta["budget"], "reserved": 0, "spent": 0}])
    table = books.budgets
    fits = table.c.reserved + table.c.spent + total <= table.c.amount
    taken = conn.execute(
        update(table).where(table.c.budget == name, table.c.currency == currency, fits).values(reserved=table.c.reserved + total)
    )
    if taken.rowcount != 1:
        held = conn.execute(select(table).where(table.c.budget == name)).mappings().one()
        if held["currency"] != currency:
            raise StateError(f'Budget "{name}" is in {held["currency"]}, the plan in {currency}. Decide with another budget_id.')
        left = held["amount"] - held["reserved"] - held["spent"]
        text = f'Budget "{name}" has {left} of {held["amount"]} minor units left; the plan reserves {total}. Decide again with that budget.'
        raise Short(text, 1)
    held_now = [{"decision_id": row["decision_id"], "budget": name, "amount": row["reserved"], "state": "held", "spent": 0} for row in rows]
    if books.insert_new(conn, books.reservations, held_now) != len(rows):
        raise StateError(
            f"A decision of plan {meta['plan_id']} was committed before, in another plan. Give a live decision its own request_id."
        )


def _promise(conn: Connection, rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any], *, now: int) -> None:
    """Promise what decisions hand out, until their window is over; never more is promised than the plan saw."""
    table, promises = books.stock, books.promises
    over = _gone(conn, promises.c.until <= now)
    left: dict[str, int] = meta.get("stock", {})
    wanted: dict[str, dict[str, int]] = {}
    for row in rows:
        for thing, amount in claims(row, left):
            wanted.setdefault(thing, {})[row["decision_id"]] = amount
    books.insert_new(conn, books.stock, [{"thing": thing, "reserved": 0} for thing in sorted(wanted)])
    for thing in sorted(over.keys() | wanted.keys()):  # in one order, so that two plans never wait for each other
        more = sum(wanted.get(thing, {}).values())
        after = table.c.reserved - over[thing] + more
        fits = after <= left[thing] if more else true()
        if conn.execute(update(table).where(table.c.thing == thing, fits).values(reserved=after)).rowcount != 1:
            held = conn.execute(select(table.c.reserved).where(table.c.thing == thing)).scalar_one() - over[thing]
            raise Short(
                f"{thing}: {left[thing]} pieces are there, {held} of them promised; the plan promises {more} more. "
                "Decide again with the stock that is free.",
                2 if thing.startswith(("item:", "offer:")) else 3,
            )
    until = micros(utc(meta["as_of"]) + timedelta(days=float(meta["window_days"])))
    pairs = [(thing, decision) for thing, decisions in sorted(wanted.items()) for decision in decisions]
    books.insert_new(conn, promises, [{"decision_id": decision, "thing": thing, "until": until} for thing, decision in pairs])


def _gone(conn: Connection, which: ColumnElement[bool]) -> Counter[str]:
    """Delete some promises; how much of each thing they held."""
    promises, held = books.promises, books.reservations
    rows = conn.execute(delete(promises).where(which).returning(promises.c.decision_id, promises.c.thing)).all()
    money = sorted({decision for decision, thing in rows if thing.startswith(SPEND)})
    amounts: dict[str, int] = {}
    for start in range(0, len(money), books.CHUNK):
        some = held.c.decision_id.in_(money[start : start + books.CHUNK])
        amounts |= {row.decision_id: row.amount for row in conn.execute(select(held.c.decision_id, held.c.amount).where(some))}
    gone: Counter[str] = Counter()
    for decision, thing in rows:
        gone[thing] += amounts.get(decision, 0) if thing.startswith(SPEND) else 1
    return gone


def promised(home: Home, *, at: datetime, before: datetime | None = None) -> dict[str, int]:
    """How much of everything open decisions promise at ``at``: ``item:SKU``, ``offer:ID``, ``channel:NAME:DAY`` -> how many.

    Of ``spend:BUDGET:OFFER`` it is minor units. With ``before`` only plans of an earlier moment count: what a replay of it knew.
    """
    table, held, sent, plan = books.promises, books.reservations, books.outbox, books.plans
    amount = func.sum(case((table.c.thing.startswith(SPEND, autoescape=True), func.coalesce(held.c.amount, 0)), else_=1))
    joined = table.outerjoin(held, held.c.decision_id == table.c.decision_id)
    open_ = table.c.until > micros(at)
    if before is not None:
        joined = joined.join(sent, sent.c.decision_id == table.c.decision_id).join(plan, plan.c.plan_id == sent.c.plan_id)
        open_ = and_(open_, plan.c.as_of < micros(before))
    with home.ledger.read() as conn:
        rows = conn.execute(select(table.c.thing, amount).select_from(joined).where(open_).group_by(table.c.thing)).all()
    return {str(thing): int(pieces) for thing, pieces in rows}


def chosen(plan: Plan) -> pa.Table:
    """The rows that really do something: treated, and not "nothing"."""
    return plan.table.filter(_acts(plan))


def _acts(plan: Plan) -> pa.ChunkedArray:
    return pc.and_(pc.equal(plan.table["variant"], "treat"), pc.not_equal(plan.table["action"], NOTHING))


def _messages(plan: Plan, now: int) -> Iterator[dict[str, Any]]:
    """An outbox row per treated decision that is not "nothing"."""
    offers = plan.meta["offers"]
    for row in chosen(plan).select(["decision_id", "customer", "channel", "offer", "send_at", "value", "cost"]).to_pylist():
        send_at = micros(row["send_at"])
        expires = offers[row["offer"]]["ends_at"]
        yield {
            "message_id": message_id(row["decision_id"], row["channel"]),
            "decision_id": row["decision_id"],
            "plan_id": plan.plan_id,
            "customer": row["customer"],
            "channel": row["channel"],
            "state": "planned",
            "send_at": send_at,
            "expires_at": micros(utc(expires)) if expires else None,
            "message": None,
            "attempts": 0,
            "next_at": send_at,
            "fence": 0,
            "updated_at": now,
            "worth": round(1000 * (row["value"] - row["cost"])),
            "category": (offers[row["offer"]].get("campaign") or "")[:64] or None,
        }


def settle(conn: Connection, decision_id: str, *, spent: int) -> bool:
    """Turn a held reservation into what the decision really cost (0: released) and let go of its pieces, inside the caller's transaction.

    ``spent`` minor units may be more than was reserved; False when nothing is held for the decision. A settled decision is
    never settled again.

    Raises
    ------
    InputError
        ``spent`` is negative.
    """
    if spent < 0:
        raise InputError(f"settle: spent must be 0 or more minor units; got {spent}.")
    paid = _settle(conn, decision_id, spent=spent)
    _let_go(conn, [decision_id])
    return paid


def _settle(conn: Connection, decision_id: str, *, spent: int) -> bool:
    """The money of one decision."""
    table = books.reservations
    row = conn.execute(select(table).where(table.c.decision_id == decision_id, table.c.state == "held")).mappings().first()
    if row is None:
        return False
    state = "spent" if spent else "released"
    moved = conn.execute(update(table).where(table.c.decision_id == decision_id, table.c.state == "held").values(state=state, spent=spent))
    if moved.rowcount != 1:
        return False
    budget = books.budgets
    conn.execute(
        update(budget)
        .where(budget.c.budget == row["budget"])
        .values(reserved=budget.c.reserved - row["amount"], spent=budget.c.spent + spent)
    )
    return True


def _let_go(conn: Connection, decisions: Sequence[str]) -> None:
    """The pieces of some decisions; after the money, as a commit takes them, so that neither waits for the other."""
    promises, table = books.promises, books.stock
    gone: Counter[str] = Counter()
    for start in range(0, len(decisions), books.CHUNK):
        gone += _gone(conn, promises.c.decision_id.in_(decisions[start : start + books.CHUNK]))
    for thing, pieces in sorted(gone.items()):
        conn.execute(update(table).where(table.c.thing == thing).values(reserved=table.c.reserved - pieces))


def release(home: Home, decisions: Sequence[str]) -> int:
    """Free what decisions hold whose messages will never leave, in one transaction; returns how many held money."""
    ordered = sorted(decisions)  # so that two workers never wait for each other
    with home.ledger.write() as conn:
        freed = sum(_settle(conn, decision, spent=0) for decision in ordered)
        _let_go(conn, ordered)
    return freed


def settle_matured(home: Home, outcomes: pa.Table) -> int:
    """Settle the reservations of all matured ``outcomes`` (``schema.OUTCOMES``) in one transaction; returns how many."""
    mature = outcomes.filter(outcomes["matured"])
    decisions: list[str] = mature["decision_id"].to_pylist()
    with home.ledger.write() as conn:
        settled = sum(
            _settle(conn, decision, spent=max(int(cost), 0)) for decision, cost in zip(decisions, mature["cost"].to_pylist(), strict=True)
        )
        _let_go(conn, decisions)
    return settled
