"""Collaborative filtering without order or time: popular, item_knn, user_knn and als, and how fast they are beside `implicit`.

Recall@20 and NDCG@20 over all test users, the full catalogue ranked, training items removed, on a folder with train.txt and
test.txt ("user item item ..."; default: Amazon Book as split by KGAT, where BPRMF has .1395 / .0736 and KGAT .1440 / .0766 published).
Settings come from `--tune`, which reads train.txt alone: a random tenth of every user's training items (at least one) is held
out and settings are drawn at random; NDCG@20 there decides. The libraries to compare with are made by bench/peers/make.sh.

    python bench/collaborative.py [--quick] [--path FOLDER] [--only als] [--tune als --trials 20 --users 4000]
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads are counted by the models, ours and theirs

import numpy as np
import scipy.sparse  # noqa: F401 - loading it is no part of any model's time
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray

from tradewind.learn.als import Als
from tradewind.learn.base import Recommender
from tradewind.learn.item_knn import ItemKnn, taste_of
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences
from tradewind.learn.user_knn import UserKnn
from tradewind.stats import ranking
from tradewind.types import from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
BOOKS = DATA / "kgat_amazon_book"
PEER = ROOT / "bench" / "peers" / ".venv" / "bin" / "python"
EVER = from_micros(10**15)
THREADS = 2
K = 20
# Chosen by --tune. The file has no order, so nothing is recent.
SETTINGS: dict[str, dict[str, Any]] = {
    "popular": {"half_life": 100_000},
    "item_knn": {"neighbours": 200, "shrinkage": 3.0, "activity": 0.5, "source": 0.5, "target": 0.3, "recency": 0},
    "user_knn": {"neighbours": 500, "idf": 1.0, "sharpness": 0.7, "popularity": 0.3, "recency": 0},
    "als": {"factors": 256, "iterations": 8, "alpha": 100.0, "regularization": 0.1, "frequency": 1.0, "threads": THREADS},
}
SEARCH: dict[str, dict[str, tuple[float, ...]]] = {
    "item_knn": {
        "neighbours": (100, 200, 500),
        "shrinkage": (0, 1, 3, 10),
        "activity": (0.3, 0.5, 0.7),
        "source": (0.5, 0.6, 0.7, 0.8),
        "target": (0.2, 0.3, 0.4, 0.5),
        "sharpness": (0.7, 1, 1.5),
    },
    "user_knn": {
        "neighbours": (200, 500, 1000),
        "idf": (0.5, 1.0, 1.5, 2.0),
        "sharpness": (0.5, 0.7, 1, 1.5),
        "popularity": (0.1, 0.2, 0.3, 0.4),
    },
    "als": {"alpha": (10, 30, 100, 300), "regularization": (0.03, 0.1, 0.2, 0.3), "frequency": (0.5, 1.0)},
}
MODELS: dict[str, type[Recommender]] = {kind.name: kind for kind in (Popular, ItemKnn, UserKnn, Als)}
FLOORS = {"als": 0.145, "user_knn": 0.145}
Wanted = tuple[Sequences, NDArray[np.int64], NDArray[np.int64]]  # histories, and the wanted items as CSR


def main() -> None:
    bench = Harness(
        "collaborative",
        __doc__,
        extra={
            "--only": {"choices": tuple(MODELS), "help": "one model"},
            "--tune": {"choices": tuple(SEARCH), "help": "search settings of one model on a part of train.txt; test.txt stays closed"},
            "--trials": {"type": int, "default": 20},
            "--users": {"type": int, "default": 4000, "help": "users that --tune asks"},
        },
    )
    folder = bench.arguments.path or BOOKS
    if not (folder / "train.txt").exists():
        print(f"left out: {folder / 'train.txt'} is not there; name a folder with train.txt and test.txt by --path")
        bench.finish()
        return
    most = 3000 if bench.quick else None
    train = read(folder / "train.txt", most=most)
    print(f"{len(train):,} users, {len(train.items):,} items, {len(train.at):,} training events")
    if bench.arguments.tune:
        tune(bench, train)
    else:
        judge(bench, train, wanted_of(train, folder / "test.txt", most))
    bench.finish()


def judge(bench: Harness, train: Sequences, wanted: Wanted) -> None:
    times: dict[str, dict[str, float]] = {}
    for name in [bench.arguments.only] if bench.arguments.only else MODELS:
        settings = dict(SETTINGS[name])
        if bench.quick and name == "als":
            settings |= {"factors": 32, "iterations": 4}
        model = MODELS[name](**settings)
        with clock() as fit:
            model.fit(train, as_of=EVER)
        with clock() as answer:
            found = measured(model, wanted)
        bench.figure(f"{name}_recall20", found[0], target=(">=", FLOORS[name]) if name in FLOORS else None)
        bench.figure(f"{name}_ndcg20", found[1])
        times[name] = {f"{part}_{kind}": value for part, taken in (("fit", fit), ("answer", answer)) for kind, value in taken.items()}
        for part, seconds in times[name].items():
            bench.figure(f"{name}_{part}_s", seconds)
    if PEER.exists():
        beside(bench, train, wanted, times)
    else:
        print(f"left out: the comparison with implicit; {PEER.parent.parent} is not there, make it by bench/peers/make.sh")


def beside(bench: Harness, train: Sequences, wanted: Wanted, ours: dict[str, dict[str, float]]) -> None:
    """The same matrix through `implicit`, CPU seconds of the whole process, both with THREADS threads.

    Neighbour models are timed from the fit to the last list, since ours compares customers only when it is asked.
    """
    matrix = taste_of(train, None, recency=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matrix.npz"
        np.savez(path, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr, shape=np.array(matrix.shape))
        if "als" in ours:
            sizes = {name: SETTINGS["als"][name] for name in ("factors", "iterations")}
            if bench.quick:
                sizes = {"factors": 32, "iterations": 4}
            theirs = peer(path, {"model": "als", **sizes})
            for kind in ("cpu", "wall"):
                bench.figure(f"implicit_als_fit_{kind}_s", theirs[f"fit_{kind}"])
                ratio = ours["als"][f"fit_{kind}"] / theirs[f"fit_{kind}"]
                bench.figure(f"als_fit_{kind}_over_implicit", ratio, target=("<=", 1.2) if kind == "cpu" else None)
        for name in ("item_knn", "user_knn"):
            if name not in ours:
                continue
            lists = Path(folder) / f"{name}.npy"
            theirs = peer(path, {"model": name, "neighbours": SETTINGS[name]["neighbours"], "lists": str(lists)})
            for kind in ("cpu", "wall"):
                seconds = theirs[f"fit_{kind}"] + theirs[f"answer_{kind}"]
                bench.figure(f"implicit_{name}_whole_{kind}_s", seconds)
                ratio = (ours[name][f"fit_{kind}"] + ours[name][f"answer_{kind}"]) / seconds
                bench.figure(f"{name}_whole_{kind}_over_implicit", ratio, target=("<", 1.0) if kind == "cpu" else None)
            hit = ranking.hits(np.load(lists)[rows_of(train, wanted[0])], wanted[1], wanted[2])
            bench.figure(f"implicit_{name}_recall20", float(np.nanmean(ranking.recall(hit, np.diff(wanted[1])))))


def peer(path: Path, asked: dict[str, Any]) -> dict[str, float]:
    script = ROOT / "bench" / "peers" / "implicit_peer.py"
    command = [str(PEER), str(script), str(path), json.dumps({"threads": THREADS, **asked})]
    # The library threads by itself and warns that a threaded BLAS beneath it slows it down.
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"implicit failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def tune(bench: Harness, train: Sequences) -> None:
    """Random search on a held-out tenth of the training file."""
    rng = np.random.default_rng(bench.arguments.seed)
    name = bench.arguments.tune
    fitted, wanted = held_out_tenth(train, rng, bench.arguments.users)
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for _ in range(3 if bench.quick else bench.arguments.trials):
        drawn = {key: rng.choice(values).item() for key, values in SEARCH[name].items()}
        settings = SETTINGS[name] | {key: int(value) if key == "neighbours" else value for key, value in drawn.items()}
        if bench.quick and name == "als":
            settings |= {"factors": 32, "iterations": 4}
        recall, ndcg = measured(MODELS[name](**settings).fit(fitted, as_of=EVER), wanted)
        print(f"recall {recall:.4f} ndcg {ndcg:.4f} {settings}", flush=True)
        best = max(best, (ndcg, settings), key=lambda pair: pair[0])
    bench.figure(f"{name}_validation_ndcg20", best[0])
    bench.figure(f"{name}_settings", json.dumps(best[1]))


def held_out_tenth(train: Sequences, rng: np.random.Generator, users: int) -> tuple[Sequences, Wanted]:
    """The log without a random tenth of every user's items (at least one, where there are two), and what some of them then want."""
    owner = train.owner
    order = np.lexsort((rng.random(len(owner)), owner))
    place = np.empty(len(owner), np.int64)
    place[order] = np.arange(len(owner)) - np.repeat(train.offsets[:-1], train.lengths)
    share = np.where(train.lengths >= 2, np.maximum(1, np.rint(0.1 * train.lengths)), 0)
    held = place < share[owner]
    fitted, wanted = train.keep(~held), train.keep(held)
    able = np.flatnonzero(wanted.lengths > 0)
    chosen = np.sort(rng.choice(able, min(users, len(able)), replace=False))
    asked = wanted.rows(chosen)
    return fitted, (fitted.rows(chosen), asked.offsets, asked.item.astype(np.int64))


def measured(model: Recommender, wanted: Wanted) -> tuple[float, float]:
    """Recall@20 and NDCG@20."""
    histories, offsets, items = wanted
    hit, relevant = ranking.hits(model.recommend(histories, k=K).items, offsets, items), np.diff(offsets)
    return float(np.nanmean(ranking.recall(hit, relevant))), float(np.nanmean(ranking.ndcg(hit, relevant)))


def read(path: Path, *, most: int | None) -> Sequences:
    """One user per line; an item named twice counts once; no order, so all at one time."""
    pairs: dict[tuple[str, str], None] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if most is not None and number >= most:
                break
            user, *taken = line.split()
            pairs.update(dict.fromkeys((user, item) for item in taken))
    return Sequences.from_arrays([user for user, _ in pairs], item=[item for _, item in pairs], at=np.zeros(len(pairs), np.int64))


def wanted_of(train: Sequences, path: Path, most: int | None) -> Wanted:
    """Histories of the test users who have one, and their test items; an item that training never saw counts as missed."""
    test = read(path, most=most)
    index = {name: code for code, name in enumerate(train.items)}
    known = np.fromiter((index.get(name, -1) for name in test.items), np.int64, len(test.items))
    fresh = np.cumsum(known < 0) + len(train.items) - 1
    asked = test.rows(np.flatnonzero(test.lengths > 0))
    return train.histories(list(asked.customers)), asked.offsets, np.where(known < 0, fresh, known)[asked.item]


def rows_of(train: Sequences, histories: Sequences) -> NDArray[np.int64]:
    index = {name: row for row, name in enumerate(train.customers)}
    return np.array([index[name] for name in histories.customers], dtype=np.int64)


if __name__ == "__main__":
    main()
