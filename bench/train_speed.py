"""Training against RecTools' SASRec: the same log, the same processor, one thread each, in the same run.

Beauty without each user's last two items; the validation items of up to 4,000 users are ranked over the whole catalogue after every
epoch, items had before removed, for both sides by the same code. Clocked is training alone, in CPU seconds. RecTools' SASRec gets the
width and the dropout of our Transformer and the loss that its authors found best on this data (sampled softmax, 256 negatives);
its environment comes from bench/peers/make.sh. Target: at most a third of its time to reach its best figure, and higher at the end.

    python bench/train_speed.py [--quick] [--path FILE] [--peer-epochs 20]
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import Harness
from recommend import read_lines
from sequential import DATA, held

from tradewind.learn import _deep, _deep_fit
from tradewind.learn._holdout import Holdout
from tradewind.learn.evaluate import leave_one_out
from tradewind.learn.transformer import SIZES, Transformer
from tradewind.stats import ranking

PEER = Path(__file__).resolve().parent / "peers"


def main() -> None:
    bench = Harness(
        "train_speed",
        __doc__,
        extra={
            "--peer-epochs": {"type": int, "default": 20, "help": "epochs of RecTools' SASRec"},
            "--epochs": {"type": int, "default": 20, "help": "ours at most"},
            "--size": {"default": "small", "help": "of our Transformer"},
        },
    )
    python = PEER / ".venv-rectools" / "bin" / "python"
    if not python.exists():
        print("left out: RecTools is not there; make its environment with: sh bench/peers/make.sh")
        bench.finish()
        return
    path = bench.arguments.path or DATA / "Beauty.txt"
    if not path.exists():
        print(f"left out: {path} is not there; set TRADEWIND_DATA or give --path")
        bench.finish()
        return
    log = read_lines(path, most=1_500 if bench.quick else None)
    strict, validation = leave_one_out(log, back=2)
    holdout = held(strict, validation, seed=bench.arguments.seed)
    ours = own(bench, holdout)
    theirs = peer(bench, python, holdout)
    for name, curve in (("ours", ours), ("rectools", theirs)):
        best = max(value for _, value in curve)
        bench.figure(f"{name}_curve", ", ".join(f"{seconds:.0f} s {value:.4f}" for seconds, value in curve))
        bench.figure(f"{name}_best_ndcg10", best)
        bench.figure(f"{name}_cpu_s_to_best", next(seconds for seconds, value in curve if value == best))
    goal = max(value for _, value in theirs)
    reached = [seconds for seconds, value in ours if value >= goal]
    bench.figure("ours_cpu_s_to_their_best", reached[0] if reached else float("inf"))
    share = (reached[0] if reached else float("inf")) / next(seconds for seconds, value in theirs if value == goal)
    bench.figure("time_share", share, target=("<=", 1 / 3))
    bench.figure("ndcg_lead", max(value for _, value in ours) - goal, target=(">", 0.0))
    bench.finish()


def own(bench: Harness, holdout: Holdout) -> list[tuple[float, float]]:
    """Our CPU seconds of training and NDCG@10 after every epoch; the start vectors are part of the first."""
    spent, curve = [0.0], []
    real_epoch, real_build, real_ndcg = _deep_fit.epoch, _deep_fit.build, Holdout.ndcg

    def clocked(call):  # type: ignore[no-untyped-def]
        def timed(*args, **options):  # type: ignore[no-untyped-def]
            start = time.process_time()
            found = call(*args, **options)
            spent[0] += time.process_time() - start
            return found

        return timed

    def watched(self: Holdout, scores: np.ndarray, k: int = 10) -> float:
        curve.append((spent[0], real_ndcg(self, scores, k)))
        return curve[-1][1]

    _deep_fit.epoch, _deep_fit.build = clocked(real_epoch), clocked(real_build)
    start_vectors, _deep.item_vectors = _deep.item_vectors, clocked(_deep.item_vectors)
    Holdout.ndcg = watched  # type: ignore[method-assign]
    try:
        Transformer(size="tiny" if bench.quick else bench.arguments.size, epochs=3 if bench.quick else bench.arguments.epochs).fit_on(
            holdout
        )
    finally:
        _deep_fit.epoch, _deep_fit.build, Holdout.ndcg = real_epoch, real_build, real_ndcg  # type: ignore[method-assign]
        _deep.item_vectors = start_vectors
    return curve


def peer(bench: Harness, python: Path, holdout: Holdout) -> list[tuple[float, float]]:
    """The same of RecTools, in its own process."""
    size = SIZES["tiny" if bench.quick else bench.arguments.size]
    log, histories = holdout.train, holdout.histories
    number = {name: row for row, name in enumerate(log.customers.tolist())}
    asked = np.array([number[name] for name in histories.customers.tolist()])
    with tempfile.TemporaryDirectory() as folder:
        events = np.argsort(log.at, kind="stable")
        np.savez(f"{folder}/log.npz", user=log.owner[events], item=log.item[events], asked=asked)
        settings = {
            "epochs": 2 if bench.quick else bench.arguments.peer_epochs,
            "factors": size.dim,
            "blocks": size.blocks,
            "heads": size.heads,
            "dropout": 0.5,
            "length": 50,
            "loss": "sampled_softmax",
            "negatives": 256,
            "batch": 128,
            "threads": 1,
            "seed": bench.arguments.seed,
            "lists": f"{folder}/lists",
        }
        command = [str(python), str(PEER / "rectools_peer.py"), f"{folder}/log.npz", json.dumps(settings)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
        if done.returncode:
            raise SystemExit(f"RecTools failed:\n{done.stderr[-2000:]}")
        times = json.loads(done.stdout.strip().splitlines()[-1])["cpu"]
        found = []
        relevant = np.diff(holdout.offsets)
        for epoch, seconds in enumerate(times):
            hits = ranking.hits(np.load(f"{folder}/lists.{epoch}.npy"), holdout.offsets, holdout.items)
            found.append((float(seconds), float(np.mean(ranking.ndcg(hits, relevant)))))
    return found


if __name__ == "__main__":
    main()
