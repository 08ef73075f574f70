"""Quality of a shop's profiles, recommender and data, as one report: what they know, whom they leave out, what has moved.

Everything is judged on days that it has not seen: profiles of ``days`` ago against who bought since; the recommender in use against
what was bought since it learned.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn.profiles import profiles
from tradewind.measure import plots
from tradewind.stats.classification import at_threshold, auc, calibration_error, log_loss, reliability
from tradewind.stats.drift import psi
from tradewind.stats.experiment import proportion
from tradewind.stats.reward_model import cross_fitted
from tradewind.types import Estimate, Report, Section

Values = NDArray[np.float64]
FEW = 40  # customers or buyers, below which nothing is said
_KEYS = ("customer", "household")
_SHOWN = 12  # columns in a table


def quality(home: Home, *, as_of: datetime, days: int = 28, seed: int = 0) -> Report:
    """The report as of a time; profiles and drift look back ``days``.

    Raises
    ------
    InputError
        ``days`` is not 1 or more.
    """
    if days < 1:
        raise InputError(f"quality: days must be 1 or more; got {days}.")
    cut = as_of - timedelta(days=days)
    before, now = profiles(home.tables, as_of=cut), profiles(home.tables, as_of=as_of)
    sections = [
        _predictive(home, before, cut=cut, as_of=as_of, days=days, seed=seed),
        _known(now),
        _recommender(home, as_of=as_of, days=days),
        _moved(before, now, days),
        _health(home, as_of=as_of, days=days),
    ]
    meta = {"shop": home.settings.name, "currency": home.settings.currency, "as_of": as_of.isoformat()}
    return Report("Quality of profiles, models and data", as_of, sections, home.settings.simulated, meta)


def _predictive(home: Home, before: pa.Table, *, cut: datetime, as_of: datetime, days: int, seed: int) -> Section:
    """Do profiles tell who buys? A cross-fitted logistic regression on all numeric columns, and single columns."""
    title = "What profiles tell of the next purchase"
    events = home.tables.events(as_of=as_of)
    import ibis

    rows = events.filter(events.kind == "purchase", events.at >= ibis.literal(cut), events.customer.notnull()).select("customer").distinct()
    bought = pc.is_in(before["customer"], value_set=home.tables.to_arrow(rows)["customer"].combine_chunks())
    y = bought.to_numpy().astype(np.float64) if before.num_rows else np.zeros(0)
    if len(y) < FEW or not FEW / 2 <= y.sum() <= len(y) - FEW / 2:
        told = f"{len(y):,} customers were known {days} days before, of whom {int(y.sum()):,} bought since: too few to judge profiles by."
        return Section(title, (told,))
    names, x = _matrix(before)
    chance = cross_fitted(x, np.zeros(len(y), dtype=np.int64), y, arms=1, seed=seed)[:, 0]
    threshold = float(np.quantile(chance, 1 - y.mean()))
    found = at_threshold(y, chance, threshold, seed=seed)
    single = sorted(((auc(y, x[:, at]), name) for at, name in enumerate(names)), key=lambda pair: -abs(pair[0].value - 0.5))
    values = (
        auc(y, chance, name="AUC of all columns together"),
        log_loss(y, chance, seed=seed),
        calibration_error(y, chance, seed=seed),
        *found.values(),
    )
    table = tuple(
        {"column": name, "AUC": one.value, "low": one.low, "high": one.high, "direction": "more buys" if one.value > 0.5 else "less buys"}
        for one, name in single[:_SHOWN]
    )
    text = (
        f"Profiles of {len(y):,} customers {days} days ago against the {int(y.sum()):,} of them who bought since. An AUC of 0.5 is a "
        "coin, 1 is perfect. Precision, recall and F1 are of naming as many customers as bought."
    )
    picture = plots.reliability(reliability(y, chance), title="Said and happened")
    return Section(title, (text,), values, table, (picture,))


def _known(now: pa.Table) -> Section:
    """Coverage: who has a value at all; diversity: in how many different ways customers are described (normalised entropy)."""
    rows: list[dict[str, Any]] = []
    for name in now.column_names:
        if name in _KEYS or not now.num_rows:
            continue
        column = now[name]
        known = int(pc.sum(pc.is_valid(column)).as_py() or 0)
        share = proportion(known, now.num_rows)
        kind = column.type
        spread: float | None = None
        if pa.types.is_string(kind) and known:
            counts = np.array([pair["counts"] for pair in pc.value_counts(column.drop_null()).to_pylist()], dtype=np.float64)
            parts = counts / counts.sum()
            spread = float(-(parts * np.log(parts)).sum() / np.log(len(parts))) if len(parts) > 1 else 0.0
        distinct = int(pc.count_distinct(column.drop_null()).as_py())
        rows.append({"column": name, "known": f"{share.value:.1%}", "values": distinct, "evenness": spread})
    text = (
        f"{now.num_rows:,} profiles. Known is the share of customers with a value; evenness of texts is 1 where all values are equally "
        "frequent and 0 where everybody is the same."
    )
    return Section("Coverage and diversity of profiles", (text,), (), tuple(rows))


def _recommender(home: Home, *, as_of: datetime, days: int) -> Section:
    from tradewind.learn import base
    from tradewind.learn.evaluate import evaluate_fitted
    from tradewind.learn.registry import active, learned
    from tradewind.learn.report import section
    from tradewind.learn.sequences import sequences

    title = "The recommender in use"
    if not learned(home, "recommend"):
        return Section(title, ("No recommender was learned yet. Run tradewind learn.",))
    version = active(home, "recommend")
    log = sequences(home.tables, as_of=as_of)
    _, future = log.split(version.as_of)
    buyers = len(np.unique(future.owner[future.kind == _purchase()])) if len(future.at) else 0
    if buyers < FEW:
        few = (
            f'"{version.card["recommend"]}" learned until {version.as_of:%Y-%m-%d}; {buyers} customers bought since, and {FEW} are needed '
            "to judge it on what it has not seen. tradewind learn --evaluate judges it on a split of the past."
        )
        return Section(title, (few,))
    model = base.load(version.path)
    if not np.array_equal(model.items, log.items):
        return Section(title, ("The catalogue has changed since the recommender learned. Run tradewind learn, then judge it.",))
    found = section(evaluate_fitted([model], log, version.as_of, horizon_days=days))
    return Section(title, found.text, found.estimates, found.rows)


def _purchase() -> int:
    from tradewind.learn.sequences import KINDS

    return KINDS.index("purchase")


def _moved(before: pa.Table, now: pa.Table, days: int) -> Section:
    title = "What has moved"
    if min(before.num_rows, now.num_rows) < FEW:
        return Section(title, (f"Fewer than {FEW} profiles now or {days} days ago: too few to compare.",))
    names = [name for name in now.column_names if name not in _KEYS and not pa.types.is_timestamp(now.schema.field(name).type)]
    found = [psi(_plain(before[name]), _plain(now[name]), name=name, comparisons=len(names)) for name in names]
    found.sort(key=lambda one: -(one.psi - one.chance))
    rows = tuple(
        {"column": one.name, "PSI": one.psi, "by chance up to": one.chance, "bins": one.bins, "verdict": one.verdict}
        for one in found[:_SHOWN]
    )
    counts = {kind: sum(one.verdict == kind for one in found) for kind in ("stable", "moved", "shifted")}
    text = (
        f"Profiles now against {days} days ago: {counts['shifted']} of {len(found)} columns shifted, {counts['moved']} moved a little, "
        f"{counts['stable']} within what chance gives at this size. A shifted column makes models old: learn again."
    )
    return Section(title, (text,), (), rows)


def _plain(column: pa.ChunkedArray) -> Any:
    if pa.types.is_string(column.type):
        return column.to_pylist()
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _matrix(table: pa.Table) -> tuple[list[str], Values]:
    """Numeric columns with missing values at the column's median, and without columns that never vary."""
    names, columns = [], []
    for name in table.column_names:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            continue
        values = np.asarray(_plain(table[name]), dtype=np.float64)
        known = values[~np.isnan(values)]
        if len(np.unique(known)) > 1:
            names.append(name)
            columns.append(np.where(np.isnan(values), np.median(known), values))
    return names, np.column_stack(columns) if columns else np.zeros((table.num_rows, 0))


def _health(home: Home, *, as_of: datetime, days: int) -> Section:
    """Shares of rows that something is wrong with, in the last ``days``."""
    import ibis

    events = home.tables.events(as_of=as_of)
    recent = events.filter(events.at >= ibis.literal(as_of - timedelta(days=days)))
    items = home.tables.get("items").select("item", price="price", cost="cost")
    joined = recent.left_join(items.mutate(there=ibis.literal(1)), "item")
    bought = joined.kind == "purchase"
    named = joined.item.notnull()

    def count(flag: Any) -> Any:
        return ibis.coalesce(ibis.ifelse(flag, 1, 0).sum(), 0).cast("int64")

    row = home.tables.to_arrow(
        joined.aggregate(
            rows=joined.count(),
            nobody=count(joined.customer.isnull()),
            named=count(named),
            unknown=count(named & joined.there.isnull()),
            bought=count(bought),
            free=count(bought & (joined.value.isnull() | (joined.value <= 0))),
            uncosted=count(bought & joined.cost.isnull()),
            days=joined.at.date().nunique(),
            last=joined.at.max(),
        )
    ).to_pylist()[0]
    if not row["rows"]:
        return Section("Health of the data", (f"No event in the last {days} days: the log has stopped.",))
    checks = (
        ("events that name no customer", row["nobody"], row["rows"]),
        ("events about an item that the catalogue does not have", row["unknown"], row["named"]),
        ("order lines without a value above 0", row["free"], row["bought"]),
        ("order lines whose item has no cost", row["uncosted"], row["bought"]),
        ("days without any event", days - min(int(row["days"]), days), days),
    )
    values = tuple(Estimate(name, part / whole, n=whole, unit="share") for name, part, whole in checks if whole)
    silent = (as_of - row["last"]).total_seconds() / 3600
    text = (f"{row['rows']:,} events in the last {days} days; the newest is {silent:,.0f} hours old.",)
    return Section("Health of the data", text, values)
