"""Alembic runs this: migrate on the connection, and inside the transaction, that ``engine.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from tradewind.engine.ledger import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
