"""One budget, one offer per customer: the dual by bisection against its own bound and against an exact linear program.

    python bench/allocate.py [--quick] [--seed 7] [--path FOLDER_WITH_values.npy_AND_costs.npy] [--budget B]

Full: 1,000,000 customers x 10 offers with a logistic response to the offer's level (the customers whom a planner of
coupons meets), budget 1 per customer. The exact solution is computed by HiGHS' interior point on the first 5,000 of them.
"""

from __future__ import annotations

import time

import numpy as np
from _harness import Harness

from tradewind.stats.allocate import allocate


def problem(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margin times a logistic response to each level, and the level as its expected cost."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(0.5, 5.0, columns)
    margin, base, slope = rng.gamma(2.0, 5.0, (rows, 1)), rng.normal(-2.0, 1.0, (rows, 1)), rng.gamma(2.0, 0.4, (rows, 1))
    response = 1 / (1 + np.exp(-(base + slope * levels)))
    return margin * (response - 1 / (1 + np.exp(-base))), response * levels


def exact(values: np.ndarray, costs: np.ndarray, budget: float) -> tuple[float, float]:
    """Optimum of the linear relaxation by HiGHS' interior point, and its CPU seconds."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, identity, kron, vstack

    rows, columns = values.shape
    one = kron(identity(rows), np.ones((1, columns)))
    started = time.process_time()
    found = linprog(
        -values.ravel(),
        A_ub=vstack([one, csr_matrix(costs.reshape(1, -1))]),
        b_ub=np.append(np.ones(rows), budget),
        bounds=(0, 1),
        method="highs-ipm",
    )
    return float(-found.fun), time.process_time() - started


def main() -> None:
    bench = Harness("allocate", __doc__, extra={"--budget": {"type": float, "default": None}})
    rows = 50_000 if bench.quick else 1_000_000
    if bench.arguments.path:
        values, costs = (np.load(bench.arguments.path / f"{name}.npy") for name in ("values", "costs"))
    else:
        values, costs = problem(rows, 10, bench.arguments.seed)
    rows, columns = values.shape
    budget = bench.arguments.budget or 1.0 * rows
    bench.figure("customers", rows)
    bench.figure("offers", columns)
    started = time.process_time()
    found = allocate(values, costs, budget=budget)
    seconds = time.process_time() - started
    bench.figure("cpu_seconds", seconds, target=("<=", 5.0))
    bench.figure("passes", found.passes)
    bench.figure("price", found.price)
    bench.figure("value", found.value)
    bench.figure("spend_share_of_budget", found.spend / budget, target=("<=", 1.0))
    bench.figure("gap_relative", found.gap / max(found.value, 1e-12), target=("<=", 1e-6))
    few = min(rows, 5_000)
    part, limit = (values[:few], costs[:few]), budget * few / rows
    best, lp_seconds = exact(*part, limit)
    started = time.process_time()
    ours = allocate(*part, budget=limit)
    bench.figure("small_customers", few)
    bench.figure("small_value_over_lp", ours.value / best, target=(">=", 1 - 1e-4))
    bench.figure("small_lp_cpu_over_ours", lp_seconds / max(time.process_time() - started, 1e-4))
    bench.finish()


if __name__ == "__main__":
    main()
