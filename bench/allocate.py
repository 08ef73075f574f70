"""One choice per customer within one budget, and within six limits: against our own bound, exact linear programs and one pass over memory.

    python bench/allocate.py [--quick] [--seed 7] [--path FOLDER] [--budget B]

1. 10,000,000 customers x 10 offers, one budget of 1 per customer, in a process of its own: CPU seconds, peak memory with the inputs
   (float32) in it, gap to the dual bound, and beside them the time of one pass over the inputs.
2. 1,000,000 customers x 20 offers, one budget and five channels with a capacity each: the same, and what is exceeded after the repair.
3. The first 5,000 customers of both: value and bound over the optimum of HiGHS' interior point, and the ratio of CPU seconds.
4. The price from a sample of 10,000: what all customers would spend at it, as a share of the budget; and the whole cost curve.

Customers respond to an offer's level by a logistic curve (what a planner of coupons meets). FOLDER holds values.npy and costs.npy of
shape (customers, offers) and, for 2, limits.npy (limits) and uses.npy (limits, offers): what an offer uses of each limit.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from _harness import Harness, alone

from tradewind.stats.allocate import allocate, price_from_sample
from tradewind.stats.allocate_many import Resource, allocate_many

BLOCK = 250_000
CAPACITY = (0.10, 0.10, 0.10, 0.15, 0.20)  # of the customers, by channel; offers take turns on the channels
EXACT = 5_000  # customers that the interior point solves in seconds
ONE = """
import sys, time
import numpy as np
from tradewind.stats.allocate import allocate
values, costs = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("values", "costs"))
budget = float(sys.argv[2])
started = time.process_time(); values.max(); costs.max(); memory = time.process_time() - started
started = time.process_time(); found = allocate(values, costs, budget=budget); seconds = time.process_time() - started
rows = np.flatnonzero(found.choice >= 0)
result = {"seconds": seconds, "memory": memory, "passes": found.passes, "price": found.price, "value": found.value, "bound": found.bound,
          "gap": found.gap, "spend": float(costs[rows, found.choice[rows]].sum(dtype=float))}
"""
MANY = """
import sys, time
import numpy as np
import scipy.optimize
from tradewind.stats.allocate_many import Resource, allocate_many
values, costs, limits, uses = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("values", "costs", "limits", "uses"))
budget = float(sys.argv[2])
resources = [Resource("budget", budget, costs), *(Resource(f"limit {k}", limit, use) for k, (limit, use) in enumerate(zip(limits, uses)))]
started = time.process_time(); values.max(); costs.max(); memory = time.process_time() - started
started = time.process_time(); found = allocate_many(values, resources); seconds = time.process_time() - started
rows = np.flatnonzero(found.choice >= 0)
at = found.choice[rows]
over = [float(costs[rows, at].sum(dtype=float)) - budget, *(float(use[at].sum(dtype=float)) - limit for limit, use in zip(limits, uses))]
result = {"seconds": seconds, "memory": memory, "evaluations": found.evaluations, "settled": found.settled, "value": found.value,
          "gap": found.gap, "over": max(*over, 0.0), "certificate": found.certificate()}
"""
CURVE = """
import sys, time
import numpy as np
from tradewind.stats.allocate import cost_curve
values, costs = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r")[:int(sys.argv[3])] for name in ("values", "costs"))
started = time.process_time(); found = cost_curve(values, costs); seconds = time.process_time() - started
result = {"seconds": seconds, "steps": len(found.row), "value": found.at(float(sys.argv[2]))}
"""


def problem(rows: int, columns: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Margin times a logistic response to each level, and the level as its expected cost."""
    levels = np.linspace(0.5, 5.0, columns)
    margin, base, slope = rng.gamma(2.0, 5.0, (rows, 1)), rng.normal(-2.0, 1.0, (rows, 1)), rng.gamma(2.0, 0.4, (rows, 1))
    response = 1 / (1 + np.exp(-(base + slope * levels)))
    return margin * (response - 1 / (1 + np.exp(-base))), response * levels


def write(folder: Path, rows: int, columns: int, seed: int) -> None:
    """The files of a problem, made in blocks, so that this process stays small."""
    folder.mkdir()
    files = [np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, columns)) for name in ("values", "costs")]
    for block, start in enumerate(range(0, rows, BLOCK)):
        some = slice(start, min(start + BLOCK, rows))
        for file, part in zip(files, problem(some.stop - start, columns, np.random.default_rng([seed, block])), strict=True):
            file[some] = part
    channel = np.arange(columns) % len(CAPACITY)
    np.save(folder / "uses.npy", np.stack([(channel == k).astype(float) for k in range(len(CAPACITY))]))
    np.save(folder / "limits.npy", np.floor(np.array(CAPACITY) * rows))


def exact(values: np.ndarray, resources: list[Resource]) -> tuple[float, float]:
    """Optimum of the linear relaxation by HiGHS' interior point, and its CPU seconds."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, identity, kron, vstack

    rows, columns = values.shape
    one = kron(identity(rows), np.ones((1, columns)))
    uses = [csr_matrix(np.broadcast_to(each.use, values.shape).reshape(1, -1)) for each in resources]
    started = time.process_time()
    found = linprog(
        -values.ravel(),
        A_ub=vstack([one, *uses]),
        b_ub=np.append(np.ones(rows), [each.limit for each in resources]),
        bounds=(0, 1),
        method="highs-ipm",
    )
    return float(-found.fun), time.process_time() - started


def one_budget(bench: Harness, folder: Path, budget: float) -> None:
    found = alone(ONE, str(folder), str(budget))
    bench.figure("one_cpu_seconds", found["seconds"], target=("<=", 15.0))
    bench.figure("one_peak_gib", found["peak_mib"] / 1024, target=("<=", 2.0))
    bench.figure("one_passes", found["passes"])
    bench.figure("one_memory_pass_cpu_seconds", found["memory"])
    bench.figure("one_cpu_over_memory_pass", found["seconds"] / max(found["memory"], 1e-4))
    bench.figure("one_price", found["price"])
    bench.figure("one_value", found["value"])
    bench.figure("one_bound", found["bound"])
    bench.figure("one_spend_share_of_budget", found["spend"] / budget, target=("<=", 1.0))
    bench.figure("one_gap_relative", found["gap"] / max(found["value"], 1e-12), target=("<=", 1e-6))


def several(bench: Harness, folder: Path, budget: float) -> None:
    found = alone(MANY, str(folder), str(budget))
    bench.figure("many_cpu_seconds", found["seconds"], target=("<=", 5.0))
    bench.figure("many_peak_gib", found["peak_mib"] / 1024)
    bench.figure("many_memory_pass_cpu_seconds", found["memory"])
    bench.figure("many_evaluations", found["evaluations"])
    bench.figure("many_settled_by_samples", found["settled"])
    bench.figure("many_value", found["value"])
    bench.figure("many_violation_after_repair", found["over"], target=("<=", 0.0))
    bench.figure("many_gap_relative", found["gap"] / max(found["value"], 1e-12), target=("<=", 1e-4))
    print(found["certificate"])


def against_exact(bench: Harness, name: str, values: np.ndarray, resources: list[Resource]) -> None:
    best, lp_seconds = exact(values, resources)
    started = time.process_time()
    if len(resources) == 1:
        one = allocate(values, resources[0].use, budget=resources[0].limit)
        value, bound = one.value, one.bound
    else:
        many = allocate_many(values, resources)
        value, bound = many.value, many.bound
    seconds = time.process_time() - started
    bench.figure(f"exact_{name}_customers", len(values))
    bench.figure(f"exact_{name}_value_over_lp", value / best, target=(">=", 1 - 1e-4))
    bench.figure(f"exact_{name}_bound_over_lp_less_1", bound / best - 1, target=("<=", 2e-6))
    bench.figure(f"exact_{name}_lp_cpu_over_ours", lp_seconds / max(seconds, 1e-4))


def small(bench: Harness, folder: Path, name: str, budget_per_row: float) -> None:
    values, costs = (np.load(folder / f"{each}.npy", mmap_mode="r") for each in ("values", "costs"))
    few, share = min(len(values), EXACT), min(len(values), EXACT) / len(values)
    resources = [Resource("budget", budget_per_row * few, np.array(costs[:few], dtype=float))]
    if name == "many":
        pairs = zip(np.load(folder / "limits.npy"), np.load(folder / "uses.npy"), strict=True)
        resources += [Resource(f"limit {k}", float(np.floor(limit * share)), use) for k, (limit, use) in enumerate(pairs)]
    against_exact(bench, name, np.array(values[:few], dtype=float), resources)


def from_sample(bench: Harness, folder: Path, budget: float) -> None:
    values, costs = (np.load(folder / f"{each}.npy", mmap_mode="r") for each in ("values", "costs"))
    some = np.sort(np.random.default_rng(bench.arguments.seed).choice(len(values), min(len(values), 10_000), replace=False))
    price = price_from_sample(values[some], costs[some], budget=budget, rows=len(values))
    spend = 0.0
    for start in range(0, len(values), BLOCK):
        value, cost = (np.array(each[start : start + BLOCK], dtype=float) for each in (values, costs))
        score = value - price.price * cost
        at = score.argmax(axis=1)
        spend += float(cost[np.arange(len(at)), at][score.max(axis=1) > 0].sum())
    bench.figure("sample_price_range_relative", (price.high - price.low) / price.price)
    bench.figure("sample_spend_share_of_budget", spend / budget)


def main() -> None:
    bench = Harness("allocate", __doc__, extra={"--budget": {"type": float, "default": None}})
    with tempfile.TemporaryDirectory() as place:
        first = second = bench.arguments.path
        if first is None:
            first, second = Path(place) / "one", Path(place) / "many"
            write(first, 100_000 if bench.quick else 10_000_000, 10, bench.arguments.seed)
            write(second, 50_000 if bench.quick else 1_000_000, 20, bench.arguments.seed + 1)
        rows, columns = np.load(first / "values.npy", mmap_mode="r").shape
        budget = bench.arguments.budget or float(rows)
        bench.figure("one_customers", rows)
        bench.figure("one_offers", columns)
        one_budget(bench, first, budget)
        small(bench, first, "one", budget / rows)
        if (second / "limits.npy").exists():
            rows, columns = np.load(second / "values.npy", mmap_mode="r").shape
            bench.figure("many_customers", rows)
            bench.figure("many_offers", columns)
            bench.figure("many_limits", 1 + len(np.load(second / "limits.npy")))
            several(bench, second, bench.arguments.budget or float(rows))
            small(bench, second, "many", (bench.arguments.budget or float(rows)) / rows)
        from_sample(bench, first, budget)
        rows = np.load(first / "values.npy", mmap_mode="r").shape[0]
        part = min(rows, 1_000_000)
        curve = alone(CURVE, str(first), str(budget * part / rows), str(part))
        bench.figure("curve_customers", part)
        bench.figure("curve_steps", curve["steps"])
        bench.figure("curve_cpu_seconds", curve["seconds"])
    bench.finish()


if __name__ == "__main__":
    main()
