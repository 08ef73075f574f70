"""Risk: backtests, permits and the whitelist of rules, verdicts with their reviews, and labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the five tables."""
    op.create_table(
        "risk_backtests",
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "digest"),
    )
    op.create_table(
        "risk_permits",
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule"),
    )
    op.create_table(
        "risk_trusted",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject"),
    )
    op.create_table(
        "risk_checks",
        sa.Column("check_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("moment", sa.String(length=255), nullable=True),
        sa.Column("customer", sa.String(length=255), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("trusted", sa.String(length=16), nullable=True),
        sa.Column("fired", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Text(), nullable=False),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("by", sa.String(length=255), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("check_id"),
    )
    op.create_index("risk_checks_state", "risk_checks", ["state", "at"], unique=False)
    op.create_index("risk_checks_moment", "risk_checks", ["moment"], unique=False)
    op.create_table(
        "risk_labels",
        sa.Column("moment", sa.String(length=255), nullable=False),
        sa.Column("fraud", sa.Integer(), nullable=False),
        sa.Column("known_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("moment"),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("risk_labels", "risk_checks", "risk_trusted", "risk_permits", "risk_backtests"):
        op.drop_table(name)
