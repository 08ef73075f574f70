"""Predicted coupon redemption on completejourney, honestly out of time.

Learned on the campaigns that start before 2017-10-01 (outcomes cut off there), tested on those of the last quarter:
every row is a targeted household with features as of the campaign's start; the outcome is a redemption within its window.
Read through maps/completejourney.toml. Its item prices are medians of the whole year, so no price band is used here.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from _harness import ROOT, Harness, clock

from tradewind.collect.ingest import collect
from tradewind.engine.home import Home
from tradewind.learn.response import Response, campaign_rows, training_rows
from tradewind.stats.binary import auc, interval, lift

CUT = datetime(2017, 10, 1, tzinfo=UTC)
END = datetime(2018, 1, 1, 5, tzinfo=UTC)  # midnight in New York: the end of the data
CAVEAT = """Caveats: campaigns were not assigned at random, so this is prediction among targeted households, not the effect of a
coupon. Transactions are a 6.8 % sample of the lines, so what a household bought is known thinly; campaigns and redemptions
are complete. Windows that are open at the end of 2017 are cut off there, for all methods alike."""


def main() -> None:
    bench = Harness("completejourney", __doc__)
    data = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
    folder = bench.arguments.path or data / "completejourney"
    if not folder.is_dir():
        print(f"left out: {folder} is not there; set TRADEWIND_DATA or give --path")
        bench.finish()
        return
    with tempfile.TemporaryDirectory() as place, Home.open(Path(place) / "shop") as home:
        collect(home, folder, mapping=ROOT / "maps" / "completejourney.toml", now=END)
        with clock() as took:
            train, test = _rows(home, bench.quick)
    bench.figure("feature_seconds", took["wall"])
    model = Response(seed=bench.arguments.seed).fit(train)
    probability = model.predict(test)
    y = test["label"].to_numpy().astype(float)
    bench.figure("train_rows", train.num_rows)
    bench.figure("train_redeemers", int(sum(train["label"].to_pylist())))
    bench.figure("test_rows", test.num_rows)
    bench.figure("test_redeemers", int(y.sum()))
    units = np.array(test["customer"].to_pylist())
    found = {}
    for name, score in {"model": probability, **_baselines(test)}.items():
        for metric, measure in (("auc", auc), ("lift10", partial(lift, share=0.1))):
            estimate = interval(measure, y, score, units, name=f"{name}_{metric}", seed=bench.arguments.seed)
            found[estimate.name] = estimate.value
            bench.figure(estimate.name, round(estimate.value, 4))
            bench.figure(f"{estimate.name}_95", f"[{estimate.low:.3f}, {estimate.high:.3f}]")
    best = max(value for name, value in found.items() if name.endswith("auc") and name != "model_auc")
    bench.figure("model_auc_over_best_baseline", round(found["model_auc"] - best, 4), target=(">", 0.0))
    bench.figure("mean_predicted", float(probability.mean()))
    bench.figure("mean_observed", float(y.mean()))
    useful = list(model.importance(test).items())[:8]
    print("mean size of what a feature adds to the log-odds:", ", ".join(f"{name} {size:.2f}" for name, size in useful))
    print(CAVEAT)
    bench.finish()


def _rows(home: Home, quick: bool) -> tuple[pa.Table, pa.Table]:
    since = datetime(2017, 5, 1, tzinfo=UTC) if quick else None
    train = training_rows(home.tables, before=CUT, since=since)
    calendar = home.tables.to_arrow(home.tables.get("campaigns")).sort_by("starts_at").to_pylist()
    late = [row for row in calendar if CUT <= row["starts_at"] < END]
    test = pa.concat_tables([campaign_rows(home.tables, row["campaign"], as_of=row["starts_at"], until=END) for row in late])
    return _without_price_band(train), _without_price_band(test)


def _without_price_band(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.column_names.index("price_band"), "price_band", pa.nulls(rows.num_rows, pa.float64()))


def _baselines(rows: pa.Table) -> dict[str, np.ndarray]:
    """Popularity: the base rate of the campaign's type. Recency: of the last redemption, of the last purchase, or both."""

    def days(name: str) -> np.ndarray:
        return rows[name].fill_null(1e6).to_numpy()

    redeemed, bought = days("redeem_recency_days"), days("recency_days")
    return {
        "popularity": rows["kind_rate"].to_numpy(),
        "recent_redemption": -redeemed,
        "recent_purchase": -bought,
        "popularity_then_recency": rows["kind_rate"].to_numpy() * 1e3 - np.minimum(redeemed, 999) / 1e3 - np.minimum(bought, 999) / 1e7,
    }


if __name__ == "__main__":
    main()
