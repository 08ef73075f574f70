"""Ledger table of what was read about items and waits for a person, or was decided by one."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, String, Table, Text

from tradewind.engine.ledger import metadata

attribute_proposals = Table(
    "attribute_proposals",
    metadata,
    Column("item", String(255), primary_key=True),
    Column("attribute", String(64), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("state", String(16), nullable=False),  # "proposed" | "confirmed" | "rejected"
    Column("confidence", Float, nullable=False),  # 0 to 1: of its surest source
    Column("evidence", Text, nullable=False),  # JSON list, one entry per source
    Column("texts", Text, nullable=False),  # JSON object: how the value is called in a language
    Column("proposed_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("decided_by", String(255)),
    Index("attribute_proposals_state", "state", "decided_at"),
)
