"""Delivery: worth and category of a message, gates of providers, tallies, the history of a message; claims in the order of an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add two columns, create three tables, and let the index of the queue hold its whole order."""
    op.add_column("outbox", sa.Column("worth", sa.BigInteger(), nullable=True))
    op.add_column("outbox", sa.Column("category", sa.String(length=64), nullable=True))
    op.drop_index("outbox_due", table_name="outbox")
    op.create_index("outbox_due", "outbox", ["state", "channel", "next_at", "message_id"], unique=False)
    op.create_table(
        "gates",
        sa.Column("gate", sa.String(length=300), nullable=False),
        sa.Column("tat", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.Integer(), nullable=False),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=False),
        sa.Column("probe_until", sa.BigInteger(), nullable=False),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gate"),
    )
    op.create_table(
        "tallies",
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "hour"),
    )
    op.create_table(
        "message_history",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "step", "at", "state"),
    )
    op.create_index("message_history_at", "message_history", ["at"], unique=False)


def downgrade() -> None:
    """Drop what was added."""
    for table in ("message_history", "tallies", "gates"):
        op.drop_table(table)
    op.drop_index("outbox_due", table_name="outbox")
    op.create_index("outbox_due", "outbox", ["state", "next_at"], unique=False)
    op.drop_column("outbox", "category")
    op.drop_column("outbox", "worth")
