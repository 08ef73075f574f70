"""The profiles and sequences of bench/features.py once more, as a person would write them in DuckDB's own SQL.

Written apart from src/tradewind/learn, with DuckDB's own means (FILTER, arg_max on rows, QUALIFY), so that equal results
say something about both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAY = 86_400_000_000

VIEWS = """
CREATE OR REPLACE TEMP VIEW ev AS SELECT *, epoch_us("at") AS us, coalesce(value, 0) AS paid
  FROM read_parquet({events}, hive_partitioning = false)
  WHERE "at" < make_timestamptz({now}) AND customer IS NOT NULL;
CREATE OR REPLACE TEMP TABLE shelf AS
WITH seen AS (
  SELECT item, sum(floor((paid + coalesce(discount, 0)) / quantity)::BIGINT) FILTER (bought) AS spent, count(*) FILTER (bought) AS priced
  FROM (SELECT *, coalesce(kind = 'purchase' AND quantity > 0 AND value IS NOT NULL, false) AS bought FROM ev WHERE item IS NOT NULL)
  GROUP BY item
), everything AS (
  SELECT coalesce(i.item, s.item) AS item, category, brand, coalesce(price, spent // priced) AS price
  FROM read_parquet({items}) i FULL JOIN seen s ON i.item = s.item
)
SELECT item, (row_number() OVER (ORDER BY item) - 1)::INT AS code, category, brand,
  (dense_rank() OVER (ORDER BY category NULLS LAST) - 1)::INT AS category_code,
  CASE WHEN price IS NOT NULL THEN 5 * (rank() OVER (ORDER BY price NULLS LAST) - 1) // count(price) OVER () END AS band FROM everything;
"""

HALVED = "(180 - age % 90) * CASE WHEN age < 990 THEN 1024 >> (age // 90)::INT ELSE 0 END"
AGE = "{now} // {day} - us // {day}"

PROFILES = """
WITH act AS (
  SELECT customer, min(us) FILTER (own) AS first_us, max(us) FILTER (own) AS last_us,
    count(*) FILTER (kind = 'view' AND us >= {d30}) AS views_30d, count(*) FILTER (kind = 'cart' AND us >= {d30}) AS carts_30d,
    count(*) FILTER (kind = 'sent' AND us >= {d30}) AS messages_30d, max(us) FILTER (kind = 'sent') AS last_message_us,
    coalesce(sum(paid) FILTER (kind = 'refund'), 0) AS refunded,
    coalesce(sum(paid) FILTER (kind = 'refund' AND us >= {d90}), 0) AS refunded_90d
  FROM (SELECT *, kind NOT IN ('sent', 'bounce', 'coupon') AS own FROM ev) GROUP BY customer
), per_order AS (
  SELECT customer, coalesce(order_id, id) AS o, min(us) AS ordered, max(us) AS latest, sum(paid) AS value,
    coalesce(sum(paid) FILTER (us >= {d90}), 0) AS value_90d, count(*) AS lines,
    count(*) FILTER (discount > 0) AS discounted, max(currency) AS money
  FROM ev WHERE kind = 'purchase' GROUP BY ALL
), ord AS (
  SELECT customer, count(*) AS frequency, count(*) FILTER (ordered >= {d30}) AS orders_30d, min(ordered) AS first_order,
    max(ordered) AS last_order,
    max(latest) AS last_purchase, sum(value) AS bought, sum(value_90d) AS bought_90d, sum(lines) AS lines, sum(discounted) AS discounted,
    max(money) AS currency FROM per_order GROUP BY customer
), hourly AS (
  SELECT customer, us // 3600000000 AS stamp, count(*) AS n FROM ev WHERE kind NOT IN ('sent', 'bounce', 'coupon') GROUP BY ALL
), days AS (SELECT customer, count(DISTINCT stamp // 24) AS active_days FROM hourly GROUP BY customer
), of_day AS (
  SELECT customer, stamp % 24 AS hour, sum(n * {halved}) AS w FROM (SELECT *, {now} // {day} - stamp // 24 AS age FROM hourly) GROUP BY ALL
), hours AS (
  SELECT customer, arg_max(hour, (w, hour)) AS best_hour, max(w) / (sum(w) + 12 * 184320) AS hour_confidence FROM of_day GROUP BY customer
), taste AS (
  SELECT customer, category, brand, sum(w * CASE kind WHEN 'view' THEN 1 WHEN 'purchase' THEN 8 ELSE 3 END) AS w,
    sum(w) FILTER (kind = 'purchase' AND band IS NOT NULL) AS bw, sum(w * band) FILTER (kind = 'purchase') AS bs
  FROM (SELECT customer, kind, category, brand, band, {halved} AS w
        FROM (SELECT customer, kind, item, {age} AS age FROM ev WHERE kind IN ('view', 'wish', 'cart', 'purchase')) JOIN shelf USING (item))
  GROUP BY ALL
), bands AS (SELECT customer, (2 * sum(bs) + sum(bw)) // (2 * sum(bw)) AS price_band FROM taste GROUP BY customer
), cats AS (
  SELECT customer, arg_max(category, (w, category)) AS top_category, max(w) / sum(w) AS top_category_share,
    max(w) / (sum(w) + 24 * 184320) AS category_confidence
  FROM (SELECT customer, category, sum(w) AS w FROM taste WHERE category IS NOT NULL GROUP BY ALL) GROUP BY customer
), brands AS (
  SELECT customer, arg_max(brand, (w, brand)) AS top_brand, max(w) / sum(w) AS top_brand_share
  FROM (SELECT customer, brand, sum(w) AS w FROM taste WHERE brand IS NOT NULL GROUP BY ALL) GROUP BY customer
), msg AS (
  SELECT customer, sum(s) AS sent, sum(o) AS opened, sum(c) AS clicked FROM (
    SELECT customer, coalesce(decision_id, id) AS m, max((kind = 'sent')::INT) AS s, max((kind <> 'sent')::INT) AS o,
      max((kind = 'click')::INT) AS c
    FROM ev WHERE kind IN ('sent', 'open', 'click') GROUP BY ALL) GROUP BY customer
), chan AS (
  SELECT customer, arg_max(channel, (w, list_position(['email', 'sms', 'push', 'inapp'], channel))) AS best_channel
  FROM (SELECT customer, channel, sum({halved} * CASE kind WHEN 'click' THEN 3 ELSE 1 END) AS w
        FROM (SELECT *, {age} AS age FROM ev WHERE kind IN ('open', 'click') AND channel IN ('email', 'sms', 'push', 'inapp')) GROUP BY ALL)
  GROUP BY customer
), wide AS (
  SELECT * REPLACE (coalesce(frequency, 0) AS frequency, coalesce(bought, 0) AS bought, coalesce(bought_90d, 0) AS bought_90d,
      coalesce(lines, 0) AS lines, coalesce(discounted, 0) AS discounted, coalesce(sent, 0) AS sent, coalesce(orders_30d, 0) AS orders_30d,
      coalesce(active_days, 0) AS active_days),
    least(coalesce(opened, 0), coalesce(sent, 0)) AS o, least(coalesce(clicked, 0), coalesce(sent, 0)) AS c,
    CASE WHEN frequency > 1 THEN (last_order - first_order) // (frequency - 1) END AS gap
  FROM act LEFT JOIN ord USING (customer) LEFT JOIN days USING (customer) LEFT JOIN hours USING (customer) LEFT JOIN bands USING (customer)
    LEFT JOIN cats USING (customer) LEFT JOIN brands USING (customer) LEFT JOIN msg USING (customer) LEFT JOIN chan USING (customer)
), shop AS (
  SELECT sum(lines) AS s_lines, sum(discounted) AS s_discounted, sum(sent) AS s_sent, sum(o) AS s_o, sum(c) AS s_c,
    coalesce(sum(gap) // count(gap), 30 * {day}) AS s_gap FROM wide
)
SELECT customer, NULL::VARCHAR AS household, NULL::VARCHAR AS locale, NULL::VARCHAR AS zone, currency,
  make_timestamptz(first_us::BIGINT) AS first_at,
  make_timestamptz(last_us::BIGINT) AS last_at, ({now} - first_us)::DOUBLE / {day} AS tenure_days,
  ({now} - last_purchase)::DOUBLE / {day} AS recency_days, frequency, bought - refunded AS monetary,
  (bought - refunded)::DOUBLE / nullif(frequency, 0) AS aov, active_days,
  CASE WHEN frequency > 1 THEN (last_order - first_order)::DOUBLE / ((frequency - 1) * {day}) END AS interval_days, views_30d, carts_30d,
  orders_30d, bought_90d - refunded_90d AS spend_90d, refunded::DOUBLE / nullif(bought, 0) AS refund_share,
  top_category, top_category_share, top_brand, top_brand_share, price_band,
  category_confidence, (discounted + (5 * s_discounted)::DOUBLE / s_lines) / (lines + 5) AS discount_affinity,
  best_hour, hour_confidence, best_channel, (o + (10 * s_o)::DOUBLE / s_sent) / (sent + 10) AS open_rate,
  (c + (10 * s_c)::DOUBLE / s_sent) / (sent + 10) AS click_rate, messages_30d, make_timestamptz(last_message_us::BIGINT) AS last_message_at,
  CASE WHEN frequency = 0 THEN 'prospect' WHEN first_order >= {d30} THEN 'new'
    WHEN 2 * ({now} - last_purchase) <= 3 * ((last_order - first_order + s_gap) // frequency) THEN 'active'
    WHEN {now} - last_purchase <= 3 * ((last_order - first_order + s_gap) // frequency) THEN 'at_risk' ELSE 'lapsed' END AS stage
FROM wide CROSS JOIN shop ORDER BY customer
"""

NUMBERS = """customer, coalesce(code, -1) AS item,
  coalesce(list_position({kinds}, kind) - 1, -1)::TINYINT AS kind, us AS "at", paid AS value, coalesce(band, -1)::TINYINT AS band,
  CASE WHEN category IS NULL THEN -1 ELSE category_code END AS category,
  coalesce(list_position({channels}, channel) - 1, -1)::TINYINT AS channel"""
FLAT = """
SELECT * EXCLUDE (id) FROM (SELECT id, {numbers} FROM ev LEFT JOIN shelf USING (item)
  QUALIFY row_number() OVER (PARTITION BY customer ORDER BY us DESC, id DESC) <= {last}) ORDER BY customer, "at", id
"""
LISTS = """
SELECT customer, list(struct_pack(item, kind, t := "at", value, band, category, channel) ORDER BY "at", id)[-{last}:] AS events
FROM (SELECT id, {numbers} FROM ev LEFT JOIN shelf USING (item)) GROUP BY customer ORDER BY customer
"""


def prepare(con: Any, events: list[str], items: list[str], as_of: datetime) -> dict[str, Any]:
    """Make the view of the past and the table of items; returns what the statements are filled with."""
    now = int(as_of.timestamp()) * 1_000_000
    con.execute(VIEWS.format(events=events, items=items, now=now))
    return {"now": now, "day": DAY, "d30": now - 30 * DAY, "d90": now - 90 * DAY}


def profiles(con: Any, numbers: dict[str, Any]) -> pa.Table:
    """All columns of a profile."""
    age = AGE.format(**numbers)
    return con.sql(PROFILES.format(halved=HALVED, age=age, **numbers)).to_arrow_table()


def flat(con: Any, *, last: int, kinds: list[str], channels: list[str]) -> dict[str, np.ndarray]:
    """The last events of each customer as flat arrays, the fastest statement that we know."""
    table = con.sql(FLAT.format(numbers=NUMBERS.format(kinds=kinds, channels=channels), last=last)).to_arrow_table()
    names = pc.run_end_encode(table["customer"].combine_chunks())
    arrays = {name: table[name].to_numpy() for name in table.column_names if name != "customer"}
    arrays["offsets"] = np.concatenate(([0], np.asarray(names.run_ends))).astype(np.int64)
    arrays["customers"] = np.asarray(names.values.to_pylist(), dtype=object)
    return arrays


def lists(con: Any, *, last: int, kinds: list[str], channels: list[str]) -> int:
    """The last events of each customer as lists of rows, the statement that comes to mind first; returns its rows."""
    return int(con.sql(LISTS.format(numbers=NUMBERS.format(kinds=kinds, channels=channels), last=last)).to_arrow_table().num_rows)
