"""Profiles and last-100-event sequences of ten million events, against hand-written DuckDB SQL for the same tables.

Both read the same Parquet files in fresh processes, one after the other; the results must be equal, value by value.
The SQL for sequences is the faster of two: flat rows in order, or one list per customer. --spark runs our code on
Apache Spark too (on fewer events) and checks that it gives the same. --path keeps the made shop in that folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _features_world import AS_OF, files, store
from _harness import Harness, clock, peak_mib

from tradewind.engine.home import Home
from tradewind.learn.profiles import PROFILE, profiles
from tradewind.learn.sequences import CHANNELS, EVENT_ARRAYS, KINDS, sequences

LAST = 100
SIZES = {"full": (10_000_000, 500_000, 50_000), "quick": (300_000, 15_000, 2_000), "spark": (1_000_000, 50_000, 5_000)}


def main() -> None:
    extra = {
        "--spark": {"action": "store_true"},
        "--part": {"nargs": "+", "help": "for the measured processes"},
        "--rounds": {"type": int, "default": 2},
    }
    bench = Harness("features", __doc__, extra=extra)
    if bench.arguments.part:
        print(json.dumps(_part(bench.arguments.part[0], bench.arguments.path, *bench.arguments.part[1:])))
        return
    size = "quick" if bench.quick else "spark" if bench.arguments.spark else "full"
    with tempfile.TemporaryDirectory() as scratch:
        root = bench.arguments.path or Path(scratch) / "shop"
        _measure("make", root, size, str(bench.arguments.seed))  # in a process of its own: a child starts with its parent's peak memory
        runs = {part: [_measure(part, root) for _ in range(1 if bench.quick else bench.arguments.rounds)] for part in ("ours", "sql")}
        _report(bench, runs)
        _compare(bench, root, "sql")
        if bench.arguments.spark:
            spark = _measure("spark", root)
            bench.figure("spark_profile_seconds", spark["profiles"])
            bench.figure("spark_sequence_seconds", spark["sequences"])
            _compare(bench, root, "spark")
    bench.finish()


def _measure(part: str, root: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--path", str(root), "--part", part, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the measured process {part} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _report(bench: Harness, runs: dict[str, list[dict[str, Any]]]) -> None:
    best = {part: {name: min(run[name] for run in taken) for name in taken[0]} for part, taken in runs.items()}
    ours, sql = best["ours"], best["sql"]
    for name in ("events_in_sequences", "customers"):
        bench.figure(name, int(ours[name]))
    fastest = min(sql["sequences"], sql["lists"])
    for name in ("profiles", "sequences"):
        bench.figure(f"{name}_seconds", ours[name])
        bench.figure(f"sql_{name}_seconds", sql[name])
    bench.figure("sql_lists_seconds", sql["lists"])
    bench.figure("profiles_ratio", ours["profiles"] / sql["profiles"])
    bench.figure("sequences_ratio", ours["sequences"] / fastest)
    bench.figure("ratio", (ours["profiles"] + ours["sequences"]) / (sql["profiles"] + fastest), target=("<=", 1.3))
    bench.figure("cpu_ratio_to_flat_sql", ours["cpu"] / (sql["cpu_profiles"] + sql["cpu_sequences"]))
    bench.figure("peak_mib", ours["peak_mib"])
    bench.figure("sql_peak_mib_before_lists", sql["peak_before_lists_mib"])
    bench.figure("sql_peak_mib", sql["peak_mib"])


def _part(part: str, root: Path, *more: str) -> dict[str, Any]:
    if part == "make":
        with Home.open(root) as home:
            if not home.log.files("events"):
                events, customers, items = SIZES[more[0]]
                store(home, events=events, customers=customers, items=items, seed=int(more[1]))
        return {}
    with Home.open(root, create=False) as home:
        found = _by_sql(home, root) if part == "sql" else _by_us(home, root, part)
    return {**found, "peak_mib": peak_mib()}


def _by_us(home: Home, root: Path, part: str) -> dict[str, Any]:
    from tradewind.engine.tables import Tables

    tables = Tables.on_spark(home.log) if part == "spark" else home.tables
    with clock() as first:
        table = profiles(tables, as_of=AS_OF)
    with clock() as second:
        log = sequences(tables, as_of=AS_OF, last=LAST)
    _keep(root, part, table, {name: getattr(log, name) for name in ("offsets", "customers", *EVENT_ARRAYS)})
    counts = {"events_in_sequences": len(log.at), "customers": table.num_rows, "cpu": first["cpu"] + second["cpu"]}
    return {"profiles": first["wall"], "sequences": second["wall"], **counts}


def _by_sql(home: Home, root: Path) -> dict[str, Any]:
    import _features_sql as sql

    from tradewind.engine import parquet

    con = parquet.connect(home.root)
    numbers = {"last": LAST, "kinds": list(KINDS), "channels": list(CHANNELS)}
    with clock() as first:
        filled = sql.prepare(con, files(home, "events"), files(home, "items"), AS_OF)
        table = sql.profiles(con, filled)
    with clock() as second:
        sql.prepare(con, files(home, "events"), files(home, "items"), AS_OF)  # ours makes its shelf again too
        arrays = sql.flat(con, **numbers)
    peak = peak_mib()
    with clock() as third:
        sql.lists(con, **numbers)
    _keep(root, "sql", table.select(PROFILE.names).cast(PROFILE), arrays)
    cpu = {"cpu_profiles": first["cpu"], "cpu_sequences": second["cpu"], "peak_before_lists_mib": peak}
    return {"profiles": first["wall"], "sequences": second["wall"], "lists": third["wall"], **cpu}


def _keep(root: Path, part: str, table: pa.Table, arrays: dict[str, np.ndarray]) -> None:
    folder = root.parent / f"{root.name}-{part}"
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "profiles.parquet")
    names = pa.table({"customer": pa.array(arrays.pop("customers"), pa.string())})
    pq.write_table(names, folder / "customers.parquet")
    np.savez(folder / "sequences.npz", **arrays)


def _compare(bench: Harness, root: Path, other: str) -> None:
    """Every value of every column, floats to the last bit; differing values are counted and named."""
    ours, theirs = (root.parent / f"{root.name}-{part}" for part in ("ours", other))
    left, right = pq.read_table(ours / "profiles.parquet"), pq.read_table(theirs / "profiles.parquet")
    wrong = [name for name in PROFILE.names if not left[name].equals(right[name])]
    same_people = pq.read_table(ours / "customers.parquet").equals(pq.read_table(theirs / "customers.parquet"))
    a, b = np.load(ours / "sequences.npz"), np.load(theirs / "sequences.npz")
    wrong += [name for name in ("offsets", *EVENT_ARRAYS) if not np.array_equal(a[name], b[name])]
    wrong += [] if same_people else ["customers of sequences"]
    print(f"columns that differ from {other}: {', '.join(wrong) or 'none'}")
    bench.figure(f"columns_that_differ_from_{other}", len(wrong), target=("==", 0))


if __name__ == "__main__":
    main()
