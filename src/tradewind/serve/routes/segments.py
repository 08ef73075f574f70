"""Segments: how many customers are where, how many an expression finds, and why somebody is in it."""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views_customers import CustomerLine, Member, everybody, member

router = APIRouter(tags=["segments"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Text = Annotated[str, Field(min_length=1, max_length=4_000)]


class Segment(BaseModel):
    """A segment and its size. `expression` is that of an audience; null for segments by recency, frequency and money, and for stages."""

    name: str
    kind: Literal["rfm", "stage", "audience"]
    customers: int
    share: float = Field(description="Of all customers, 0 to 1.")
    expression: str | None


class Column(BaseModel):
    """What an expression may name."""

    name: str
    kind: Literal["number", "text", "flag"]
    known: float = Field(description="Share of customers with a value, 0 to 1.")
    values: list[str] = Field(description="Of a text with few values: all of them.")


class Expression(BaseModel):
    """An expression over profiles, such as `recency_days > 30 and stage != "new"`."""

    expression: Text


class Found(BaseModel):
    """How many an expression finds, and some of them."""

    customers: int
    of: int
    share: float
    some: list[CustomerLine]


@router.get("/v1/segments")
def segments(held: Held, _caller: Reader) -> list[Segment]:
    """Segments by recency, frequency and money; stages; and the audiences of campaigns that run, each with its size."""
    table = everybody(held)[1]
    found = [
        _segment(str(one["values"]), "rfm" if name == "segment" else "stage", int(one["counts"]), table)
        for name in ("segment", "stage")
        for one in sorted(pc.value_counts(table[name]).to_pylist(), key=lambda one: -one["counts"])
    ]
    for campaign in held.shop.campaigns.all():
        if campaign.state == "running" and (text := campaign.spec.get("audience")):
            size = held.shop.people.inside(table, text).num_rows
            found.append(_segment(campaign.campaign, "audience", size, table, text))
    return found


@router.get("/v1/segments/columns")
def columns(held: Held, _caller: Reader) -> list[Column]:
    """What an expression may name, and the values of texts that have few."""
    table = held.shop.people.columns(everybody(held)[1])
    return [_column(table, field) for field in table.schema if not pa.types.is_timestamp(field.type)]


@router.post("/v1/segments/evaluate")
def evaluate(told: Expression, held: Held, _caller: Reader) -> Found:
    """How many customers an expression finds now; an audience that campaigns would refuse is refused here, too."""
    table = everybody(held)[1]
    inside = held.shop.people.inside(table, told.expression)
    some = inside.slice(0, 20).select(list(CustomerLine.model_fields)).to_pylist()
    share = inside.num_rows / table.num_rows if table.num_rows else 0.0
    return Found(customers=inside.num_rows, of=table.num_rows, share=share, some=[CustomerLine(**row) for row in some])


@router.get("/v1/segments/why")
def why(held: Held, _caller: Reader, expression: Annotated[str, Query(min_length=1, max_length=4_000)], customer: views.Word) -> Member:
    """Why a customer is found by an expression, or not: every comparison with the customer's value."""
    return member(held.shop.people.why(everybody(held)[1], expression, customer))


def _segment(name: str, kind: Literal["rfm", "stage", "audience"], size: int, table: pa.Table, text: str | None = None) -> Segment:
    return Segment(name=name, kind=kind, customers=size, share=size / table.num_rows if table.num_rows else 0.0, expression=text)


def _column(table: pa.Table, field: pa.Field) -> Column:
    column, few = table[field.name], list[str]()
    known = 1 - column.null_count / table.num_rows if table.num_rows else 0.0
    if pa.types.is_string(field.type):
        distinct = pc.unique(column.drop_null())
        few = sorted(distinct.to_pylist()) if len(distinct) <= 50 and field.name != "customer" else []
        return Column(name=field.name, kind="text", known=known, values=few)
    return Column(name=field.name, kind="flag" if pa.types.is_boolean(field.type) else "number", known=known, values=[])
