"""Matured outcomes settle what a plan reserved, once."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from sqlalchemy import select

from tradewind import schema
from tradewind.decide.commit import settle_matured
from tradewind.engine.home import Home
from tradewind.engine.ledger import budgets, reservations


def test_only_matured_outcomes_settle_and_only_once(home: Home) -> None:
    held = [{"decision_id": name, "budget": "b", "amount": 100, "state": "held", "spent": 0} for name in ("used", "unused", "early")]
    with home.ledger.write() as conn:
        conn.execute(budgets.insert().values(budget="b", currency="CNY", amount=1000, reserved=300, spent=0))
        conn.execute(reservations.insert(), held)
    table = schema.conform(
        pa.table(
            {
                "decision_id": ["used", "unused", "early", "unknown"],
                "plan_id": ["p"] * 4,
                "customer": list("abcd"),
                "at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * 4, schema.TIME),
                "margin": pa.array([0] * 4, pa.int64()),
                "cost": pa.array([130, 0, 50, 9], pa.int64()),
                "orders": pa.array([1, 0, 1, 0], pa.int64()),
                "clicked": [False] * 4,
                "matured": [True, True, False, True],
            }
        ),
        schema.OUTCOMES,
    )
    assert settle_matured(home, table) == 2
    assert settle_matured(home, table) == 0
    with home.ledger.read() as conn:
        states = {row.decision_id: row.state for row in conn.execute(select(reservations))}
        book = conn.execute(select(budgets.c.reserved, budgets.c.spent)).one()
    assert states == {"used": "spent", "unused": "released", "early": "held"}
    assert tuple(book) == (100, 130)
