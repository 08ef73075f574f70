"""Named segments from recency, frequency and money, and how good profiles are: do they predict, cover and tell apart?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn.profiles import PROFILE, STAGES, profiles
from tradewind.stats.binary import auc, interval
from tradewind.types import Estimate

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

TAGS = ("locale", "zone", "top_category", "top_brand", "price_band", "best_hour", "best_channel", "interval_days", "refund_share")
DIVERSE = ("stage", "top_category", "top_brand", "price_band", "best_hour", "best_channel")
INPUTS = tuple(f.name for f in PROFILE if pa.types.is_integer(f.type) or pa.types.is_floating(f.type))

# From the best to the worst: (name, recency, frequency and money at least); 5 is the most recent, most frequent, dearest.
SEGMENTS = (
    ("champions", 4, 4, 4),
    ("loyal", 3, 4, 1),
    ("big_spenders", 3, 1, 4),
    ("promising", 4, 1, 1),
    ("needs_attention", 3, 1, 1),
    ("cannot_lose", 1, 4, 4),
    ("hibernating", 1, 1, 1),
)


def rfm(table: pa.Table) -> pa.Table:
    """Scores 1..5 by quintile among buyers, int8, and a segment for each row of a profile table, in its order.

    Columns: customer, recency, frequency, money, segment. Equal values share a score; who never bought has null scores
    and the segment "prospect".
    """
    buys = table["frequency"].to_numpy() > 0
    silence = table["recency_days"].fill_null(0.0).to_numpy()
    scores = {
        "recency": _fifths(-silence, buys),
        "frequency": _fifths(table["frequency"].to_numpy(), buys),
        "money": _fifths(table["monetary"].to_numpy(), buys),
    }
    segment = np.full(table.num_rows, "prospect", dtype=object)
    for name, *least in reversed(SEGMENTS):
        fits = buys.copy()
        for score, low in zip(scores.values(), least, strict=True):
            fits &= score >= low
        segment[fits] = name
    columns = {name: pa.array(score, pa.int8(), mask=~buys) for name, score in scores.items()}
    return pa.table({"customer": table["customer"], **columns, "segment": pa.array(segment, pa.string())})


def _fifths(values: NDArray[np.generic], among: NDArray[np.bool_]) -> NDArray[np.int8]:
    known = np.sort(values[among])
    return (1 + 5 * np.searchsorted(known, values, side="left") // max(len(known), 1)).clip(1, 5).astype(np.int8)


def profile_quality(tables: Tables, *, as_of: datetime, horizon_days: int = 30, seed: int = 0) -> dict[str, Estimate]:
    """What profiles as of ``as_of - horizon_days`` are worth, judged by the ``horizon_days`` after them.

    ``auc``: for "buys within the horizon", predicted from the profile by LightGBM that learned on profiles two horizons
    before ``as_of`` and the purchases of the horizon after those, so nothing of the judged time; ``auc_recency`` and
    ``auc_frequency``: the same for plain recency and frequency. Over customers who had bought. Intervals resample customers.
    ``coverage_<tag>``: share of customers with a value; ``coverage_confident``: with a category at confidence of 0.5 or
    more. ``diversity_<tag>``: entropy of the values over its maximum, 0 (all alike) to 1 (evenly spread).

    Raises
    ------
    InputError
        The horizon is below one day, or there are too few buyers before the cuts to learn from.
    """
    if horizon_days < 1:
        raise InputError(f"profile_quality: horizon_days must be 1 or more; got {horizon_days}.")
    horizon = timedelta(days=horizon_days)
    train, y_train = _buyers(tables, profiles(tables, as_of=as_of - 2 * horizon), as_of - 2 * horizon, horizon)
    if len(np.unique(y_train)) < 2 or len(y_train) < 50:
        raise _too_few(as_of - 2 * horizon, horizon_days, y_train)
    whole = profiles(tables, as_of=as_of - horizon)
    test, y = _buyers(tables, whole, as_of - horizon, horizon)
    if len(np.unique(y)) < 2:
        raise _too_few(as_of - horizon, horizon_days, y)
    units = np.array(test["customer"].to_pylist())
    scores = {
        "auc": _predicted(train, y_train, test, seed=seed),
        "auc_recency": -test["recency_days"].to_numpy(),
        "auc_frequency": test["frequency"].to_numpy().astype(float),
    }
    found = {name: interval(auc, y, score, units, name=name, seed=seed, draws=200) for name, score in scores.items()}
    return found | coverage(whole) | diversity(whole)


def coverage(table: pa.Table, *, tags: Sequence[str] = TAGS) -> dict[str, Estimate]:
    """Share of the customers of a profile table who have each tag, and who have a category with confidence."""
    n = max(table.num_rows, 1)
    shares = {tag: (table.num_rows - table[tag].null_count) / n for tag in tags}
    shares["confident"] = (pc.sum(pc.greater_equal(table["category_confidence"], 0.5)).as_py() or 0) / n
    return {f"coverage_{tag}": Estimate(name=f"coverage_{tag}", value=share, n=table.num_rows) for tag, share in shares.items()}


def diversity(table: pa.Table, *, tags: Sequence[str] = DIVERSE) -> dict[str, Estimate]:
    """Normalised entropy of each tag over the customers who have it; 0 where at most one value occurs."""
    found = {}
    for tag in tags:
        counts = np.array([row["counts"] for row in pc.value_counts(table[tag].drop_null()).to_pylist()], dtype=float)
        share = counts / max(counts.sum(), 1.0)
        most = len(STAGES) if tag == "stage" else len(counts)
        value = float(-(share * np.log(share)).sum() / math.log(most)) if len(counts) > 1 else 0.0
        found[f"diversity_{tag}"] = Estimate(name=f"diversity_{tag}", value=value, n=int(counts.sum()))
    return found


def _too_few(cut: datetime, days: int, y: NDArray[np.float64]) -> InputError:
    return InputError(
        f"profile_quality needs 50 or more buyers before {cut:%Y-%m-%d}, of whom some buy again within {days} days and some do not; "
        f"got {len(y)} with {int(y.sum())}. Collect a longer history or choose a shorter horizon."
    )


def _buyers(tables: Tables, whole: pa.Table, cut: datetime, horizon: timedelta) -> tuple[pa.Table, NDArray[np.float64]]:
    """Of the profiles as of the cut those who had bought, and whether they buy before ``cut + horizon``."""
    table = whole.filter(pc.greater(whole["frequency"], 0))
    events = tables.events(as_of=cut + horizon)
    after = events.filter((events.kind == "purchase") & (events.at >= _time(cut)))
    who = tables.to_arrow(after.select("customer").distinct())["customer"].drop_null().combine_chunks()
    return table, pc.is_in(table["customer"], value_set=who).to_numpy().astype(np.float64)


def _time(at: datetime) -> object:
    import ibis

    return ibis.literal(at).cast("timestamp('UTC')")


def _predicted(train: pa.Table, y: NDArray[np.float64], test: pa.Table, *, seed: int) -> NDArray[np.float64]:
    import lightgbm

    def matrix(table: pa.Table) -> NDArray[np.float64]:
        return np.column_stack([table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in INPUTS])

    settings = {
        "objective": "binary", "num_leaves": 7, "learning_rate": 0.05, "min_data_in_leaf": min(40, max(5, len(y) // 20)), "lambda_l2": 5.0,
        "feature_fraction": 0.7, "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix(train), y), num_boost_round=120)
    predicted: NDArray[np.float64] = booster.predict(matrix(test), num_threads=1)
    return predicted
