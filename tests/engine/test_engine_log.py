"""The event log: an id is stored exactly once, by whatever way and however often it comes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind import schema
from tradewind.engine import parquet
from tradewind.engine.home import Home
from tradewind.engine.ledger import loads, manifest
from tradewind.engine.log import Appended
from tradewind.errors import InputError, Locked, NotFound, SchemaError, StateError
from tradewind.types import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, **values: Any) -> Event:
    facts: dict[str, Any] = {"id": f"e{number}", "at": NOW + timedelta(hours=number), "kind": "view", "source": "test"}
    return Event(**facts | values)


def rows_sql(start: int, stop: int, kind: str = "cart") -> str:
    return f"""SELECT 'e' || i AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_hours(i) AS "at", '{kind}' AS kind, 'load' AS source
               FROM range({start}, {stop}) AS t(i)"""


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def stored(home: Home) -> list[str]:
    """Every stored id, in order, doubles included."""
    return sorted(
        key for path in home.log.files("events") for key in pq.read_table(path, columns=["id"], partitioning=None)["id"].to_pylist()
    )


def ids(*numbers: int) -> list[str]:
    return sorted(f"e{number}" for number in numbers)


def load(home: Home, con: duckdb.DuckDBPyConnection, name: str, *relations: str) -> list[int] | None:
    staging = home.log.begin(name, source="test", now=NOW)
    if staging is None:
        return None
    with staging:
        counts = [staging.add_events(con, sql) for sql in relations]
        staging.commit({"rows": sum(counts)}, now=NOW)
    return counts


def test_append_is_idempotent_in_the_inbox_and_against_files(each_home: Home) -> None:
    log, events = each_home.log, [event(number) for number in range(5)]
    assert log.append([*events, events[0]], now=NOW) == Appended(5, 1)
    assert log.append(events, now=NOW) == Appended(0, 5)
    assert log.compact(now=NOW) == 5
    assert log.append([*events, event(9)], now=NOW) == Appended(1, 5)
    assert log.append([], now=NOW) == Appended(0, 0)
    assert stored(each_home) == ids(0, 1, 2, 3, 4), "what waits in the inbox is not yet seen"
    assert log.compact(now=NOW) == 1
    assert log.compact(now=NOW) == 0
    assert stored(each_home) == ids(0, 1, 2, 3, 4, 9)


def test_every_column_survives_the_inbox(home: Home) -> None:
    full = Event(
        "e",
        NOW + timedelta(microseconds=7),
        "purchase",
        "web",
        "c",
        "s",
        "i",
        1.5,
        2**53 + 1,
        3,
        "CNY",
        "o",
        "f",
        "email",
        "d",
        "你好",
        4.5,
        "{}",
    )
    home.log.append([full, event(1)], now=NOW)
    home.log.compact(now=NOW)
    table = home.tables.to_arrow(home.tables.get("events").order_by("at"))
    assert (table.column_names, table.schema.types) == (schema.EVENTS.names, schema.EVENTS.types)
    assert Event(**table.to_pylist()[0]) == full
    assert Event(**table.to_pylist()[1]) == event(1)


def test_the_first_content_of_an_id_wins(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    home.log.append([event(1, item="first")], now=NOW)
    home.log.append([event(1, item="second")], now=NOW)
    assert load(home, con, "L", rows_sql(1, 3)) == [1]
    home.log.compact(now=NOW)
    home.log.append([event(1, item="third")], now=NOW)
    home.log.compact(now=NOW)
    kept = home.tables.to_arrow(home.tables.get("events").order_by("id")).to_pylist()
    assert [(row["id"], row["item"]) for row in kept] == [("e1", "first"), ("e2", None)]


def test_an_id_that_was_appended_while_a_load_ran_is_stored_once(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    with each_home.log.begin("L", source="test", now=NOW) as staging:  # type: ignore[union-attr]
        staging.add_events(con, rows_sql(0, 4))
        assert each_home.log.append([event(3), event(4)], now=NOW) == Appended(2, 0), "the load is not visible yet"
        staging.commit({}, now=NOW)
    assert each_home.log.compact(now=NOW) == 1
    assert stored(each_home) == ids(0, 1, 2, 3, 4)


def test_events_lie_in_files_of_their_utc_day(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET TimeZone = 'Asia/Shanghai'")  # of the caller: must not move a day
    load(home, con, "L", rows_sql(0, 49))
    home.log.append([event(23, id="late")], now=NOW)
    home.log.compact(now=NOW)
    for path in home.log.files("events"):
        table = pq.read_table(path, partitioning=None)
        assert table.column_names == schema.EVENTS.names
        assert {str(at.date()) for at in table["at"].to_pylist()} == {path.parent.name.removeprefix("day=")}
    assert len({path.parent for path in home.log.files("events")}) == 3
    assert {path.parent.name for path in home.log.files("events", before=NOW + timedelta(hours=30))} == {"day=2026-01-01", "day=2026-01-02"}


def test_the_manifest_describes_each_file(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    load(each_home, con, "L", rows_sql(0, 30))
    with each_home.ledger.read() as conn:
        rows = conn.execute(select(manifest)).mappings().all()
        state = conn.execute(select(loads.c.state, loads.c.report)).one()
    assert tuple(state) == ("done", '{"rows": 30}')
    assert sum(row["rows"] for row in rows) == 30
    for row in rows:
        path = each_home.root / row["path"]
        assert path.stat().st_size == row["bytes"]
        assert len(row["sha256"]) == 64
        assert row["load_id"] == "L"


def test_the_same_load_twice_changes_nothing(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    assert load(each_home, con, "L", rows_sql(0, 10), rows_sql(5, 12)) == [10, 2]
    files = each_home.log.files("events")
    assert load(each_home, con, "L", rows_sql(0, 10)) is None
    assert load(each_home, con, "M", rows_sql(0, 12)) == [0]
    assert each_home.log.files("events") == files
    assert stored(each_home) == ids(*range(12))


def test_leaving_without_commit_removes_everything(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    load(each_home, con, "L", rows_sql(0, 3))

    def work() -> None:
        with each_home.log.begin("M", source="test", now=NOW) as staging:  # type: ignore[union-attr]
            staging.add_events(con, rows_sql(0, 50))
            staging.replace("items", con, "SELECT 'i' AS item")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert stored(each_home) == ids(0, 1, 2)
    assert [path for path in (each_home.root / "data").rglob("*.parquet") if path not in each_home.log.files("events")] == []
    with each_home.ledger.read() as conn:
        assert conn.execute(select(loads.c.load_id)).scalars().all() == ["L"]
    assert load(each_home, con, "M", rows_sql(0, 50)) == [47]


def test_a_second_loader_is_told_who_the_first_is(each_home: Home, home_url: str, con: duckdb.DuckDBPyConnection) -> None:
    each_home.log.wait_seconds = 0.05
    with each_home.log.begin("first", source="test", now=NOW) as staging, Home.open(home_url) as other:  # type: ignore[union-attr]
        other.log.wait_seconds = 0.05
        for attempt in (lambda: other.log.begin("second", source="test", now=NOW), lambda: other.log.compact(now=NOW)):
            with pytest.raises(Locked, match=r"written by load first \(process \d+"):
                attempt()
        assert other.log.append([event(1)], now=NOW) == Appended(1, 0), "streams never wait for a load"
        staging.commit({}, now=NOW)
        assert other.log.compact(now=NOW) == 1


def test_a_loader_that_was_replaced_cannot_commit(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    staging = each_home.log.begin("old", source="test", now=NOW)
    assert staging is not None
    staging.add_events(con, rows_sql(0, 3))
    staging._lock.release()  # as if its connection had been cut
    load(each_home, con, "new", rows_sql(2, 5))
    with pytest.raises((StateError, OSError)):
        staging.commit({}, now=NOW)
    assert stored(each_home) == ids(2, 3, 4)


def test_reference_tables_merge_by_key_and_the_new_row_wins(each_home: Home, con: duckdb.DuckDBPyConnection) -> None:
    def put(load_id: str, *relations: str) -> list[int]:
        with each_home.log.begin(load_id, source="test", now=NOW) as staging:  # type: ignore[union-attr]
            taken = [staging.replace("items", con, sql) for sql in relations]
            staging.commit({}, now=NOW)
        return taken

    def prices() -> list[tuple[str, int | None]]:
        (path,) = each_home.log.files("items")
        return [(row["item"], row["price"]) for row in pq.read_table(path).to_pylist()]

    assert put("1", "SELECT * FROM (VALUES ('b', 2), ('a', 1)) AS t(item, price)") == [2]
    assert prices() == [("a", 1), ("b", 2)]
    assert put("2", "SELECT 'b' AS item, 3 AS price", "SELECT 'c' AS item, 4 AS price") == [1, 1]
    assert prices() == [("a", 1), ("b", 3), ("c", 4)]
    shuffled = "SELECT * FROM (VALUES ('a', 9), ('a', 8), ('a', NULL)) AS t(item, price)"
    assert put("3", shuffled) == [1]
    assert prices()[0] == ("a", 8), "of doubled new rows the smallest wins, whatever their order"


def test_a_key_with_an_empty_part_is_still_a_key(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    start, end = (f"TIMESTAMPTZ '2026-01-0{day} 00:00:00+00'" for day in (1, 2))
    row = f"SELECT 'i' AS item, {start} AS starts_at, {end} AS ends_at, 'shelf' AS place"
    for load_id in ("1", "2"):
        with home.log.begin(load_id, source="test", now=NOW) as staging:  # type: ignore[union-attr]
            staging.replace("placements", con, row)
            staging.commit({}, now=NOW)
    assert home.tables.to_arrow(home.tables.get("placements")).num_rows == 1


def test_free_files_are_kept_only_when_registered(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    with home.log.begin("L", source="test", now=NOW) as staging:  # type: ignore[union-attr]
        for name in ("kept", "dropped"):
            con.execute(f"COPY (SELECT 1 AS line) TO '{staging.folder / name}.parquet' (FORMAT parquet)")
        assert staging.add_file("quarantine", staging.folder / "kept.parquet") == 1
        with pytest.raises(InputError, match="is no file in"):
            staging.add_file("quarantine", staging.folder / "none.parquet")
        with pytest.raises(InputError, match="use add_events or replace"):
            staging.add_file("events", staging.folder / "dropped.parquet")
        staging.commit({}, now=NOW)
    assert len(home.log.files("quarantine")) == 1
    assert sorted((home.root / "data").rglob("*.parquet")) == home.log.files("quarantine")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1 AS idd", 'no column "idd". Did you mean "id"'),
        ("SELECT 'a' AS id", 'needs the column "at"'),
        (rows_sql(0, 1).replace("TIMESTAMPTZ", "TIMESTAMP").replace("+00", ""), "TIMESTAMP, which cannot become TIMESTAMP WITH TIME ZONE"),
        (f"SELECT *, 1.5 AS value FROM ({rows_sql(0, 1)})", "cannot become BIGINT without a guess"),
        (f"SELECT * REPLACE (NULL AS source) FROM ({rows_sql(0, 1)})", 'Column "source" has 1 empty values'),
        (f'SELECT * REPLACE (CAST(NULL AS TIMESTAMPTZ) AS "at") FROM ({rows_sql(0, 1)})', 'Column "at" has 1 empty values'),
    ],
)
def test_rows_that_do_not_fit_are_refused(home: Home, con: duckdb.DuckDBPyConnection, sql: str, message: str) -> None:
    with home.log.begin("L", source="test", now=NOW) as staging, pytest.raises(SchemaError, match=message):  # type: ignore[union-attr]
        staging.add_events(con, sql)
    assert stored(home) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": ""}, "1 to 255 characters"),
        ({"id": "x" * 256}, "1 to 255 characters"),
        ({"kind": "veiw"}, 'no kind "veiw". Did you mean "view"'),
        ({"value": 1.5}, "whole number of minor units"),
        ({"value": True}, "whole number of minor units"),
        ({"rating": float("nan")}, "rating must be a number"),
        ({"item": 7}, "item must be a text"),
        ({"source": ""}, "source must say"),
        ({"at": datetime(2026, 1, 1)}, "at must be a time with a zone"),  # noqa: DTZ001
        ({"at": "2026-01-01"}, "at must be a time with a zone"),
        ({"quantity": float("inf")}, "quantity must be a number"),
        ({"value": 2**63}, "whole number of minor units"),
        ({"text": "a\0b"}, "without NUL"),
        ({"text": "\ud800"}, "that UTF-8 can write"),
    ],
)
def test_a_bad_event_is_refused_and_none_of_its_batch_is_stored(home: Home, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        home.log.append([event(1), replace(event(2), **values)], now=NOW)
    assert home.log.compact(now=NOW) == 0


def test_a_refused_relation_leaves_the_rest_of_the_load_as_it_was(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    half_bad = f"SELECT * REPLACE (CASE WHEN id = 'e99' THEN NULL ELSE source END AS source) FROM ({rows_sql(0, 100)})"
    with home.log.begin("L", source="test", now=NOW) as staging:  # type: ignore[union-attr]
        staging.replace("items", con, "SELECT 'a' AS item")
        with pytest.raises(SchemaError, match="empty values"):
            staging.add_events(con, half_bad)
        with pytest.raises(SchemaError, match="empty values"):
            staging.replace("items", con, "SELECT CAST(NULL AS VARCHAR) AS item")
        assert staging.add_events(con, rows_sql(50, 60)) == 10
        staging.commit({}, now=NOW)
    assert stored(home) == ids(*range(50, 60))
    assert pq.read_table(home.log.files("items")[0])["item"].to_pylist() == ["a"]


def test_a_load_larger_than_its_memory_spills_into_the_shop_and_cleans_up(home: Home) -> None:
    wide = """SELECT 'e' || i AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_days((i % 20)::INTEGER) AS "at", 'view' AS kind,
              repeat(md5(i::VARCHAR), 10) AS context, 'load' AS source FROM range(120_000) AS t(i)"""
    with home.log.connect(threads=1, memory_limit="40MB") as con, home.log.begin("L", source="test", now=NOW) as staging:  # type: ignore[union-attr]
        assert staging.add_events(con, wide) == 120_000
        assert any(parquet.spill_folder(home.root).iterdir()), "the test must be large enough to spill"
        staging.commit({}, now=NOW)
    assert len(stored(home)) == 120_000
    assert not any(parquet.spill_folder(home.root).iterdir())


def test_what_a_killed_process_spilled_is_removed(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    spills = [parquet.spill_folder(home.root) / f"{socket.gethostname()}-{pid}" for pid in (dead.pid, os.getpid())]
    for folder in spills:
        folder.mkdir(parents=True)
        (folder / "duckdb_temp_block-1.block").write_text("")
    home.log.recover()
    assert [folder.exists() for folder in spills] == [False, True]


def test_numbers_of_numpy_are_numbers(home: Home) -> None:
    import numpy as np

    home.log.append([event(1, value=np.int64(7), quantity=np.float32(1.5), rating=4)], now=NOW)
    home.log.compact(now=NOW)
    (row,) = pq.read_table(home.log.files("events")[0], partitioning=None).to_pylist()
    assert (row["value"], row["quantity"], row["rating"]) == (7, 1.5, 4.0)


def test_load_ids_and_table_names_are_checked(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    for bad in ("", "a/b", "x" * 65, ".."):
        with pytest.raises(InputError, match="is no load id"):
            home.log.begin(bad, source="test", now=NOW)
    with home.log.begin("L", source="test", now=NOW) as staging, pytest.raises(NotFound, match='Did you mean "items"'):  # type: ignore[union-attr]
        staging.replace("itmes", con, "SELECT 1")


def test_what_a_killed_loader_left_is_removed_on_open(home_url: str, con: duckdb.DuckDBPyConnection) -> None:
    with Home.open(home_url) as home:
        load(home, con, "L", rows_sql(0, 3))
        left = [home.root / "data" / "events" / "day=2026-01-01" / "feed-0.parquet", home.log.staging / "M" / "0.parquet"]
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(home.log.files("events")[0].read_bytes())
    with Home.open(home_url) as home:
        assert [path for path in left if path.exists()] == []
        assert stored(home) == ids(0, 1, 2)


def test_nothing_is_removed_while_a_loader_works(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    with home.log.begin("L", source="test", now=NOW) as staging:  # type: ignore[union-attr]
        staging.add_events(con, rows_sql(0, 3))
        Home.open(home.root).close()
        staging.commit({}, now=NOW)
    assert stored(home) == ids(0, 1, 2)


STEPS = st.lists(st.tuples(st.sampled_from(["append", "load", "compact", "abandon"]), st.integers(0, 6), st.integers(1, 6)), max_size=6)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_sequence_stores_each_id_once(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]) -> None:
    """Property: whatever is appended, loaded, abandoned and compacted in any order, an id is stored exactly once."""
    expected: set[int] = set()
    with Home.open(tmp_path_factory.mktemp("shop") / "s") as home, duckdb.connect(config={"threads": 1}) as con:
        for step, (kind, start, length) in enumerate(steps):
            numbers = range(start, start + length)
            if kind == "append":
                home.log.append([event(number) for number in numbers], now=NOW)
            elif kind == "load":
                load(home, con, f"L{step}", rows_sql(start, start + length))
            elif kind == "abandon":
                with home.log.begin(f"A{step}", source="test", now=NOW) as staging:  # type: ignore[union-attr]
                    staging.add_events(con, rows_sql(start, start + length))
            else:
                home.log.compact(now=NOW)
            if kind in ("append", "load"):
                expected |= set(numbers)
        home.log.compact(now=NOW)
        assert stored(home) == ids(*expected)
