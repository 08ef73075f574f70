"""How good are the recommenders, on protocols that others publish and on a real shop's global time split?

1. Leave-one-out with the FULL catalogue ranked and seen items removed, on a file in the format of S3-Rec ("user item item ...",
   default: Amazon Beauty): popular, user_knn, and the graph, once trained strictly without the last two events (n-2) and once
   refreshed with the last known one (n-1). Published under n-2: SASRec .0318, S3-Rec .0327, eSASRec .0523, WEARec .0614.
2. A global time split of a shop (default: online_retail; its last 28 days): all recommenders, with bootstrap intervals.

    python bench/recommend.py [--quick] [--path Sports_and_Outdoors.txt] [--shop FOLDER] [--size tiny] [--epochs N]
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock

from tradewind.learn.base import Recommender
from tradewind.learn.evaluate import Targets, evaluate, leave_one_out
from tradewind.learn.fallback import Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences, sequences
from tradewind.learn.transformer import Transformer
from tradewind.learn.user_knn import UserKnn
from tradewind.stats import bootstrap, ranking
from tradewind.types import from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
BEAUTY = DATA / "s3rec" / "Beauty.txt"
RETAIL = DATA / "online_retail" / "online_retail.parquet"
EVER = from_micros(10**15)


def main() -> None:
    bench = Harness(
        "recommend",
        __doc__,
        extra={
            "--shop": {"type": Path, "help": "a shop's folder to split in time instead of online_retail"},
            "--size": {"default": "tiny", "help": "size of the Transformer"},
            "--epochs": {"type": int, "help": "epochs at most (default: those of the size)"},
            "--only": {"choices": ("loo", "time"), "help": "run one half"},
        },
    )
    path = bench.arguments.path or BEAUTY
    if bench.arguments.only != "time":
        if path.exists():
            papers(bench, path)
        else:
            print(f"left out: {path} is not there")
    if bench.arguments.only != "loo":
        if bench.arguments.shop or RETAIL.exists():
            shop(bench)
        else:
            print(f"left out: {RETAIL} is not there")
    bench.finish()


def papers(bench: Harness, path: Path) -> None:
    """Leave-one-out on a public file."""
    log = read_lines(path, most=3000 if bench.quick else None)
    print(f"{path.stem}: {len(log):,} users, {len(log.items):,} items, {len(log.at):,} events; leave-one-out, full ranking, seen removed")
    train, wanted = leave_one_out(log)
    strict, _ = leave_one_out(log, back=2)
    beauty = path == BEAUTY
    import scipy.sparse  # noqa: F401 - loading it is no part of counting the graph

    with clock() as taken:
        graph = Graph().fit(train, as_of=EVER)
    bench.figure("graph_fit_s_per_300k_events", taken["cpu"] * 300_000 / max(len(train.at), 1), target=("<=", 1.0))
    update(bench, train)
    score(bench, "graph_n2", Graph().fit(strict, as_of=EVER), wanted, floor=0.0523 if beauty else None)
    score(bench, "graph_n1", graph, wanted, floor=0.060 if beauty else None)
    score(bench, "user_knn_n1", UserKnn().fit(train, as_of=EVER), wanted, floor=None)
    score(bench, "popular_n1", Popular(half_life=100_000).fit(train, as_of=EVER), wanted, floor=None)


def update(bench: Harness, train: Sequences) -> None:
    """Microseconds per event of the incremental graph: every customer's last event arrives late."""
    late = np.zeros(len(train.at), dtype=bool)
    late[train.offsets[1:][train.lengths > 1] - 1] = True
    live = Graph().fit(train.keep(~late), as_of=EVER)
    fresh = train.keep(late)
    with clock() as taken:
        live.update(fresh)
    bench.figure("graph_update_us_per_event", taken["cpu"] * 1e6 / max(len(fresh.at), 1), target=("<=", 50.0))


def score(bench: Harness, name: str, model: Recommender, wanted: Targets, *, floor: float | None) -> None:
    """NDCG@10 with its interval, and recall@10."""
    with clock() as taken:
        lists = model.recommend(wanted.histories, k=10).items
    hit, relevant = ranking.hits(lists, wanted.offsets, wanted.items), np.diff(wanted.offsets)
    estimate = bootstrap.mean(ranking.ndcg(hit, relevant), name="ndcg", seed=bench.arguments.seed, draws=400)
    bench.figure(f"{name}_ndcg10", estimate.value, target=None if floor is None else (">=", floor))
    bench.figure(f"{name}_ndcg10_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")
    bench.figure(f"{name}_recall10", float(ranking.recall(hit, relevant).mean()))
    bench.figure(f"{name}_ms_per_user", taken["cpu"] * 1e3 / len(lists))


def shop(bench: Harness) -> None:
    """Global time split, every model, intervals; the log ends at its last event and the last 28 days are the test."""
    log = read_shop(bench.arguments.shop) if bench.arguments.shop else read_retail(RETAIL)
    cut = from_micros(int(log.at.max())) - timedelta(days=28)
    cut = datetime(cut.year, cut.month, cut.day, tzinfo=UTC) + timedelta(days=1)
    if bench.quick:
        log = log.last(60)
    size, epochs, seed = bench.arguments.size, 2 if bench.quick else bench.arguments.epochs, bench.arguments.seed
    models: list[Recommender | str] = [
        Transformer(size=size, epochs=epochs, seed=seed),
        Fallback(size=size, epochs=epochs, seed=seed),
        *(["category"] if len(log.categories) else []),
    ]
    with clock() as taken:
        found = evaluate(models, log, cut, horizon_days=28, seed=seed)
    print(found.to_text())
    bench.figure("split_hash", found.split["hash"][:16])
    bench.figure("users", found.split["users"])
    bench.figure("cold_customers", found.split["cold_customers"])
    bench.figure("cold_items", found.split["cold_items"])
    bench.figure("time_split_cpu_s", taken["cpu"])
    for row in found.rows:
        for name in ("ndcg", "recall", "coverage"):
            bench.figure(f"{row.model}_{row.view}_{name}10", row.estimates[name].value)
    for view in ("all", "new"):
        others = [row for row in found.rows if row.view == view and row.model not in {"fallback", "transformer"}]
        best = max(others, key=lambda row: row.estimates["ndcg"].value)
        gain = found.difference("fallback", best.model, view=view)
        bench.figure(f"fallback_minus_{best.model}_{view}_ndcg10", gain.value)
        bench.figure(f"fallback_minus_{best.model}_{view}_ndcg10_interval", f"{gain.low:.4f}..{gain.high:.4f}")


def read_lines(path: Path, *, most: int | None) -> Sequences:
    """One user per line; the order of a line is its time."""
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if most is not None and number >= most:
                break
            user, *taken = line.split()
            users += [user] * len(taken)
            items += taken
            times += range(len(taken))
    return Sequences.from_arrays(users, item=items, at=times)


def read_retail(path: Path) -> Sequences:
    """online_retail as sold lines: with a customer, positive quantity and price, each line once; stock codes are the items."""
    import duckdb

    with duckdb.connect() as con:
        con.execute("SET TimeZone='UTC'; SET threads=1; SET enable_progress_bar=false")
        rows = con.execute(
            """
            SELECT DISTINCT CAST(CAST(CustomerID AS BIGINT) AS VARCHAR) AS customer, StockCode AS item, epoch_us(InvoiceDate) AS happened,
                   md5(concat_ws('|', InvoiceNo, StockCode, CustomerID)) AS id
            FROM read_parquet(?) WHERE CustomerID IS NOT NULL AND Quantity > 0 AND UnitPrice > 0 ORDER BY customer, happened, id
            """,  # lines of one invoice have no order: a hash keeps the stock code's order from leaking in
            [str(path)],
        ).fetchnumpy()
    return Sequences.from_arrays(list(rows["customer"]), item=list(rows["item"]), at=rows["happened"])


def read_shop(folder: Path) -> Sequences:
    """The whole log of a shop."""
    from tradewind.engine.home import Home

    with Home.open(folder, create=False) as home:
        return sequences(home.tables, as_of=datetime(9999, 1, 1, tzinfo=UTC))


if __name__ == "__main__":
    main()
