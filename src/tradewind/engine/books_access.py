"""Ledger tables about who may use the service: keys of programs, people of the console and their sessions. No secret in clear."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from tradewind.engine.ledger import metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False),  # SHA-256: the secret is random, 256 bits
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)
users = Table(
    "users",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),  # Argon2id
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
)
user_sessions = Table(
    "user_sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("user_sessions_name", "name"),
)
