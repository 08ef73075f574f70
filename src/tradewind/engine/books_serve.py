"""The ledger table of the service: decisions that were answered, each with its trace, until they are a plan like any other."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from tradewind.engine.ledger import metadata

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", String(64), primary_key=True),
    Column("customer", String(255), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("live_of", String(64), nullable=False),  # the plan whose prices it was decided at
    Column("plan_id", String(64)),  # the plan that it was gathered into; NULL: still here
    Column("told", Text),  # JSON: the row of schema.PLAN, its features, the stock it saw; NULL once gathered
    Index("decisions_open", "plan_id", "at"),
)
