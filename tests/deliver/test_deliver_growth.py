"""The queue may grow: no statement of a hand-off reads more of it than the messages that it is about."""

from __future__ import annotations

from typing import Any

import pytest
from deliver_kit import Clock, message, people, queue, states
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tradewind.deliver.channels.file import File
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import deliver
from tradewind.engine.home import Home

WHOLE = ("SCAN outbox", "outbox USING INDEX outbox_due (state=?)", "outbox USING COVERING INDEX outbox_due (state=?)")


@pytest.mark.parametrize("plan", ["plan-1", None])
def test_no_statement_reads_the_whole_queue(home: Home, plan: str | None) -> None:
    people(home, ["ann", "bob", "cat"])
    queue(home, [message(name) for name in ("ann", "bob", "cat")])
    plans: dict[str, list[str]] = {}

    def explain(conn: Any, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:
        if "outbox" in sql and sql.lstrip().startswith(("SELECT", "UPDATE")):
            cursor = conn.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values[0] if many else values)
            plans[sql] = [line[3] for line in cursor.fetchall()]

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        with File(home.root / "out") as sender:
            deliver(home, plan, channels={"email": sender, "sms": Outbox()}, now=Clock())
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    assert set(states(home).values()) == {"accepted"}
    assert len(plans) > 8
    counted = "GROUP BY outbox.state"  # the last word of a run: how many are in which state
    for sql, lines in plans.items():
        if counted not in sql:
            assert not [line for line in lines for whole in WHOLE if line.endswith(whole) or line.startswith(whole + " ")], (sql, lines)
            assert not any("TEMP B-TREE" in line for line in lines), (sql, lines)
