"""Contact points and consents of a load: they go to the vault and the ledger, never into a table."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from tradewind.collect.mapping import MappingFile
from tradewind.collect.sources.base import literal
from tradewind.schema import CONSENTS, CONTACTS, conform

if TYPE_CHECKING:
    import duckdb

    from tradewind.engine.home import Home


def put(home: Home, con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, int]:
    """Move contact points into the vault; returns how many are new or changed, and how many were refused."""
    from tradewind.collect.vault import Vault

    rows = conform(con.sql(f"{sql} ORDER BY ALL").to_arrow_table(), CONTACTS)
    stored = Vault(home).put(rows)
    return stored.new + stored.changed, stored.refused + stored.erased


def record(home: Home, con: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Append consents to the ledger; returns how many are new."""
    from tradewind.collect.consent import Consents

    return Consents(home).record(conform(con.sql(f"{sql} ORDER BY ALL").to_arrow_table(), CONSENTS)).new


def assume(home: Home, con: duckdb.DuckDBPyConnection, customers: str, *, channel: str, mapping: MappingFile, now: datetime) -> int:
    """Record a declared consent for customers without any word on ``channel``; returns how many."""
    from tradewind.collect.consent import Consents

    consents = Consents(home)
    con.register("consents_now", consents.current())
    silent = con.sql(
        f"SELECT DISTINCT customer FROM ({customers}) WHERE customer IS NOT NULL AND customer NOT IN "
        f"(SELECT customer FROM consents_now WHERE channel = {literal(channel)}) ORDER BY customer"
    ).to_arrow_table()
    con.unregister("consents_now")
    count = silent.num_rows
    source = f"assumed: {mapping.path.name if mapping.path else mapping.name or 'mapping'}"
    columns = [
        silent["customer"],
        pa.array([channel] * count),
        pa.array([True] * count),
        pa.array([now] * count, CONSENTS.field("at").type),
    ]
    rows = pa.table([*columns, pa.array([source] * count, pa.string())], names=CONSENTS.names)
    return consents.record(conform(rows, CONSENTS)).new if count else 0
