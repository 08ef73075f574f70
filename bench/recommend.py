"""How good are the recommenders, on protocols that others publish and on a real shop's global time split?

1. Leave-one-out with the FULL catalogue ranked and seen items removed, on a file in the format of S3-Rec ("user item item ...",
   default: Amazon Beauty): popular, user_knn, and the graph, once trained strictly without the last two events (n-2) and once
   refreshed with the last known one (n-1). Published under n-2: SASRec .0318, S3-Rec .0327, eSASRec .0523, WEARec .0614.
2. A global time split, the last 28 days of online_retail, completejourney (through its map) and ml100k (every rating is a
   purchase, at its real time): every source of the hybrid and the rest of the shelf, the hybrid itself, and the paired difference of
   the hybrid to each, with bootstrap intervals; customers without a history and items never seen before apart. Epochs and weights
   are chosen on a validation inside the time before the cut. "all" counts what is bought again, "new" does not; where nobody takes
   a thing twice (ml100k) only "new" is judged. The Transformer is "tiny" with at most 6 epochs, and left out of
   completejourney, whose catalogue of 92,331 items is too large for two shared cores (--size with --on trains it all the same); so
   are vectors of its texts: content is measured where --sources names it, and by bench/cold_items.py.

    python bench/recommend.py [--quick] [--path Sports_and_Outdoors.txt] [--only time] [--on ml100k] [--shop FOLDER] [--size tiny]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock

from tradewind import plugins
from tradewind.learn.base import Recommender
from tradewind.learn.evaluate import COLD, Evaluation, Targets, evaluate_fitted, leave_one_out
from tradewind.learn.fallback import SOURCES, Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences, sequences
from tradewind.learn.user_knn import UserKnn
from tradewind.stats import bootstrap, ranking
from tradewind.types import Estimate, from_micros

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
            "--on": {"nargs": "*", "choices": tuple(SHOPS), "default": tuple(SHOPS), "help": "data sets to split in time"},
            "--size": {"help": "size of the Transformer, or none (default: tiny, none for completejourney)"},
            "--epochs": {"type": int, "default": 6, "help": "its epochs at most"},
            "--sources": {"nargs": "*", "help": "sources of the hybrid beside the Transformer (default: the model's own)"},
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
        if bench.arguments.shop:
            shop(bench, bench.arguments.shop.name, read_shop(bench.arguments.shop), bench.arguments.size or "tiny")
        for name in [] if bench.arguments.shop else bench.arguments.on:
            place, read, size = SHOPS[name]
            if place.exists():
                shop(bench, name, read(place), bench.arguments.size or size)
            else:
                print(f"left out: {place} is not there")
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


def shop(bench: Harness, name: str, log: Sequences, size: str) -> None:
    """Global time split, every model, intervals; the log ends at its last event and the last 28 days are the test."""
    cut = from_micros(int(log.at.max())) - timedelta(days=28)
    cut = datetime(cut.year, cut.month, cut.day, tzinfo=UTC) + timedelta(days=1)
    if bench.quick:
        log = log.last(60)
    seed, past = bench.arguments.seed, log.before(cut)
    print(
        f"{name}: {len(log):,} customers, {len(log.items):,} items, {len(log.at):,} events; test from {cut:%Y-%m-%d}; Transformer: {size}"
    )
    hybrid = Fallback(
        size=None if size == "none" else size,
        sources=bench.arguments.sources,
        epochs=2 if bench.quick else bench.arguments.epochs,
        seed=seed,
    )
    with clock() as taken:
        hybrid.fit(past, as_of=cut)
    bench.figure(f"{name}_hybrid_fit_cpu_s", taken["cpu"])
    for where, weights in (("all", hybrid.mix), *sorted(hybrid.own.items())):
        print(f"  weights {where}: " + ", ".join(f"{source} {weight:g}" for source, weight in weights.items() if weight))
    found = evaluate_fitted(shelf(bench, name, hybrid, past, cut), log, cut, horizon_days=28, seed=seed, draws=400)
    print(found.to_text())
    for fact in ("hash", "users", "cold_customers", "cold_items", "had_before", "low_branching"):
        bench.figure(f"{name}_{fact}", found.split[fact][:16] if fact == "hash" else found.split[fact])
    for view in ("all", "new") if found.split["had_before"] > 0.01 else ("new",):
        judge(bench, name, found, view)


def shelf(bench: Harness, name: str, hybrid: Fallback, past: Sequences, cut: datetime) -> Iterator[Recommender]:
    """The hybrid, its fitted parts, and the rest of the shelf, fitted one after the other."""
    yield hybrid
    yield from hybrid.parts.values()
    for source in (*SOURCES, "category"):
        if source not in hybrid.parts and source not in {"transformer", "content"}:
            with clock() as taken:
                model: Recommender = plugins.load("learn", source)().fit(past, as_of=cut)
            bench.figure(f"{name}_{source}_fit_cpu_s", taken["cpu"])
            yield model


def judge(bench: Harness, name: str, found: Evaluation, view: str) -> None:
    """NDCG@10 of every model, and of the hybrid less each of them."""
    rows = sorted((row for row in found.rows if row.view == view), key=lambda row: -row.estimates["ndcg"].value)
    best = next(row.model for row in rows if row.model != "fallback")
    for row in rows:
        label = f"{name}_{view}_{row.model}"
        for metric in ("ndcg", *COLD):
            if row.estimates[metric].n and (row.estimates[metric].value > 0 or row.model == "fallback"):
                interval(bench, f"{label}_{metric}10", row.estimates[metric])
        if row.model != "fallback":
            gain = found.difference("fallback", row.model, view=view, seed=bench.arguments.seed)
            interval(bench, f"{name}_{view}_hybrid_minus_{row.model}", gain, target=(">=", 0.0) if row.model == best else None)
    audit = found.shortcut(view)
    if audit:
        interval(bench, f"{name}_{view}_{audit[0]}_over_{audit[1]}", audit[2])


def interval(bench: Harness, name: str, value: Estimate, *, target: tuple[str, float] | None = None) -> None:
    """A figure and the 95 % interval around it."""
    bench.figure(name, value.value, target=target)
    if value.low is not None and value.high is not None:
        bench.figure(f"{name}_interval", f"{value.low:.4f}..{value.high:.4f}")


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


def read_journey(folder: Path) -> Sequences:
    """completejourney through maps/completejourney.toml, catalogue included."""
    from tradewind.collect.ingest import collect
    from tradewind.engine.home import Home

    with tempfile.TemporaryDirectory() as place, Home.open(Path(place) / "shop") as home:
        collect(home, folder, mapping=ROOT / "maps" / "completejourney.toml", now=datetime(2018, 1, 1, 5, tzinfo=UTC))
        log = sequences(home.tables, as_of=datetime(9999, 1, 1, tzinfo=UTC), kinds=["purchase"])
        print(f"read now, before the folder goes: {len(log.catalogue.texts):,} texts, {len(log.catalogue.shelves):,} categories")
    return log


def read_ratings(folder: Path) -> Sequences:
    """MovieLens-100k with its real times."""
    with (folder / "ml-100k.inter").open(encoding="utf-8") as lines:
        next(lines)
        rows = [line.split() for line in lines]
    return Sequences.from_arrays([row[0] for row in rows], item=[row[1] for row in rows], at=[int(float(row[3]) * 1e6) for row in rows])


def read_shop(folder: Path) -> Sequences:
    """The whole log of a shop."""
    from tradewind.engine.home import Home

    with Home.open(folder, create=False) as home:
        return sequences(home.tables, as_of=datetime(9999, 1, 1, tzinfo=UTC))


SHOPS = {
    "online_retail": (RETAIL, read_retail, "tiny"),
    "completejourney": (DATA / "completejourney", read_journey, "none"),
    "ml100k": (DATA / "ml100k", read_ratings, "tiny"),
}

if __name__ == "__main__":
    main()
