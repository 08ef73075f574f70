"""Campaigns, the plans they made, and what triggers remember and fired."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "campaigns",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "version"),
    )
    op.create_table(
        "campaign_plans",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id"),
    )
    op.create_index("campaign_plans_campaign", "campaign_plans", ["campaign", "at"], unique=False)
    op.create_table(
        "trigger_marks",
        sa.Column("trigger", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trigger"),
    )
    op.create_table(
        "trigger_states",
        sa.Column("trigger", sa.String(length=64), nullable=False),
        sa.Column("customer", sa.String(length=255), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("trigger", "customer"),
    )
    op.create_index("trigger_states_due", "trigger_states", ["trigger", "due"], unique=False)
    op.create_table(
        "firings",
        sa.Column("firing_id", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("customer", sa.String(length=255), nullable=False),
        sa.Column("episode", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("firing_id"),
    )
    op.create_index("firings_campaign", "firings", ["campaign", "state", "at"], unique=False)
    op.create_table(
        "item_states",
        sa.Column("item", sa.String(length=255), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("item"),
    )
    op.create_table(
        "item_changes",
        sa.Column("item", sa.String(length=255), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=True),
        sa.Column("after", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("item", "at", "kind"),
    )
    op.create_index("item_changes_at", "item_changes", ["at"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("item_changes")
    op.drop_table("item_states")
    op.drop_table("firings")
    op.drop_table("trigger_states")
    op.drop_table("trigger_marks")
    op.drop_table("campaign_plans")
    op.drop_table("campaigns")
