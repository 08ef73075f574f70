"""Events as Segment track calls (e-commerce spec v2, e-mail spec), one JSON object per line.

https://segment.com/docs/connections/spec/ecommerce/v2/. The simulated shop's messaging tool uses the names of the e-mail spec
for all channels and names the channel in ``properties.channel``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tradewind.schema import Kind

NAMES = {
    Kind.VIEW: "Product Viewed",
    Kind.SEARCH: "Products Searched",
    Kind.WISH: "Product Added to Wishlist",
    Kind.CART: "Product Added",
    Kind.UNCART: "Product Removed",
    Kind.CHECKOUT: "Checkout Started",
    Kind.PURCHASE: "Order Completed",
    Kind.REFUND: "Order Refunded",
    Kind.REVIEW: "Product Reviewed",
    Kind.REDEEM: "Coupon Applied",
    Kind.SENT: "Email Delivered",
    Kind.OPEN: "Email Opened",
    Kind.CLICK: "Email Link Clicked",
    Kind.UNSUBSCRIBE: "Unsubscribed",
    Kind.COMPLAINT: "Email Marked as Spam",
}


BATCH = 20_000  # rows that are Python objects at a time
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def lines(events: pa.Table) -> Iterator[str]:
    """Yield one track call per event; the lines of an order are the ``products`` of one call, at its first line's place."""
    at = pc.strftime(pc.cast(events["at"], pa.timestamp("us")), "%Y-%m-%dT%H:%M:%SZ")
    events = events.set_column(events.column_names.index("at"), "at", at)
    orders: dict[str, list[dict[str, Any]]] = {}
    for row in events.filter(pc.field("kind") == Kind.PURCHASE.value).to_pylist():
        orders.setdefault(row["order_id"], []).append(row)
    for batch in events.to_batches(max_chunksize=BATCH):
        for row in batch.to_pylist():
            group = orders[row["order_id"]] if row["kind"] == Kind.PURCHASE else [row]
            if row["id"] == group[0]["id"]:
                yield _ENCODER.encode(_call(row, group))


@lru_cache(maxsize=100_000)
def _context(text: str) -> dict[str, str]:
    return dict(json.loads(text))


def _call(row: dict[str, Any], group: list[dict[str, Any]]) -> dict[str, Any]:
    context = _context(row["context"])
    return {
        "type": "track",
        "event": NAMES[Kind(row["kind"])],
        "messageId": row["id"],
        "userId": row["customer"],
        "anonymousId": context["device"],
        "timestamp": row["at"],
        "context": {"device": {"id": context["device"], "type": "mobile"}, "sessionId": row["session"]},
        "properties": {
            name: value for name, value in (_properties(row, group) | {"ship_to": context.get("ship_to")}).items() if value is not None
        },
    }


def _properties(row: dict[str, Any], group: list[dict[str, Any]]) -> dict[str, Any]:
    kind = row["kind"]
    common = {
        "order_id": row["order_id"],
        "currency": row["currency"],
        "decision_id": row["decision_id"],
        "offer": row["offer"],
        "channel": row["channel"],
    }
    if kind in (Kind.PURCHASE, Kind.REFUND):
        off = sum(line["discount"] or 0 for line in group)
        total = sum(line["value"] for line in group)
        sums = {"revenue": total / 100, "total": total / 100, "discount": off / 100, "coupon": row["offer"]}
        return common | (sums if kind == Kind.PURCHASE else {"total": total / 100}) | {"products": [_product(line) for line in group]}
    if kind == Kind.CHECKOUT:
        return common | {"value": row["value"] / 100}
    if kind == Kind.REDEEM:
        return common | {"coupon_id": row["offer"], "discount": row["discount"] / 100, "value": row["value"] / 100}
    price = None if row["value"] is None else round(row["value"] / (row["quantity"] or 1)) / 100
    own = {"product_id": row["item"], "price": price, "quantity": row["quantity"], "query": None, "rating": row["rating"]}
    return common | own | {"query" if kind == Kind.SEARCH else "review_body": row["text"]}


def _product(line: dict[str, Any]) -> dict[str, Any]:
    off = line["discount"] or 0
    product = {
        "product_id": line["item"],
        "price": round((line["value"] + off) / line["quantity"]) / 100,
        "quantity": int(line["quantity"]),
        "coupon": line["offer"],
        "discount": off / 100,
    }
    return {name: value for name, value in product.items() if value is not None}
