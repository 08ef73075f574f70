"""The same features and sequences on DuckDB and on Apache Spark, compared value by value, without tolerances."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from profile_kit import AS_OF, fill, random_events

from tradewind.engine.home import Home
from tradewind.engine.tables import Tables
from tradewind.learn import _derived, _wide, features
from tradewind.learn.sequences import EVENT_ARRAYS, Sequences, sequences

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Home.open(Path(tmp_path_factory.mktemp("conform")) / "shop") as home:
        yield fill(home, random_events(11, 900))


@pytest.fixture(scope="module")
def engines(shop: Home, spark: Any) -> dict[str, Tables]:
    return {"duckdb": shop.tables, "spark": Tables.on_spark(shop.log)}


def multiset(table: pa.Table, name: str) -> Counter[tuple[Any, Any]]:
    return Counter(zip(table["customer"].to_pylist(), map(repr, table[name].to_pylist()), strict=True))


@pytest.fixture(scope="module")
def rows(engines: dict[str, Tables]) -> dict[str, pa.Table]:
    return {name: _wide.profile_rows(tables, as_of=AS_OF) for name, tables in engines.items()}


FEATURES = [name for grain in features.FEATURES.values() for name in grain] + list(_derived.DERIVED)


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_equal_on_both_engines(rows: dict[str, pa.Table], name: str) -> None:
    assert rows["duckdb"].num_rows > 30
    assert multiset(rows["duckdb"], name) == multiset(rows["spark"], name)


def test_the_log_reaches_every_feature(rows: dict[str, pa.Table]) -> None:
    flat = [name for name in FEATURES if len(set(rows["duckdb"][name].drop_null().to_pylist())) < 2]
    assert flat == ["currency"]  # one shop, one currency: any other feature that is equal for all would test nothing


def events_of(log: Sequences) -> Counter[tuple[Any, ...]]:
    """Events with their customer, their place and their names: independent of how anything is numbered."""
    seen: Counter[tuple[Any, ...]] = Counter()
    for row, customer in enumerate(log.customers):
        for place, at in enumerate(range(log.offsets[row], log.offsets[row + 1])):
            values = tuple(int(getattr(log, name)[at]) for name in EVENT_ARRAYS)
            item = log.items[log.item[at]] if log.item[at] >= 0 else None
            shelf = log.categories[log.category[at]] if log.category[at] >= 0 else None
            seen[(customer, place, item, shelf, *values)] += 1
    return seen


@pytest.mark.parametrize("last", [None, 5])
@pytest.mark.parametrize("kinds", [None, ("view", "purchase")])
def test_sequences_are_equal_on_both_engines(engines: dict[str, Tables], last: int | None, kinds: tuple[str, ...] | None) -> None:
    found = {name: events_of(sequences(tables, as_of=AS_OF, last=last, kinds=kinds)) for name, tables in engines.items()}
    assert found["duckdb"] == found["spark"]
    assert len(found["duckdb"]) > 25
