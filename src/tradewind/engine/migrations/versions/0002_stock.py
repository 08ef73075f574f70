"""Pieces that decisions promise: a count per thing, and who holds what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "stock",
        sa.Column("thing", sa.String(length=300), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("thing"),
    )
    op.create_table(
        "promises",
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("thing", sa.String(length=300), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", "thing"),
    )
    op.create_index("promises_until", "promises", ["until"], unique=False)
