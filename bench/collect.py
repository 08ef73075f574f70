"""Ten million events through clean, deduplicate, store - against plain DuckDB reading and writing the same Parquet.

Both run in processes of their own, one after the other, on the same file, and write the same codec; the round with the
median ratio counts. The file is generated (deterministic, about
1 % exact duplicates and 0.7 % dirt: unknown names, negative amounts, times in the future, other currencies, empty times),
or given with --path: a Parquet file, or a folder with a mapping.toml for our side.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from _harness import Harness, alone

ROWS, QUICK = 10_000_000, 300_000
MAPPING = """
currency = "GBP"
[[source]]
files = "*.parquet"
into = "events"
money = "minor"
id = "id"
"""
GENERATE = """
WITH base AS (
    SELECT CASE WHEN i % 100 = 99 THEN i - 37 ELSE i END AS i FROM range({rows}) AS t(i)
), drawn AS (
    SELECT i, hash(i, {seed}) AS a, hash(i, {seed} + 1) AS b, hash(i, {seed} + 2) AS c FROM base
)
SELECT 'e' || lpad(CAST(i AS VARCHAR), 11, '0') AS id,
    CASE WHEN a % 1000 = 1 THEN NULL WHEN a % 1000 = 2 THEN TIMESTAMPTZ '2090-01-01 00:00:00Z'
        ELSE TIMESTAMPTZ '2025-09-01 00:00:00Z' + to_microseconds(CAST(i * (7776000000000 // {rows}) + a % 1000000 AS BIGINT)) END AS "at",
    'c' || CAST(floor(500000 * pow((b % 1000000) / 1e6, 2)) AS INTEGER) AS customer,
    's' || CAST(i // 4 AS VARCHAR) AS session,
    CASE WHEN b % 1000 = 3 THEN 'glimpse' WHEN b % 100 < 80 THEN 'view' WHEN b % 100 < 92 THEN 'cart' WHEN b % 100 < 99 THEN 'purchase'
        ELSE 'refund' END AS kind,
    'i' || CAST(floor(50000 * pow((c % 1000000) / 1e6, 3)) AS INTEGER) AS item,
    CAST(1 + c % 3 AS DOUBLE) AS quantity,
    CASE WHEN c % 500 = 7 THEN -1 ELSE CAST(100 + c % 9900 AS BIGINT) END AS "value",
    CASE WHEN c % 10 = 0 THEN CAST(c % 300 AS BIGINT) END AS discount,
    CASE WHEN a % 500 = 9 THEN 'USD' ELSE 'GBP' END AS currency,
    CASE WHEN b % 100 >= 92 THEN 'o' || CAST(i // 3 AS VARCHAR) END AS order_id
FROM drawn
"""
PLAIN = """
import sys, time, duckdb
source, target = sys.argv[1:3]
con = duckdb.connect(config={"threads": 2})
con.execute("SET TimeZone = 'UTC'")
start = time.perf_counter()
con.execute(f"COPY (SELECT * FROM read_parquet('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION snappy)")
result = {"seconds": time.perf_counter() - start}
"""
OURS = """
import sys, time
from datetime import datetime, UTC
from pathlib import Path
import duckdb
from tradewind.collect.ingest import collect
from tradewind.engine.home import Home
source, target, mapping = sys.argv[1:4]
with Home.open(target) as home:
    start = time.perf_counter()
    report = collect(home, source, mapping=Path(mapping) if mapping else None, now=datetime(2026, 1, 1, tzinfo=UTC))
    seconds = time.perf_counter() - start
result = {"seconds": seconds, "in": report.rows_in, "stored": report.rows_stored, "duplicates": report.duplicates,
    "quarantined": report.rows_quarantined, "dropped": report.rows_dropped}
"""


def main() -> None:
    """Run both sides and print the figures."""
    bench = Harness("collect", __doc__)
    with tempfile.TemporaryDirectory(prefix="tradewind-bench-") as name:
        folder = Path(name)
        source = bench.arguments.path or folder / "in" / "events.parquet"
        mapping = ""
        if bench.arguments.path is None:
            _generate(source, rows=QUICK if bench.quick else ROWS, seed=bench.arguments.seed)
            (folder / "map.toml").write_text(MAPPING, encoding="utf-8")
            mapping = str(folder / "map.toml")
        plain = source / "*.parquet" if source.is_dir() else source
        rounds = []
        for number in range(1 if bench.quick else 3):
            os.sync()  # neither side pays for what the other left to be written
            theirs = alone(PLAIN, str(plain), str(folder / f"plain{number}.parquet"))
            os.sync()
            ours = alone(OURS, str(source), str(folder / f"shop{number}"), mapping)
            rounds.append((ours["seconds"] / theirs["seconds"], ours, theirs))
            shutil.rmtree(folder / f"shop{number}")
        ratio, ours, theirs = sorted(rounds, key=lambda one: one[0])[len(rounds) // 2]
    for name in ("in", "stored", "duplicates", "quarantined", "dropped"):
        bench.figure(f"rows_{name}", int(ours[name]))
    bench.figure("plain_seconds", float(theirs["seconds"]))
    bench.figure("collect_seconds", float(ours["seconds"]))
    bench.figure("plain_peak_mib", float(theirs["peak_mib"]))
    bench.figure("ratio_all_rounds", json.dumps([round(one[0], 3) for one in rounds]))
    bench.figure("ratio", float(ratio), target=("<=", 3.0))
    bench.figure("collect_peak_mib", float(max(one[1]["peak_mib"] for one in rounds)), target=("<=", 4096.0))
    bench.finish()


def _generate(path: Path, *, rows: int, seed: int) -> None:
    import duckdb

    path.parent.mkdir(parents=True)
    with duckdb.connect(config={"threads": 2}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"COPY ({GENERATE.format(rows=rows, seed=seed)}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main()
