"""Ledger tables of delivery beside the outbox: what providers allow, what an operator stopped, and what happened to a message."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from tradewind.engine.ledger import metadata

gates = Table(
    "gates",  # one row per provider ("smtp mail.example:587") and per channel ("channel email"); none: open, nothing known
    metadata,
    Column("gate", String(300), primary_key=True),
    Column("tat", BigInteger, nullable=False),  # token bucket: when it will be full again (theoretical arrival time of GCRA)
    Column("misses", Integer, nullable=False),  # transient failures in a row, over all workers
    Column("opened", Integer, nullable=False),  # how often in a row the breaker opened; 0: closed
    Column("open_until", BigInteger, nullable=False),
    Column("probe_until", BigInteger, nullable=False),  # until when one worker tries whether the provider is back
    Column("stopped", Text),  # why nothing leaves until an operator resumes; NULL: running
    Column("since", BigInteger, nullable=False),  # complaints and bounces before this moment are forgiven
)
tallies = Table(
    "tallies",  # accepted messages per channel and hour, counted when their ``sent`` events are logged
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # of the hand-off: its first microsecond
    Column("sent", BigInteger, nullable=False),
)
history = Table(
    "message_history",  # what a row of the outbox would forget: refusals, doubts, suppressions, and what an operator did
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("step", BigInteger, primary_key=True),  # the fence of the row at that moment
    Column("at", BigInteger, primary_key=True),
    Column("state", String(16), primary_key=True),  # the state that it entered
    Column("detail", Text),
    Column("actor", String(64), nullable=False),  # the worker, "operator", ...
    Index("message_history_at", "at"),
)
