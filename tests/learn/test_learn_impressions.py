"""Impressions from the event log: messages about an item, what was clicked and what was bought after it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn.impressions import IMPRESSIONS, from_messages

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SENT = AS_OF - 20 * DAY
EVENTS = [
    event(1, SENT, kind="sent", customer="p0", item="i1", channel="email", decision_id="d1"),
    event(2, SENT + HOUR, kind="click", customer="p0", channel="email", decision_id="d1"),
    event(3, SENT + 2 * DAY, kind="purchase", customer="p0", item="i1", value=100, decision_id="d1"),
    event(4, SENT, kind="sent", customer="p1", channel="push", decision_id="d2"),  # the plan knows its item
    event(5, SENT + HOUR, kind="click", customer="p1", channel="push", decision_id="d2"),
    event(6, SENT + 9 * DAY, kind="purchase", customer="p1", item="i2", value=100, decision_id="d2"),  # after the window
    event(7, SENT, kind="sent", customer="p2", item="i1", channel="email", decision_id="d3"),
    event(8, SENT + HOUR, kind="purchase", customer="p2", item="i1", value=100, decision_id="d3"),  # never clicked
    event(9, SENT, kind="sent", customer="p3", channel="email", decision_id="d4"),  # about no item
    event(10, AS_OF + HOUR, kind="sent", customer="p4", item="i1", channel="email", decision_id="d5"),  # later
]


def test_messages_become_impressions_at_the_first_place(tmp_path: Path) -> None:
    with Home.open(tmp_path / "shop") as home:
        tables = fill(home, EVENTS).tables
        rows = from_messages(tables, as_of=AS_OF, decisions=pa.table({"decision_id": ["d2"], "item": ["i2"]}))
        assert rows.schema.names == IMPRESSIONS.names
        found = {row["request"]: row for row in rows.to_pylist()}
        assert {name: (row["item"], row["channel"], row["click"], row["conversion"]) for name, row in found.items()} == {
            "d1": ("i1", "email", 1, 1),
            "d2": ("i2", "push", 1, 0),
            "d3": ("i1", "email", 0, 0),
        }
        assert all(row["position"] == 1 for row in found.values())
        assert found["d1"]["converted_at"] == SENT + 2 * DAY
        assert found["d2"]["converted_at"] is None
        assert from_messages(tables, as_of=AS_OF).num_rows == 2
        with pytest.raises(InputError, match="No message about an item"):
            from_messages(tables, as_of=SENT)
