"""The customers of a shop, one row each: profile, segment, expected value, churn; and the same as tags that say how sure they are.

A tag is one statement about one customer with its confidence (0 to 1), where it comes from and when it should no longer be
believed. Who reads profiles in a table wants columns; who syncs them with another system wants tags.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.collect.studied import studied
from tradewind.errors import InputError
from tradewind.learn import price_sensitivity
from tradewind.learn._orderbook import OrderBook
from tradewind.learn.lifetime import CustomerValue
from tradewind.learn.price_sensitivity import PriceSensitivity, exposure
from tradewind.learn.profiles import profiles
from tradewind.learn.registry import active, learned, publish, retire
from tradewind.learn.segments import rfm
from tradewind.schema import TEXT, TIME
from tradewind.types import Section

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NAME = "customer_value"  # in the registry
HORIZONS = (91, 28, 14)  # days; the longest that the history allows
LEVELS = ("low", "medium", "high")
CUTS = (1 / 3, 2 / 3)  # between the levels, of a share or a chance
PSEUDO_ORDERS = 3  # confidence of what is read off n orders: n / (n + 3)

TAG = pa.schema(
    [
        pa.field("customer", TEXT, nullable=False),
        pa.field("tag", TEXT, nullable=False),
        pa.field("value", TEXT, nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),  # 0 to 1
        pa.field("source", TEXT, nullable=False),  # "events", or the model's name and version
        pa.field("updated_at", TIME, nullable=False),
        pa.field("expires_at", TIME, nullable=False),
    ],
    metadata={"tradewind.table": "tags", "tradewind.version": "1"},
)
KEPT_DAYS = {
    "segment": 30, "stage": 14, "value": 30, "churn": 30, "top_category": 90, "top_brand": 90, "price_band": 180,
    "price_sensitivity": 90, "best_hour": 60,
}  # fmt: skip


def learn(home: Home, *, as_of: datetime, now: datetime, seed: int = 0) -> Section:
    """Fit customer value on the orders before ``as_of`` and make it the active version; says why not where it cannot be."""
    book = OrderBook.read(studied(home), as_of=as_of)
    title, why = "What customers will spend", "there are no orders"
    for days in HORIZONS:
        model = CustomerValue(horizon_days=days, seed=seed)
        try:
            model.fit(book, as_of=as_of)
        except InputError as error:
            why = str(error)
            continue
        publish(home, NAME, model.save, as_of=as_of, card={"horizon_days": days, **model.card}, now=now)
        others = ", ".join(f"{name} {score:,.1f}" for name, score in sorted(model.deviance.items(), key=lambda pair: pair[1]))
        text = [f"Within {days} days: {model.chosen} was best on the latest such span that it had not seen (Tweedie deviance: {others})."]
        if model.card["problem"]:
            text.append(f"The chance still to be a customer is left out: {model.card['problem']}.")
        text.append("The shop's season is in it." if model.season else "No season factor: the history is too short for one.")
        return Section(title, tuple(text))
    retire(home, NAME)
    return Section(title, (f"Not learned: {why}",))


def customers(home: Home, *, as_of: datetime) -> pa.Table:
    """One row per customer known before ``as_of``: the columns of a profile, then segment and what is expected of buyers.

    ``segment``: by recency, frequency and money; ``expected_value`` float64, minor units within ``horizon_days``; ``churn`` the
    chance of no purchase within them; ``alive`` the chance still to be a customer. The last four are null for who never bought,
    and for everybody until a value model was learned.
    """
    table = profiles(studied(home), as_of=as_of)
    table = table.append_column("segment", rfm(table)["segment"])
    if not learned(home, NAME):
        for name in ("expected_value", "churn", "alive"):
            table = table.append_column(name, pa.nulls(table.num_rows, pa.float64()))
        return table.append_column("horizon_days", pa.nulls(table.num_rows, pa.int64()))
    model = CustomerValue.load(active(home, NAME, before=as_of).path)
    found = model.predict(OrderBook.read(studied(home), as_of=as_of), as_of=as_of)
    place = pc.index_in(table["customer"], value_set=pa.array(found.names, pa.string())).combine_chunks()

    def placed(values: NDArray[np.float64]) -> pa.Array:
        return pa.array(values, pa.float64(), mask=np.isnan(values)).take(place)

    for name, values in (("expected_value", found.value), ("churn", found.churn), ("alive", found.alive)):
        table = table.append_column(name, placed(values))
    days = pc.if_else(pc.is_valid(place), pa.scalar(model.horizon_days, pa.int64()), pa.scalar(None, pa.int64()))
    return table.append_column("horizon_days", days)


def tags(home: Home, *, as_of: datetime) -> pa.Table:
    """The statements of ``TAG`` about everybody known before ``as_of``, by customer; what is not known is not stated."""
    return stated(home, customers(home, as_of=as_of), as_of=as_of)


def stated(home: Home, table: pa.Table, *, as_of: datetime) -> pa.Table:
    """The same of some rows of :func:`customers`."""
    model = f"{NAME}@{active(home, NAME).version[:12]}" if learned(home, NAME) else ""
    orders = table["frequency"].to_numpy().astype(float)
    seen = orders / (orders + PSEUDO_ORDERS)
    parts = [
        _tag(table, "segment", table["segment"], seen, "events", as_of),
        _tag(table, "stage", table["stage"], np.ones(len(orders)), "events", as_of),
        _tag(table, "top_category", table["top_category"], _floats(table, "category_confidence"), "events", as_of),
        _tag(table, "top_brand", table["top_brand"], _floats(table, "top_brand_share") * seen, "events", as_of),
        _tag(table, "price_band", table["price_band"].cast(pa.string()), seen, "events", as_of),
        _tag(table, "best_hour", table["best_hour"].cast(pa.string()), _floats(table, "hour_confidence"), "events", as_of),
    ]
    parts += _price_sensitivity(home, table["customer"], as_of=as_of)
    if model:
        churn = _floats(table, "churn")
        rounded = pc.round(table["expected_value"]).cast(pa.int64()).cast(pa.string())
        parts.append(_tag(table, "value", rounded, seen, model, as_of))
        parts.append(_tag(table, "churn", _level(churn), np.maximum(churn, 1 - churn), model, as_of))
    return pa.concat_tables(parts).sort_by([("customer", "ascending"), ("tag", "ascending")])


def _price_sensitivity(home: Home, wanted: pa.ChunkedArray, *, as_of: datetime) -> list[pa.Table]:
    """How readily each ``wanted`` customer takes discounts, with the chance that this level is right; nothing where too few were taken.

    Everybody is read all the same: what a customer is shrunk towards is the shop.
    """
    found = exposure(home.tables, as_of=as_of)
    try:
        judged = PriceSensitivity().fit(found).predict(found)
    except InputError:
        return []
    levels = pa.array(np.array(price_sensitivity.LEVELS, dtype=object)[judged.level], pa.string())
    names = pa.table({"customer": pa.array(judged.names, pa.string())})
    tag = _tag(names, "price_sensitivity", levels, judged.confidence, "events", as_of)
    return [tag.filter(pc.is_in(tag["customer"], value_set=wanted.combine_chunks()))]


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _level(share: NDArray[np.float64]) -> pa.Array:
    names = np.array(LEVELS, dtype=object)[np.searchsorted(CUTS, np.nan_to_num(share))]
    return pa.array(names, pa.string(), mask=np.isnan(share))


def _tag(table: pa.Table, tag: str, value: Any, confidence: NDArray[np.float64], source: str, as_of: datetime) -> pa.Table:
    values = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
    stated = pc.is_valid(values)
    customer, known = table["customer"].combine_chunks().filter(stated), values.filter(stated)
    sure = np.clip(np.nan_to_num(confidence), 0.0, 1.0)[stated.to_numpy(zero_copy_only=False)]
    n = len(known)
    expires = as_of + timedelta(days=KEPT_DAYS[tag])
    columns = [
        customer, pa.array([tag] * n, pa.string()), known, pa.array(sure, pa.float64()), pa.array([source] * n, pa.string()),
        pa.array([as_of] * n, TIME), pa.array([expires] * n, TIME),
    ]  # fmt: skip
    return pa.table(dict(zip(TAG.names, columns, strict=True))).cast(TAG)
