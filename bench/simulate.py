"""How fast and in how much memory the synthetic shop is written, answered and valued, by size.

Each size runs in a process of its own. "events per second" counts the true events of the history, export to disk included;
"respond" is a 14-day window with one message per customer, "truth" the closed-form value of the same messages.
The last lines are the true incremental profit of simple policies (an in-app message with an item drawn from the customer's own
law) and the standard error with which a 10 % holdout would measure it: the design of the law, not a result.
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

POLICIES = """
import sys
from datetime import date, timedelta
import numpy as np
import pyarrow as pa
from tradewind.simulate.respond import CONTACTS, respond
from tradewind.simulate.truth import margin_of, true_profit
from tradewind.simulate.world import World
world = World.make("small", seed=int(sys.argv[1]), start=date(2026, 1, 5), days=120)
people, shelf, count = world.people(0), world.window(world.end, 14).shelf, world.customers
draw, rows = np.random.default_rng(0), np.arange(count)
item, names, ids = shelf.draw(people, rows, (draw.random(count), draw.random(count))), people.ids, world.catalogue.ids()
costs = {"email": 2, "sms": 8, "push": 1, "inapp": 0.5}
value = {}
for name, kind, terms in (("product", "product", "{}"), ("coupon_10", "coupon", '{"percent": 10}'),
        ("coupon_20", "coupon", '{"percent": 20}')):
    sent = pa.table({"decision_id": names, "customer": names, "item": [ids[number] for number in item], "channel": ["inapp"] * count,
        "send_at": [world.end + timedelta(hours=12)] * count, "offer_kind": [kind] * count, "terms": [terms] * count})
    value[name] = true_profit(world, sent, start=world.end, days=14, costs=costs)["profit"].to_numpy()
earned = margin_of(world, respond(world, CONTACTS.empty_table(), start=world.end, days=14, seed=1, browse=False))["margin"].to_numpy()
spread = np.sqrt((earned**2).sum() / count - (earned.sum() / count) ** 2)
result = {f"{name}_to_all": each.sum() / count for name, each in value.items()}
result["clairvoyant"] = np.maximum(np.max(list(value.values()), axis=0), 0).sum() / count
result["standard_error_10_holdout"] = spread * np.sqrt(1 / (0.9 * count) + 1 / (0.1 * count))
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
    for name, found in alone(POLICIES, str(bench.arguments.seed)).items():
        if name != "peak_mib":
            bench.figure(f"small_{name}_fen_per_customer", float(found))
    bench.finish()


if __name__ == "__main__":
    main()
