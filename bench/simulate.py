"""How fast and in how much memory the synthetic shop is written, answered and valued, by size.

Each size runs in a process of its own. "events per second" counts the true events of the history, export to disk included;
"respond" is a 14-day window with one message per customer, "truth" the closed-form value of the same messages.
The large world (a million customers) streams 28 days by default; --days changes it.
"""

from __future__ import annotations

from _harness import Harness, alone

WRITE = """
import sys, time, tempfile
from datetime import date
from tradewind.simulate.world import World
size, seed, days = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with tempfile.TemporaryDirectory() as folder:
    start = time.process_time()
    written = World.make(size, seed=seed, start=date(2026, 1, 5), days=days).write(folder, dirt=0.01)
    spent = time.process_time() - start
    result = {"cpu_s": spent, "events": written.rows["events"], "bytes": sum(path.stat().st_size for path in written.files)}
"""

ANSWER = """
import sys, time
from datetime import date, timedelta
import pyarrow as pa
from tradewind.simulate.respond import respond
from tradewind.simulate.truth import true_profit
from tradewind.simulate.world import World
size, seed, days = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
world = World.make(size, seed=seed, start=date(2026, 1, 5), days=days)
names = [f"C{number:07d}" for number in range(world.customers)]
count = len(names)
sent = pa.table({"decision_id": names, "customer": names, "offer": ["coupon-10"] * count, "item": ["P00003"] * count,
    "channel": ["inapp"] * count, "send_at": [world.end + timedelta(hours=12)] * count,
    "offer_kind": ["coupon"] * count, "terms": ['{"percent": 10}'] * count})
start = time.process_time()
events = respond(world, sent, start=world.end, days=14, seed=1)
middle = time.process_time()
truth = true_profit(world, sent, start=world.end, days=14)
end = time.process_time()
result = {"respond_s": middle - start, "truth_s": end - middle, "events": events.num_rows}
"""


def main() -> None:
    bench = Harness("simulate", __doc__, extra={"--days": {"type": int, "default": 28, "help": "days of history of the large world"}})
    sizes = {"tiny": 60, "small": 120} if bench.quick else {"tiny": 60, "small": 120, "medium": 60, "large": bench.arguments.days}
    for size, days in sizes.items():
        found = alone(WRITE, size, str(bench.arguments.seed), str(days))
        bench.figure(f"{size}_days", days)
        bench.figure(f"{size}_events", found["events"])
        bench.figure(f"{size}_events_per_cpu_s", found["events"] / found["cpu_s"])
        bench.figure(f"{size}_mib_on_disk", found["bytes"] / 2**20)
        bench.figure(f"{size}_write_peak_mib", found["peak_mib"], target=("<=", 2048) if size == "large" else None)
        if size == "large":
            continue
        found = alone(ANSWER, size, str(bench.arguments.seed), str(days))
        bench.figure(f"{size}_respond_14_days_cpu_s", found["respond_s"], target=("<=", 5.0) if size == "small" else None)
        bench.figure(f"{size}_truth_cpu_s", found["truth_s"])
        bench.figure(f"{size}_respond_peak_mib", found["peak_mib"])
    bench.finish()


if __name__ == "__main__":
    main()
