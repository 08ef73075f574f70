"""Ledger tables about risk: what was verified and allowed to act, who is trusted, what was decided of whom, and what turned out."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from tradewind.engine.ledger import metadata

risk_backtests = Table(
    "risk_backtests",  # the newest of each text of a rule
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("digest", String(16), primary_key=True),  # of the rule's text
    Column("at", BigInteger, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("figures", Text, nullable=False),  # JSON
)
risk_permits = Table(
    "risk_permits",  # which text of a rule may act; taken away by deleting the row, the audit log remembers
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("digest", String(16), nullable=False),
    Column("by", String(255), nullable=False),
    Column("at", BigInteger, nullable=False),
)
risk_trusted = Table(
    "risk_trusted",  # the whitelist
    metadata,
    Column("kind", String(16), primary_key=True),  # "customer" | "device" | "address"
    Column("subject", String(255), primary_key=True),
    Column("by", String(255), nullable=False),
    Column("why", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
risk_checks = Table(
    "risk_checks",  # every verdict, and what shadow rules would have said
    metadata,
    Column("check_id", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("moment", String(255)),  # the order or the claim
    Column("customer", String(255)),
    Column("verdict", String(16), nullable=False),  # "allow" | "review" | "block"
    Column("trusted", String(16)),  # the kind of the key on the whitelist that let it pass
    Column("fired", Text, nullable=False),  # JSON: names of acting rules
    Column("shadow", Text, nullable=False),  # JSON: names of rules that only watch
    Column("features", Text, nullable=False),  # JSON: what the rules that fired looked at
    Column("amount", BigInteger),
    Column("state", String(16)),  # of a review: "open" | "approved" | "rejected"
    Column("by", String(255)),
    Column("note", Text),
    Column("settled_at", BigInteger),
    Index("risk_checks_state", "state", "at"),
    Index("risk_checks_moment", "moment"),
)
risk_labels = Table(
    "risk_labels",  # what turned out: chargebacks from files, decisions of reviews. A later word on a moment replaces an earlier one
    metadata,
    Column("moment", String(255), primary_key=True),
    Column("fraud", Integer, nullable=False),  # 1 or 0
    Column("known_at", BigInteger, nullable=False),
    Column("source", String(16), nullable=False),  # "review" | "file"
)
