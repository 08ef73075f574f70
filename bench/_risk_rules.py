"""Rules: how often two evaluators and SQLite differ, how fast fifty run over a million rows, and how long one verdict takes."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Harness, clock
from _risk_world import make

from tradewind.engine.home import Home
from tradewind.learn import _risk_rule_books as books
from tradewind.learn import risk_features
from tradewind.learn._risk_log import read
from tradewind.learn._risk_rule_backtest import backtest
from tradewind.learn._risk_rule_columns import fired
from tradewind.learn.risk_desk import RiskDesk
from tradewind.learn.risk_rules import STARTER, Rule, load, parse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "learn"))
from risk_rule_kit import KINDS, Judge, Maker, rows

TOGETHER = 100  # rules that share what they compute
NUMBERS = ("orders", "amount", "age", "accounts")
FIELDS = {**dict.fromkeys(NUMBERS, "number"), "country": "text", "ship_to": "text", "fresh": "flag"}
PLAIN = (  # ours and in SQL; pandas.eval takes neither texts with empty cells nor yes/no with empty cells, so its four are numbers only
    ("block if accounts >= {a} and age < {b}", "accounts >= {a} AND age < {b}"),
    ("review if amount > {c}00 and orders < {d}", "amount > {c}00 AND orders < {d}"),
    ("review if amount / orders > {c}0 or accounts > {a}", "amount / nullif(orders, 0) > {c}0 OR accounts > {a}"),
    ("block if not (age > {b} or orders > {d}) and amount > {c}", "NOT (age > {b} OR orders > {d}) AND amount > {c}"),
    (
        'review if country in ("cn", "de") and country != ship_to and amount > {c}',
        "country IN ('cn','de') AND country<>ship_to AND amount>{c}",
    ),
)

ENTRY = """
[[rules]]
name = "r{number}"
rule = "block if {text}"
reason = {{ zh = "-", en = "-" }}
owner = "bench"
mode = "acting"
"""


def run(bench: Harness) -> None:
    agreement(bench)
    speed(bench)
    latency(bench)
    planted(bench)


def agreement(bench: Harness) -> None:
    """Every pair of rule and row by the evaluator for one row, the one for columns, and SQLite."""
    count, size = (1_000, 100) if bench.quick else (20_000, 200)
    rng = np.random.default_rng(bench.arguments.seed)
    some, maker = rows(rng, size), Maker(rng)
    judge, columns = Judge(some), {name: [row.get(name) for row in some] for name in KINDS}
    texts = [maker.rule(int(rng.integers(1, 6))) for _ in range(count)]
    rules = [_rule(text, KINDS) for text, _ in texts]
    columns_differ = sqlite_differs = fires = unknown = 0
    for start in range(0, count, TOGETHER):
        part = rules[start : start + TOGETHER]
        for rule, (_, sql), hits in zip(part, texts[start : start + TOGETHER], fired(part, columns, KINDS).tolist(), strict=True):
            said = [rule.holds(row) for row in some]
            columns_differ += sum(hit != (one is True) for hit, one in zip(hits, said, strict=True))
            sqlite_differs += sum(one != other for one, other in zip(said, judge.says(sql), strict=True))
            fires, unknown = fires + said.count(True), unknown + said.count(None)
    bench.figure("generated rules", count, target=(">=", 10_000))
    bench.figure("different texts among them", len({text for text, _ in texts}))
    bench.figure("rule-row pairs", count * size)
    bench.figure("share of pairs that fire", fires / (count * size))
    bench.figure("share of pairs unknown", unknown / (count * size))
    bench.figure("pairs where columns and row differ", columns_differ, target=("==", 0))
    bench.figure("pairs where SQLite differs", sqlite_differs, target=("==", 0))


def speed(bench: Harness) -> None:
    """Rule-rows a second, one process, one thread."""
    size, count = (50_000, 50) if bench.quick else (1_000_000, 50)
    rng = np.random.default_rng(bench.arguments.seed)
    columns = _columns(rng, size)
    drawn = [PLAIN[number % len(PLAIN)] for number in range(count)]
    figures = [dict(zip("abcd", map(int, rng.integers(2, 60, 4)), strict=True)) for _ in drawn]
    rules = [_rule(ours.format(**some), FIELDS) for (ours, _), some in zip(drawn, figures, strict=True)]
    told, taken = _timed(lambda: fired(rules, columns, FIELDS))
    rate = count * size / taken
    bench.figure("rules at once", count)
    bench.figure("rows", size)
    bench.figure("rule-rows a second, columns", rate, target=(">=", 5e6))
    bench.figure("share that fires", float(told.mean()))

    few = 2_000 if bench.quick else 20_000
    listed = [
        dict(zip(columns, values, strict=True)) for values in zip(*(column[:few].tolist() for column in columns.values()), strict=True)
    ]
    rowwise, taken = _timed(lambda: np.array([[rule.holds(row) is True for row in listed] for rule in rules]))
    bench.figure("rule-rows a second, row by row", count * few / taken)
    bench.figure("columns over row by row", rate / (count * few / taken))
    assert (rowwise == told[:, :few]).all()
    _duckdb(bench, columns, [sql.format(**some) for (_, sql), some in zip(drawn, figures, strict=True)], told, rate)
    _pandas(bench, columns, rules, told)


def latency(bench: Harness) -> None:
    """One verdict through the desk: the file looked at, fifty rules, the whitelist, the verdict and its audit row on disk."""
    count = 200 if bench.quick else 3_000
    fields = [name for name, kind in risk_features.FIELDS.items() if kind == "number"]
    rng = np.random.default_rng(bench.arguments.seed)
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder) / "shop") as home:
        texts = [
            f"{name} >= {40 + number} and {other} < {number // 10}" for number, (name, other) in enumerate(rng.choice(fields, (50, 2)))
        ]
        (home.root / "risk.toml").write_text("".join(ENTRY.format(number=number, text=text) for number, text in enumerate(texts)))
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        ticks = (begun + timedelta(milliseconds=number) for number in itertools.count())
        desk = RiskDesk(home, now=lambda: next(ticks), cut=lambda _: begun)
        rules = [each.rule for each in desk.rules()]
        with home.ledger.write() as conn:
            books.keep_backtests(conn, [{}] * len(rules), rules, as_of=begun, by="person:bench", now=begun)
            for rule in rules:
                books.permit(conn, rule, by="person:bench", now=begun)
        told, wall, cpu, bare = [], [], [], []
        for number in range(count):
            values = dict(zip(fields, rng.geometric(0.05, len(fields)).astype(float).tolist(), strict=True))
            with clock() as one:
                told.append(desk.check({**values, "customer": f"c{number}"}, moment=f"o{number}").verdict)
            wall.append(one["wall"])
            cpu.append(one["cpu"])
            with clock() as one, home.ledger.write() as conn:
                books.label(conn, [(f"o{number}", True, begun)], source="file")
            bare.append(one["wall"])
    bench.figure("verdicts written", count)
    bench.figure("share of verdicts that block", told.count("block") / count)
    bench.figure("verdict CPU milliseconds", 1e3 * float(np.mean(cpu)))
    bench.figure("verdict p50 milliseconds", 1e3 * float(np.quantile(wall, 0.5)))
    bench.figure("verdict p99 milliseconds", 1e3 * float(np.quantile(wall, 0.99)), target=("<=", 20.0))
    bench.figure("commit of one row beside it, p50 milliseconds", 1e3 * float(np.quantile(bare, 0.5)))
    bench.figure("commit of one row beside it, p99 milliseconds", 1e3 * float(np.quantile(bare, 0.99)))


def planted(bench: Harness) -> None:
    """The rules to begin with, as they ship, on the planted shop of ``_risk_world.py``: stolen cards, beside what they stop of others.

    Nothing of them was set on a planted shop. Accounts of planted rings count neither as good nor as stolen cards.
    """
    world = make(3_000 if bench.quick else 6_000, days=90, seed=bench.arguments.seed)
    log = read(world.events, world.customers)
    which, columns = risk_features.asked(log), risk_features.replay(log)
    ids = [name for name, yes in zip(log.id, which.tolist(), strict=True) if yes]
    stolen, ringed = set(world.labels["id"].to_pylist()), set(world.rings["customer"].to_pylist())
    people, order = columns["customer"].tolist(), columns["action"] == "order"
    other = np.where(order & np.array([one not in ringed for one in people]), 0.0, np.nan)
    label = np.where(np.isin(ids, sorted(stolen)), 1.0, other)
    rules = load(STARTER, risk_features.FIELDS)
    found, taken = _timed(lambda: backtest(rules, columns, label, log.amount[which], kinds=risk_features.FIELDS, customer=people))
    hit = fired(rules, columns, risk_features.FIELDS).any(axis=0)
    ring = order & np.array([one in ringed for one in people])
    bench.figure("starter rules: moments", len(ids))
    bench.figure("starter rules: seconds of the backtest", taken)
    bench.figure("starter rules: stolen cards caught", float(hit[label == 1].mean()))
    money = log.amount[which][label == 1]
    bench.figure("starter rules: money of stolen cards caught", float(money[hit[label == 1]].sum() / money.sum()))
    bench.figure("starter rules: good orders stopped or held", float(hit[label == 0].mean()))
    bench.figure("starter rules: ring orders stopped or held", float(hit[ring].mean()))
    for one in found:
        print(f"  {one.rule:<24} fires {one.fire_rate:7.3%}  precision {one.precision.value:6.1%}  recall {one.recall.value:6.1%}")


def _duckdb(bench: Harness, columns: Mapping[str, np.ndarray], texts: list[str], told: np.ndarray, rate: float) -> None:
    """The same rules as one SELECT that counts what fires, one thread."""
    import duckdb
    import pyarrow as pa

    cells = pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
    with duckdb.connect(config={"threads": 1}) as base:
        base.execute("CREATE TABLE kept AS SELECT * FROM cells")
        query = f"SELECT {', '.join(f'count(*) FILTER (WHERE {text})' for text in texts)} FROM kept"
        counts, taken = _timed(lambda: base.execute(query).fetchone())
    assert counts is not None
    bench.figure("rule-rows a second, DuckDB", len(texts) * cells.num_rows / taken)
    bench.figure("columns over DuckDB", rate / (len(texts) * cells.num_rows / taken))
    bench.figure(
        "rules whose count differs from DuckDB's",
        sum(int(hit.sum()) != one for hit, one in zip(told, counts, strict=True)),
        target=("==", 0),
    )


def _pandas(bench: Harness, columns: Mapping[str, np.ndarray], rules: list[Rule], told: np.ndarray) -> None:
    """``DataFrame.eval`` of the rules that it answers alike (NaN is no third value to it, nor are texts with empty cells), and ours."""
    try:
        import pandas as pd
    except ImportError:
        print("left out: pandas is not installed")
        return
    frame = pd.DataFrame({name: columns[name] for name in NUMBERS})
    alike = [number for number, rule in enumerate(rules) if not {"country", "not"} & set(rule.text.split()) and "/" not in rule.text]
    plain = [rules[number].text.partition(" if ")[2] for number in alike]
    hits, taken = _timed(lambda: [frame.eval(text).to_numpy() for text in plain])
    assert all((hit == told[number]).all() for hit, number in zip(hits, alike, strict=True))
    _, ours = _timed(lambda: fired([rules[number] for number in alike], columns, FIELDS))
    bench.figure("rule-rows a second, pandas eval", len(alike) * len(frame) / taken)
    bench.figure("columns over pandas eval, same rules", taken / ours)


def _columns(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Rows with one cell in twenty empty."""
    columns: dict[str, np.ndarray] = {
        "orders": rng.poisson(3, size).astype(float),
        "amount": np.round(rng.lognormal(7, 1, size)),
        "age": rng.exponential(40, size),
        "accounts": rng.geometric(0.3, size).astype(float),
    }
    for column in columns.values():
        column[rng.random(size) < 0.05] = np.nan
    countries = np.array(["cn", "de", "us", "fr", None], dtype=object)
    columns["country"] = countries[rng.choice(5, size, p=(0.5, 0.2, 0.15, 0.1, 0.05))]
    columns["ship_to"] = np.where(rng.random(size) < 0.9, columns["country"], countries[rng.integers(0, 5, size)])
    columns["fresh"] = rng.random(size) < 0.1
    return columns


def _rule(text: str, kinds: Mapping[str, str]) -> Rule:
    verdict, tree = parse(text, kinds)
    return Rule(text, verdict, text, "-", "-", "bench", "shadow", tree)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the best of three."""
    best = float("inf")
    for _ in range(3):
        with clock() as taken:
            found = work()
        best = min(best, taken["wall"])
    return found, best
