"""Demand and orders on real data: carparts (by month), UCI Online Retail (by day), kernels beside statsforecast, a whole shop.

    python bench/demand.py [--quick] [--only carparts,retail,kernels,shop] [--path FILE]

carparts: the last 12 of 51 months are held out; the 2,509 parts without missing months. RMSSE over parts that changed at all since
their first sale in training, scaled by the root mean squared one-step change since then. Pinball loss at .5 .75 .9 .95 .99, scaled by
the mean absolute one-step change of the whole training part. Newsvendor: 9 a piece short, 1 a piece over, each month by itself, per
piece demanded.
retail: pieces a day by description, lines with a quantity and a price above 0 that are no cancellation; descriptions with 150 days since
the first sale and 30 days with sales; the last 28 days held out; wRMSSE weighted by the revenue of the last 28 training days.
Everything that is chosen is chosen on rolling origins inside the training part. ``--path``: a file like carparts.csv or like
online_retail.parquet (told apart by the ending) is read in the place of that one, and the other is left out.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import json
import subprocess
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from _harness import ROOT, Harness, clock, peak_mib

from tradewind.learn._demand_grid import Panel
from tradewind.learn._demand_orders import LIKELY, lacking
from tradewind.learn._demand_quantiles import LEVELS
from tradewind.learn._demand_select import KERNELS, root_change
from tradewind.learn.demand import Demand
from tradewind.learn.demand_replay import replay

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
PEER = ROOT / "bench" / "peers" / ".venv-statsforecast" / "bin" / "python"
MONTHS, DAYS = 12, 28  # held out
PARTS = ("carparts", "retail", "kernels", "shop")
SHORT, OVER = 9.0, 1.0  # of the newsvendor


def main() -> None:
    bench = Harness("demand", __doc__, extra={"--only": {"default": ",".join(PARTS), "help": "parts of the bench, by commas"}})
    wanted, path = bench.arguments.only.split(","), bench.arguments.path
    parts = path if path and path.suffix == ".csv" else DATA / "carparts" / "carparts.csv"
    lines = path if path and path.suffix != ".csv" else DATA / "online_retail" / "online_retail.parquet"
    monthly = None if path and path != parts else months(parts)
    if monthly is not None and "carparts" in wanted:
        carparts(bench, monthly, judge=path is None)
    if not (path and path != lines) and "retail" in wanted:
        retail(bench, lines, judge=path is None)
    if monthly is not None and "kernels" in wanted:
        kernels(bench, monthly)
    if path is None and "shop" in wanted:
        shop(bench, 500 if bench.quick else 10_000)
    bench.finish()


def months(path: Path) -> np.ndarray | None:
    """[parts, months] of a file like carparts.csv; NaN where a month is missing."""
    if not path.exists():
        print(f"left out: {path} is not there; set TRADEWIND_DATA or give --path")
        return None
    with path.open(encoding="utf-8") as handle:
        rows = list(csv.reader(handle))[1:]
    return np.array([[float(cell) if cell not in ("", "NA") else np.nan for cell in row[1:]] for row in rows])


def carparts(bench: Harness, y: np.ndarray, *, judge: bool) -> None:
    """Point forecasts, quantiles and the newsvendor on the last year."""
    y = y[np.isfinite(y).all(axis=1)]
    y = y[:300] if bench.quick else y
    past, sold = y[:, :-MONTHS], y[:, -MONTHS:]
    names = tuple(f"part{k}" for k in range(len(y)))
    with clock() as taken:
        model = Demand(horizon=MONTHS, seed=bench.arguments.seed).fit(Panel(names, date(1998, 1, 1), past, "month"))
    target = (lambda value: ("<=", value)) if judge else (lambda _: None)
    mean = model.mean()
    bench.figure("carparts_series", len(y))
    bench.figure("carparts_chosen", json.dumps(model.weights[2]))
    bench.figure("carparts_rmsse", rmsse(past, sold, mean), target=target(0.597))
    bench.figure("carparts_rmsse_nothing", rmsse(past, sold, 0 * mean))
    bench.figure("carparts_bias", float(mean.sum() / sold.sum() - 1))
    for name in ("imapa", "adida", "ses", "tsb", "croston_sba"):
        bench.figure(f"carparts_rmsse_{name}", rmsse(past, sold, KERNELS[name](past, MONTHS, season=12)))
    said = np.stack([model.quantiles(LEVELS, first=month) for month in range(MONTHS)], axis=2)
    change = np.abs(np.diff(past, axis=1)).mean(axis=1)
    moved = change > 0
    lost = [(pinball(sold - quantile, tau).mean(axis=1)[moved] / change[moved]).mean() for tau, quantile in zip(LEVELS, said, strict=True)]
    bench.figure("carparts_pinball", float(np.mean(lost)), target=target(0.4155))
    for tau, quantile in zip(LEVELS, said, strict=True):
        bench.figure(f"carparts_coverage_{tau}", float((sold <= quantile).mean()))
    ratio = SHORT / (SHORT + OVER)
    stock = np.stack([model.quantiles([ratio], first=month, by="pieces")[0] for month in range(MONTHS)], axis=1)
    bench.figure("carparts_newsvendor_cost", newsvendor(sold, stock), target=target(5.34))
    bench.figure("carparts_newsvendor_fill", float(np.minimum(sold, stock).sum() / sold.sum()))
    last = np.quantile(past[:, -24:], ratio, axis=1, method="inverted_cdf")[:, None]
    bench.figure("carparts_newsvendor_cost_last24", newsvendor(sold, np.repeat(last, MONTHS, axis=1)))
    bench.figure("carparts_cpu_s", taken["cpu"])


def retail(bench: Harness, path: Path, *, judge: bool) -> None:
    """Daily demand of a shop, the four weeks before Christmas; then four weeks of ordering, replayed."""
    if not path.exists():
        print(f"left out: {path} is not there; set TRADEWIND_DATA or give --path")
        return
    start, y, revenue = daily(path)
    if bench.quick:
        y, revenue = y[:300], revenue[:300]
    past, sold = y[:, :-DAYS], y[:, -DAYS:]
    value = np.nansum(revenue[:, :-DAYS], axis=1) / np.maximum(np.nansum(past, axis=1), 1e-9)
    panel = Panel(tuple(f"d{k}" for k in range(len(y))), start, past, value=value)
    with clock() as taken:
        model = Demand(horizon=DAYS, region="eu", weigh="value", seed=bench.arguments.seed).fit(panel)
    weight = revenue[:, -2 * DAYS : -DAYS].sum(axis=1)
    mean = model.mean()
    bench.figure("retail_series", len(y))
    bench.figure("retail_chosen", json.dumps(model.weights[3]))
    bench.figure("retail_wrmsse", rmsse(past, sold, mean, weight), target=("<=", 1.01) if judge else None)
    bench.figure("retail_rmsse", rmsse(past, sold, mean))
    bench.figure("retail_bias", float(mean.sum() / sold.sum() - 1))
    for name in ("moving_average", "ses", "tsb", "theta", "seasonal_naive"):
        bench.figure(f"retail_wrmsse_{name}", rmsse(past, sold, KERNELS[name](past, DAYS, season=7), weight))
    total = sold.sum(axis=1)
    for tau, quantile in zip((0.5, 0.9, 0.95), model.quantiles([0.5, 0.9, 0.95], periods=DAYS), strict=True):
        bench.figure(f"retail_coverage_28days_{tau}", float((total <= quantile).mean()))
    bench.figure("retail_cpu_s", taken["cpu"])
    ordering(bench, model, past, sold)


def ordering(bench: Harness, model: Demand, past: np.ndarray, sold: np.ndarray) -> None:
    """Orders every week that arrive after one, lost sales: as `order` proposes, beside three weeks' worth of the last four."""
    demands = [model.quantiles(LIKELY, periods=7, first=first, by="pieces") for first in (0, 7, 14, 21)]
    ratio = np.full(len(past), SHORT / (SHORT + OVER))

    def proposed(period: int, held: np.ndarray) -> np.ndarray:
        week = min(period // 7, 2)
        return lacking(demands[week], demands[week + 1], held, ratio)

    def weeks(_: int, held: np.ndarray) -> np.ndarray:
        return np.maximum(np.ceil(3 * np.nansum(past[:, -28:], axis=1) / 4) - held, 0)

    rules = {"order": proposed, "three_weeks": weeks}
    for name, rule in rules.items():
        done = replay(sold, rule, stock=np.ceil(np.nansum(past[:, -14:], axis=1) / 2), lead=7, review=7, under=SHORT, over=OVER / 7)
        bench.figure(f"retail_replay_{name}_fill", done.fill)
        bench.figure(f"retail_replay_{name}_cost_per_unit", done.cost_per_unit)


def kernels(bench: Harness, y: np.ndarray) -> None:
    """Series a second and core on the training part of carparts, beside statsforecast on the same series."""
    past = np.nan_to_num(y[:, :-MONTHS])
    past = past[:300] if bench.quick else past
    many = np.concatenate([past] * (1 if bench.quick else 8))
    peer = statsforecast(past)
    for name, kernel in KERNELS.items():
        kernel(many[:1000], MONTHS, season=12)
        best = np.inf
        for _ in range(5):
            begun = time.process_time()
            kernel(many, MONTHS, season=12)
            best = min(best, time.process_time() - begun)
        bench.figure(f"kernel_{name}_series_a_second", len(many) / best, target=(">=", 100_000.0))
        if peer:
            bench.figure(f"kernel_{name}_times_statsforecast", len(many) / best * peer["seconds_a_series"][name], target=(">", 1.0))


def statsforecast(y: np.ndarray) -> dict[str, dict[str, float]]:
    """CPU seconds a series of the peer; empty where it is not installed."""
    if not PEER.exists():
        print(f"left out: statsforecast ({PEER} is not there; run bench/peers/make.sh)")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "y.npz", y=y, horizon=MONTHS, season=12)
        command = [str(PEER), str(ROOT / "bench" / "peers" / "statsforecast_peer.py"), f"{folder}/y.npz", f"{folder}/out.npz"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"statsforecast failed:\n{done.stderr}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def shop(bench: Harness, items: int) -> None:
    """From a log of purchases to orders with reasons: a year of a synthetic shop."""
    import pyarrow as pa

    from tradewind import schema
    from tradewind.learn._demand_orders import Terms
    from tradewind.learn.demand_words import rows
    from tradewind.shop import Shop

    end = datetime(2026, 3, 1, tzinfo=UTC)
    events = purchases(items, end, seed=bench.arguments.seed)
    names = [f"i{k:05d}" for k in range(items)]
    money = {"price": [1000] * items, "cost": [600] * items, "currency": ["CNY"] * items}
    catalogue = pa.table({"item": names, **money, "stock": [9] * items})
    with tempfile.TemporaryDirectory() as folder, Shop.open(Path(folder) / "shop", now=lambda: end) as opened:
        opened.collect(schema.conform(catalogue, schema.ITEMS))
        opened.collect(schema.conform(events, schema.EVENTS))
        with clock() as taken:
            opened.demand.learn(horizon=DAYS, region="cn", as_of=end)
            lines = opened.demand.order(usual=Terms(lead=7, review=7))
            told = rows(lines, locale="zh-CN")
    bench.figure("shop_items", len(lines))
    bench.figure("shop_events", events.num_rows)
    bench.figure("shop_lines_with_a_reason", sum(bool(row["reason"]) for row in told))
    bench.figure("shop_forecast_and_order_wall_s", taken["wall"], target=("<", 120.0))
    bench.figure("shop_forecast_and_order_cpu_s", taken["cpu"])
    bench.figure("peak_mib", peak_mib())


def purchases(items: int, end: datetime, *, seed: int) -> object:
    """A year of order lines: rates from a gamma distribution, a week's pattern, items that begin during the year."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.5, 0.6, items)[:, None] * np.tile([0.8, 0.9, 0.9, 1.0, 1.2, 1.3, 0.9], 53)[:365]
    begun = rng.integers(0, 200, items)
    rate[np.arange(365) < begun[:, None]] = 0.0
    pieces = rng.poisson(rate)
    pieces[np.arange(items), begun] = 1
    item, day = np.nonzero(pieces)
    count = len(item)
    at = np.datetime64((end - timedelta(days=365)).replace(tzinfo=None), "us") + day * np.timedelta64(86_400_000_000, "us")
    return pa.table(
        {
            "id": [f"p{k}" for k in range(count)],
            "at": pa.array(at + np.timedelta64(36_000_000_000, "us")).cast(pa.timestamp("us", tz="UTC")),
            "kind": ["purchase"] * count,
            "customer": [f"c{k}" for k in rng.integers(0, 5000, count)],
            "item": [f"i{k:05d}" for k in item],
            "quantity": pieces[item, day].astype(float),
            "value": (1000 * pieces[item, day]).astype(np.int64),
            "currency": ["CNY"] * count,
            "source": ["bench"] * count,
        }
    )


def daily(path: Path) -> tuple[date, np.ndarray, np.ndarray]:
    """First day, pieces and revenue [descriptions, days]; NaN before the first sale."""
    import duckdb

    found = duckdb.execute(
        "SELECT trim(Description) AS k, InvoiceDate::DATE AS d, sum(Quantity)::DOUBLE AS q, sum(Quantity * UnitPrice) AS r "
        "FROM read_parquet(?) WHERE Quantity > 0 AND UnitPrice > 0 AND Description IS NOT NULL AND InvoiceNo NOT LIKE 'C%' GROUP BY ALL",
        [str(path)],
    ).fetchnumpy()
    days = found["d"].astype("datetime64[D]")
    names, row = np.unique(found["k"].astype(str), return_inverse=True)
    y, revenue = (np.zeros((len(names), int((days.max() - days.min()).astype(int)) + 1)) for _ in range(2))
    at = (days - days.min()).astype(int)
    y[row, at], revenue[row, at] = found["q"], found["r"]
    begun = (y > 0).argmax(axis=1)
    keep = (y.shape[1] - begun >= 150) & ((y > 0).sum(axis=1) >= 30) & (y[:, :-DAYS] > 0).any(axis=1)
    y[np.arange(y.shape[1]) < begun[:, None]] = np.nan
    return days.min().item(), y[keep], revenue[keep]


def rmsse(past: np.ndarray, sold: np.ndarray, mean: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean root mean squared scaled error of the series whose past changed since the first sale."""
    scale = root_change(past)
    fair = np.isfinite(scale)
    each = np.sqrt(((mean - sold) ** 2).mean(axis=1)[fair]) / scale[fair]
    return float(np.average(each, weights=None if weight is None else weight[fair]))


def pinball(error: np.ndarray, tau: float) -> np.ndarray:
    """Loss of a quantile that lies ``error`` below the truth."""
    return np.maximum(tau * error, (tau - 1) * error)


def newsvendor(sold: np.ndarray, stock: np.ndarray) -> float:
    """Cost per piece demanded when every month begins with ``stock``."""
    error = sold - stock
    return float((SHORT * np.maximum(error, 0) + OVER * np.maximum(-error, 0)).sum() / sold.sum())


if __name__ == "__main__":
    main()
