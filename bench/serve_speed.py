"""How fast is one answer? Index alone, whole requests with the encoder, campaigns, and the live graph.

1. Index: the best 100 of one million vectors of 64 numbers, exact and approximate, one query at a time, beside the time that the
   machine needs to read as many bytes as the eight-bit vectors have (the bound of an exact scan, measured in the same run).
   Vectors: 300 clusters of 30 smaller ones of very different sizes; queries: means of three vectors near each other, with noise.
   "blurred" is the hard case, where the noise of an item is as large as a cluster.
   The approximate index is tuned on some queries and its recall measured on others.
2. Requests: 50 events in, the 10 best of 100,000 items out, by a Transformer of 64 dimensions and two blocks (one epoch: its answers
   do not matter here, its size does) and by the blend of it with the graph; two processes of one thread each, one request at a
   time in each, both at once. Percentiles are of single requests while both run.
3. A campaign: the same for 2,000 customers in one call.
4. Graph: fit per 300,000 events and learning one event more, which a request right after it must see.

    OMP_NUM_THREADS=1 python bench/serve_speed.py [--quick] [--only PART] [--dim 64] [--keep FOLDER] [--path Beauty.txt]

``--path`` is a file "user item item ..." for the graph; without it the log of part 2 is used. ``--keep`` holds the trained models, so
that the parts can be measured one at a time: exact, approximate, transformer, fallback, campaign, graph.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Harness, clock, peak_mib

from tradewind.learn import _deep
from tradewind.learn._lean import whole
from tradewind.learn.base import Recommender, load
from tradewind.learn.fallback import Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.index import Approximate, Exact, overlap
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.learn.serving import Server
from tradewind.learn.transformer import Transformer
from tradewind.types import Event, from_micros

HOUR = 3_600_000_000
EVER = from_micros(10**16)
EVENTS = 50
PARTS = ("exact", "approximate", "transformer", "fallback", "campaign", "graph")
LOG = ("offsets", "item", "kind", "at")


def main() -> None:
    bench = Harness(
        "serve_speed",
        __doc__,
        extra={
            "--only": {"choices": PARTS, "help": "run one part"},
            "--keep": {"type": Path, "help": "folder for the trained models, made if it is not there"},
            "--seconds": {"type": float, "default": 15.0, "help": "how long the two processes answer requests"},
            "--dim": {"type": int, "default": 64, "help": "dimensions of the Transformer"},
            "--worker": {"nargs": 3, "help": "internal: a folder, a model's name and seconds"},
        },
    )
    torch.set_num_threads(1)
    if bench.arguments.worker:
        work(*bench.arguments.worker, dim=bench.arguments.dim, seed=bench.arguments.seed)
        return
    wanted = bench.arguments.only
    busy(bench)
    parts = PARTS if wanted is None else (wanted,)
    if {"exact", "approximate"} & set(parts):
        index(bench, parts)
    if {"transformer", "fallback", "campaign"} & set(parts):
        with tempfile.TemporaryDirectory() as folder:
            requests(bench, bench.arguments.keep or Path(folder), parts)
    if "graph" in parts:
        graph(bench)
    bench.figure("peak_mib", peak_mib())
    bench.finish()


def times(call: Callable[[Any], object], inputs: Sequence[Any]) -> np.ndarray:
    """Milliseconds of each call, after a few to warm up."""
    for each in inputs[:5]:
        call(each)
    taken = np.empty(len(inputs))
    for place, each in enumerate(inputs):
        start = time.perf_counter()
        call(each)
        taken[place] = time.perf_counter() - start
    return taken * 1e3


def busy(bench: Harness) -> None:
    """How free the cores are: the share of two seconds of pure computing that this process got."""
    start, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < 2.0:
        pass
    bench.figure("share_of_a_core_had", (time.process_time() - used) / (time.perf_counter() - start))


def reading(size: int) -> float:
    """Milliseconds to read ``size`` bytes once, the best of 30: what any exact scan of them needs at least."""
    data = np.ones(size // 8, np.int64)
    return float(times(lambda _: data.sum(), range(30)).min())


# ---- index ---------------------------------------------------------------------------------------------------------------


def vectors(count: int, dim: int, rng: np.random.Generator, *, noise: float = 0.6) -> np.ndarray:
    """Clusters within clusters, of Zipf-like sizes, and lengths that differ; ``noise`` 0.6 keeps small clusters apart, 1 does not."""
    wide = rng.standard_normal((300, dim))
    narrow = 0.8 * wide[rng.integers(300, size=9000)] + 0.6 * rng.standard_normal((9000, dim))
    size = np.arange(1, 9001.0) ** -0.8
    found = narrow[rng.choice(9000, count, p=size / size.sum())] + noise * rng.standard_normal((count, dim))
    return (found * rng.lognormal(0, 0.15, (count, 1))).astype(np.float32)


def asked(items: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Queries: means of three items that lie close together, with noise."""
    pool = items[rng.choice(len(items), min(len(items), 20_000), replace=False)]
    first = pool[rng.integers(len(pool), size=count)]
    near = np.argsort(-(first @ pool.T), axis=1)[:, :50]
    chosen = np.take_along_axis(near, rng.integers(50, size=(count, 3)), axis=1)
    mean = pool[chosen].mean(axis=1)
    return (mean + 0.3 * mean.std() * rng.standard_normal(mean.shape)).astype(np.float32)


def index(bench: Harness, parts: Sequence[str]) -> None:
    for count in (20_000,) if bench.quick else (100_000, 1_000_000):
        rng = np.random.default_rng(bench.arguments.seed)
        name, million = f"index_{count // 1000}k", count == 1_000_000
        if not (million or bench.quick) and "exact" not in parts:
            continue
        items = vectors(count, 64, rng)
        bias = (0.3 * rng.standard_normal(count)).astype(np.float32)
        queries, half = asked(items, 400, rng), rng.random(count) < 0.5
        with clock() as taken:
            exact = Exact(items, bias)
        bench.figure(f"{name}_exact_build_s", taken["wall"])
        if "exact" in parts:
            scanned(bench, name, exact, queries, half, target=("<=", 10.0) if million else None)
        if "approximate" in parts and (million or bench.quick):
            approximate(bench, name, exact, queries, half)
            del exact, items
            blurred = vectors(count, 64, rng, noise=1.0)
            approximate(bench, f"{name}_blurred", Exact(blurred, bias), asked(blurred, 400, rng), half)


def scanned(bench: Harness, name: str, exact: Exact, queries: np.ndarray, half: np.ndarray, *, target: tuple[str, float] | None) -> None:
    """The exact index beside its bound, beside float32 and in a batch."""
    bench.figure(f"{name}_kernel", exact.kernel)
    bound = reading(exact.vectors.size)
    found = times(lambda query: exact.search(query, 100), queries[:200])
    bench.figure(f"{name}_exact_p50_ms", float(np.median(found)), target=target)
    bench.figure(f"{name}_exact_best_ms", float(found.min()))
    bench.figure(f"{name}_read_bound_ms", bound)
    bench.figure(f"{name}_exact_p50_over_bound", float(np.median(found)) / bound)
    bench.figure(f"{name}_exact_best_over_bound", float(found.min()) / bound)
    found = times(lambda query: exact.search(query, 100, allowed=half), queries[:100])
    bench.figure(f"{name}_exact_half_allowed_p50_ms", float(np.median(found)))
    plain = Exact(exact.vectors, exact.bias, kernel="float32")
    bench.figure(f"{name}_float32_p50_ms", float(np.median(times(lambda query: plain.search(query, 100), queries[:50]))))
    with clock() as taken:
        exact.batch(queries[:128], 100)
    bench.figure(f"{name}_exact_batch_ms_per_query", taken["wall"] * 1e3 / 128)


def approximate(bench: Harness, name: str, exact: Exact, queries: np.ndarray, half: np.ndarray) -> None:
    """The approximate index: recall on queries that it was not tuned on, and time, without a filter and with half of all items."""
    with clock() as taken:
        found = Approximate(exact.vectors, exact.bias, seed=bench.arguments.seed)
    bench.figure(f"{name}_approximate_build_s", taken["wall"])
    bench.figure(f"{name}_approximate_build_cpu_s", taken["cpu"])
    found.tune(queries[:200], k=100, recall=0.965)
    bench.figure(f"{name}_approximate_probes", found.probes)
    judged = queries[200:]
    recall = overlap(found.batch(judged, 100)[0], exact.batch(judged, 100)[0])
    bench.figure(f"{name}_approximate_recall100", recall, target=(">=", 0.95))
    spent = times(lambda query: found.search(query, 100), judged)
    bench.figure(f"{name}_approximate_p50_ms", float(np.median(spent)), target=("<=", 2.0))
    bench.figure(f"{name}_approximate_best_ms", float(spent.min()))
    spent = times(lambda query: found.search(query, 100, allowed=half), judged)
    bench.figure(f"{name}_approximate_half_allowed_p50_ms", float(np.median(spent)))
    truth = exact.batch(judged, 100, allowed=half)[0]
    bench.figure(f"{name}_approximate_half_allowed_recall100", overlap(found.batch(judged, 100, allowed=half)[0], truth))


# ---- requests ------------------------------------------------------------------------------------------------------------


def shop(items: int, customers: int, events: int, rng: np.random.Generator) -> Sequences:
    """A log in which every item occurs, and customers stay near some shelf; 1/20 of the catalogue a shelf at most."""
    shelves = max(10, items // 200)
    shelf_of = rng.integers(shelves, size=items)
    by_shelf = np.argsort(shelf_of, kind="stable")
    start = np.searchsorted(shelf_of[by_shelf], np.arange(shelves + 1))
    home = rng.integers(shelves, size=(customers, 3))
    shelf = home[np.arange(customers).repeat(events), rng.integers(3, size=customers * events)]
    width = np.maximum(start[shelf + 1] - start[shelf], 1)
    code = by_shelf[np.minimum(start[shelf] + (width * rng.random(len(shelf)) ** 2).astype(np.int64), items - 1)]
    code = np.concatenate((code, np.arange(items)))
    owner = np.concatenate((np.arange(customers).repeat(events), rng.integers(customers, size=items)))
    names = np.array([f"i{number:06d}" for number in range(items)], dtype=object)
    return Sequences.from_arrays(
        np.array([f"c{number:06d}" for number in range(customers)], dtype=object)[owner],
        item=names[code],
        at=rng.integers(0, 24 * 365, len(code)) * HOUR,
        kind=[KINDS[kind] for kind in rng.choice([KINDS.index("view"), KINDS.index("purchase")], len(code))],
        categories={name: f"s{shelf_of[number] % 50}" for number, name in enumerate(names)},
    )


def histories(log: Sequences, count: int, seed: int) -> list[list[Event]]:
    """``count`` histories of 50 events each: two customers of the log, one after the other, cut or repeated to 50."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        pair = log.rows(rng.integers(len(log), size=2))
        take = np.resize(np.arange(len(pair.at)), EVENTS)
        found.append(
            [
                Event(str(place), from_micros((place + 9000) * HOUR), KINDS[pair.kind[at]], "bench", item=log.items[pair.item[at]])
                for place, at in enumerate(take.tolist())
            ]
        )
    return found


def narrowed(dim: int) -> None:
    """The size "small" with as many dimensions as asked for and two blocks."""
    _deep.SIZES = {**_deep.SIZES, "small": replace(_deep.SIZES["small"], dim=dim, blocks=2)}


def requests(bench: Harness, folder: Path, parts: Sequence[str]) -> None:
    narrowed(bench.arguments.dim)
    if not (folder / "log.npz").exists():
        train(bench, folder)
    model = load(folder / "transformer")
    log = kept(folder, model)
    if "transformer" in parts:
        encoder(bench, model, log)
    for name in ("transformer", "fallback"):
        if name in parts:
            together(bench, folder, name, 2.0 if bench.quick else bench.arguments.seconds)
    if "campaign" in parts:
        campaign(bench, model, log)


def train(bench: Harness, folder: Path) -> None:
    """One epoch of the Transformer, the graph, and their blend with equal weights, into ``folder``."""
    items, customers = (3_000, 500) if bench.quick else (100_000, 15_000)
    log = shop(items, customers, 20, np.random.default_rng(bench.arguments.seed))
    print(f"shop: {len(log):,} customers, {len(log.items):,} items, {len(log.at):,} events")
    with clock() as taken:
        model = Transformer(size="small", epochs=1, early_stopping=False, seed=bench.arguments.seed).fit(log, as_of=EVER)
    bench.figure("transformer_one_epoch_s", taken["wall"])
    model.save(folder / "transformer")
    blend = Fallback(blend={"graph": 1.0}).fit(log, as_of=EVER)
    blend.parts["transformer"] = model
    blend.size, blend.blend = "small", {"graph": 1.0, "transformer": 1.0}
    mixed = blend.mix  # the Transformer is there already; fitting the blend with it would train it again
    mixed["transformer"] = 1.0
    blend.save(folder / "fallback")
    np.savez(folder / "log.npz", **{name: getattr(log, name) for name in LOG})


def kept(folder: Path, model: Recommender) -> Sequences:
    """The log that :func:`train` saved, over the model's items."""
    with np.load(folder / "log.npz") as arrays:
        found = {name: arrays[name] for name in LOG}
    n, users = len(found["item"]), len(found["offsets"]) - 1
    return Sequences(
        customers=np.array([f"c{row:06d}" for row in range(users)], dtype=object),
        items=model.items,
        categories=model.categories,
        value=np.zeros(n, np.int64),
        band=np.full(n, -1, np.int8),
        category=np.full(n, -1, np.int32),
        channel=np.full(n, -1, np.int8),
        **found,
    )


def encoder(bench: Harness, model: Recommender, log: Sequences) -> None:
    """The encoder alone on 50 events, as served and as the network itself runs it."""
    server = Server(model, log)
    asked_for = histories(log, 100, 1)
    rows = [server.history(events) for events in asked_for]
    taken = times(lambda events: server.answer(events, k=10), asked_for * 5)
    bench.figure("transformer_one_process_p50_ms", float(np.median(taken)))
    bench.figure("transformer_one_process_best_ms", float(taken.min()))
    bench.figure("encoder_lean", bool(server.source.lean))
    taken = times(server.source.state, rows * 5)
    bench.figure("encoder_p50_ms", float(np.median(taken)), target=("<=", 0.4))
    bench.figure("encoder_best_ms", float(taken.min()))
    own = [_deep.codes(row, server.source.trained) for row in rows]
    bench.figure("encoder_network_p50_ms", float(np.median(times(lambda codes: whole(server.source.net, codes), own))))


def together(bench: Harness, folder: Path, name: str, seconds: float) -> None:
    """Two processes at once, started together."""
    command = [sys.executable, __file__, "--dim", str(bench.arguments.dim), "--seed", str(bench.arguments.seed)]
    workers = [
        subprocess.Popen([*command, "--worker", str(folder), name, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        if worker.stdout is None or worker.stdout.readline().strip() != "ready":
            raise SystemExit("a worker did not start")
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.write("go\n")
            worker.stdin.flush()
    found = [json.loads(worker.communicate()[0].strip().splitlines()[-1]) for worker in workers]
    spent = np.concatenate([each["ms"] for each in found])
    bench.figure(f"{name}_p50_ms", float(np.median(spent)), target=("<=", 2.0))
    bench.figure(f"{name}_p99_ms", float(np.quantile(spent, 0.99)), target=("<=", 10.0))
    bench.figure(f"{name}_requests_per_s_2_processes", sum(each["per_s"] for each in found), target=(">=", 800.0))
    # Of the second in which both were disturbed least: what the same code does when the cores are free.
    best = [min(np.median(part) for part in np.array_split(np.array(each["ms"]), max(1, round(each["wall"])))) for each in found]
    bench.figure(f"{name}_p50_ms_of_the_best_second", float(np.mean(best)))
    # What the processes needed, whatever else the machine did: the wall clock above is only as good as the cores are free.
    bench.figure(f"{name}_cpu_ms_per_request", float(np.mean([each["cpu_ms"] for each in found])))
    bench.figure(f"{name}_with_reasons_p50_ms", float(np.median(np.concatenate([each["reasons_ms"] for each in found]))))
    bench.figure(f"{name}_without_history_p50_ms", float(np.median(np.concatenate([each["cold_ms"] for each in found]))))
    bench.figure(f"{name}_worker_mib", max(each["mib"] for each in found))


def work(folder: str, name: str, seconds: str, *, dim: int, seed: int) -> None:
    """One worker: load, say ready, wait for the start, answer until the time is over."""
    narrowed(dim)
    model = load(Path(folder) / name)
    log = kept(Path(folder), model)
    server = Server(model, log)
    events = histories(log, 300, seed + os.getpid())
    for each in events[:20]:
        _ = server.answer(each).reasons
    print("ready", flush=True)
    sys.stdin.readline()
    spent: list[float] = []
    begin, busy = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) - begin < float(seconds):
        server.answer(events[len(spent) % len(events)], k=10)
        spent.append(time.perf_counter() - now)
    rate, busy = len(spent) / (time.perf_counter() - begin), (time.process_time() - busy) * 1e3 / len(spent)
    reasons = times(lambda each: server.answer(each, k=10).reasons, events[:100])
    cold = times(lambda _: server.answer([], k=10), range(20))
    answer = {
        "ms": [each * 1e3 for each in spent],
        "per_s": rate,
        "cpu_ms": busy,
        "wall": len(spent) / rate,
        "reasons_ms": reasons.tolist(),
        "cold_ms": cold.tolist(),
    }
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    print(json.dumps(answer | {"mib": resident}))


def campaign(bench: Harness, model: Recommender, log: Sequences) -> None:
    """Many customers in one call, histories of 50 events."""
    server = Server(model, log)
    parts = [server.history(events) for events in histories(log, 200, 2)]
    count = 200 if bench.quick else 2_000
    rows = [parts[number % len(parts)] for number in range(count)]
    columns = ("item", "kind", "at", "value", "band", "category", "channel")
    arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in columns}
    names = np.array([f"x{row}" for row in range(count)], dtype=object)
    whole_log = replace(parts[0], customers=names, offsets=np.arange(count + 1) * EVENTS, **arrays)
    server.campaign(whole_log.rows(np.arange(64)), k=10)
    with clock() as taken:
        server.campaign(whole_log, k=10)
    bench.figure("campaign_ms_per_customer", taken["wall"] * 1e3 / count, target=("<=", 0.5))
    bench.figure("campaign_cpu_ms_per_customer", taken["cpu"] * 1e3 / count)


# ---- graph ---------------------------------------------------------------------------------------------------------------


def graph(bench: Harness) -> None:
    import scipy.sparse  # noqa: F401 - loading it is no part of counting the graph

    if bench.arguments.path:
        from recommend import read_lines

        log = read_lines(bench.arguments.path, most=3000 if bench.quick else None)
    else:
        log = shop(3_000, 500, 20, np.random.default_rng(1)) if bench.quick else shop(100_000, 15_000, 20, np.random.default_rng(1))
    with clock() as taken:
        model = Graph().fit(log, as_of=EVER)
    bench.figure("graph_fit_s_per_300k_events", taken["cpu"] * 300_000 / len(log.at), target=("<=", 1.0))
    rng = np.random.default_rng(bench.arguments.seed)
    count = 200 if bench.quick else 2_000
    who, what = rng.integers(len(log), size=count), rng.integers(len(log.items), size=count)
    after = int(log.at.max())
    happened = [
        (str(log.customers[a]), str(log.items[b]), from_micros(after) + timedelta(seconds=n))
        for n, (a, b) in enumerate(zip(who, what, strict=True))
    ]
    with clock() as taken:
        for name, item, at in happened:
            model.observe(name, item, at=at)
    bench.figure("graph_update_us_per_event", taken["cpu"] * 1e6 / count, target=("<=", 50.0))
    rows = [log.rows(np.array([row])) for row in who[:500].tolist()]
    bench.figure("graph_answer_after_updates_p50_ms", float(np.median(times(model.reach, rows))))
    fresh = Graph().fit(log, as_of=EVER)
    bench.figure("graph_answer_p50_ms", float(np.median(times(fresh.reach, rows))))


if __name__ == "__main__":
    main()
