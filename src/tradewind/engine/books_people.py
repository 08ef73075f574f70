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
consent_acts = Table(
    "consent_acts",  # append-only: what was said when, and how one knows; ``ledger.consents`` is the state that follows from it
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("channel", String(16), primary_key=True),  # or the use: "personalisation", "analytics"
    Column("at", BigInteger, primary_key=True),  # of the act
    Column("status", String(16), primary_key=True),  # "granted" | "withdrawn"
    Column("purpose", String(32), nullable=False),
    Column("basis", String(32), nullable=False),
    Column("text_version", String(64)),
    Column("text_hash", String(64)),  # of consent_texts
    Column("evidence", Text, nullable=False),  # JSON; addresses as keyed hashes only
    Column("jurisdiction", String(16)),
    Column("source", Text, nullable=False),  # who recorded it
    Column("recorded_at", BigInteger, nullable=False),
)
consent_texts = Table(
    "consent_texts",  # the words that were agreed to, kept for as long as the ledger
    metadata,
    Column("text_hash", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("locale", String(16), nullable=False),
    Column("body", Text, nullable=False),
)
consent_requests = Table(
    "consent_requests",  # double opt-in: asked, not yet agreed. Nothing here is a consent
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("customer", String(255), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("address_hash", String(64), nullable=False),
    Column("text_version", String(64), nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("jurisdiction", String(16)),
    Column("source", Text, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),
    Index("consent_requests_customer", "customer"),
)
