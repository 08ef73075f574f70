"""The ledger: what must commit together. SQLite by default, PostgreSQL when the shop grows; one code for both.

Times are integers of microseconds UTC, JSON is text, money is integer minor units: the same on every database.
Migrations live in ``engine/migrations``; ``Ledger.open`` brings an older ledger up to date and refuses a newer one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

# -- event log: rows wait in the inbox until they are compacted into Parquet files that the manifest names ----------
inbox = Table(
    "inbox",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("row", Text, nullable=False),  # JSON of a schema.EVENTS row
    Index("inbox_received", "received_at"),
)
loads = Table(
    "loads",  # one per collected source: the same bytes under the same mapping are one load, whatever is retried
    metadata,
    Column("load_id", String(64), primary_key=True),
    Column("source", Text, nullable=False),
    Column("state", String(16), nullable=False),  # "running" | "done"
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("report", Text),  # JSON
)
manifest = Table(
    "manifest",  # a Parquet file exists for readers if and only if its row is here
    metadata,
    Column("path", String(512), primary_key=True),  # relative to the shop's root
    Column("name", String(64), nullable=False),  # table: "events", "items", "quarantine", ...
    Column("day", String(10)),  # of the events in it; NULL for other tables
    Column("load_id", String(64)),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("committed_at", BigInteger, nullable=False),
    Index("manifest_name_day", "name", "day"),
)

# -- people: consent is append-only; contact points are ciphertext under one wrapped key per customer ---------------
consents = Table(
    "consents",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("granted", Boolean, nullable=False),
    Column("source", Text, nullable=False),
)
suppressions = Table(
    "suppressions",  # survives erasure: only a keyed hash of the address
    metadata,
    Column("address_hash", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
)
vault_keys = Table(
    "vault_keys",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
)
contacts = Table(
    "contacts",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("address_hash", String(64), nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Index("contacts_hash", "address_hash"),
)

# -- models, plans and money -----------------------------------------------------------------------------------------
models = Table(
    "models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),  # content hash
    Column("path", String(512), nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("card", Text, nullable=False),  # JSON: parameters, data, figures
)
plans = Table(
    "plans",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("path", String(512), nullable=False),  # Parquet of schema.PLAN, immutable
    Column("sha256", String(64), nullable=False),
    Column("meta", Text, nullable=False),  # JSON: policy, budget, currency, holdout, salt, seed, versions
)
budgets = Table(
    "budgets",
    metadata,
    Column("budget", String(255), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
)
reservations = Table(
    "reservations",
    metadata,
    Column("decision_id", String(64), primary_key=True),
    Column("budget", String(255), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),  # "held" | "spent" | "released"
    Column("spent", BigInteger, nullable=False),
    Index("reservations_budget", "budget", "state"),
)

# -- delivery --------------------------------------------------------------------------------------------------------
outbox = Table(
    "outbox",  # "planned" rows commit with the decision; compose makes them "ready"
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("decision_id", String(64), nullable=False),
    Column("plan_id", String(64), nullable=False),
    Column("customer", String(255), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("send_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("message", Text),  # JSON of types.Message
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("detail", Text),
    Column("provider_id", String(255)),
    Column("updated_at", BigInteger, nullable=False),
    Index("outbox_due", "state", "next_at"),
    Index("outbox_customer", "customer", "channel", "updated_at"),
    Index("outbox_plan", "plan_id", "state"),
)
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("args", Text, nullable=False),
    Column("state", String(16), nullable=False),  # "queued" | "running" | "done" | "failed"
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("progress", Float, nullable=False),
    Column("result", Text),
    Column("updated_at", BigInteger, nullable=False),
    Index("jobs_due", "state", "next_at"),
)
