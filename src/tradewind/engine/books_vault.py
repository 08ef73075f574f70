"""Ledger tables of forgetting: who was erased (as keyed hashes), and what each model version learned from."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from tradewind.engine.ledger import metadata

erasures = Table(
    "erasures",  # one row per erased customer; survives, because it names nobody without the master key
    metadata,
    Column("subject", String(64), primary_key=True),  # keyed hash of the customer's id
    Column("at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),  # NULL: cut off; erase again
    Column("sealed", LargeBinary, nullable=False),  # what an interrupted erasure needs to go on; empty once finished
    Column("certificate", Text),  # JSON
    Index("erasures_finished", "finished_at"),
)
training_sets = Table(
    "training_sets",  # the event files that existed when a model learned; models of one run share a set
    metadata,
    Column("set_id", String(64), primary_key=True),  # hash of the list
    Column("files", LargeBinary, nullable=False),  # zlib of the sorted paths, one a line
)
trainings = Table(
    "trainings",  # who a model saw: customers with an event before ``as_of`` in a file of its set
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("as_of", BigInteger, nullable=False),
    Column("set_id", String(64), nullable=False),
    Column("erased", Integer, nullable=False),  # how many of those it saw were erased since
    Column("deadline", BigInteger),  # when it has to be learned anew at the latest
    Index("trainings_deadline", "deadline"),
)
