"""One suite for the ledger on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, inspect, select, text, update

from tradewind.engine import migrate
from tradewind.engine.ledger import Ledger, budgets, consents, inbox, insert_new, loads, manifest, meta, metadata, upsert
from tradewind.errors import InputError, Locked, StateError


def _rows(*ids: str) -> list[dict[str, object]]:
    return [{"id": key, "received_at": number, "row": "{}"} for number, key in enumerate(ids)]


def test_opening_makes_every_table_and_opening_again_changes_nothing(ledger_url: str) -> None:
    for _ in range(2):
        with Ledger.open(ledger_url) as ledger, ledger.read() as conn:
            assert set(inspect(conn).get_table_names()) == {*metadata.tables, "alembic_version"}
            assert migrate.revision(conn) == migrate.HEAD
            assert ledger.dialect in ledger_url


def test_the_migrated_schema_equals_the_metadata(ledger: Ledger) -> None:
    with ledger.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_head_is_the_newest_revision() -> None:
    scripts = ScriptDirectory(str(migrate.SCRIPTS))
    assert scripts.get_heads() == [migrate.HEAD]
    assert migrate.revisions() == {script.revision for script in scripts.walk_revisions()}


def test_a_newer_ledger_is_refused(ledger: Ledger, ledger_url: str) -> None:
    with ledger.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError, match=r'schema "9999".*upgrade Tradewind'):
        Ledger.open(ledger_url)


def test_somebody_elses_tables_are_refused_and_left_alone(ledger: Ledger, ledger_url: str) -> None:
    with ledger.write() as conn:
        metadata.drop_all(conn)
        conn.execute(text("DROP TABLE alembic_version"))
        conn.execute(text("CREATE TABLE jobs (theirs INTEGER)"))
    with pytest.raises(StateError, match="'jobs' that Tradewind did not make"):
        Ledger.open(ledger_url)
    with ledger.read() as conn:
        assert inspect(conn).get_table_names() == ["jobs"]
        assert [column["name"] for column in inspect(conn).get_columns("jobs")] == ["theirs"]


def test_insert_new_counts_only_what_was_new(ledger: Ledger) -> None:
    with ledger.write() as conn:
        assert insert_new(conn, inbox, _rows("a", "b", "a")) == 2
        assert insert_new(conn, inbox, _rows("b", "c")) == 1
        assert insert_new(conn, inbox, []) == 0
        many = _rows(*(str(number) for number in range(12_000)))
        assert insert_new(conn, inbox, many) == 12_000
        assert insert_new(conn, inbox, many) == 0
    with ledger.read() as conn:
        assert conn.execute(select(func.count()).select_from(inbox)).scalar() == 12_003
        assert conn.execute(select(inbox.c.received_at).where(inbox.c.id == "a")).scalar() == 0, "the first row of an id wins"


def test_upsert_changes_only_what_it_names(ledger: Ledger) -> None:
    row = {"load_id": "x", "source": "one", "state": "running", "started_at": 1}
    with ledger.write() as conn:
        upsert(conn, loads, [row], update=["source"])
        upsert(conn, loads, [row | {"source": "two", "state": "done"}, row | {"load_id": "y"}], update=["source"])
        upsert(conn, loads, [], update=["source"])
        found = conn.execute(select(loads.c.load_id, loads.c.source, loads.c.state).order_by(loads.c.load_id)).all()
    assert [tuple(row) for row in found] == [("x", "two", "running"), ("y", "one", "running")]


def test_composite_keys_and_big_numbers_and_booleans(ledger: Ledger) -> None:
    row = {"customer": "c", "channel": "email", "at": 2**60, "granted": True, "source": "web"}
    with ledger.write() as conn:
        assert insert_new(conn, consents, [row, row | {"channel": "sms", "granted": False}, row]) == 2
        found = conn.execute(select(consents.c.at, consents.c.granted).order_by(consents.c.channel)).all()
    assert [tuple(row) for row in found] == [(2**60, True), (2**60, False)]


def test_a_write_that_raises_leaves_nothing(ledger: Ledger) -> None:
    def work() -> None:
        with ledger.write() as conn:
            insert_new(conn, inbox, _rows("a"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    with ledger.read() as conn:
        assert conn.execute(select(inbox.c.id)).all() == []


def test_concurrent_writers_lose_no_update(ledger: Ledger) -> None:
    with ledger.write() as conn:
        conn.execute(insert(budgets).values(budget="b", currency="EUR", amount=1_000, reserved=0, spent=0))

    def work() -> None:
        for _ in range(25):
            with ledger.write() as conn:
                held = conn.execute(select(budgets.c.reserved).where(budgets.c.budget == "b").with_for_update()).scalar_one()
                conn.execute(update(budgets).values(reserved=held + 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as conn:
        assert conn.execute(select(budgets.c.reserved)).scalar() == 100


def test_a_held_lock_is_reported_as_locked(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as first, Ledger.open(ledger_url, wait_seconds=0.1) as second, first.write() as conn:
        conn.execute(insert(meta).values(key="k", value="1"))
        conn.execute(text("UPDATE meta SET value = '2'"))
        with pytest.raises(Locked, match=r"another process.*Try again"), second.write() as other:
            other.execute(insert(meta).values(key="k", value="3"))


def test_readers_do_not_wait_for_a_writer(ledger_url: str) -> None:
    with Ledger.open(ledger_url, wait_seconds=0.1) as ledger, ledger.write() as conn:
        conn.execute(insert(meta).values(key="k", value="1"))
        with ledger.read() as other:
            assert other.execute(select(meta.c.value).where(meta.c.key == "k")).all() == []


def test_a_new_file_in_which_another_process_begins_is_waited_for(tmp_path: Path) -> None:
    # SQLite does not wait by itself where a file changes to the write-ahead log.
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.2, other.close)
    end.start()
    Ledger.open(f"sqlite:///{path}", wait_seconds=30).close()
    end.join()


def _open_once(url: str, barrier: threading.Barrier) -> None:
    barrier.wait()
    Ledger.open(url).close()


def test_processes_that_make_one_ledger_at_once_agree(ledger_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_open_once, args=(ledger_url, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_sqlite_is_set_to_survive_power_cuts(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as conn:
        assert conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert conn.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_a_wrong_path_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; a ledger is a file"):
        Ledger.open(f"sqlite:///{tmp_path}")
    with pytest.raises(InputError, match=r"does not exist\. Create the folder"):
        Ledger.open(f"sqlite:///{tmp_path}/none/ledger.db")
    junk = tmp_path / "photo.db"
    junk.write_bytes(b"\x89PNG" * 1_000)
    with pytest.raises(InputError, match="cannot be opened as a ledger: file is not a database"):
        Ledger.open(f"sqlite:///{junk}")
    assert junk.read_bytes() == b"\x89PNG" * 1_000


@pytest.mark.parametrize("url", ["mysql://host/db", "ledger.db", "sqlite:///relative.db", "sqlite://", ""])
def test_a_wrong_address_lists_the_right_ones(url: str) -> None:
    with pytest.raises(InputError, match=r"sqlite:////absolute/path/ledger\.db or postgresql://"):
        Ledger.open(url)


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE manifest (x)")
    conn.close()
    with pytest.raises(StateError, match="'manifest' that Tradewind did not make"):
        Ledger.open(f"sqlite:///{path}")


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(InputError, match="Cannot open the ledger postgresql") as caught:
        Ledger.open("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_a_missing_database_is_named(postgres_url: str) -> None:
    with pytest.raises(InputError, match='database "nowhere" does not exist'):
        Ledger.open(urlsplit(postgres_url)._replace(path="/nowhere").geturl())


def test_the_manifest_orders_by_day(ledger: Ledger) -> None:
    facts = {"name": "events", "rows": 1, "bytes": 1, "committed_at": 0}
    with ledger.write() as conn:
        insert_new(conn, manifest, [facts | {"path": day, "day": day} for day in ("2026-01-02", "2026-01-01")])
        assert conn.execute(select(manifest.c.day).order_by(manifest.c.day)).scalars().all() == ["2026-01-01", "2026-01-02"]
