"""Work that comes back, and who asked for a job, when, and what it is at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table of schedules; jobs tell more."""
    op.create_table(
        "schedules",
        sa.Column("schedule", sa.String(length=64), nullable=False),
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("cron", sa.String(length=100), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("last_job", sa.String(length=64), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("schedule"),
    )
    op.add_column("jobs", sa.Column("created_at", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("made_by", sa.String(length=255), nullable=True))
    op.add_column("jobs", sa.Column("step", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop what was added."""
    for name in ("step", "made_by", "created_at"):
        op.drop_column("jobs", name)
    op.drop_table("schedules")
