"""Ledger tables about what is owed to people: the audit chain, and the acts of consent behind ``ledger.consents``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from tradewind.engine.ledger import metadata

audit = Table(
    "audit",  # append-only: each row holds the hash of the one before; ``engine.audit`` is the only writer
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(255), nullable=False),  # "person:NAME" or "policy:NAME"
    Column("action", String(64), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Index("audit_subject", "subject"),
)
audit_head = Table(
    "audit_head",  # one row: where the chain ends. Writers queue for it, and a cut tail shows
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
