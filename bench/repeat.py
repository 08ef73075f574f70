"""How well is the next basket foreseen where people buy again?

1. Ta-Feng groceries (default; a folder in the format of "A Next Basket Recommendation Reality Check", Li et al., TOIS 2023:
   ``*_merged.json`` with customer -> list of baskets of item numbers). Protocol: per customer the last basket is the test, everything
   before it is training (leave one basket out, not a global time split: the file has no dates). All customers, the full catalogue is
   ranked, bought items stay in. Baskets have an order and no dates, so each basket before the test counts as one day.
2. A shop with real times (online_retail), global time split, last 28 days, view "all" (bought items stay in).

Rows: repeat (ours, the defaults), repeat_untimed (timing=0), popular, recent, tifu_knn: Hu et al., SIGIR 2020, with that paper's
settings for Ta-Feng (300 neighbours, groups of 7, decays .9 and .7, own share .7), written here as a yardstick, from the paper.

``--validate`` asks for the second-last basket (and the 28 days before the last 28) instead: settings are chosen there.

    python bench/repeat.py [--quick] [--path FOLDER] [--validate] [--set timing=0.3] [--only tafeng|retail]
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock

from tradewind.learn._rank import top_k
from tradewind.learn.evaluate import Targets, time_split
from tradewind.learn.popular import Popular
from tradewind.learn.recent import Recent
from tradewind.learn.repeat import Repeat
from tradewind.learn.sequences import Sequences
from tradewind.stats import bootstrap, ranking
from tradewind.types import from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
RETAIL = DATA / "online_retail" / "online_retail.parquet"
DAY = 86_400_000_000
END = 1000 * DAY  # the moment of every test basket of Ta-Feng


def main() -> None:
    bench = Harness(
        "repeat",
        __doc__,
        extra={
            "--validate": {"action": "store_true", "help": "ask for what comes just before the test: to choose settings"},
            "--set": {"action": "append", "default": [], "help": "name=value: a parameter of repeat"},
            "--only": {"choices": ("tafeng", "retail"), "help": "run one half"},
        },
    )
    folder = bench.arguments.path or DATA / "nbr_tafeng"
    if bench.arguments.only != "retail":
        if folder.is_dir():
            tafeng(bench, folder)
        else:
            print(f"left out: {folder} is not there")
    if bench.arguments.only != "tafeng":
        if RETAIL.exists():
            retail(bench)
        else:
            print(f"left out: {RETAIL} is not there")
    bench.finish()


def tafeng(bench: Harness, folder: Path) -> None:
    """The next basket of every customer."""
    train, wanted = read(folder, most=2000 if bench.quick else None, back=2 if bench.arguments.validate else 1)
    owner = np.repeat(np.arange(len(wanted.histories)), np.diff(wanted.offsets))
    had = np.isin(owner * len(train.items) + wanted.items, wanted.histories.owner * len(train.items) + wanted.histories.item)
    bench.figure("tafeng_customers", len(wanted.histories))
    bench.figure("tafeng_items", len(train.items))
    bench.figure("tafeng_wanted_bought_before", float(had.mean()))
    compare(bench, "tafeng", train, wanted, from_micros(END))
    with clock() as taken:
        lists, _ = top_k(tifu(wanted.histories).astype(np.float32), 10)
    report(bench, "tafeng_tifu_knn", lists, wanted)
    bench.figure("tafeng_tifu_knn_cpu_s", taken["cpu"])


def retail(bench: Harness) -> None:
    """Everything bought in 28 days."""
    from recommend import read_retail

    log = read_retail(RETAIL)
    end = from_micros(int(log.at.max()))
    cut = datetime(end.year, end.month, end.day, tzinfo=UTC) + timedelta(days=1) - timedelta(days=28)
    if bench.arguments.validate:
        cut -= timedelta(days=28)
    wanted, facts = time_split(log, cut, horizon_days=28)
    bench.figure("retail_split_hash", facts["hash"][:16])
    bench.figure("retail_customers", facts["users"])
    compare(bench, "retail", log.before(cut), wanted, cut)


def compare(bench: Harness, prefix: str, train: Sequences, wanted: Targets, as_of: datetime) -> None:
    """Our rows and the yardsticks, with the paired differences of ``repeat`` to each."""
    options = {name: json.loads(value) for name, value in (each.split("=", 1) for each in bench.arguments.set)}
    models = {
        "repeat": Repeat(**options),
        "repeat_untimed": Repeat(**options | {"timing": 0.0}),
        "popular": Popular(),
        "recent": Recent(),
    }
    values = {}
    for name, model in models.items():
        with clock() as fitting:
            model.fit(train, as_of=as_of)
        with clock() as asking:
            lists = model.recommend(wanted.histories, k=10, exclude_seen=False).items
        values[name] = report(bench, f"{prefix}_{name}", lists, wanted)
        if name == "repeat":
            bench.figure(f"{prefix}_repeat_fit_cpu_s", fitting["cpu"])
            bench.figure(f"{prefix}_repeat_ms_per_customer", asking["cpu"] * 1e3 / max(len(lists), 1))
    for name in ("repeat_untimed", "popular", "recent"):
        gain = bootstrap.difference(values["repeat"], values[name], name="gain", seed=bench.arguments.seed, draws=400)
        bench.figure(f"{prefix}_repeat_minus_{name}_ndcg10", gain.value, target=(">=", 0.0))
        bench.figure(f"{prefix}_repeat_minus_{name}_ndcg10_interval", f"{gain.low:.4f}..{gain.high:.4f}")


def report(bench: Harness, name: str, lists: np.ndarray, wanted: Targets) -> np.ndarray:
    """Recall@10 and NDCG@10 with intervals over customers; the NDCG of each customer."""
    hit, relevant = ranking.hits(lists, wanted.offsets, wanted.items), np.diff(wanted.offsets)
    values: dict[str, Any] = {"recall": ranking.recall(hit, relevant), "ndcg": ranking.ndcg(hit, relevant)}
    for metric, each in values.items():
        estimate = bootstrap.mean(each, name=metric, seed=bench.arguments.seed, draws=400)
        bench.figure(f"{name}_{metric}10", estimate.value)
        bench.figure(f"{name}_{metric}10_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")
    return np.asarray(values["ndcg"])


def tifu(
    histories: Sequences, *, neighbours: int = 300, group: int = 7, within: float = 0.9, between: float = 0.7, own: float = 0.7
) -> Any:
    """Scores [U, I] of TIFU-kNN; the neighbours are searched among the same customers by Euclidean distance."""
    from scipy.sparse import csr_array, vstack

    owner = histories.owner
    back = (END - histories.at) // DAY - 1
    baskets = np.zeros(len(histories), np.int64)
    np.maximum.at(baskets, owner, back + 1)
    groups = -(-baskets // group)
    size = np.minimum(group, baskets[owner] - back // group * group)
    weight = within ** (back % group) * between ** (back // group) / (size * groups[owner])
    vectors = csr_array((weight, (owner, histories.item)), shape=(len(histories), len(histories.items)))
    square = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    parts = []
    for start in range(0, len(histories), 512):
        block = vectors[start : start + 512]
        rows = np.arange(block.shape[0])
        distance = square[None, :] - 2 * (block @ vectors.T).toarray()
        distance[rows, start + rows] = np.inf
        near = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
        pick = csr_array((np.full(near.size, 1 / neighbours), (np.repeat(rows, neighbours), near.ravel())), shape=distance.shape)
        parts.append(csr_array(own * block + (1 - own) * (pick @ vectors)))
    return vstack(parts).toarray()


def read(folder: Path, *, most: int | None, back: int) -> tuple[Sequences, Targets]:
    """Baskets up to the ``back``-th last one of each customer, and that basket as the target; others are left out of the targets."""
    [path] = sorted(folder.glob("*_merged.json"))
    baskets: dict[str, list[list[int]]] = dict(list(json.loads(path.read_text(encoding="utf-8")).items())[:most])
    owner, item, at = [], [], []
    asked, wanted, offsets = [], [], [0]
    names = {number: f"{number:06d}" for lines in baskets.values() for basket in lines for number in basket}
    column = {number: place for place, (number, _) in enumerate(sorted(names.items(), key=lambda pair: pair[1]))}
    for customer, lines in baskets.items():
        past = lines[: len(lines) - back]
        for place, basket in enumerate(past):
            owner += [customer] * len(basket)
            item += [names[number] for number in basket]
            at += [END - (len(past) - place) * DAY] * len(basket)
        if past:
            asked.append(customer)
            wanted += sorted({column[number] for number in lines[len(past)]})
            offsets.append(len(wanted))
    train = Sequences.from_arrays(owner, item=item, at=at, items=list(names.values()))
    return train, Targets(train.histories(asked), np.array(offsets), np.array(wanted, dtype=np.int64))


if __name__ == "__main__":
    main()
