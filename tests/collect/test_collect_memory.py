"""Tables that are already in memory, and withdrawals of consent that the log itself tells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.memory import collect_table, table_name
from tradewind.collect.vault import Vault
from tradewind.collect.withdrawals import withdraw_from_log
from tradewind.engine.home import Home
from tradewind.errors import InputError, SchemaError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def at(day: int) -> datetime:
    return datetime(2026, 2, day, 12, tzinfo=UTC)


def table(name: str, *rows: dict[str, Any]) -> pa.Table:
    found = schema.conform(pa.Table.from_pylist(list(rows)), schema.TABLES[name])
    return found.replace_schema_metadata({"tradewind.table": name})


def event(key: str, kind: str = "view", day: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": key, "at": at(day), "kind": kind, "source": "web", "customer": "ann"} | more


def consent(customer: str, channel: str, day: int, *, granted: bool = True) -> dict[str, Any]:
    return {"customer": customer, "channel": channel, "granted": granted, "at": at(day), "source": "form"}


def stored(home: Home, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.tables.to_arrow(home.tables.get(name)).to_pylist()
    return found


def test_the_same_table_twice_changes_nothing(home: Home) -> None:
    events = table("events", event("a"), event("b"), event("a"))
    first, again = collect_table(home, events, now=NOW), collect_table(home, events, now=NOW)
    assert (first.rows_in, first.rows_stored, first.duplicates) == (3, 2, 1)
    assert again.already_done
    assert again.rows_stored == 0
    more = collect_table(home, table("events", event("b"), event("c")), now=NOW)
    assert (more.rows_stored, more.duplicates) == (1, 1)
    assert sorted(row["id"] for row in stored(home, "events")) == ["a", "b", "c"]


def test_rows_with_the_same_key_are_replaced(home: Home) -> None:
    collect_table(home, table("items", {"item": "x", "price": 100}, {"item": "y", "price": 200}), now=NOW)
    collect_table(home, table("items", {"item": "x", "price": 150}), now=NOW)
    assert {row["item"]: row["price"] for row in stored(home, "items")} == {"x": 150, "y": 200}


def test_contacts_go_to_the_vault_and_consents_to_their_ledger(home: Home) -> None:
    collect_table(home, table("contacts", {"customer": "ann", "channel": "email", "address": "ann@example.org"}), now=NOW)
    done = [collect_table(home, table("consents", consent("ann", "email", 1)), now=NOW) for _ in range(2)]
    assert [(one.rows_stored, one.duplicates) for one in done] == [(1, 0), (0, 1)]
    assert Vault(home).address("ann", "email") == "ann@example.org"
    assert not list((home.root / "data").rglob("*.parquet")), "an address is never written into plain files"


def test_the_table_is_known_by_its_mark_or_by_its_columns() -> None:
    assert table_name(schema.OUTCOMES.empty_table()) == "outcomes"
    bare = table("events", event("a")).replace_schema_metadata(None)
    assert table_name(bare) == "events"
    with pytest.raises(InputError, match="Cannot tell which table has the columns x"):
        table_name(pa.table({"x": [1]}))


def test_a_wrong_type_is_refused_and_leaves_nothing(home: Home) -> None:
    wrong = pa.table({"id": ["a"], "at": ["yesterday"], "kind": ["view"], "source": ["web"]})
    with pytest.raises(SchemaError):
        collect_table(home, wrong.replace_schema_metadata({"tradewind.table": "events"}), now=NOW)
    assert stored(home, "events") == []


def sendable(home: Home) -> set[tuple[str, str]]:
    return {(row["customer"], row["channel"]) for row in Consents(home).sendable().to_pylist()}


@pytest.fixture
def consented(home: Home) -> Home:
    """Ann and Bob may be written on two channels since the first of the month."""
    rows = [consent(name, channel, 1) for name in ("ann", "bob") for channel in ("email", "push")]
    collect_table(home, table("consents", *rows), now=NOW)
    return home


@pytest.mark.parametrize("kind", ["unsubscribe", "complaint"])
def test_an_unsubscribe_in_the_log_withdraws_its_channel_once(consented: Home, kind: str) -> None:
    collect_table(consented, table("events", event("u", kind, 2, channel="email"), event("v", day=3)), now=NOW)
    assert withdraw_from_log(consented) == 1
    assert withdraw_from_log(consented) == 0
    assert sendable(consented) == {("ann", "push"), ("bob", "email"), ("bob", "push")}


def test_without_a_channel_all_are_withdrawn_and_without_a_customer_none(consented: Home) -> None:
    collect_table(consented, table("events", event("u", "complaint", 2), event("w", "complaint", 2, customer=None)), now=NOW)
    assert withdraw_from_log(consented) == 2
    assert sendable(consented) == {("bob", "email"), ("bob", "push")}


def test_a_consent_that_was_given_after_the_unsubscribe_stands(consented: Home) -> None:
    collect_table(consented, table("contacts", {"customer": "ann", "channel": "email", "address": "ann@example.org"}), now=NOW)
    collect_table(consented, table("consents", consent("ann", "email", 5)), now=NOW)
    collect_table(consented, table("events", event("u", "unsubscribe", 2, channel="email")), now=NOW)
    assert withdraw_from_log(consented) == 0
    assert ("ann", "email") in sendable(consented)
    collect_table(consented, table("events", event("w", "unsubscribe", 6, channel="email")), now=NOW)
    assert withdraw_from_log(consented) == 1
    assert ("ann", "email") not in sendable(consented)


def test_at_the_same_moment_the_withdrawal_wins(consented: Home) -> None:
    collect_table(consented, table("events", event("u", "unsubscribe", 1, channel="push")), now=NOW)
    withdraw_from_log(consented)
    assert ("ann", "push") not in sendable(consented)
