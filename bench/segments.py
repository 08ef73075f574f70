"""A million profiles and ten segments: how long from an event to the membership, and is it that of the batch evaluation?

A simulated shop (a year, four events a customer); the live segments load what happened before a moment, then hear the events after it
one by one: as they come from a log that is up to an hour late, every hundredth twice. Before every event the clock goes on to its
arrival, so that who enters and leaves by time alone is in the latency. ``latency``: from the call with one event until the
membership can be read. ``differences``: customers whose membership differs from the same expressions on the batch profiles at the
end, over all segments; ``changed``: those whose membership is not that of the load. ``heard through the log``: new events by
hundreds, first stored durably (the log looks for known ids in its files), then heard.
"""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from _features_world import AS_OF, store
from _harness import Harness, clock, peak_mib

from tradewind.decide.segment_live import LiveSegments, evaluate
from tradewind.decide.segment_live_store import NEEDED
from tradewind.engine.home import Home
from tradewind.learn.profiles import profiles
from tradewind.types import Event

SEGMENTS = {
    "asleep": "recency_days > 30",
    "lost": "recency_days > 180 and frequency >= 2",
    "new": "tenure_days <= 14",
    "keen": "views_30d >= 3 and orders_30d == 0",
    "cart": "carts_30d > 0 and orders_30d == 0",
    "rich": "spend_90d > 20000 or monetary > 50000",
    "steady": "frequency >= 3 and interval_days < 60",
    "dear": "aov > 15000 and not (refund_share > 0.2)",
    "left alone": "messages_30d == 0 and recency_days <= 90",
    "foreign": 'currency is null or currency != "EUR"',
}
LATE = 3_600  # seconds


def main() -> None:
    bench = Harness("segments", __doc__, extra={"--customers": {"type": int}, "--heard": {"type": int}})
    customers = bench.arguments.customers or (20_000 if bench.quick else 1_300_000)  # some are not there yet at the beginning
    heard = bench.arguments.heard or (5_000 if bench.quick else 100_000)
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder) / "shop") as home:
        store(home, events=4 * customers, customers=customers, items=20_000, seed=bench.arguments.seed)
        start = AS_OF - timedelta(days=20)
        with clock() as load:
            live = LiveSegments.of(home, SEGMENTS, now=start)
        bench.figure("profiles", len(live), target=(">=", 1_000_000))
        bench.figure("load seconds", load["wall"])
        before = {name: set(live.members(name)) for name in SEGMENTS}
        stream = arrivals(home, start, heard, seed=bench.arguments.seed)
        taken, moved = listen(live, stream)
        bench.figure("events heard", len(stream))
        bench.figure("latency p50 seconds", float(np.quantile(taken, 0.5)))
        bench.figure("latency p99 seconds", float(np.quantile(taken, 0.99)), target=("<=", 1.0))
        bench.figure("latency max seconds", float(taken.max()))
        bench.figure("events a second", len(stream) / float(taken.sum()))
        bench.figure("changes", moved)
        bench.figure("memory MiB", peak_mib())
        live.catch_up(home, now=live.now)  # what the log holds between the last event of the stream and its arrival
        with clock() as batch:
            truth = evaluate(SEGMENTS, profiles(home.tables, as_of=live.now))
        bench.figure("batch seconds", batch["wall"])
        bench.figure("members", sum(len(names) for names in truth.values()))
        bench.figure("changed", sum(len(before[name] ^ set(names)) for name, names in truth.items()))
        bench.figure("differences", sum(len(set(live.members(name)) ^ set(names)) for name, names in truth.items()), target=("==", 0))
        through = stored(home, live, seed=bench.arguments.seed)
        bench.figure("heard through the log p50 seconds", float(np.quantile(through, 0.5)))
        bench.figure("heard through the log p99 seconds", float(np.quantile(through, 0.99)), target=("<=", 1.0))
    bench.finish()


def arrivals(home: Home, start, most: int, *, seed: int) -> list[tuple[object, Event]]:
    """(arrival, event) of the first events after ``start``: each up to an hour late, every hundredth again a little later."""
    rng = np.random.default_rng(seed)
    events = home.tables.events()
    rows = home.tables.to_arrow(events.filter(events.at >= start).order_by("at", "id").limit(most).select(*NEEDED)).to_pylist()
    found = []
    for number, row in enumerate(rows):
        event = Event(**row)
        came = event.at + timedelta(seconds=min(max(rng.exponential(LATE / 20), 0.001), LATE))
        found.append((came, event))
        if number % 100 == 0:
            found.append((came + timedelta(seconds=60), event))
    return sorted(found, key=lambda pair: pair[0])


def listen(live: LiveSegments, stream: list[tuple[object, Event]]) -> tuple[np.ndarray, int]:
    """Seconds from each call to its end, and how many changes there were."""
    taken, moved = np.empty(len(stream)), 0
    for number, (came, event) in enumerate(stream):
        begun = time.perf_counter()
        moved += len(live.apply([event], now=came))
        taken[number] = time.perf_counter() - begun
    return taken, moved


def stored(home: Home, live: LiveSegments, *, seed: int) -> np.ndarray:
    """Seconds for a hundred new events to be stored in the log and then heard, thirty times."""
    rng = np.random.default_rng(seed)
    taken, now = [], live.now
    for turn in range(30):
        now += timedelta(seconds=10)
        who = rng.integers(0, len(live), 100)
        events = [
            Event(f"live-{turn}-{n}", now - timedelta(seconds=1), "view", "bench", customer=f"c{one:06d}", item="i00001")
            for n, one in enumerate(who)
        ]
        begun = time.perf_counter()
        home.log.append(events, now=now)
        live.apply(events, now=now)
        taken.append(time.perf_counter() - begun)
    return np.array(taken)


if __name__ == "__main__":
    main()
