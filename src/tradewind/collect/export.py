"""All that a shop knows of one person, for that person: JSON for programs, Markdown and HTML for eyes; nothing of anybody else.

Every table of the ledger and every table of files is asked for rows that stand for the customer, so that a table which somebody
adds next year is exported without being told. Other people in such rows (a household, a neighbour) are left out: only columns of
the customer's own rows are given, and the household's name is not.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
from sqlalchemy import MetaData, String, or_, select

from tradewind.collect.erase import traces
from tradewind.collect.erase_plans import features_of
from tradewind.collect.vault import Vault
from tradewind.engine import audit, parquet
from tradewind.engine import ledger as books
from tradewind.errors import NotFound
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

LEFT_OUT = ("contacts", "vault_keys", "erasures", "suppressions", "alembic_version", "plans", "manifest", "audit_head")
_PLACES = {
    "contacts": "Contact points, decrypted for you",
    "consents": "What you agreed to and withdrew",
    "profile": "What we keep about you",
    "segments": "How you were grouped when something was decided",
    "events": "What you did",
    "orders": "What you bought and returned",
    "decisions": "What was decided for you, and why",
    "messages": "What you were sent",
}


@dataclass(frozen=True)
class Export:
    """One person's data: ``data`` maps sections to rows of JSON values."""

    customer: str
    at: datetime
    shop: str
    data: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For machines; times are ISO 8601, money is minor units beside a currency."""
        return {"customer": self.customer, "at": self.at.isoformat(), "shop": self.shop, **self.data}

    def to_markdown(self) -> str:
        """For reading."""
        lines = [f"# What {self.shop} knows about {self.customer}", "", f"As of {self.at:%Y-%m-%d %H:%M} UTC. Money is in minor units.", ""]
        for name, rows in self.data.items():
            lines += [f"## {_PLACES.get(name, name)} ({len(rows):,})", ""]
            lines += [f"- {_line(row)}" for row in rows] or ["Nothing."]
            lines.append("")
        return "\n".join(lines)

    def to_html(self) -> str:
        """One page, escaped, without scripts."""
        title = html.escape(f"What {self.shop} knows about {self.customer}")
        parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"]
        parts.append(f"<p>As of {self.at:%Y-%m-%d %H:%M} UTC. Money is in minor units.</p>")
        for name, rows in self.data.items():
            parts.append(f"<h2>{html.escape(_PLACES.get(name, name))} ({len(rows):,})</h2><ul>")
            parts += [f"<li>{html.escape(_line(row))}</li>" for row in rows] or ["<li>Nothing.</li>"]
            parts.append("</ul>")
        return "\n".join([*parts, "</html>\n"])


def _line(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: {value if not isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)}" for name, value in row.items()
    )


def find(home: Home, address: str) -> list[str]:
    """The customers who have an address on any channel, found by its keyed hash; in order."""
    digest, c = Vault(home).hash(address), books.contacts.c
    with home.ledger.read() as conn:
        return [
            str(name) for name in conn.execute(select(c.customer).where(c.address_hash == digest).distinct().order_by(c.customer)).scalars()
        ]


def export(home: Home, customer: str, *, now: datetime, actor: str = "person:operator") -> Export:
    """Gather everything about a customer, and note in the audit log that it was asked for.

    Raises
    ------
    NotFound
        Nothing is known of this customer, perhaps because of an erasure.
    StateError
        The master key is missing or the wrong one.
    """
    vault = Vault(home)
    if not traces(home, customer, vault.subject(customer)):
        raise NotFound(f'The shop knows nothing of a customer "{customer}". Find the id by an address: tradewind export --find ADDRESS.')
    decisions, segments = _decisions(home, customer)
    tables = _tables(home, customer)
    events = tables.pop("events", []) + _waiting(home, customer)
    events.sort(key=lambda row: str(row["at"]))
    ledger = _ledger(home, customer, {row["decision_id"] for row in decisions})
    data = {
        "contacts": _contacts(home, vault, customer),
        "consents": ledger.pop("consents", []),
        "profile": [{key: value for key, value in row.items() if key != "household"} for row in tables.pop("customers", [])],
        "segments": segments,
        "events": events,
        "orders": [row for row in events if row["kind"] in ("purchase", "refund", "redeem")],
        "decisions": decisions,
        "messages": ledger.pop("outbox", []),
        **{f"table {name}": rows for name, rows in sorted(tables.items()) if rows},
        **{f"ledger {name}": rows for name, rows in sorted(ledger.items()) if rows},
    }
    with home.ledger.write() as conn:
        audit.note(
            conn, actor, "customer.export", f"subject:{vault.subject(customer)}", {name: len(rows) for name, rows in data.items()}, at=now
        )
    return Export(customer, now, home.settings.name, data)


def _contacts(home: Home, vault: Vault, customer: str) -> list[dict[str, Any]]:
    c, s = books.contacts.c, books.suppressions.c
    with home.ledger.read() as conn:
        rows = conn.execute(select(c.channel, c.address_hash).where(c.customer == customer).order_by(c.channel)).all()
        told = vault.addresses(conn, [(customer, row.channel) for row in rows])
        stopped = {}
        for row in rows:
            found = conn.execute(select(s.reason, s.at).where(s.address_hash == row.address_hash, s.channel == row.channel)).first()
            stopped[row.channel] = found and {"reason": found.reason, "at": from_micros(found.at).isoformat()}
    return [{"channel": row.channel, "address": told[customer, row.channel], "suppressed": stopped[row.channel]} for row in rows]


def _tables(home: Home, customer: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table of files that has a column ``customer``; from quarantine those that name this one."""
    found: dict[str, list[dict[str, Any]]] = {}
    with home.ledger.read() as conn:
        names = sorted(set(conn.execute(select(books.manifest.c.name)).scalars()))
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name in names:
            files = home.log.files(name)
            columns = pq.read_schema(files[0]).names
            if "customer" in columns:
                rows = con.sql(f"{parquet.scan(files)} WHERE customer = {parquet.literal(customer)}").to_arrow_table().to_pylist()
                found[name] = [_plain(row) for row in rows]
            elif "row" in columns:
                sql = f"{parquet.scan(files)} WHERE contains(row, {parquet.literal(json.dumps(customer))})"
                found[name] = [_plain(row) for row in con.sql(sql).to_arrow_table().to_pylist()]
    return found


def _waiting(home: Home, customer: str) -> list[dict[str, Any]]:
    """Events that are not in a file yet."""
    with home.ledger.read() as conn:
        rows = [json.loads(text) for text in conn.execute(select(books.inbox.c.row)).scalars()]
    return [{**row, "at": from_micros(row["at"]).isoformat()} for row in rows if row.get("customer") == customer]


def _decisions(home: Home, customer: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The person's row of every plan with candidates and reasons, and what the decision was told about the person."""
    with home.ledger.read() as conn:
        plans = conn.execute(select(books.plans.c.plan_id, books.plans.c.path, books.plans.c.as_of).order_by(books.plans.c.as_of)).all()
    found, seen = [], []
    for plan_id, path, as_of in plans:
        table = pq.read_table(home.root / path, filters=[("customer", "=", customer)])
        for row in table.to_pylist():
            kept = {key: value for key, value in row.items() if key not in ("unit", "features")}
            found.append(
                _plain({**kept, "reasons": [json.loads(one) for one in row["reasons"]], "suppressed": json.loads(row["suppressed"])})
            )
        beside = features_of(home.root / path)
        if table.num_rows and beside.exists():
            rows = pq.read_table(beside, filters=[("decision_id", "in", table["decision_id"].to_pylist())]).to_pylist()
            about = {"plan_id": plan_id, "as_of": from_micros(as_of).isoformat()}
            seen += [about | {key[2:]: value for key, value in row.items() if key.startswith("x:") and value is not None} for row in rows]
    return found, seen


def _ledger(home: Home, customer: str, decisions: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of every ledger table whose customer this is, or that belong to one of the person's decisions or messages."""
    schema = MetaData()
    found: dict[str, list[dict[str, Any]]] = {}
    with home.ledger.read() as conn:
        schema.reflect(conn)
        outbox = books.outbox.c
        messages = set(conn.execute(select(outbox.message_id).where(outbox.customer == customer)).scalars())
        for name, table in sorted(schema.tables.items()):
            if name in LEFT_OUT:
                continue
            texts = {column.name: column for column in table.columns if isinstance(column.type, String)}
            tests = [texts["customer"] == customer] if "customer" in texts else []
            if not tests:
                wanted = {"decision_id": decisions, "message_id": messages}
                tests += [texts[column].in_(values) for column, values in wanted.items() if column in texts and values]
            if "subject" in texts and name == "audit":
                tests.append(texts["subject"] == f"customer:{customer}")
            if tests:
                rows = conn.execute(select(table).where(or_(*tests))).mappings().all()
                found[name] = [_plain({key: _told(key, value) for key, value in row.items()}) for row in rows]
    return found


def _told(name: str, value: Any) -> Any:
    """Times of the ledger as times, JSON as what it says."""
    if (name == "at" or name.endswith(("_at", "_until"))) and isinstance(value, int) and value > 0:
        return from_micros(value).isoformat() if value < 2**53 else None
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON values, without what is empty."""
    found = {}
    for name, value in row.items():
        if value is None or isinstance(value, bytes):
            continue
        found[name] = value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
    return found
