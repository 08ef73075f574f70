"""Are our experiment statistics right, as fast as the peer's, and do the intervals keep their promise?

    python bench/experiments.py [--quick] [--path USERS.parquet] [--only reference|peer|aa|bandit|quantiles|small|shop|plans]
                                [--seeds 200] [--customers 1000] [--keep DONE.jsonl]

* reference: values that gbstats and tea-tasting (and scipy) agree on, on tea-tasting's 4,000 generated users: largest distance.
* peer: tea-tasting 1.14.0 and `measure.experiment.analyse` on one million of its users in a table of DuckDB, one thread each, a
  fresh process each, in turns; the fastest of each counts. ``--path``: a Parquet file with the same columns instead.
* aa: two equal arms of an exponential metric, 2,000 runs, 30 looks each: how often some look says "different".
* bandit: two equal arms given by a greedy bandit with a floor of 5 %: plain means with Welch's interval, and logged propensities.
* quantiles: how often the interval of a difference of quantiles holds 0 between equal log-normal arms.
* small: skewed money, few held out, a plan that takes a quarter of the purchases away: how often the reported interval holds the truth.
* shop: the simulated shop with a random message to nine customers in ten (``--customers``), truth from its closed form: how often the
  95 % interval of incremental profit per customer holds the truth: Welch's, Welch's after CUPED, and the reported one (the assignment
  redrawn, after CUPED); and how often the always-valid interval holds it at all of up to 20 looks while customers come in.
* plans: the same for plans that the engine itself makes in shops on disk: collect, learn, decide, respond, collect, measure; ten plans
  (holdout, draws and answers of their own) from each learned shop.
The peer's environment is made by bench/peers/make.sh tea.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from _experiments_shop import Case, mailed, planned
from _harness import ROOT, Harness, alone

from tradewind.measure.profit import Sample, incremental, units
from tradewind.stats import quantiles as ordered
from tradewind.stats import sequential
from tradewind.stats.adaptive import contrast
from tradewind.stats.experiment import cuped, mean_difference, sample_ratio
from tradewind.stats.means import Shape, compare, relative
from tradewind.stats.moments import Moments
from tradewind.stats.randomised import LEAST, Redrawn

VECTOR = ((1396.87, 52377.9767, 3407), (2422.7, 134698.29, 3461))  # sum, sum of squares, units: a test of gbstats
PEERS = ROOT / "bench" / "peers"
PEER = PEERS / ".venv-tea" / "bin" / "python"
COLUMNS = ("revenue", "orders", "sessions", "revenue_covariate", "orders_covariate", "sessions_covariate")
SHAPES = {
    "revenue": Shape(0),
    "orders/sessions": Shape(1, 2),
    "revenue, CUPED": Shape(0, None, ((3, None),)),
    "orders/sessions, CUPED": Shape(1, 2, ((4, 5),)),
}
# Difference, its interval, p; then the relative interval by the delta method (gbstats) and by the logarithm (tea-tasting).
REFERENCE: dict[str, dict[str, float]] = {
    "revenue": {
        "value": 0.48908310,
        "low": -0.13261881,
        "high": 1.11078502,
        "p": 0.12306989,
        "relative": 0.09331816,
        "delta low": -0.03049090,
        "delta high": 0.21712722,  # the mirror image of "delta low" about "relative"
        "log low": -0.02373771,
        "log high": 0.22440927,
    },
    "orders/sessions": {"value": 0.02330501, "low": -0.00245943, "high": 0.04906944, "p": 0.07623760},
    "revenue, CUPED": {"value": 0.73101445, "low": 0.20228702, "high": 1.25974187, "p": 0.00674393, "relative": 0.14273574},
    "orders/sessions, CUPED": {"value": 0.03173426, "p": 0.00229294},
}
OURS = """
import json, sys, time
import ibis
from tradewind.measure.experiment import analyse
from tradewind.measure.trial import Metric, Trial
con = ibis.duckdb.connect(threads=1)
con.con.execute(f"CREATE TABLE users AS SELECT * FROM '{sys.argv[1]}'")
names = {"revenue": "revenue", "orders/sessions": "orders/sessions", "revenue, CUPED": "revenue~revenue_covariate",
         "orders/sessions, CUPED": "orders/sessions~orders_covariate/sessions_covariate"}
trial = Trial("variant", "0", tuple(map(Metric.read, names.values())))
took = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    result = analyse(con.table("users"), con.to_pyarrow, trial)
    took.append(time.perf_counter() - start)
effects = {effect.metric.name: effect for effect in result.effects}
found = {name: [e.fixed.value, e.fixed.low, e.fixed.high, e.p, e.relative.low, e.relative.high]
         for name, e in ((name, effects[text]) for name, text in names.items())}
result = {"seconds": took, "found": found, "rows": sum(map(result.tally.count, result.tally.arms))}
"""


def peer(*arguments: str) -> dict[str, Any]:
    """Run the peer's script and return its JSON."""
    done = subprocess.run([str(PEER), str(PEERS / "tea_peer.py"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def reference(bench: Harness, place: Path) -> None:
    """Distance of our statistics from the published ones, and a few constants that need no data."""
    apart = [abs(sample_ratio([5100, 4900, 0], [0.5, 0.5, 0.0]) - 0.04550026), abs(sequential.widening(10_000) / 100 - 0.03061477)]
    vector = [Moments(n, np.array([total / n]), np.array([[(squares - total**2 / n) / (n - 1)]])) for total, squares, n in VECTOR]
    found = relative(compare(vector[1:], vector[:1], Shape(0)), "vector", method="delta")
    close = [abs(found.value - 0.70732), abs((found.low or 0) + 0.03526), abs((found.high or 0) - 1.44989)]
    bench.figure("reference_gbstats_vector_distance", max(close), target=("<=", 1e-5))
    if PEER.exists():
        peer("make", str(place / "users.parquet"), "4000", "42")
        for name, shape in SHAPES.items():
            ours = figures(pq.read_table(place / "users.parquet"), shape)
            apart += [abs(ours[key] - value) for key, value in REFERENCE[name].items()]
        bench.figure("reference_values", sum(map(len, REFERENCE.values())) + 2)
    else:
        print("left out: the reference users (bench/peers/.venv-tea is missing; run bench/peers/make.sh)")
    bench.figure("reference_largest_distance", max(apart), target=("<=", 1e-6))


def figures(table: Any, shape: Shape) -> dict[str, float]:
    """Our statistics of tea-tasting's users, arm 1 against arm 0."""
    values = np.column_stack([table[name].to_numpy().astype(float) for name in COLUMNS])
    arm = table["variant"].to_numpy()
    found = compare([Moments.of(values[arm == 1])], [Moments.of(values[arm == 0])], shape)
    each, delta, log = found.estimate("x"), relative(found, "x", method="delta"), relative(found, "x", method="log")
    named = {"value": each.value, "low": each.low, "high": each.high, "p": found.p, "relative": log.value}
    named |= {"delta low": delta.low, "delta high": delta.high, "log low": log.low, "log high": log.high}
    return {key: float(value) for key, value in named.items() if value is not None}


def beside(bench: Harness, place: Path) -> None:
    """A million users in DuckDB, ours and the peer's in turns."""
    if not PEER.exists():
        print("left out: tea-tasting (bench/peers/.venv-tea is missing; run bench/peers/make.sh)")
        return
    path = bench.arguments.path or place / "many.parquet"
    if bench.arguments.path is None:
        peer("make", str(path), "20000" if bench.quick else "1000000", str(bench.arguments.seed))
    ours, theirs = [], []
    for _ in range(2 if bench.quick else 4):
        one, other = alone(OURS, str(path), "7"), peer("analyse", str(path), "7")
        ours += one["seconds"]
        theirs += other["seconds"]
    apart = max(abs(a - b) / max(1.0, abs(b)) for name in SHAPES for a, b in zip(one["found"][name], other["found"][name], strict=True))
    bench.figure("peer_rows", int(one["rows"]))
    bench.figure("peer_largest_distance", apart, target=("<=", 1e-6))
    bench.figure("peer_seconds", min(theirs))
    bench.figure("ours_seconds", min(ours))
    bench.figure("ours_over_peer_seconds", min(ours) / min(theirs), target=("<=", 1.0))
    bench.figure("ours_over_peer_seconds_median", float(np.median(ours) / np.median(theirs)))


def looks(bench: Harness) -> None:
    """Two equal arms, looked at thirty times."""
    runs, often, n = (200, 30, 3_000) if bench.quick else (2_000, 30, 10_000)
    rng = np.random.default_rng(bench.arguments.seed)
    at = np.linspace(n / often, n, often).astype(int) // 2  # units in each arm
    wrong = {"fixed": 0, "always": 0, "last": 0}
    widths = np.array([sequential.widening(2 * int(size)) for size in at])
    for _ in range(runs):
        a, b = rng.exponential(size=(2, n // 2))
        means, variances = [], []
        for values in (a, b):
            total, squares = np.cumsum(values)[at - 1], np.cumsum(values**2)[at - 1]
            means.append(total / at)
            variances.append((squares - total**2 / at) / (at - 1) / at)
        z = np.abs(means[0] - means[1]) / np.sqrt(variances[0] + variances[1])
        wrong["fixed"] += bool((z > 1.959964).any())
        wrong["last"] += bool(z[-1] > 1.959964)
        wrong["always"] += bool((z > widths).any())
    bench.figure("aa_runs", runs)
    bench.figure("aa_fixed_z_at_30_looks_false_positives", wrong["fixed"] / runs)
    bench.figure("aa_fixed_z_at_the_end_false_positives", wrong["last"] / runs)
    bench.figure("aa_always_valid_false_positives", wrong["always"] / runs, target=("<=", 0.05))


def bandit(bench: Harness) -> None:
    """Two equal arms under a greedy bandit: what plain means say, and what logged propensities say."""
    runs, decisions = (30, 600) if bench.quick else (1_000, 2_000)
    rng = np.random.default_rng(bench.arguments.seed)
    plain, weighed, covered, low = [], [], [], []
    for _ in range(runs):
        outcome, arm, chance = greedy(rng, decisions)
        low.append(min(outcome[arm == 0].mean(), outcome[arm == 1].mean()) - 1)
        plain.append(mean_difference(outcome[arm == 1], outcome[arm == 0]).covers(0.0))
        found = contrast(outcome, arm, chance, one=1, other=0)
        covered.append(found.covers(0.0))
        weighed.append(found.value)
        low[-1] = outcome[arm == 0].mean() - 1
    bench.figure("bandit_naive_mean_bias", float(np.mean(low)))
    bench.figure("bandit_naive_bias_in_standard_errors", float(np.mean(low) / (np.std(low) / math.sqrt(runs))))
    bench.figure("bandit_naive_interval_covers", float(np.mean(plain)))
    bench.figure("bandit_weighed_bias_in_standard_errors", float(np.mean(weighed) / (np.std(weighed) / math.sqrt(runs))))
    bench.figure("bandit_weighed_interval_covers", float(np.mean(covered)))


def greedy(rng: np.random.Generator, decisions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes, arms and propensities of a bandit that gives the arm with the better mean 95 times in a hundred."""
    outcome, luck = rng.exponential(size=decisions), rng.random(decisions)
    arm, chance = np.zeros(decisions, dtype=np.int64), np.full((decisions, 2), 0.5)
    total, count = [0.0, 0.0], [0, 0]
    for at in range(decisions):
        if at >= 20:
            best = 0 if total[0] * max(1, count[1]) > total[1] * max(1, count[0]) else 1
            chance[at] = (0.95, 0.05) if best == 0 else (0.05, 0.95)
        which = int(luck[at] < chance[at, 1])
        arm[at] = which
        total[which] += outcome[at]
        count[which] += 1
    return outcome, arm, chance


def quantiles(bench: Harness) -> None:
    """Two equal skewed arms of unequal sizes: how often the interval of the difference holds 0."""
    rng = np.random.default_rng(bench.arguments.seed)
    for n, share in ((200, 0.5), (1_000, 0.9), (5_000, 0.99)):
        held = 0
        for _ in range(runs := 200 if bench.quick else 2_000):
            sides = []
            for size in (n, n // 2):
                values, at = np.sort(rng.lognormal(size=size)), ordered.ranks(size, share)
                sides.append((float(np.quantile(values, share)), float(values[at.low - 1]), float(values[at.high - 1])))
            held += ordered.difference(sides[0], sides[1], "difference", n=n + n // 2).covers(0.0)
        bench.figure(f"quantile_{share:g}_of_{n}_covers", held / runs, target=(">=", 0.94))


def small(bench: Harness) -> None:
    """One customer in six buys, for a log-normal amount; of the treated one purchase in four is lost. Nine treated for each held out."""
    rng, runs = np.random.default_rng(bench.arguments.seed), 50 if bench.quick else 1_000
    truth = -0.25 * 0.16 * math.exp(8 + 0.8**2 / 2)
    for held in (10, 20, 30, 100):
        covered = 0
        for _ in range(runs):
            chance = np.where(np.arange(10 * held) < 9 * held, 0.12, 0.16)
            money = np.where(rng.random(10 * held) < chance, rng.lognormal(8, 0.8, 10 * held), 0.0)
            a, b = money[: 9 * held], money[9 * held :]
            error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
            drawn = Redrawn.of(a, b, np.random.default_rng(0))
            low, high = (drawn.bound(float(a.mean() - b.mean()), error, 0.025, upper=upper) for upper in (False, True))
            covered += low <= truth <= high
        bench.figure(f"small_{held}_held_out_covers", covered / runs, target=(">=", 0.93) if held >= LEAST else None)


def coverage(bench: Harness, name: str, simulated: Any) -> None:
    """Intervals of incremental profit per customer, the truth beside them; and the always-valid one at every look."""
    seeds, customers = (6, 1_000) if bench.quick else (bench.arguments.seeds, bench.arguments.customers)
    keep = bench.arguments.keep
    lines = keep.read_text().splitlines() if keep and keep.exists() else []
    done = {(row["name"], row["seed"], row["customers"]): row for row in map(json.loads, lines)}
    rows = []
    for seed in range(bench.arguments.seed, bench.arguments.seed + seeds):
        row = done.get((name, seed, customers))
        if row is None:
            row = {"name": name, "seed": seed, "customers": customers} | judged(simulated(seed, customers), seed)
            if keep:
                with keep.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        rows.append(row)
    found = [row for row in rows if "reported" in row]

    def mean(key: str) -> float:
        return float(np.mean([row[key] for row in found if row.get(key) is not None]))

    bench.figure(f"{name}_shops", len(found))
    bench.figure(f"{name}_held_out_units", mean("held"))
    bench.figure(f"{name}_half_width", mean("half"))
    bench.figure(f"{name}_welch_covers", mean("welch"))
    bench.figure(f"{name}_welch_adjusted_covers", mean("adjusted"))
    for bound, target in (("reported_covers_at_least", (">=", 0.93)), ("reported_covers_at_most", ("<=", 0.97))):
        bench.figure(f"{name}_{bound}", mean("reported"), target=target)
    bench.figure(f"{name}_truth_below_the_interval", mean("below"))
    if any(row.get("always") is not None for row in found):
        bench.figure(f"{name}_always_valid_at_every_look_covers", mean("always"), target=(">=", 0.95))
        bench.figure(f"{name}_always_valid_at_the_end_covers", mean("always_end"))


def judged(case: Case, seed: int) -> dict[str, Any]:
    """One shop: which intervals hold the truth."""
    rows = units(case.sample)
    arm, truth = rows.treated, _worth(case.sample, case.truth)
    values = {each.name: each for each in incremental(case.sample)}
    if not values:
        return {}
    each, per, adjusted = values["incremental profit per customer"], float(truth[arm].mean()), cuped(rows.profit, rows.before)
    assert each.low is not None
    assert each.high is not None
    seen = _looks(rows.profit, arm, truth, np.random.default_rng(seed))
    return {
        "held": int((~arm).sum()),
        "half": (each.high - each.low) / 2,
        "reported": each.covers(per),
        "welch": mean_difference(rows.profit[arm], rows.profit[~arm]).covers(per),
        "adjusted": mean_difference(adjusted[arm], adjusted[~arm]).covers(per),
        "below": per < each.low,
        "always": all(seen) if seen else None,
        "always_end": seen[-1] if seen else None,
    }


def _worth(found: Sample, truth: np.ndarray) -> np.ndarray:
    """The true profit of each acting unit, in the order of ``units``."""
    names, place = np.unique(found.unit.astype(str), return_inverse=True)
    acting = np.bincount(place, weights=found.acted, minlength=len(names)) > 0
    return np.asarray(np.bincount(place, weights=truth, minlength=len(names))[acting])


def _looks(profit: np.ndarray, arm: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> list[bool]:
    """Whether the always-valid interval holds the truth of those who are in, at up to 20 looks while they come in in random order."""
    order, seen = rng.permutation(len(arm)), []
    for size in np.linspace(len(arm) / 20, len(arm), 20).astype(int):
        some = order[:size]
        a, b = profit[some][arm[some]], profit[some][~arm[some]]
        if min(len(a), len(b)) >= sequential.FEW:
            error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            each = sequential.confidence_sequence(float(a.mean() - b.mean()), error, int(size), "profit", tuned=len(arm))
            seen.append(each.covers(float(truth[some][arm[some]].mean())))
    return seen


def main() -> None:
    bench = Harness(
        "experiments",
        __doc__,
        extra={
            "--only": {"choices": ("reference", "peer", "aa", "bandit", "quantiles", "small", "shop", "plans")},
            "--seeds": {"type": int, "default": 200, "help": "simulated shops"},
            "--customers": {"type": int, "default": 1_000},
            "--keep": {"type": Path, "help": "JSON lines of shops that are done: they are not run again, new ones are appended"},
        },
    )
    only = bench.arguments.only
    with tempfile.TemporaryDirectory() as folder:
        if only in (None, "reference"):
            reference(bench, Path(folder))
        if only in (None, "peer"):
            beside(bench, Path(folder))
    if only in (None, "aa"):
        looks(bench)
    if only in (None, "bandit"):
        bandit(bench)
    if only in (None, "quantiles"):
        quantiles(bench)
    if only in (None, "small"):
        small(bench)
    for name, simulated in (("shop", mailed), ("plans", planned)):
        if only == name or (only is None and name == "shop"):
            coverage(bench, name, simulated)
    bench.finish()


if __name__ == "__main__":
    main()
