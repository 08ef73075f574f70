"""One row per customer: what the shop knows about a person at one moment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from tradewind.schema import MONEY, TEXT, TIME

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

STAGES = ("prospect", "new", "active", "at_risk", "lapsed")

_COLUMNS: tuple[tuple[str, pa.DataType, bool], ...] = (
    ("customer", TEXT, False),
    ("household", TEXT, True),
    ("locale", TEXT, True),
    ("zone", TEXT, True),
    ("currency", TEXT, True),  # of the purchases
    ("first_at", TIME, True),  # first sign of life: sign-up or first event
    ("last_at", TIME, True),  # last thing that the customer did
    ("tenure_days", pa.float64(), True),
    ("recency_days", pa.float64(), True),  # since the last purchase; null without one
    ("frequency", pa.int64(), False),  # orders
    ("monetary", MONEY, False),  # purchases minus refunds, all time
    ("aov", pa.float64(), True),  # monetary / frequency, minor units
    ("active_days", pa.int64(), False),  # UTC days on which the customer did something
    ("interval_days", pa.float64(), True),  # mean days between orders; null below two orders
    ("views_30d", pa.int64(), False),
    ("carts_30d", pa.int64(), False),
    ("orders_30d", pa.int64(), False),
    ("spend_90d", MONEY, False),  # net
    ("refund_share", pa.float64(), True),  # refunded value / purchased value
    ("top_category", TEXT, True),
    ("top_category_share", pa.float64(), True),  # of the decayed weight
    ("top_brand", TEXT, True),
    ("top_brand_share", pa.float64(), True),
    ("price_band", pa.int8(), True),  # 0 (cheap) .. 4 (dear): decayed mean band of what was bought
    ("category_confidence", pa.float64(), True),  # share of the top category, shrunk towards 0 when evidence is thin
    ("discount_affinity", pa.float64(), True),  # share of lines bought with a discount, shrunk towards the shop's
    ("best_hour", pa.int8(), True),  # 0..23 UTC
    ("hour_confidence", pa.float64(), True),
    ("best_channel", TEXT, True),
    ("open_rate", pa.float64(), True),  # shrunk towards the shop's
    ("click_rate", pa.float64(), True),
    ("messages_30d", pa.int64(), False),
    ("last_message_at", TIME, True),
    ("stage", TEXT, False),  # one of STAGES
)
PROFILE = pa.schema(
    [pa.field(name, kind, nullable=nullable) for name, kind, nullable in _COLUMNS],
    metadata={"tradewind.table": "profiles", "tradewind.version": "1"},
)


def profiles(tables: Tables, *, as_of: datetime) -> pa.Table:
    """One row of ``PROFILE`` per customer known before ``as_of`` (exclusive), in order of customer.

    A customer is known by an event, or by a row in the table of customers whose sign-up is not in the future. What the
    shop's tables of items and customers say now counts for all time: they keep no history.
    """
    from tradewind.learn._wide import profile_rows

    table = profile_rows(tables, as_of=as_of)
    return table.select(PROFILE.names).cast(PROFILE).sort_by("customer")
