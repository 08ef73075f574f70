"""Who was erased, and what each model version learned from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "erasures",
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index("erasures_finished", "erasures", ["finished_at"], unique=False)
    op.create_table(
        "training_sets",
        sa.Column("set_id", sa.String(length=64), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("set_id"),
    )
    op.create_table(
        "trainings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("set_id", sa.String(length=64), nullable=False),
        sa.Column("erased", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_index("trainings_deadline", "trainings", ["deadline"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("trainings")
    op.drop_table("training_sets")
    op.drop_table("erasures")
