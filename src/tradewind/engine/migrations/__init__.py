"""Alembic's scripts: how an older ledger becomes today's. Never edit a revision that was released."""
