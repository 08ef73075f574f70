"""Leave-one-out, the FULL catalogue ranked, seen items removed, all users: the protocol that most papers on sequences report.

The last item of a user is the test, the one before it the validation. "strict" models learn from everything before the validation
item; "refreshed" ones also from the validation item, with the settings that the strict ones chose. Both are asked with the whole
history up to the test item. Epochs and the weights of the blend are chosen on the validation items of up to 4,000 users; the test
items are ranked once. Published, strict, NDCG@10 on Beauty: SASRec .0318, eSASRec .0523, BSARec .0611, WEARec .0614; Sports: .0192,
.0323, -, .0367. Figures of deep models are means over ``--seeds``.

    python bench/sequential.py [--quick] [--path FILE] [--seeds 3] [--size small] [--dropout 0.5] [--epochs 60] [--only strict]
        [--keep FOLDER]

FILE holds a user a line: "user item item ...", in the order of time; a folder holds train/input.txt, val/input.txt and
val/output.txt without users (the form of the gSASRec files: MovieLens-1M in the order of time, the item after the history of 512
users is the validation; published NDCG@10 there: SASRec .1428, gSASRec .1974). There epochs and blend are chosen on the last item
of other users, so that those 512 are ranked once. By default Beauty, Sports and MovieLens, as far as they are there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray
from recommend import EVER, read_lines

from tradewind import plugins
from tradewind.learn._blend import either, logs, mixed, tune
from tradewind.learn._deep import Deep
from tradewind.learn._holdout import Holdout
from tradewind.learn._rank import seen_mask, top_k
from tradewind.learn.base import Recommender, load
from tradewind.learn.evaluate import Targets, leave_one_out
from tradewind.learn.sequences import Sequences
from tradewind.stats import bootstrap, ranking

FOLDER = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
DATA, MOVIES = FOLDER / "s3rec", FOLDER / "gsasrec_ml1m"
TUNED_ON = 4_000  # users of the validation
BLOCK = 1_000  # users ranked at once
SHELF = ("popular", "item_knn", "user_knn", "als", "graph")  # beside the deep models, as far as they are there
TARGETS: Mapping[tuple[str, str], tuple[float, float | None]] = {
    ("Beauty", "strict"): (0.064, 0.105),
    ("Sports_and_Outdoors", "strict"): (0.039, 0.065),
    ("gsasrec_ml1m", "validation"): (0.205, None),
    ("Beauty", "refreshed"): (0.069, 0.112),
    ("Sports_and_Outdoors", "refreshed"): (0.041, 0.067),
}


def main() -> None:
    bench = Harness(
        "sequential",
        __doc__,
        extra={
            "--seeds": {"type": int, "default": 3, "help": "deep models trained"},
            "--size": {"default": "small", "help": "size of the Transformer"},
            "--dropout": {"type": float, "help": "its dropout; by default what the model chooses"},
            "--epochs": {"type": int, "default": 60, "help": "its epochs at most"},
            "--threads": {"type": int, "default": 1, "help": "its threads"},
            "--device": {"default": "cpu", "choices": ("cpu", "cuda"), "help": "where deep models train"},
            "--deep": {"nargs": "*", "choices": ("gru", "lstm", "cnn"), "default": (), "help": "deep models beside it, one seed each"},
            "--keep": {"type": Path, "help": "folder of fitted models: those of this file, size and seed are read, not trained"},
            "--only": {"choices": ("strict",), "help": "leave out the refreshed half"},
        },
    )
    given = bench.arguments.path
    for path in [given] if given else [DATA / "Beauty.txt", DATA / "Sports_and_Outdoors.txt", MOVIES]:
        if path.is_dir():
            validated(bench, path)
        elif path.exists():
            protocol(bench, path)
        else:
            print(f"left out: {path} is not there")
    bench.finish()


def protocol(bench: Harness, path: Path) -> None:
    """Both halves on one file."""
    log = read_lines(path, most=2_000 if bench.quick else None)
    print(f"{path.stem}: {len(log):,} users, {len(log.items):,} items, {len(log.at):,} events")
    until_test, test = leave_one_out(log)
    strict, validation = leave_one_out(log, back=2)
    holdout = held(strict, validation, seed=bench.arguments.seed)
    label = path.stem
    found, quick, epochs, mixes = learn(bench, label, holdout, test)
    tell(bench, f"{label}_strict", found, TARGETS.get((label, "strict")), users=len(test.items))
    if bench.arguments.only:
        return
    fresh = {name: type(model)(**model.params()).fit(until_test, as_of=EVER) for name, model in quick.items()}
    found = {}
    for seed, (count, mix) in enumerate(zip(epochs, mixes, strict=True)):
        again = deep(bench, "transformer", seed=seed, epochs=count, early_stopping=False)
        ours = kept(bench, f"{label}_refreshed_seed{seed}", partial(again.fit, until_test, as_of=EVER))
        rank(found, {**fresh, "transformer": ours}, mix, test)
    tell(bench, f"{path.stem}_refreshed", found, TARGETS.get((path.stem, "refreshed")), users=len(test.items))


def validated(bench: Harness, folder: Path) -> None:
    """One fit on a folder's training part; its validation items are what is ranked."""
    known, asked = (
        [line.split() for line in (folder / part / "input.txt").read_text(encoding="utf-8").splitlines()] for part in ("train", "val")
    )
    if bench.quick:
        known, asked = known[:500], asked[:100]
    wanted = (folder / "val" / "output.txt").read_text(encoding="utf-8").split()[: len(asked)]
    users = np.repeat([f"{number:06d}" for number in range(len(known) + len(asked))], [len(line) for line in (*known, *asked)])
    times = np.concatenate([np.arange(len(line)) for line in (*known, *asked)])
    log = Sequences.from_arrays(users, item=[item for line in (*known, *asked) for item in line], at=times, items=wanted)
    train, histories = log.rows(np.arange(len(known))), log.rows(np.arange(len(known), len(log)))
    print(f"{folder.name}: {len(train):,} users, {len(log.items):,} items, {len(train.at):,} events")
    starts = {tuple(line[:-1]) for line in asked}  # the same users' training part
    others = np.array([row for row, line in enumerate(known) if tuple(line) not in starts])
    chosen = np.sort(np.random.default_rng(bench.arguments.seed).permutation(others)[: TUNED_ON // 2])
    last = train.offsets[1:][chosen] - 1
    keep = np.ones(len(train.at), dtype=bool)
    keep[last] = False
    strict = train.keep(keep)
    holdout = Holdout(strict, strict.rows(chosen), np.arange(len(chosen) + 1), train.item[last].astype(np.int64), repeats=False)
    number = {item: code for code, item in enumerate(log.items.tolist())}
    test = Targets(histories, np.arange(len(asked) + 1), np.array([number[item] for item in wanted]))
    found, *_ = learn(bench, folder.name, holdout, test)
    tell(bench, f"{folder.name}_validation", found, TARGETS.get((folder.name, "validation")), users=len(asked))


def learn(
    bench: Harness, label: str, holdout: Holdout, test: Targets
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, Recommender], list[int], list[dict[str, float]]]:
    """Fit the shelf once and the Transformer once a seed, weigh them on ``holdout``, rank ``test``.

    Returns the per-user figures by model, the fitted shelf, and the epochs and the blend of every seed.
    """
    shelf = {name: plugins.load("learn", name)() for name in SHELF if name in plugins.names("learn")}
    quick = {name: model.fit(holdout.train, as_of=EVER) for name, model in shelf.items()}
    others = {name: deep(bench, name, seed=0).fit_on(holdout) for name in bench.arguments.deep}
    found: dict[str, list[tuple[float, float]]] = {}
    epochs, mixes = [], []
    for seed in range(1 if bench.quick else bench.arguments.seeds):
        ours = kept(bench, f"{label}_strict_seed{seed}", partial(deep(bench, "transformer", seed=seed).fit_on, holdout))
        epochs.append(ours.trained_epochs)
        bench.figure(f"{label}_transformer_epochs_seed{seed}", epochs[-1])
        models = {**quick, "transformer": ours}
        mixes.append(weigh(models, holdout))
        bench.figure(f"{label}_blend_seed{seed}", ", ".join(f"{name} {weight:g}" for name, weight in mixes[-1].items() if weight))
        rank(found, models | others, mixes[-1], test)
    return found, quick, epochs, mixes


def deep(bench: Harness, name: str, *, seed: int, epochs: int | None = None, early_stopping: bool = True) -> Deep:
    """A deep model under test."""
    chosen = bench.arguments
    model: Deep = plugins.load("learn", name)(
        size="tiny" if bench.quick else chosen.size,
        epochs=epochs or (3 if bench.quick else chosen.epochs),
        dropout=chosen.dropout,
        seed=seed,
        threads=chosen.threads,
        device=chosen.device,
        early_stopping=early_stopping,
    )
    return model


def kept(bench: Harness, name: str, fit: Callable[[], Deep]) -> Deep:
    """A model from the folder ``--keep``, or fitted now, told in CPU seconds, and put there."""
    folder = bench.arguments.keep
    place = folder and folder / f"{name}_{bench.arguments.size}"
    if place and place.exists():
        print(f"{name}: trained before, read from {place}")
        found: Deep = load(place)  # type: ignore[assignment]
        return found
    with clock() as taken:
        model = fit()
    bench.figure(f"{name}_cpu_s", taken["cpu"])
    if place:
        folder.mkdir(parents=True, exist_ok=True)
        model.save(place)
    return model


def held(train: Sequences, wanted: Targets, *, seed: int) -> Holdout:
    """The validation items of some users."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(wanted.items))[:TUNED_ON])
    return Holdout(train, wanted.histories.rows(rows), np.arange(len(rows) + 1), wanted.items[rows], repeats=False)


def weigh(models: Mapping[str, Recommender], holdout: Holdout) -> dict[str, float]:
    """Weights of the blend, tuned on the validation."""
    scores = {name: model.score(holdout.histories) for name, model in models.items() if name != "popular"}
    read = {name: logs(values, logits=name == "transformer") for name, values in scores.items()}
    return tune(read, either(scores.values()), holdout)


def rank(found: dict[str, list[tuple[float, float]]], models: Mapping[str, Recommender], mix: Mapping[str, float], test: Targets) -> None:
    """Per-user NDCG@10 and recall@10 of every model and of the blend, appended to ``found``."""
    lists: dict[str, list[NDArray[np.int32]]] = {name: [] for name in (*models, "blend")}
    for start in range(0, len(test.items), BLOCK):
        histories = test.histories.rows(np.arange(start, min(start + BLOCK, len(test.items))))
        seen = seen_mask(histories, True)
        scores = {name: model.score(histories) for name, model in models.items()}
        used = {name: logs(scores[name], logits=name == "transformer") for name in mix if mix[name] > 0}
        scores["blend"] = mixed(used, mix, either([scores[name] for name in used]))
        for name, values in scores.items():
            lists[name].append(top_k(np.where(seen, -np.inf, values), 10)[0])
    for name, parts in lists.items():
        hit, relevant = ranking.hits(np.concatenate(parts), test.offsets, test.items), np.diff(test.offsets)
        found.setdefault(name, []).append((ranking.ndcg(hit, relevant), ranking.recall(hit, relevant)))  # type: ignore[arg-type]


def tell(
    bench: Harness, label: str, found: Mapping[str, list[tuple[float, float]]], wanted: tuple[float, float | None] | None, *, users: int
) -> None:
    """Means over the seeds, with the interval over users."""
    for name, runs in found.items():
        ndcg, recall = (np.mean([run[part] for run in runs], axis=0) for part in (0, 1))
        goal = wanted if name == "blend" else None
        around = bootstrap.mean(ndcg, name="ndcg", seed=bench.arguments.seed, draws=400)
        bench.figure(f"{label}_{name}_ndcg10", float(ndcg.mean()), target=goal and (">=", goal[0]))
        bench.figure(f"{label}_{name}_ndcg10_interval", f"{around.low:.4f}..{around.high:.4f}")
        bench.figure(f"{label}_{name}_recall10", float(recall.mean()), target=(">=", goal[1]) if goal and goal[1] is not None else None)
    bench.figure(f"{label}_users", users)


if __name__ == "__main__":
    main()
