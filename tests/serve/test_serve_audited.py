"""What people and policies do stands in the audit log: words, policies, consents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete

from tradewind.compose.approval import Approvals
from tradewind.decide import versions
from tradewind.engine.audit import entries, verify
from tradewind.engine.books_people import audit, audit_head
from tradewind.engine.home import Home
from tradewind.errors import NotFound
from tradewind.shop import Shop

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROW: dict[str, Any] = {"id": "own.en.hook.tea", "role": "hook", "tone": "any", "channels": ["email"], "text": "Have you met {title}?"}


def logged(home: Home, action: str) -> list[tuple[str, str, str]]:
    with home.ledger.read() as conn:
        assert verify(conn).sound
        return [(entry.actor, entry.action, entry.subject) for entry in entries(conn, action=action)][::-1]


def test_the_life_of_words_is_noted_as_it_is_written(home: Home) -> None:
    approvals = Approvals(home)
    approvals.draft(ROW, locale="en", by="eve", at=NOW)
    approvals.approve(ROW["id"], by="ann", at=NOW)
    approvals.retire(ROW["id"], by="ann@shop.example", at=NOW)
    found = logged(home, "copy")
    assert [action for _, action, _ in found] == [f"copy.{entry.state}" for entry in approvals.log()]
    assert found[0] == ("person:eve", "copy.draft", "copy:own.en.hook.tea")
    assert "person:ann" in {actor for actor, _, _ in found}
    assert approvals.connect() == 0


def test_what_a_killed_writer_did_not_note_is_entered_later(home: Home) -> None:
    approvals = Approvals(home)
    approvals.draft(ROW, locale="en", by="eve", at=NOW)
    lines = len(approvals.log())
    with home.ledger.write() as conn:
        conn.execute(delete(audit))
        conn.execute(delete(audit_head))
    assert approvals.connect() == lines
    assert approvals.connect() == 0
    assert len(logged(home, "copy")) == lines


def test_a_rollback_names_who_did_it(home: Home) -> None:
    first = versions.publish(home, {"budget": "1 CNY"}, models={}, as_of=NOW, now=NOW)
    versions.publish(home, {"budget": "2 CNY"}, models={}, as_of=NOW, now=NOW)
    shop = Shop(home, now=lambda: NOW)
    assert shop.policies.rollback(first, by="ann").active
    assert logged(home, "policy") == [("person:ann", "policy.rollback", f"policy:{first}")]
    with pytest.raises(NotFound):
        shop.policies.rollback("none", by="ann")
    assert len(logged(home, "policy")) == 1


def test_an_erasure_that_rewrote_the_chain_answers_for_the_old_head(home: Home) -> None:
    shop = Shop(home, now=lambda: NOW)
    shop.consents.grant("ann-4711-x", "email", source="form")
    shop.consents.grant("bob-0815-y", "email", source="form")
    with home.ledger.read() as conn:
        head = verify(conn).head
    from tradewind.collect.erase import erase

    erase(home, ["ann-4711-x"], now=NOW)
    with home.ledger.read() as conn:
        found = verify(conn, expect=head)
        assert found.sound
        assert verify(conn, expect="ab" * 32).faults
        assert "ann-4711-x" not in json.dumps([dict(entry.detail) | {"s": entry.subject} for entry in entries(conn)])
