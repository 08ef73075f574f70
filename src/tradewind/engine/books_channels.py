"""Ledger tables of the channels: what came back of messages, who looked, what was shown, and who is in which audience."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text

from tradewind.engine.ledger import metadata

feedback = Table(
    "feedback",  # one row per message and kind, whatever is reported how often
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),  # "hard" | "soft" | "complaint" | "delivered" | "optout"
    Column("customer", String(255), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("decision_id", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("status", String(64), nullable=False),
    Column("logged", Boolean, nullable=False),  # its event is in the event log
    Index("feedback_customer", "customer", "channel", "at"),
    Index("feedback_channel", "channel", "at"),
    Index("feedback_logged", "logged"),
)
callbacks = Table(
    "callbacks",  # ids of signed calls that were taken: the same call is not taken again
    metadata,
    Column("source", String(64), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Index("callbacks_at", "at"),
)
touches = Table(
    "touches",  # clicks and opens; they become events once enough is known to say whether a person or a machine made them
    metadata,
    Column("touch_id", String(64), primary_key=True),
    Column("message_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # "click" | "open"
    Column("link", String(32), nullable=False),  # hash of where it leads
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),  # JSON of types.Event
    Column("logged", Boolean, nullable=False),
    Index("touches_message", "message_id", "at"),
    Index("touches_logged", "logged", "at"),
)
pulls = Table(
    "pulls",  # what a slot answered: the same pull gets the same answer and counts once
    metadata,
    Column("pull_id", String(64), primary_key=True),
    Column("customer", String(255), nullable=False),
    Column("slot", String(64), nullable=False),
    Column("message_id", String(64)),  # None: nothing was shown
    Column("at", BigInteger, nullable=False),
    Column("logged", Boolean, nullable=False),
    Index("pulls_customer", "customer", "slot"),
    Index("pulls_logged", "logged"),
)
members = Table(
    "audience_members",
    metadata,
    Column("audience", String(64), primary_key=True),
    Column("customer", String(255), primary_key=True),
    Column("at", BigInteger, nullable=False),
)
uploads = Table(
    "audience_uploads",  # which hashed contact points the platform holds, as of the last file
    metadata,
    Column("audience", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),  # "email" | "phone"
    Column("digest", String(64), primary_key=True),
)
