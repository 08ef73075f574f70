"""tea-tasting's part of bench/experiments.py: make its users, or analyse a file and time it. Run with its own Python.

.venv-tea/bin/python tea_peer.py make OUT.parquet USERS SEED
.venv-tea/bin/python tea_peer.py analyse IN.parquet REPEATS
"""

from __future__ import annotations

import json
import sys
import time

import ibis
import pyarrow.parquet as pq
import tea_tasting as tt

METRICS = {
    "revenue": tt.Mean("revenue"),
    "orders/sessions": tt.RatioOfMeans("orders", "sessions"),
    "revenue, CUPED": tt.Mean("revenue", "revenue_covariate"),
    "orders/sessions, CUPED": tt.RatioOfMeans("orders", "sessions", "orders_covariate", "sessions_covariate"),
}


def make(path: str, users: str, seed: str) -> dict[str, object]:
    table = tt.make_users_data(n_users=int(users), rng=int(seed), covariates=True)
    pq.write_table(table, path)
    return {"rows": table.num_rows}


def analyse(path: str, repeats: str) -> dict[str, object]:
    con = ibis.duckdb.connect(threads=1)
    con.con.execute(f"CREATE TABLE users AS SELECT * FROM '{path}'")
    experiment = tt.Experiment(METRICS)
    took = []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        result = experiment.analyze(con.table("users"))
        took.append(time.perf_counter() - start)
    found = {
        name: [
            one.effect_size,
            one.effect_size_ci_lower,
            one.effect_size_ci_upper,
            one.pvalue,
            one.rel_effect_size_ci_lower,
            one.rel_effect_size_ci_upper,
        ]
        for name, one in ((name, result[name]) for name in METRICS)
    }
    return {"seconds": took, "found": found}


print(json.dumps({"make": make, "analyse": analyse}[sys.argv[1]](*sys.argv[2:])))
