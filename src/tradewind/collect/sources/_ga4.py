"""GA4 events with items[], as the BigQuery export or the Measurement Protocol writes them, as rows of ``schema.EVENTS``.

https://developers.google.com/analytics/devguides/collection/ga4/reference/events. An item's ``price`` is per unit and after
its ``discount``, which is per unit too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tradewind.collect.money import minor_units_sql
from tradewind.collect.names import kind_sql, unused_sql
from tradewind.collect.sources.base import Part, literal

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap

TEXT = "VARCHAR"
ITEM = dict.fromkeys(("item_id", "price", "quantity", "discount", "coupon"), TEXT)
PARAMETERS = {
    **dict.fromkeys(("transaction_id", "currency", "value", "coupon", "search_term", "session_id", "ga_session_id", "event_id"), TEXT),
    **dict.fromkeys(("decision_id", "offer", "channel", "page_location"), TEXT),
    "items": [ITEM],
}
VALUE = {"string_value": TEXT, "int_value": TEXT, "double_value": TEXT, "float_value": TEXT}
EXPORT = {
    **dict.fromkeys(("event_name", "event_timestamp", "timestamp_micros", "user_id", "user_pseudo_id", "client_id"), TEXT),
    "ecommerce": {"transaction_id": TEXT, "purchase_revenue": TEXT},
    "device": {"category": TEXT},
    "event_params": [{"key": TEXT, "value": VALUE}],
    "params": PARAMETERS,
    "items": [ITEM],
    "events": [{"name": TEXT, "timestamp_micros": TEXT, "params": PARAMETERS}],
}


def parts(con: duckdb.DuckDBPyConnection, objects: str, files: Sequence[str], *, source: SourceMap) -> list[Part]:
    """Events, one per item of an event that lists items."""
    calls = _calls(objects)
    left = con.execute(f"SELECT name, count(*) FROM ({calls}) WHERE {unused_sql('name')} GROUP BY 1 ORDER BY 1").fetchall()
    return [
        Part(
            sql=_events(calls, currency=source.currency), files=tuple(files), into="events", money="minor", left_out=tuple(map(tuple, left))
        )
    ]


def _calls(objects: str) -> str:
    """Both shapes as one: name, at, params, items, per event."""
    raw = f"SELECT json_transform(j, {literal(json.dumps(EXPORT))}) AS c, md5(j) AS h, _pos FROM ({objects})"

    def parameter(key: str) -> str:
        found = f"list_filter(c.event_params, lambda e: e.key = '{key}')[1].value"
        return f"{key} := coalesce(c.params.{key}, {found}.string_value, {found}.int_value, {found}.double_value, {found}.float_value)"

    fields = ", ".join(parameter(key) for key in PARAMETERS if key != "items")
    single = f"""
        SELECT h, _pos, 0 AS event, c.event_name AS name, coalesce(c.event_timestamp, c.timestamp_micros) AS t, c.user_id AS customer,
            coalesce(c.user_pseudo_id, c.client_id) AS client, struct_pack({fields}) AS p, coalesce(c.items, c.params.items) AS items,
            c.ecommerce.transaction_id AS order_id, c.ecommerce.purchase_revenue AS revenue, c.device.category AS device
        FROM ({raw}) WHERE c.events IS NULL"""
    names = ", ".join(f"{key} := e.params.{key}" for key in PARAMETERS if key != "items")
    batch = f"""
        SELECT h, _pos, event, e.name, coalesce(e.timestamp_micros, c.timestamp_micros), c.user_id, c.client_id, struct_pack({names}),
            e.params.items, NULL, NULL, c.device.category
        FROM (SELECT c, h, _pos, unnest(c.events) AS e, unnest(range(len(c.events))) AS event FROM ({raw}) WHERE c.events IS NOT NULL)"""
    return f"{single} UNION ALL {batch}"


def _events(calls: str, *, currency: str | None) -> str:
    unit = minor_units_sql(f"coalesce(p.currency, {literal(currency or '')})")
    count = "coalesce(try_cast(line.quantity AS DOUBLE), 1)"
    whole = "coalesce(revenue, p.value)"

    def minor(text: str, amount: str) -> str:
        return f"coalesce(CAST(CAST(round({amount} * {unit}) AS BIGINT) AS VARCHAR), {text})"

    off = minor("line.discount", f"try_cast(line.discount AS DOUBLE) * {count}")
    return f"""
        SELECT coalesce(p.event_id, h || '#' || event) || CASE WHEN line IS NULL THEN '' ELSE '#' || number END AS id,
            CASE WHEN try_cast(t AS BIGINT) IS NULL THEN t ELSE CAST(make_timestamp(try_cast(t AS BIGINT)) AS VARCHAR) || '+00' END AS "at",
            nullif(customer, '') AS customer, coalesce(p.session_id, p.ga_session_id, client) AS session,
            coalesce({kind_sql("name")}, name) AS kind, line.item_id AS item,
            coalesce(line.quantity, CASE WHEN line.price IS NOT NULL THEN '1' END) AS quantity,
            CASE WHEN line.price IS NOT NULL THEN {minor("line.price", f"try_cast(line.price AS DOUBLE) * {count}")}
                 WHEN line IS NULL AND {whole} IS NOT NULL THEN {minor(whole, f"try_cast({whole} AS DOUBLE)")} END AS "value",
            CASE WHEN line.discount IS NOT NULL THEN {off} END AS discount,
            p.currency AS currency, coalesce(order_id, p.transaction_id) AS order_id, coalesce(line.coupon, p.offer, p.coupon) AS offer,
            p.channel AS channel, p.decision_id AS decision_id, p.search_term AS "text",
            CAST(nullif(json_merge_patch('{{}}'::JSON, json_object('path', regexp_replace(p.page_location, '[?#].*$', ''),
                'device', device))::VARCHAR, '{{}}') AS VARCHAR) AS context, _pos + event * 256 + number AS _pos
        FROM (SELECT *, unnest(CASE WHEN len(items) > 0 THEN items ELSE [NULL] END) AS line,
            unnest(range(greatest(len(coalesce(items, [])), 1))) AS number FROM ({calls})
            WHERE NOT coalesce({unused_sql("name")}, false))"""
