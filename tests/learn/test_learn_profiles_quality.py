"""Segments, and the quality of profiles on a world where it is known who comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn.profiles import PROFILE
from tradewind.learn.segments import SEGMENTS, coverage, diversity, profile_quality, rfm


def regulars(people: int) -> list[dict[str, Any]]:
    """The first half buy every 12 days, the others bought once, long ago."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(people):
        days = range(1, 140, 12) if number < people // 2 else [130]
        for day in days:
            at = AS_OF - timedelta(days=day, hours=float(rng.uniform(0, 30)))
            rows.append(event(len(rows), at, kind="purchase", customer=f"p{number:03d}", item="i1", value=100, quantity=1.0))
    return rows


def test_quality_finds_who_comes_back(home: Home) -> None:
    fill(home, regulars(90))
    found = profile_quality(home.tables, as_of=AS_OF, horizon_days=30)
    assert found["auc"].value > 0.95
    assert found["auc_recency"].value > 0.95
    assert found["auc"].n == 90
    assert found["coverage_top_category"].value == pytest.approx(90 / 92, abs=0.02)  # the other two only signed up
    assert found["coverage_best_channel"].value == 0
    assert 0 < found["diversity_stage"].value < 1
    assert found["diversity_top_category"].value == 0  # everybody likes the same
    with pytest.raises(InputError, match="needs 50 or more buyers"):
        profile_quality(home.tables, as_of=AS_OF - timedelta(days=100))
    with pytest.raises(InputError, match="horizon_days"):
        profile_quality(home.tables, as_of=AS_OF, horizon_days=0)


def table(**columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    full = {field.name: columns.get(field.name, [None] * n) for field in PROFILE}
    return pa.table({name: pa.array(values, PROFILE.field(name).type) for name, values in full.items()})


def test_rfm_names_segments() -> None:
    n = 10
    given = table(
        customer=[f"c{i}" for i in range(n + 1)],
        recency_days=[*range(n), None],
        frequency=[*range(n, 0, -1), 0],
        monetary=[*range(100 * n, 0, -100), 0],
    )
    found = rfm(given)
    assert found["customer"].to_pylist() == given["customer"].to_pylist()
    assert found["recency"].to_pylist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, None]
    assert found["segment"][0].as_py() == "champions"
    assert found["segment"][9].as_py() == "hibernating"
    assert found["segment"][10].as_py() == "prospect"
    assert set(found["segment"].to_pylist()) <= {name for name, *_ in SEGMENTS} | {"prospect"}


def test_a_lost_good_customer_is_named() -> None:
    given = table(customer=list("abcde"), recency_days=[1, 2, 3, 4, 500], frequency=[1, 1, 1, 1, 50], monetary=[1, 2, 3, 4, 9999])
    assert rfm(given)["segment"].to_pylist()[4] == "cannot_lose"


def test_coverage_and_diversity_of_little() -> None:
    empty = table(customer=[])
    assert all(estimate.value == 0 for estimate in (coverage(empty) | diversity(empty)).values())
    even = table(customer=list("abcd"), top_brand=["x", "y", "x", "y"], category_confidence=[0.9, 0.5, 0.1, None])
    assert diversity(even)["diversity_top_brand"].value == pytest.approx(1.0)
    assert coverage(even)["coverage_confident"].value == 0.5
