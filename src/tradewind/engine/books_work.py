"""Ledger table about work that comes back: which job is submitted when."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, String, Table, Text

from tradewind.engine.ledger import metadata

schedules = Table(
    "schedules",
    metadata,
    Column("schedule", String(64), primary_key=True),
    Column("job", String(64), nullable=False),
    Column("args", Text, nullable=False),  # JSON
    Column("cron", String(100), nullable=False),
    Column("zone", String(64), nullable=False),  # IANA
    Column("active", Boolean, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("last_job", String(64)),
    Column("last_at", BigInteger),
    Column("skipped", BigInteger, nullable=False),  # times that came while the job before was not done, or nobody worked
)
