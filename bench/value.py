"""Customer value on two real shops: CDNOW, with its published fit, and the Christmas quarter of UCI Online Retail.

CDNOW (sample of 2,357; calibration to 1997-09-30, holdout 39 weeks): the parameters of BG/NBD against the published ones, then
the error of what it predicts. Online Retail (buyers to 2011-09-09, the next 91 days): the candidate that was chosen on an
earlier quarter, with the season factor; the others beside it. Then a million customers, CDNOW's repeated, scored by one core.
Last, price sensitivity in a simulated shop, whose truth is known because it was planted: the rank correlation of the ratio with what
a discount really adds to the chance of buying, beside the plain share of discounted lines, and how often the stated level is right.

    python bench/value.py [--quick] [--path FILE]       # FILE: another log in CDNOW's format; then only that is judged, by its halves
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import duckdb
import numpy as np
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tradewind.collect.ingest import collect
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn._btyd import BGNBD, GammaGamma, Histories
from tradewind.learn._orderbook import OrderBook
from tradewind.learn.lifetime import CANDIDATES, CustomerValue
from tradewind.learn.price_sensitivity import LEVELS, PriceSensitivity, exposure
from tradewind.learn.profiles import profiles
from tradewind.simulate.world import World
from tradewind.simulate.write import write
from tradewind.stats.binary import auc

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
EPOCH = date(1970, 1, 1)
PUBLISHED = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
Values = NDArray[np.float64]


def day_of(text: str) -> int:
    return (date(int(text[:4]), int(text[4:6]), int(text[6:8])) - EPOCH).days


def cdnow(path: Path) -> OrderBook:
    """A file in CDNOW's format: whitespace between [id,] id, date (YYYYMMDD), pieces, dollars."""
    rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    rows = [row for row in rows if len(row) >= 4 and row[-3].isdigit()]
    if not rows:
        raise InputError(f"{path}: no line holds a customer, a date (YYYYMMDD), pieces and dollars. Give a file in CDNOW's format.")
    return OrderBook.from_arrays(
        [row[-4] for row in rows], np.array([day_of(row[-3]) for row in rows]), np.array([float(row[-1]) for row in rows])
    )


def gini(spent: Values, score: Values) -> float:
    """Normalised Gini: area between the cumulated value in order of the score and the diagonal, over that of the best order."""

    def area(order: NDArray[np.int64]) -> float:
        return float((np.cumsum(spent[order]) / spent.sum()).mean() - 0.5)

    return area(np.argsort(-score, kind="stable")) / area(np.argsort(-spent, kind="stable"))


def published(bench: Harness, book: OrderBook, cut: float, weeks: float, *, judge: bool) -> Histories:
    """BG/NBD and Gamma-Gamma in weeks, as in the papers; returns the histories."""
    known = book.before(cut)
    days = known.histories(cut - 1)  # the papers count to the last day of the calibration, not to its end
    seen = Histories(days.repeats, days.recency / 7, days.age / 7, days.worth)
    with clock() as taken:
        model, worth = BGNBD.fit(seen), GammaGamma.fit(seen)
    orders, spent = book.after(cut, weeks * 7, known.names)
    expected = model.orders(seen, weeks)
    value = expected * worth.worth(seen)
    bench.figure("cdnow_customers", len(known.names))
    for name, known_value in PUBLISHED.items():
        bench.figure(f"cdnow_{name}", round(getattr(model, name), 4))
        if judge:
            off = abs(round(getattr(model, name), 3) - known_value)
            bench.figure(f"cdnow_{name}_off_published", round(off, 6), target=("<=", 0.0005))
    bench.figure("cdnow_log_likelihood", round(model.likelihood, 2))
    bench.figure("cdnow_fit_cpu_s", taken["cpu"])
    targets = {"rmse": ("<=", 1.608), "correlation": (">=", 0.626), "value_mae": ("<=", 30.4)} if judge else {}
    bench.figure("cdnow_rmse", float(np.sqrt(np.mean((expected - orders) ** 2))), target=targets.get("rmse"))
    bench.figure("cdnow_correlation", float(np.corrcoef(expected, orders)[0, 1]), target=targets.get("correlation"))
    bench.figure("cdnow_value_mae", float(np.abs(value - spent).mean()), target=targets.get("value_mae"))
    bench.figure("cdnow_auc_buys", auc((orders > 0).astype(float), model.buys(seen, weeks)))
    return seen


def chosen(bench: Harness, name: str, book: OrderBook, as_of: datetime, days: int, *, judge: bool) -> None:
    """What ``CustomerValue`` chooses by itself, and every candidate beside it."""
    picked = CustomerValue(horizon_days=days).fit(book, as_of=as_of)
    bench.figure(f"{name}_chosen", picked.chosen)
    if problem := picked.card["problem"]:
        print(f"  BG/NBD: {problem}")
    for candidate in (picked.chosen, *(each for each in CANDIDATES if each != picked.chosen and each in picked.deviance)):
        model = picked if candidate == picked.chosen else CustomerValue(horizon_days=days).fit(book, as_of=as_of, choose=candidate)
        found = model.predict(book, as_of=as_of)
        _, spent = book.after((as_of.date() - EPOCH).days, days, found.names)
        targets = {"gini": (">=", 0.710), "mae": ("<=", 617.0), "total_off": ("<=", 0.15)} if judge and candidate == picked.chosen else {}
        label = name if candidate == picked.chosen else f"{name}_{candidate}"
        bench.figure(f"{label}_gini", gini(spent, found.value), target=targets.get("gini"))
        bench.figure(f"{label}_mae", float(np.abs(found.value - spent).mean()), target=targets.get("mae"))
        bench.figure(f"{label}_total_off", abs(float(found.value.sum() / spent.sum()) - 1), target=targets.get("total_off"))
        if candidate == picked.chosen:
            bench.figure(f"{label}_auc_buys", auc((spent > 0).astype(float), found.buys))


def online_retail(path: Path) -> OrderBook:
    rows = duckdb.sql(
        f"select cast(cast(CustomerID as integer) as varchar) who, epoch(InvoiceDate) / 86400 as day, Quantity * UnitPrice as value "
        f"from '{path}' where CustomerID is not null and Quantity > 0 order by all"
    ).fetchnumpy()
    return OrderBook.from_arrays(rows["who"], rows["day"], rows["value"])


def scored(bench: Harness, seen: Histories, customers: int) -> None:
    """Orders, worth and chance to be alive of many customers, by one core."""
    times = -(-customers // len(seen.repeats))
    many = Histories(*(np.tile(each, times)[:customers] for each in (seen.repeats, seen.recency, seen.age, seen.worth)))
    model, worth = BGNBD.fit(seen), GammaGamma.fit(seen)
    with clock() as taken:
        total = float((model.orders(many, 39.0) * worth.worth(many)).sum() + model.alive(many).sum())
    assert total > 0
    bench.figure("scored_customers", customers)
    bench.figure("scored_cpu_s", taken["cpu"], target=("<=", 10.0))


def price_sensitivity(bench: Harness, customers: int) -> None:
    """In the simulated shop; among customers with an order and a discount on offer."""
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder) / "shop") as home:
        world = World.make(customers, seed=bench.arguments.seed, start=date(2025, 1, 1), days=365)
        write(world, Path(folder) / "data")
        collect(home, Path(folder) / "data", now=world.end)
        found = exposure(home.tables, as_of=world.end)
        table = profiles(home.tables, as_of=world.end)
        affinity = dict(zip(table["customer"].to_pylist(), table["discount_affinity"].fill_null(0.0).to_pylist(), strict=True))
    judged = PriceSensitivity().fit(found).predict(found)
    slope: dict[str, float] = {}
    for chunk in world.chunks:
        people = world.people(chunk)
        slope |= dict(zip(people.ids.to_pylist(), people.slope.tolist(), strict=True))
    some = np.flatnonzero((found.orders > 0) & (found.expected > 0))
    truth = np.array([slope[name] for name in found.names[some]])
    plain = np.array([affinity[name] for name in found.names[some]])
    bench.figure("simulated_price_customers", len(some))
    bench.figure("simulated_price_discounted_orders", int(found.taken.sum()))
    bench.figure("simulated_price_rank_correlation", float(spearmanr(judged.ratio[some], truth).statistic), target=(">=", 0.5))
    bench.figure("simulated_price_rank_correlation_plain_share", float(spearmanr(plain, truth).statistic))
    for level, name in enumerate(LEVELS):
        mine = judged.level[some] == level
        if mine.any():
            bench.figure(f"simulated_price_{name}_share", float(mine.mean()))
            bench.figure(f"simulated_price_{name}_true_mean", float(truth[mine].mean()))


def main() -> None:
    bench = Harness("value", __doc__)
    own = bench.arguments.path
    sample = own or DATA / "cdnow" / "CDNOW_sample.txt"
    if not sample.exists():
        print(f"left out: {sample} is not there; set TRADEWIND_DATA or give --path")
        return
    book = cdnow(sample)
    if own:
        cut = float(np.floor((book.day.min() + book.day.max() + 1) / 2))
        weeks = float(book.day.max() + 1 - cut) / 7
    else:
        cut, weeks = float(day_of("19971001")), 39.0
    seen = published(bench, book, cut, weeks, judge=not own)
    as_of = datetime.fromtimestamp(cut * 86_400, tz=UTC)
    days = int(weeks * 7) if 2 * weeks * 7 <= cut - book.day.min() else int((cut - book.day.min()) // 2)
    chosen(bench, "cdnow_by_itself", book, as_of, days, judge=False)
    retail = DATA / "online_retail" / "online_retail.parquet"
    if not own and retail.exists():
        chosen(bench, "retail", online_retail(retail), datetime(2011, 9, 10, tzinfo=UTC), 91, judge=True)
    elif not own:
        print(f"left out: {retail} is not there")
    scored(bench, seen, 100_000 if bench.quick else 1_000_000)
    if not own:
        price_sensitivity(bench, 2_000 if bench.quick else 8_000)
    bench.finish()


if __name__ == "__main__":
    main()
