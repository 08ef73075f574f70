"""The main job on a real shop: UCI Online Retail from the raw Parquet through maps/online_retail.toml to a plan with texts.

Prints whether the quality report's counts equal the known ones, the table of all recommenders on a global time split (the
last 28 days, with intervals), the quality of the profiles ("buys in the next 30 days"), and the plan with its texts. Nothing
is sent. The last plan cannot be judged for profit: these customers never got it.

    python bench/online_retail.py [--quick] [--path FOLDER] [--size tiny] [--epochs N]
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _harness import ROOT, Harness, clock

from tradewind.collect.report import CollectReport
from tradewind.learn.evaluate import Evaluation
from tradewind.learn.report import comparison
from tradewind.learn.segments import profile_quality
from tradewind.learn.sequences import sequences
from tradewind.shop import TEST_DAYS, Shop
from tradewind.types import Estimate, utc

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data")) / "online_retail"
KNOWN = {
    "rows": 541_909,
    "lines.lines without customer": 135_080,
    "lines.cancellation lines": 9_288,
    "exact duplicates": 5_268,
    "lines.prices <= 0": 2_517,
    "lines.revenue": 9_747_747.93,
}
EPOCHS = 6  # on two shared cores; early stopping may end sooner


def main() -> None:
    bench = Harness(
        "online_retail",
        __doc__,
        extra={
            "--size": {"default": "tiny", "help": "size of the Transformer"},
            "--epochs": {"type": int, "default": EPOCHS, "help": "its epochs at most"},
        },
    )
    folder = bench.arguments.path or DATA
    if not folder.exists():
        print(f"left out: {folder} is not there; set TRADEWIND_DATA or give --path")
        return
    with tempfile.TemporaryDirectory() as place, Shop.open(Path(place) / "gifts") as shop:
        with clock() as taken:
            report = shop.collect(folder, mapping=ROOT / "maps" / "online_retail.toml")
        counts(bench, report, judge=folder == DATA)
        bench.figure("collect_cpu_s", taken["cpu"])
        cut = utc("2011-12-10")
        size = None if bench.quick else bench.arguments.size
        log = sequences(shop.home.tables, as_of=cut)
        seed = bench.arguments.seed
        found = comparison(
            log, cut - timedelta(days=TEST_DAYS), size=size, epochs=bench.arguments.epochs, seed=seed, progress=lambda *_: None
        )
        print(found.to_text())
        recommenders(bench, found)
        for name, value in profile_quality(shop.home.tables, as_of=cut, horizon_days=30, seed=seed).items():
            figure(bench, f"profile_{name}", value)
        plan(bench, shop)
    bench.finish()


def counts(bench: Harness, report: CollectReport, *, judge: bool) -> None:
    """What the load saw, against what is known of exactly this file."""
    duplicates = report.check("exact_duplicates", source="lines")
    rows = next(count for count in report.counts if count.source == "lines")
    seen = dict(report.totals) | {"rows": rows.rows_in, "exact duplicates": duplicates.count if duplicates else 0}
    for name, known in KNOWN.items():
        bench.figure(name, float(seen[name]))
        if judge:
            bench.figure(f"{name}: off by", abs(float(seen[name]) - known), target=("<=", 0.01))
    bench.figure("stored", rows.stored)
    bench.figure("quarantined", rows.quarantined)


def recommenders(bench: Harness, found: Evaluation) -> None:
    """NDCG@10 of every model, and whether the shop's default is at least as good as popularity."""
    bench.figure("split_hash", found.split["hash"][:16])
    for row in found.rows:
        figure(bench, f"{row.model}_{row.view}_ndcg10", row.estimates["ndcg"])
    for view in ("all", "new"):
        figure(bench, f"fallback_minus_popular_{view}_ndcg10", found.difference("fallback", "popular", view=view))


def figure(bench: Harness, name: str, value: Estimate) -> None:
    """A figure, and its interval where it has one."""
    bench.figure(name, value.value)
    if value.low is not None and value.high is not None:
        bench.figure(f"{name}_interval", f"{value.low:.4f}..{value.high:.4f}")


def plan(bench: Harness, shop: Shop) -> None:
    """The shop's default recommender, a plan as of the last event, and its texts."""
    with clock() as taken:
        shop.learn(recommend="fallback")
        made = shop.decide(budget="2000 GBP", holdout=0.1)
        composed = shop.compose(made, at=str(made.meta["as_of"]))
    summary = made.summary()
    for name in ("customers", "holdout", "treated", "reserved"):
        bench.figure(f"plan_{name}", summary[name])
    ready = int(composed.to_json()["ready"])
    bench.figure("plan_texts_ready", ready)
    bench.figure("plan_texts_missing", summary["treated"] - ready, target=("<=", 0))
    bench.figure("learn_decide_compose_cpu_s", taken["cpu"])


if __name__ == "__main__":
    main()
