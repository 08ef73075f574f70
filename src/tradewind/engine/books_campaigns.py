"""Ledger tables about campaigns: their versions, the plans they made, and what their triggers remember and fired."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from tradewind.engine.ledger import metadata

campaigns = Table(
    "campaigns",  # a row per version of the file; ``decide.campaign_books`` is the only writer
    metadata,
    Column("campaign", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # "draft" | "planned" | "approved" | "running" | "paused" | "done"
    Column("spec", Text, nullable=False),  # JSON, canonical
    Column("shown", Text),  # JSON: what ``plan`` showed, with the hashes of what it was made of
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
campaign_plans = Table(
    "campaign_plans",  # which plan a campaign made: delivery asks here whether the campaign still runs
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("campaign", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("campaign_plans_campaign", "campaign", "at"),
)
trigger_marks = Table(
    "trigger_marks",  # how far a trigger has read the event log
    metadata,
    Column("trigger", String(64), primary_key=True),  # hash of campaign, kind and settings: other settings begin anew
    Column("campaign", String(64), nullable=False),
    Column("since", BigInteger, nullable=False),  # nothing that was due before fires
    Column("watermark", BigInteger, nullable=False),  # everything before was read
    Column("counted", BigInteger, nullable=False),  # events before the watermark, as of the last reading
    Column("late", BigInteger, nullable=False),  # events that came after the watermark had passed them
)
trigger_states = Table(
    "trigger_states",
    metadata,
    Column("trigger", String(64), primary_key=True),
    Column("customer", String(255), primary_key=True),
    Column("state", Text, nullable=False),  # JSON
    Column("due", BigInteger),
    Index("trigger_states_due", "trigger", "due"),
)
firings = Table(
    "firings",
    metadata,
    Column("firing_id", String(64), primary_key=True),  # hash of campaign, kind, customer and the start of the episode
    Column("campaign", String(64), nullable=False),
    Column("customer", String(255), nullable=False),
    Column("episode", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),  # "pending" | "decided" | "dropped"
    Column("plan_id", String(64)),
    Column("updated_at", BigInteger, nullable=False),
    Index("firings_campaign", "campaign", "state", "at"),
)
item_states = Table(
    "item_states",  # price and stock of each item when the catalogue was last looked at
    metadata,
    Column("item", String(255), primary_key=True),
    Column("price", BigInteger),
    Column("stock", BigInteger),
)
item_changes = Table(
    "item_changes",  # what changed since then: part of the log that triggers read
    metadata,
    Column("item", String(255), primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),  # "price_drop" | "back_in_stock"
    Column("before", BigInteger),
    Column("after", BigInteger),
    Index("item_changes_at", "at"),
)
