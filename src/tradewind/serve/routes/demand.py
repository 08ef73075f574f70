"""Demand: what will be sold, with bands, and what to order, with the reason on every line."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from tradewind.errors import NotFound
from tradewind.learn._demand_orders import Terms
from tradewind.learn.demand_words import sentence
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.submit import submit
from tradewind.serve.views import Name, Sentence, Submitted
from tradewind.shop import Shop

router = APIRouter(tags=["demand"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class DemandItem(BaseModel):
    """An item and what is expected of it over the whole horizon, in pieces."""

    item: str
    store: str | None
    expected: float
    days: int


class Band(BaseModel):
    """Pieces in one period: expected, and the quantiles that they stay below with that probability."""

    day: date = Field(description="First day of the period, UTC.")
    expected: float
    q5: float
    q25: float
    q50: float
    q75: float
    q95: float


class Forecast(BaseModel):
    """The forecast of one item, one series for each store."""

    item: str
    store: str | None
    bands: list[Band]


class Total(BaseModel):
    """Pieces of a group in one period."""

    group: str
    day: date
    expected: float


class OrderLine(BaseModel):
    """A proposal for one item. Nothing is ordered."""

    item: str
    store: str | None
    order: int = Field(description="Pieces to order now; 0 where there is enough.")
    stock: float | None = Field(description="Null: unknown, counted as nothing.")
    in_transit: float
    expected: float = Field(description="Pieces over lead time and review period.")
    up_to: float = Field(description="Pieces that stock and transit should reach.")
    service: float = Field(description="The critical ratio, 0 to 1.")
    lasts: float | None = Field(description="Periods that stock and transit last; null beyond the horizon.")
    money: int | None = Field(description="Of the order at cost, minor units.")
    currency: str | None
    reasons: list[Sentence]


class LearnDemand(BaseModel):
    """How far ahead."""

    horizon: int = Field(default=28, ge=1, le=366)
    as_of: AwareDatetime | None = None
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


@router.get("/v1/demand/items")
def items(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[DemandItem]:
    """Items by what is expected of them, the most first."""
    table = _table(held)
    keys = [*table.group_by(["item", "store"]).aggregate([("expected", "sum"), ("day", "count")]).to_pylist()]
    rows = [DemandItem(item=one["item"], store=one["store"], expected=one["expected_sum"], days=one["day_count"]) for one in keys]
    rows.sort(key=lambda one: (-one.expected, one.item, one.store or ""))
    return views.paged(rows, limit=limit, after=after, key=lambda one: one.item if one.store is None else f"{one.item}:{one.store}")


@router.get("/v1/demand/items/{item}")
def item(item: Name, held: Held, _caller: Reader) -> list[Forecast]:
    """The forecast of one item with its bands."""
    table = _table(held)
    mine = table.filter(pc.equal(table["item"], item)).to_pylist()
    if not mine:
        raise NotFound(f'There is no demand of item "{item}": it was never sold, or not before demand was learned.')
    stores: dict[str | None, list[Band]] = {}
    for row in mine:
        stores.setdefault(row["store"], []).append(Band(**{name: row[name] for name in Band.model_fields}))
    return [Forecast(item=item, store=store, bands=bands) for store, bands in stores.items()]


@router.get("/v1/demand/totals")
def totals(held: Held, _caller: Reader, by: Literal["category", "brand", "store", "all"] = "category") -> list[Total]:
    """The forecast added up, bottom-up."""
    table: pa.Table = kept(held, ("demand", by), lambda shop: shop.demand.totals(by=by))
    return [Total(group=row["group"], day=_day(row["day"]), expected=row["expected"]) for row in table.to_pylist()]


@router.get("/v1/demand/orders")
def orders(
    held: Held,
    _caller: Reader,
    lead: Annotated[int, Query(ge=1, le=366, description="Periods until an order arrives.")] = 7,
    review: Annotated[int, Query(ge=1, le=366, description="Periods between orders.")] = 7,
    service: Annotated[float | None, Query(ge=0.01, le=0.99, description="Critical ratio; from price and cost when left out.")] = None,
    everything: Annotated[bool, Query(alias="all", description="Also items of which there is enough.")] = False,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[OrderLine]:
    """What to buy, with quantity, money and the reasons on every line."""
    usual = Terms(lead=lead, review=review, service=service)
    lines = kept(held, ("orders", lead, review, service), lambda shop: shop.demand.order(usual=usual))
    currency = held.shop.home.settings.currency
    rows = [
        OrderLine(
            item=one.item, store=one.store, order=one.order, stock=one.stock, in_transit=one.in_transit, expected=one.expected,
            up_to=one.upto, service=one.ratio, lasts=one.lasts, money=one.money, currency=currency,
            reasons=[
                Sentence(code=why.code, en=sentence([why], locale="en"), zh=sentence([why], locale="zh-CN")) for why in one.reasons
            ],
        )
        for one in lines
        if everything or one.order
    ]  # fmt: skip
    return views.paged(rows, limit=limit, after=after, key=lambda one: one.item if one.store is None else f"{one.item}:{one.store}")


@router.post("/v1/demand/learn", status_code=202)
def learn(told: LearnDemand, held: Held, caller: Annotated[Caller, needs("operate")]) -> Submitted:
    """Learn demand from the purchases; a job."""
    return submit(held, "demand", told.model_dump(mode="json", exclude_none=True), by=caller)


def _table(held: Held) -> pa.Table:
    def make(shop: Shop) -> pa.Table:
        table = shop.demand.forecast(levels=LEVELS)
        days = pa.array([_day(one) for one in table["day"].to_pylist()], pa.date32())
        return table.set_column(table.schema.get_field_index("day"), "day", days)

    return kept(held, "demand", make)


def _day(value: object) -> date:
    return date.fromisoformat(str(np.datetime64(value, "D")))  # type: ignore[call-overload]
