"""Ten million events of a shop that never was: seeded, for bench/features.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from tradewind.engine import parquet
from tradewind.engine.home import Home

START = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = datetime(2025, 12, 1, tzinfo=UTC)  # eleven of the twelve months: the last one is the future
END = datetime(2026, 1, 1, tzinfo=UTC)

EVENTS = """
SELECT printf('e%09d', i) AS id, make_timestamptz({start} + us) AS "at", printf('c%06d', u) AS customer, printf('s%08d', s) AS session,
  ['view', 'cart', 'purchase', 'refund', 'sent', 'open'][kind + 1] AS kind, CASE WHEN kind < 4 THEN printf('i%05d', item) END AS item,
  CASE WHEN kind < 4 THEN 1.0 + (i % 7 = 0)::INT END AS quantity, CASE WHEN kind IN (2, 3) THEN 100 + (item * 7919) % 20000 END AS value,
  CASE WHEN kind = 2 THEN (i % 3 = 0)::BIGINT * 50 END AS discount, CASE WHEN kind IN (2, 3) THEN 'EUR' END AS currency,
  CASE WHEN kind IN (2, 3) THEN printf('o%08d', s) END AS order_id, NULL::VARCHAR AS offer,
  CASE WHEN kind >= 4 THEN ['email', 'push'][i % 2 + 1] END AS channel, CASE WHEN kind >= 4 THEN printf('d%08d', s) END AS decision_id,
  NULL::VARCHAR AS text, NULL::DOUBLE AS rating, NULL::VARCHAR AS context, 'simulated' AS source FROM made
"""
ITEMS = """
SELECT printf('i%05d', i) AS item, 'Level ' || (i % 20) || ' > Shelf ' || (i % 400) AS category, 'brand ' || (i * i % 1500) AS brand,
  CASE WHEN i % 10 > 0 THEN 100 + (i * 7919) % 20000 END AS price FROM range({items}) AS r(i)
"""


def store(home: Home, *, events: int, customers: int, items: int, seed: int) -> None:
    """Sessions of a few events each; every customer comes once, a few come often; every tenth item has no list price."""
    rng = np.random.default_rng(seed)
    sessions = max(events // 3, customers)
    who = np.concatenate((np.arange(customers), (rng.pareto(1.2, sessions - customers) * customers / 20).astype(np.int64) % customers))
    rng.shuffle(who)
    starts = rng.integers(0, 365 * 86_400, sessions) * 1_000_000
    length = rng.geometric(0.29, sessions)
    owner = np.repeat(np.arange(sessions), length)[:events]
    events = len(owner)
    made = pa.table(
        {
            "i": np.arange(events),
            "s": owner,
            "u": who[owner],
            "us": starts[owner] + rng.integers(0, 1800, events) * 1_000_000,  # whole seconds: ties happen
            "item": (rng.pareto(0.9, events) * items / 200).astype(np.int64) % items,
            "kind": rng.choice(6, events, p=[0.66, 0.12, 0.12, 0.02, 0.05, 0.03]),
        }
    )
    con = parquet.connect(home.root)
    con.register("made", made)
    staging = home.log.begin("made", source="bench/features.py", now=END)
    assert staging is not None
    with staging:
        staging.add_events(con, EVENTS.format(start=int(START.timestamp()) * 1_000_000))
        staging.replace("items", con, ITEMS.format(items=items))
        staging.commit({}, now=END)


def files(home: Home, name: str) -> list[str]:
    """The Parquet files of a table."""
    return [str(Path(path)) for path in home.log.files(name)]
