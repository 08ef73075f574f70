"""Bring a ledger up to date with Alembic, without a configuration file and within the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tradewind.engine import (  # noqa: F401  their tables join the metadata
    books_access,
    books_attributes,
    books_campaigns,
    books_channels,
    books_deliver,
    books_people,
    books_risk,
    books_serve,
    books_vault,
    books_work,
)
from tradewind.engine.ledger import metadata
from tradewind.errors import StateError

HEAD = "0014"  # the newest file in migrations/versions; a test compares
SCRIPTS = Path(__file__).parent / "migrations"
_KEY = 0x7261_6465  # of the PostgreSQL lock that lets one process migrate


def migrate(conn: Connection) -> None:
    """Run the revisions that the ledger lacks.

    Raises
    ------
    StateError
        The ledger is of a newer Tradewind, or the database holds tables of other programs under our names.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})
    current = revision(conn)
    if current == HEAD:
        return
    if current is not None and current not in revisions():
        raise StateError(
            f'The ledger has schema "{current}", which this Tradewind does not know (it knows up to "{HEAD}"). '
            "A newer version made it: upgrade Tradewind."
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def revision(conn: Connection) -> str | None:
    """The revision of a ledger; None for an empty database.

    Raises StateError for a database that has tables of ours but no revision: somebody else's.
    """
    names = set(inspect(conn).get_table_names())
    if "alembic_version" in names:
        found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)
    if strangers := sorted(names & set(metadata.tables)):
        raise StateError(
            f"The database has a table {strangers[0]!r} that Tradewind did not make. Use a database (or a file) of its own for the ledger."
        )
    return None


def revisions() -> set[str]:
    """Every revision that this version ships."""
    return {path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py")}
