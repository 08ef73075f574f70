"""The tables: one API on DuckDB and on Spark, and equal answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind import schema
from tradewind.engine.home import Home
from tradewind.engine.tables import Tables, ordered_list
from tradewind.errors import InputError, NotFound
from tradewind.types import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """60 events of 4 customers (one unknown) over 10 days, and two items."""
    with Home.open(tmp_path_factory.mktemp("tables") / "shop") as home, duckdb.connect(config={"threads": 1}) as con:
        kinds = ("view", "cart", "purchase")
        home.log.append(
            [
                Event(
                    f"e{n}",
                    NOW + timedelta(hours=4 * n, microseconds=n),
                    kinds[n % 3],
                    "t",
                    [None, "a", "b", "c"][n % 4],
                    item=f"i{n}",
                    value=n if n % 2 else None,
                )
                for n in range(60)
            ],
            now=NOW,
        )
        home.log.compact(now=NOW)
        with home.log.begin("L", source="t", now=NOW) as staging:  # type: ignore[union-attr]
            staging.replace("items", con, "SELECT * FROM (VALUES ('i1', 'One'), ('i2', NULL)) AS t(item, title)")
            staging.commit({}, now=NOW)
        yield home


@pytest.fixture(params=["duckdb", pytest.param("pyspark", marks=pytest.mark.spark)])
def tables(request: pytest.FixtureRequest, shop: Home) -> Iterator[Tables]:
    if request.param == "pyspark":
        request.getfixturevalue("spark")
        made = Tables.on_spark(shop.log)
    else:
        made = Tables.on_duckdb(shop.log, threads=1)
    assert made.backend == request.param
    yield made
    made.close()


def types(name: str) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema.TABLES[name]]


def test_a_table_has_the_types_of_its_schema(tables: Tables) -> None:
    for name, rows in (("events", 60), ("items", 2)):
        table = tables.to_arrow(tables.get(name))
        assert [(field.name, field.type) for field in table.schema] == types(name)
        assert table.num_rows == rows


@pytest.mark.parametrize("name", sorted(set(schema.TABLES) - {"events", "items"}))
def test_an_empty_table_is_typed(tables: Tables, name: str) -> None:
    table = tables.to_arrow(tables.get(name))
    assert [(field.name, field.type) for field in table.schema] == types(name)
    assert table.num_rows == 0


def test_whole_numbers_with_gaps_stay_whole(tables: Tables) -> None:
    table = tables.to_arrow(tables.events().order_by("at"))
    assert table["value"].to_pylist() == [n if n % 2 else None for n in range(60)]
    assert table["at"].to_pylist() == [NOW + timedelta(hours=4 * n, microseconds=n) for n in range(60)]


@pytest.mark.parametrize("hours", [0, 20, 24, 48, 10_000])
def test_as_of_is_exclusive(tables: Tables, hours: int) -> None:
    as_of = NOW + timedelta(hours=hours, microseconds=hours // 4)
    found = tables.to_arrow(tables.events(as_of=as_of))["id"].to_pylist()
    assert sorted(found) == sorted(f"e{n}" for n in range(60) if NOW + timedelta(hours=4 * n, microseconds=n) < as_of)


def test_as_of_in_another_zone_is_the_same_moment(tables: Tables) -> None:
    east = (NOW + timedelta(hours=8)).astimezone(timezone(timedelta(hours=8)))
    assert (
        tables.to_arrow(tables.events(as_of=east))["id"].to_pylist() == ["e0", "e1"] or len(tables.to_arrow(tables.events(as_of=east))) == 2
    )


def test_ordered_list_keeps_order_gaps_and_the_last_rows(tables: Tables) -> None:
    lists = ordered_list(tables.events(), by="customer", order=["at", "id"], columns=["item", "value", "at"], last=3)
    rows = {row["customer"]: row for row in tables.to_arrow(lists).to_pylist()}
    assert set(rows) == {None, "a", "b", "c"}
    assert rows["a"]["item"] == ["i49", "i53", "i57"]
    assert rows["a"]["value"] == [49, 53, 57]
    assert rows["b"]["value"] == [None, None, None], "a missing value keeps its place"
    assert rows[None]["at"] == [NOW + timedelta(hours=4 * n, microseconds=n) for n in (48, 52, 56)]


def test_memory_takes_arrow_tables_as_they_are(tables: Tables) -> None:
    given_table = pa.table(
        {"k": ["x", None], "n": pa.array([2**60, None], pa.int64()), "t": pa.array([NOW, None], schema.TIME), "f": [0.5, None]}
    )
    got = tables.to_arrow(tables.memory(given_table).order_by("f"))
    assert got.sort_by("f").to_pylist() == given_table.sort_by("f").to_pylist()
    assert got.schema.types == given_table.schema.types
    joined = tables.get("items").inner_join(tables.memory(pa.table({"item": ["i1"], "rank": [1]})), "item")
    assert tables.to_arrow(joined).select(["item", "title", "rank"]).to_pylist() == [{"item": "i1", "title": "One", "rank": 1}]


def test_a_naive_time_comes_back_as_utc(tables: Tables) -> None:
    got = tables.to_arrow(tables.events().select(day=lambda t: t.at.truncate("D")).distinct())
    assert got.schema.types == [schema.TIME]
    assert sorted(got["day"].to_pylist()) == [NOW + timedelta(days=n) for n in range(10)]


def test_wrong_names_and_numbers_are_explained(tables: Tables) -> None:
    with pytest.raises(NotFound, match=r'no table "event"\. Did you mean "events"'):
        tables.get("event")
    arguments: dict[str, Any] = {"by": "customer", "order": ["at"], "columns": ["item"], "last": 1}
    for wrong, message in (
        ({"columns": ["itme"]}, 'no column "itme". Did you mean "item"'),
        ({"last": 0}, "last must be at least 1"),
        ({"columns": []}, "distinct columns"),
        ({"columns": ["item", "item"]}, "distinct columns"),
    ):
        with pytest.raises(InputError, match=message):
            ordered_list(tables.events(), **arguments | wrong)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "é", "中", None]),
        st.integers(0, 5),
        st.one_of(st.none(), st.integers(-(2**60), 2**60)),
        st.sampled_from(["x", "Ä", "", None]),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, last=st.integers(1, 7))
def test_ordered_list_equals_plain_python_on_duckdb(duck: Tables, rows: list[Any], last: int) -> None:
    _compare(duck, rows, last)


@pytest.mark.spark
@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, last=st.integers(1, 7))
def test_ordered_list_equals_plain_python_on_spark(spark: Any, shop: Home, rows: list[Any], last: int) -> None:
    _compare(Tables.on_spark(shop.log), rows, last)


@pytest.fixture(scope="module")
def duck(shop: Home) -> Iterator[Tables]:
    made = Tables.on_duckdb(shop.log, threads=1)
    yield made
    made.close()


def _compare(tables: Tables, rows: list[Any], last: int) -> None:
    """``ordered_list`` against sorting in Python; the row number breaks ties."""
    kind = pa.schema([("k", pa.string()), ("at", pa.int64()), ("n", pa.int64()), ("v", pa.int64()), ("w", pa.string())])
    listed = [{"k": k, "at": at, "n": n, "v": v, "w": w} for n, (k, at, v, w) in enumerate(rows)]
    lists = ordered_list(
        tables.memory(pa.Table.from_pylist(listed, schema=kind)), by="k", order=["at", "n"], columns=["v", "w", "at"], last=last
    )
    expected = {}
    for key in {row["k"] for row in listed}:
        mine = sorted((row for row in listed if row["k"] == key), key=lambda row: (row["at"], row["n"]))[-last:]
        expected[key] = {name: [row[name] for row in mine] for name in ("v", "w", "at")}
    assert {row.pop("k"): row for row in tables.to_arrow(lists).to_pylist()} == expected


def test_a_limit_on_memory_and_threads_reaches_duckdb(shop: Home) -> None:
    tables = Tables.on_duckdb(shop.log, threads=1, memory_limit="123MB")
    settings_sql = (
        "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('TimeZone'), current_setting('temp_directory')"
    )
    threads, memory, zone, spill = tables.con.raw_sql(settings_sql).fetchall()[0]
    assert (threads, memory, zone) == (1, "117.3 MiB", "UTC")
    assert Path(spill).is_relative_to(shop.root), "nothing is spilled into the user's current folder"
    tables.close()
