"""Time and memory of learning at one, three and ten million events; simulated histories of a shop that grows in customers and items.

Every size runs in processes of its own. `graph` is fitted whole. The Transformer of size `small` prepares the whole log, and runs the
first ``--steps`` steps of an epoch: memory has reached its peak by then, and the time of an epoch is the time of a step times their
number, said to be an estimate. Above 30,000 items its softmax is sampled.

    python bench/growth.py [--quick] [--steps 300] [--events 1000000 3000000 10000000]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _harness import Harness, alone

MAKE = """
import sys, time
import numpy as np
from datetime import UTC, datetime
from tradewind.learn.sequences import Sequences
events, seed = int(sys.argv[1]), int(sys.argv[2])
users, items = events // 20, max(events // 100, 1000)
rng = np.random.default_rng(seed)
owner = np.sort(rng.integers(users, size=events))
offsets = np.searchsorted(owner, np.arange(users + 1)).astype(np.int64)
taste = rng.integers(items, size=users)
near = (taste[owner] + rng.geometric(0.02, size=events)) % items
popular = (items * rng.random(events) ** 3).astype(np.int64)
item = np.where(rng.random(events) < 0.7, near, popular).astype(np.int32)
at = (np.arange(events) - offsets[owner]) * 3_600_000_000 * 24 + rng.integers(3_600_000_000, size=events)
names = lambda letter, n: np.array([f"{letter}{i:07d}" for i in range(n)], dtype=object)
log = Sequences(customers=names("c", users), items=names("i", items), categories=names("k", 50), offsets=offsets, item=item,
    kind=np.full(events, KIND, np.int8), at=at, value=np.zeros(events, np.int64), band=(item % 5).astype(np.int8),
    category=(item % 50).astype(np.int32), channel=np.full(events, -1, np.int8))
END = datetime(2030, 1, 1, tzinfo=UTC)
""".replace("KIND", "__import__('tradewind.learn.sequences', fromlist=['KINDS']).KINDS.index('purchase')")
GRAPH = """
from tradewind.learn.graph import Graph
start = time.process_time()
Graph().fit(log, as_of=END)
result = {"seconds": time.process_time() - start, "items": items, "customers": users}
"""
TRANSFORMER = """
from tradewind.learn import _deep_fit
from tradewind.learn.transformer import Transformer
most = int(sys.argv[3])
step, told = _deep_fit.Averaged.step, {"done": 0}
class Enough(Exception):
    pass
def counted(self, window):
    step(self, window)
    told.setdefault("first", time.process_time())
    told.update(steps=window, done=told["done"] + 1, last=time.process_time())
    if told["done"] == most:
        raise Enough
_deep_fit.Averaged.step = counted
start = time.process_time()
try:
    Transformer(size="small", epochs=1, early_stopping=False).fit(log, as_of=END)
except Enough:
    pass
each = (told["last"] - told["first"]) / max(told["done"] - 1, 1)
result = {"prepare": told["first"] - start, "step": each, "steps": told["steps"], "epoch": each * told["steps"]}
"""


def main() -> None:
    bench = Harness(
        "growth",
        __doc__,
        extra={
            "--steps": {"type": int, "default": 300, "help": "steps of the Transformer"},
            "--events": {"type": int, "nargs": "+", "default": [1_000_000, 3_000_000, 10_000_000], "help": "sizes of the log"},
        },
    )
    sizes = [100_000] if bench.quick else bench.arguments.events
    steps = 20 if bench.quick else bench.arguments.steps
    for events in sizes:
        label, asked = f"{events / 1e6:g}m", (str(events), str(bench.arguments.seed))
        graph = alone(MAKE + GRAPH, *asked)
        bench.figure(f"{label}_items", int(graph["items"]))
        bench.figure(f"{label}_graph_cpu_s", float(graph["seconds"]))
        bench.figure(f"{label}_graph_peak_mib", float(graph["peak_mib"]))
        deep = alone(MAKE + TRANSFORMER, *asked, str(steps))
        bench.figure(f"{label}_small_prepare_cpu_s", float(deep["prepare"]))
        bench.figure(f"{label}_small_step_cpu_ms", float(deep["step"]) * 1e3)
        bench.figure(f"{label}_small_epoch_cpu_s_estimated", float(deep["epoch"]))
        most = ("<=", 8192.0) if events >= 10_000_000 else None
        bench.figure(f"{label}_small_peak_mib", float(deep["peak_mib"]), target=most)
    bench.finish()


if __name__ == "__main__":
    main()
