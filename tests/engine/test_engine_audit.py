"""The audit chain: one chain whoever writes, and every tampering is named."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from tradewind.engine.audit import START, entries, note, verify
from tradewind.engine.books_people import audit, audit_head
from tradewind.engine.ledger import Ledger
from tradewind.errors import InputError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def write(ledger: Ledger, count: int, actor: str = "person:ann") -> None:
    for number in range(count):
        with ledger.write() as conn:
            note(conn, actor, "campaign.pause", f"campaign:{number}", {"why": "\u6682\u505c"}, at=NOW + timedelta(seconds=number))


def faults(ledger: Ledger, expect: str | None = None) -> list[tuple[int, str]]:
    with ledger.read() as conn:
        return [(fault.seq, fault.kind) for fault in verify(conn, expect=expect).faults]


def test_a_chain_is_sound_and_tells_who_did_what(ledger: Ledger) -> None:
    with ledger.read() as conn:
        assert verify(conn).head == START
    write(ledger, 3)
    with ledger.read() as conn:
        found = verify(conn)
        newest = entries(conn)[0]
        assert [entry.seq for entry in entries(conn, subject="campaign:1")] == [2]
        assert [entry.seq for entry in entries(conn, action="campaign", limit=2)] == [3, 2]
    assert (found.sound, found.rows, found.head) == (True, 3, newest.hash)
    assert (newest.at, newest.actor, newest.detail) == (NOW + timedelta(seconds=2), "person:ann", {"why": "\u6682\u505c"})
    write(ledger, 1)
    assert faults(ledger, expect=found.head) == []
    assert faults(ledger, expect="f" * 64) == [(4, "head")]


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject", "detail", "prev", "hash"])
def test_a_changed_row_is_named(ledger: Ledger, column: str) -> None:
    write(ledger, 4)
    with ledger.write() as conn:
        conn.execute(update(audit).where(audit.c.seq == 2).values({column: 5 if column == "at" else "x" * 64}))
    assert (2, "changed") in faults(ledger)


def test_a_row_rewritten_with_its_hash_breaks_the_next(ledger: Ledger) -> None:
    write(ledger, 3)
    with ledger.write() as conn:
        row = conn.execute(select(audit).where(audit.c.seq == 2)).mappings().one()
        from tradewind.engine.audit import _hash

        forged = {**row, "actor": "person:eve"}
        conn.execute(update(audit).where(audit.c.seq == 2).values(actor="person:eve", hash=_hash(forged)))
    assert faults(ledger) == [(3, "inserted")]


@pytest.mark.parametrize(("gone", "named"), [([1], 1), ([2], 2), ([2, 3], 2), ([4], 4), ([3, 4], 3), ([1, 2, 3, 4], 1)])
def test_a_removed_row_is_named_at_the_end_too(ledger: Ledger, gone: list[int], named: int) -> None:
    write(ledger, 4)
    with ledger.write() as conn:
        conn.execute(delete(audit).where(audit.c.seq.in_(gone)))
    assert faults(ledger) == [(named, "removed")]


def test_a_removed_row_whose_successors_moved_up_is_named(ledger: Ledger) -> None:
    write(ledger, 4)
    with ledger.write() as conn:
        conn.execute(delete(audit).where(audit.c.seq == 2))
        for seq in (3, 4):
            conn.execute(update(audit).where(audit.c.seq == seq).values(seq=seq - 1))
    assert faults(ledger)[0][0] == 2


def test_reordered_rows_are_named(ledger: Ledger) -> None:
    write(ledger, 4)
    with ledger.write() as conn:
        for seq, other in ((2, 20), (3, 2), (20, 3)):
            conn.execute(update(audit).where(audit.c.seq == seq).values(seq=other))
    assert faults(ledger) == [(2, "moved"), (3, "moved")]
    with ledger.read() as conn:
        assert "row 2 was written as row 3" in verify(conn).faults[0].text


def test_an_added_row_and_a_lost_head_are_named(ledger: Ledger) -> None:
    write(ledger, 2)
    with ledger.write() as conn:
        row = conn.execute(select(audit).where(audit.c.seq == 2)).mappings().one()
        conn.execute(insert(audit).values({**row, "seq": 3}))
    assert {seq for seq, _ in faults(ledger)} == {3}
    with ledger.write() as conn:
        conn.execute(delete(audit).where(audit.c.seq == 3))
        conn.execute(delete(audit_head))
    assert faults(ledger) == [(2, "head")]


def test_what_is_rolled_back_leaves_no_gap(ledger: Ledger) -> None:
    write(ledger, 1)

    def fail() -> None:
        with ledger.write() as conn:
            note(conn, "policy:p1", "policy.rollback", at=NOW)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    write(ledger, 1)
    assert faults(ledger) == []


def _writer(url: str, actor: str, barrier: object) -> None:
    with Ledger.open(url, wait_seconds=60) as ledger:
        barrier.wait()  # type: ignore[attr-defined]
        write(ledger, 15, actor)


def test_concurrent_writers_keep_one_chain(ledger: Ledger, ledger_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_writer, args=(ledger_url, f"person:{name}", barrier)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with ledger.read() as conn:
        found = verify(conn)
        assert (found.sound, found.rows) == (True, 30)
        assert {entry.actor for entry in entries(conn)} == {"person:a", "person:b"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(1, 5), column=st.sampled_from(["actor", "action", "subject", "detail"]), value=st.text("abc\u4e2d", max_size=5))
def test_any_edit_is_found(tmp_path_factory: pytest.TempPathFactory, seq: int, column: str, value: str) -> None:
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('a') / 'l.db'}") as ledger:
        write(ledger, 5)
        with ledger.write() as conn:
            conn.execute(update(audit).where(audit.c.seq == seq).values({column: value}))
        assert faults(ledger) == [(seq, "changed")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("ann", "a.b"), 'person:NAME" or "policy:NAME'),
        (("person:", "a.b"), 'person:NAME" or "policy:NAME'),
        (("person:ann", "Pause it"), "an action such as"),
        (("person:ann", "a", "x" * 301), "at most 300"),
        (("person:ann", "a", "", {"to": "ann@mail.example"}), "outlives erasure"),
        (("person:ann", "a", "", {"to": "+86 138 0000 0000"}), "outlives erasure"),
        (("person:ann", "a", "", {"x": object()}), "JSON"),
        (("person:ann", "a", "", {"x": float("nan")}), "JSON"),
    ],
)
def test_a_row_that_must_not_be_is_refused(ledger: Ledger, row: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message), ledger.write() as conn:
        note(conn, *row, at=NOW)  # type: ignore[arg-type]
    assert faults(ledger) == []
