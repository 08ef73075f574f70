"""What was read about items and waits for a person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create one table."""
    op.create_table(
        "attribute_proposals",
        sa.Column("item", sa.String(length=255), nullable=False),
        sa.Column("attribute", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("texts", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("item", "attribute", "value"),
    )
    op.create_index("attribute_proposals_state", "attribute_proposals", ["state", "decided_at"], unique=False)


def downgrade() -> None:
    """Drop it."""
    op.drop_table("attribute_proposals")
