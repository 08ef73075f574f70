"""The committed maps on the real data: known counts come out, every table is filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from collect_shops import NOW, balanced

from tradewind.collect.ingest import collect
from tradewind.collect.quarantine import quarantine_rows
from tradewind.engine.home import Home
from tradewind.engine.parquet import scan

MAPS = Path(__file__).parents[2] / "maps"


def count(home: Home, name: str, where: str = "true") -> int:
    import duckdb

    with duckdb.connect() as con:
        return int(con.execute(f"SELECT count(*) FROM ({scan(home.log.files(name))}) WHERE {where}").fetchall()[0][0])


@pytest.mark.data
@pytest.mark.slow
def test_online_retail_has_its_known_counts(home: Home, data_dir: Path) -> None:
    report = collect(home, data_dir / "online_retail" / "online_retail.parquet", mapping=MAPS / "online_retail.toml", now=NOW)
    assert balanced(report)
    assert [check.name for check in report.checks if check.name.startswith("total") and check.level != "PASS"] == []
    found = {check.name: check.count for check in report.checks if check.source == "lines"}
    assert found["missing customer"] == 135_080
    assert found["exact_duplicates"] == 5_268
    assert found["range UnitPrice"] == 2_517
    assert report.totals["lines.cancellation lines"] == 9_288
    assert report.totals["lines.revenue"] == pytest.approx(9_747_747.93, abs=0.01)
    lines = next(one for one in report.counts if one.source == "lines")
    assert (lines.rows_in, lines.duplicates) == (541_909, 5_268)
    assert lines.stored == count(home, "events")
    assert lines.quarantined == quarantine_rows(home).num_rows
    assert count(home, "events", "kind = 'refund'") + count(home, "events", "kind = 'purchase'") == lines.stored
    assert count(home, "items", "item IN ('POST', 'M', 'D', 'BANK CHARGES')") == 0
    assert count(home, "offers") == 3


@pytest.mark.data
@pytest.mark.slow
def test_complete_journey_fills_every_table(home: Home, data_dir: Path) -> None:
    report = collect(home, data_dir / "completejourney", mapping=MAPS / "completejourney.toml", now=NOW)
    assert balanced(report)
    stored = {one.source: one.stored for one in report.counts}
    assert stored == {
        "products": 92_331,
        "households": 2_406,
        "campaign_descriptions": 27,
        "coupons": 1_197,
        "coupon_products": 111_332,
        "campaigns": 6_589,
        "promotions": 394_213,
        "transactions": 99_423,
        "redemptions": 2_102,
    }
    assert count(home, "events", "kind = 'redeem' AND offer NOT IN (SELECT offer FROM (" + scan(home.log.files("offers")) + "))") == 0
    assert count(home, "events", 'discount < 0 OR "value" < 0') == 0
    assert sum("coupon terms" in text for text in report.assumptions) == 1
