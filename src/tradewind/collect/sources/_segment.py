"""Segment payloads (e-commerce spec v2; track, page and identify calls) as rows of our tables.

https://segment.com/docs/connections/spec/ecommerce/v2/. A product's ``price`` is per unit and before the order's
``discount``, which is shared among its lines in proportion to their prices, exact to the minor unit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradewind.collect.money import minor_units_sql
from tradewind.collect.names import kind_sql, unused_sql
from tradewind.collect.sources.base import Part, literal

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap

TEXT = "VARCHAR"
LINE = dict.fromkeys(("product_id", "sku", "price", "quantity", "discount", "coupon"), TEXT)
PROPERTIES: dict[str, Any] = {
    **LINE,
    **dict.fromkeys(("order_id", "currency", "coupon_id", "value", "revenue", "total", "query", "rating", "review_body"), TEXT),
    **dict.fromkeys(("session_id", "decision_id", "offer", "channel", "path", "ship_to", "card_hash"), TEXT),
    "products": [LINE],
}
CONTEXT = {
    **dict.fromkeys(("locale", "timezone", "sessionId"), TEXT),
    "page": {"path": TEXT},
    "campaign": "JSON",
    "device": {"id": TEXT, "type": TEXT},
}
SHAPE = {
    **dict.fromkeys(("type", "event", "messageId", "userId", "anonymousId", "timestamp", "originalTimestamp", "sentAt"), TEXT),
    "context": CONTEXT,
    "properties": PROPERTIES,
    "traits": "JSON",
}
# Traits that name or reach a person never enter a table; e-mail and phone go to the vault.
PERSONAL = "(?i)name|mail|phone|mobile|address|street|birth|avatar|ip$|^ip|username|website|description|title|company|postal|zip"


def parts(con: duckdb.DuckDBPyConnection, objects: str, files: Sequence[str], *, source: SourceMap) -> list[Part]:
    """Events from track and page calls, customers and contacts from identify calls; only ``source.into`` unless that is events."""
    calls = f"SELECT json_transform(j, {literal(json.dumps(SHAPE))}) AS c, md5(j) AS h, _pos FROM ({objects})"
    found = {(call, name): count for call, name, count in con.execute(_census(objects)).fetchall()}
    unused = tuple((f"{call} {name}".strip(), count) for (call, name), count in sorted(found.items()))
    names = tuple(files)
    made = [Part(sql=_events(calls, currency=source.currency), files=names, into="events", money="minor", left_out=unused)]
    if con.execute(f"SELECT count(*) FROM ({objects}) WHERE json_extract_string(j, '$.type') = 'identify'").fetchall()[0][0]:
        made += [Part(sql=_customers(calls), files=names, into="customers"), Part(sql=_contacts(calls), files=names, into="contacts")]
    return [part for part in made if source.into in (part.into, "events")]


def _census(objects: str) -> str:
    """Calls that no table holds, by name."""
    call, name = "json_extract_string(j, '$.type')", "json_extract_string(j, '$.event')"
    return (
        f"SELECT coalesce({call}, 'no type'), CASE WHEN {call} = 'track' THEN {name} ELSE '' END, count(*) FROM ({objects}) "
        f"WHERE ({call} = 'track' AND {unused_sql(name)}) OR {call} IS NULL OR {call} NOT IN ('track', 'page', 'identify') GROUP BY 1, 2"
    )


def _events(calls: str, *, currency: str | None) -> str:
    """One row per call, or per product of a call that lists products."""
    p = "c.properties"
    unit = minor_units_sql(f"coalesce({p}.currency, {literal(currency or '')})")
    price, count = f"coalesce(line.price, {p}.price)", f"coalesce(line.quantity, {p}.quantity)"
    whole = f"coalesce({p}.revenue, {p}.total, {p}.value)"
    amount = f"round(try_cast({price} AS DOUBLE) * coalesce(try_cast({count} AS DOUBLE), 1) * {unit})"
    path = f"coalesce(c.context.page.path, {p}.path)"
    # What risk needs to know accounts that hang together: keyed hashes of the shop's own, never the address or the card.
    same = f"'device_id', c.context.device.id, 'ship_to', {p}.ship_to, 'card_hash', {p}.card_hash"
    context = f"json_object('path', {path}, 'campaign', c.context.campaign, 'device', c.context.device.type, {same})"
    return f"""
        SELECT coalesce(nullif(c.messageId, ''), h) || CASE WHEN line IS NULL THEN '' ELSE '#' || number END AS id,
            coalesce(c.timestamp, c.originalTimestamp, c.sentAt) AS "at", nullif(c.userId, '') AS customer,
            coalesce(c.context.sessionId, {p}.session_id, c.anonymousId) AS session,
            CASE WHEN c.type = 'page' THEN 'view' ELSE coalesce({kind_sql("c.event")}, c.event) END AS kind,
            coalesce(line.product_id, line.sku, {p}.product_id, {p}.sku) AS item,
            coalesce({count}, CASE WHEN {price} IS NOT NULL THEN '1' END) AS quantity,
            CASE WHEN {price} IS NOT NULL AND try_cast({price} AS DOUBLE) IS NULL THEN {price}
                 WHEN {price} IS NOT NULL THEN CAST(CAST({amount} AS BIGINT) - coalesce(CAST(off AS BIGINT), 0) AS VARCHAR)
                 ELSE coalesce(CAST(CAST(round(try_cast({whole} AS DOUBLE) * {unit}) AS BIGINT) AS VARCHAR), {whole}) END AS "value",
            CAST(CAST(off AS BIGINT) AS VARCHAR) AS discount, {p}.currency AS currency, {p}.order_id AS order_id,
            coalesce(line.coupon, {p}.offer, {p}.coupon_id, {p}.coupon) AS offer, {p}.channel AS channel, {p}.decision_id AS decision_id,
            coalesce({p}.query, {p}.review_body) AS "text", {p}.rating AS rating,
            CAST(nullif(json_merge_patch('{{}}'::JSON, {context})::VARCHAR, '{{}}') AS VARCHAR) AS context, _pos + number AS _pos
        FROM ({_discounted(calls, unit)})"""


def _discounted(calls: str, unit: str) -> str:
    """Every call's products, and ``off``: each line's discount in minor units, the order's being shared exactly."""
    p = "c.properties"
    amount = "coalesce(try_cast(l.price AS DOUBLE), 0) * coalesce(try_cast(l.quantity AS DOUBLE), 1)"
    lines = f"""
        SELECT c, h, _pos, unnest(CASE WHEN len({p}.products) > 0 THEN {p}.products ELSE [NULL] END) AS line,
            unnest(range(greatest(len(coalesce({p}.products, [])), 1))) AS number,
            list_transform(coalesce({p}.products, []), lambda l: {amount}) AS amounts,
            list_bool_or(list_transform(coalesce({p}.products, []), lambda l: l.discount IS NOT NULL)) AS own
        FROM ({calls}) WHERE c.type = 'page' OR (c.type = 'track' AND NOT coalesce({unused_sql("c.event")}, false))"""
    whole = f"try_cast({p}.discount AS DOUBLE) * {unit}"
    upto, before = "list_sum(amounts[1:number + 1])", "coalesce(list_sum(amounts[1:number]), 0)"
    share = f"round({whole} * {upto} / list_sum(amounts)) - round({whole} * {before} / list_sum(amounts))"
    return f"""
        SELECT *, CASE WHEN line.discount IS NOT NULL THEN round(try_cast(line.discount AS DOUBLE) * {unit})
            WHEN line IS NULL THEN round({whole})
            WHEN {p}.discount IS NOT NULL AND NOT coalesce(own, false) AND list_sum(amounts) > 0 THEN {share} END AS off FROM ({lines})"""


def _customers(calls: str) -> str:
    keep = f"list_filter(json_keys(c.traits), lambda k: NOT regexp_matches(k, {literal(PERSONAL)}))"
    pairs = "map_from_entries(list_transform(keep, lambda k: struct_pack(key := k, v := c.traits->k)))"
    return f"""
        SELECT c.userId AS customer, coalesce(c.context.locale, c.traits->>'locale') AS locale,
            coalesce(c.context.timezone, c.traits->>'timezone') AS zone,
            coalesce(c.traits->>'createdAt', c.traits->>'created_at') AS signed_up_at, c.traits->>'household' AS household,
            CASE WHEN len(keep) > 0 THEN CAST(to_json({pairs}) AS VARCHAR) END AS attributes, _pos
        FROM (SELECT *, {keep} AS keep FROM ({calls}) WHERE c.type = 'identify')"""


def _contacts(calls: str) -> str:
    return f"""
        SELECT c.userId AS customer, way.channel AS channel, way.address AS address, _pos + sub AS _pos FROM (
            SELECT c, _pos, unnest([struct_pack(channel := 'email', address := c.traits->>'email'),
                struct_pack(channel := 'sms', address := c.traits->>'phone')]) AS way, unnest([0, 1]) AS sub
            FROM ({calls}) WHERE c.type = 'identify'
        ) WHERE way.address IS NOT NULL"""
