"""What channels keep: feedback, callbacks, touches, pulls, audiences."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
TABLES = ("audience_uploads", "audience_members", "pulls", "touches", "callbacks", "feedback")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "feedback",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("customer", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("logged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "kind"),
    )
    op.create_index("feedback_customer", "feedback", ["customer", "channel", "at"], unique=False)
    op.create_index("feedback_channel", "feedback", ["channel", "at"], unique=False)
    op.create_index("feedback_logged", "feedback", ["logged"], unique=False)
    op.create_table(
        "callbacks",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "id"),
    )
    op.create_index("callbacks_at", "callbacks", ["at"], unique=False)
    op.create_table(
        "touches",
        sa.Column("touch_id", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("link", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("logged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("touch_id"),
    )
    op.create_index("touches_message", "touches", ["message_id", "at"], unique=False)
    op.create_index("touches_logged", "touches", ["logged", "at"], unique=False)
    op.create_table(
        "pulls",
        sa.Column("pull_id", sa.String(length=64), nullable=False),
        sa.Column("customer", sa.String(length=255), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("logged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pull_id"),
    )
    op.create_index("pulls_customer", "pulls", ["customer", "slot"], unique=False)
    op.create_index("pulls_logged", "pulls", ["logged"], unique=False)
    op.create_table(
        "audience_members",
        sa.Column("audience", sa.String(length=64), nullable=False),
        sa.Column("customer", sa.String(length=255), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("audience", "customer"),
    )
    op.create_table(
        "audience_uploads",
        sa.Column("audience", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("audience", "kind", "digest"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in TABLES:
        op.drop_table(name)
