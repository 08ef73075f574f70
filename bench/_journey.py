"""Loads the completejourney Parquet files into a shop as they are: for benchmarks that need them without `collect`.

Offers are named "campaign:coupon", because 151 of the 981 coupons belong to several campaigns. Times carry no zone in
the source and are read as UTC. A campaign's last day is inside its window.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tradewind.engine import parquet
from tradewind.engine.home import Home

EVENTS = """
SELECT 'line-' || row_number() OVER (ORDER BY basket_id, product_id, household_id, transaction_timestamp, sales_value, quantity) AS id,
  CAST(transaction_timestamp AS TIMESTAMP) AT TIME ZONE 'UTC' AS "at", household_id AS customer, NULL::VARCHAR AS session,
  'purchase' AS kind,
  product_id AS item, CAST(quantity AS DOUBLE) AS quantity, CAST(round(sales_value * 100) AS BIGINT) AS value,
  CAST(round(abs(retail_disc + coupon_disc + coupon_match_disc) * 100) AS BIGINT) AS discount, 'USD' AS currency, basket_id AS order_id,
  NULL::VARCHAR AS offer, NULL::VARCHAR AS channel, NULL::VARCHAR AS decision_id, NULL::VARCHAR AS text, NULL::DOUBLE AS rating,
  NULL::VARCHAR AS context, 'transactions' AS source
FROM '{folder}/transactions.parquet'
UNION ALL BY NAME
SELECT 'redeem-' || row_number() OVER (ORDER BY household_id, campaign_id, coupon_upc, redemption_date) AS id,
  CAST(redemption_date AS TIMESTAMP) AT TIME ZONE 'UTC' AS "at", household_id AS customer, 'redeem' AS kind,
  campaign_id || ':' || coupon_upc AS offer, 'coupon_redemptions' AS source
FROM '{folder}/coupon_redemptions.parquet'
"""
TABLES = {
    "items": """SELECT DISTINCT ON (product_id) product_id AS item, product_type AS title,
      concat_ws(' > ', department, product_category) AS category, manufacturer_id AS brand FROM '{folder}/products.parquet' ORDER BY ALL""",
    "customers": """SELECT household_id AS customer, household_id AS household FROM '{folder}/transactions.parquet'
      UNION SELECT household_id, household_id FROM '{folder}/campaigns.parquet'""",
    "campaigns": """SELECT campaign_id AS campaign, campaign_type AS kind, CAST(start_date AS TIMESTAMP) AT TIME ZONE 'UTC' AS starts_at,
      CAST(end_date + 1 AS TIMESTAMP) AT TIME ZONE 'UTC' AS ends_at FROM '{folder}/campaign_descriptions.parquet'""",
    "audiences": "SELECT DISTINCT campaign_id AS campaign, household_id AS customer FROM '{folder}/campaigns.parquet'",
    "offers": """SELECT DISTINCT campaign_id || ':' || coupon_upc AS offer, 'coupon' AS kind, '{{}}' AS terms, campaign_id AS campaign
      FROM '{folder}/coupons.parquet'""",
    "offer_items": "SELECT DISTINCT campaign_id || ':' || coupon_upc AS offer, product_id AS item FROM '{folder}/coupons.parquet'",
}


def load(home: Home, folder: Path, *, now: datetime) -> int:
    """Load all tables; returns the number of events. Does nothing the second time."""
    con = parquet.connect(home.root)
    staging = home.log.begin("completejourney", source=str(folder), now=now)
    if staging is None:
        return 0
    with staging:
        events = staging.add_events(con, EVENTS.format(folder=folder))
        for name, statement in TABLES.items():
            staging.replace(name, con, statement.format(folder=folder))
        staging.commit({}, now=now)
    return events
