"""The same analysis on Apache Spark as on DuckDB: one expression, equal numbers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from test_measure_experiment import columns

from tradewind.engine.home import Home
from tradewind.engine.tables import Tables
from tradewind.measure.experiment import Analysis, analyse
from tradewind.measure.trial import Metric, Trial


@pytest.mark.spark
@pytest.mark.usefixtures("spark")
def test_spark_and_duckdb_agree(tmp_path: Path) -> None:
    data = {name: values for name, values in columns(400).items() if name != "at"}
    data["revenue"][:3] = float("nan")
    trial = Trial(
        "arm",
        "old",
        tuple(map(Metric.read, ("revenue~before", "orders/sessions", "bought", "complaints@0.5"))),
        unit="unit",
        strata=("region",),
        cluster="region",
    )
    with Home.open(tmp_path / "shop") as home:
        found = [both(tables, pa.table(data), trial) for tables in (home.tables, Tables.on_spark(home.log))]
    for one, other in zip(found[0].effects, found[1].effects, strict=True):
        assert (one.fixed.value, one.fixed.low, one.p) == pytest.approx((other.fixed.value, other.fixed.low, other.p))
    assert found[0].tally.missing == found[1].tally.missing
    assert [check.text for check in found[0].checks] == [check.text for check in found[1].checks]


def both(tables: Tables, table: pa.Table, trial: Trial) -> Analysis:
    return analyse(tables.memory(table), tables.to_arrow, trial)
