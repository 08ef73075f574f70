"""The consent ledger: opt-in, append-only, the withdrawal wins, and a suppression beats everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind import schema
from tradewind.collect.consent import Consents, Recorded
from tradewind.collect.vault import Vault
from tradewind.engine.home import Home

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def shop(ledger_url: str, tmp_path: Path) -> Iterator[Home]:
    root = tmp_path / "shop"
    with Home.open(root if ledger_url.startswith("sqlite") else f"{ledger_url}&root={root}") as opened:
        yield opened


def rows(*entries: tuple[str, bool, int]) -> pa.Table:
    """Entries for e-mail: customer, granted, day."""
    return pa.table(
        {
            "customer": [entry[0] for entry in entries],
            "channel": ["email"] * len(entries),
            "granted": [entry[1] for entry in entries],
            "at": [NOW + timedelta(days=entry[2]) for entry in entries],
            "source": ["test"] * len(entries),
        },
        schema=schema.CONSENTS,
    )


def allowed(shop: Home, customer: str, channel: str = "email") -> str:
    with shop.ledger.read() as conn:
        verdict, why = Consents(shop).allowed(conn, customer, channel)
    assert verdict == (why == "")
    return why


def test_the_latest_entry_counts_whatever_the_order_of_arrival(shop: Home) -> None:
    consents = Consents(shop)
    assert consents.record(rows(("ann", False, 2), ("ann", True, 1), ("bob", True, 1), ("cat", False, 1), ("cat", True, 2))) == Recorded(
        5, 0
    )
    assert consents.record(rows(("ann", False, 2))) == Recorded(0, 1)
    assert [(row["customer"], row["granted"]) for row in consents.current().to_pylist()] == [("ann", False), ("bob", True), ("cat", True)]
    assert [row["granted"] for row in consents.current(as_of=NOW + timedelta(days=2)).to_pylist()] == [True, True, False]
    assert consents.sendable().column("customer").to_pylist() == ["bob", "cat"]
    assert [allowed(shop, name) for name in ("ann", "bob", "cat", "dan")] == ["withdrawn", "", "", "no_consent"]
    assert allowed(shop, "bob", "sms") == "no_consent"


def test_of_one_moment_the_withdrawal_counts(shop: Home) -> None:
    consents = Consents(shop)
    consents.record(rows(("ann", True, 0)))
    consents.record(rows(("ann", False, 0)))
    assert allowed(shop, "ann") == "withdrawn"
    consents.record(rows(("ann", False, 0), ("ann", True, 0), ("bob", False, 0), ("bob", True, 0)))
    assert [allowed(shop, name) for name in ("ann", "bob")] == ["withdrawn", "withdrawn"]
    consents.record(rows(("ann", True, 1)))
    assert allowed(shop, "ann") == ""


def test_a_withdrawal_spares_everybody_who_shares_the_address(shop: Home) -> None:
    points = {
        "customer": ["ann", "bob", "cat"],
        "channel": ["email"] * 3,
        "address": ["us@mail.example", "US@mail.example", "cat@mail.example"],
    }
    Vault(shop).put(pa.table(points, schema=schema.CONTACTS))
    consents = Consents(shop)
    consents.record(rows(("ann", True, 0), ("bob", True, 0), ("cat", True, 0)))
    consents.withdraw("ann", "email", source="link", at=NOW + timedelta(days=1))
    consents.withdraw("ann", "email", source="link", at=NOW + timedelta(days=1))
    assert [allowed(shop, name) for name in ("ann", "bob", "cat")] == ["suppressed:unsubscribed", "suppressed:unsubscribed", ""]
    consents.record(rows(("bob", True, 9)))
    assert allowed(shop, "bob") == "suppressed:unsubscribed", "a later import does not lift it"


def test_a_suppression_is_for_one_channel_and_its_first_reason_stays(shop: Home) -> None:
    vault, consents = Vault(shop), Consents(shop)
    address = {"customer": ["ann", "ann"], "channel": ["email", "push"], "address": ["ann@mail.example"] * 2}
    digest = vault.hash("ann@mail.example")
    consents.suppress(digest, "email", "complaint", NOW)
    consents.suppress(digest, "email", "bounce", NOW)
    vault.put(pa.table(address, schema=schema.CONTACTS))  # imported afterwards: suppressed from the first moment
    consents.record(rows(("ann", True, 0)))
    consents.record(rows(("ann", True, 0)).set_column(1, schema.CONSENTS.field("channel"), pa.array(["push"])))
    assert allowed(shop, "ann") == "suppressed:complaint"
    assert allowed(shop, "ann", "push") == ""


def test_allowed_reads_inside_the_callers_transaction(shop: Home) -> None:
    consents = Consents(shop)
    consents.record(rows(("ann", True, 0)))
    with shop.ledger.write() as conn:
        from tradewind.engine.ledger import consents as table
        from tradewind.engine.ledger import insert_new
        from tradewind.types import micros

        insert_new(conn, table, [{"customer": "ann", "channel": "email", "at": micros(NOW) + 1, "granted": False, "source": "t"}])
        assert consents.allowed(conn, "ann", "email") == (False, "withdrawn")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12), cut=st.integers(0, 12)
)
def test_loads_may_be_split_repeated_and_reordered(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bool, int]], cut: int
) -> None:
    """What is sendable is the same: per customer, the last day decides, and a withdrawal on that day wins."""
    with Home.open(tmp_path_factory.mktemp("c") / "shop") as shop:
        consents = Consents(shop)
        for part in (entries[cut:], entries[:cut], entries):
            if part:
                consents.record(rows(*part))
        last = {name: max(day for who, _, day in entries if who == name) for name, _, _ in entries}
        expected = sorted(name for name, day in last.items() if all(granted for who, granted, at in entries if (who, at) == (name, day)))
        assert consents.sendable().column("customer").to_pylist() == expected
