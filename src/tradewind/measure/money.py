"""What each customer brought in during a window, and what each decision led to: sums in the table engine, once.

Margin is what was paid minus the cost of the goods; returned lines are taken off. Discounts are already in what was paid.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from tradewind.engine.tables import Tables
from tradewind.errors import StateError
from tradewind.types import utc

Expr = Any


def _lines(tables: Tables, *, start: datetime, end: datetime, margin: float | None) -> Expr:
    """Purchase and refund lines of the window with their signed ``paid``, ``given`` (discount) and ``goods`` (cost)."""
    import ibis

    events = tables.events(as_of=end)
    events = events.filter(events.at >= ibis.literal(start), events.kind.isin(["purchase", "refund"]), events.customer.notnull())
    costs = tables.get("items").select("item", unit_cost="cost")
    lines = events.left_join(costs, "item")
    sign = ibis.ifelse(lines.kind == "refund", -1, 1)
    paid = ibis.coalesce(lines.value, 0)
    given = ibis.coalesce(lines.discount, 0)
    known = lines.unit_cost * ibis.coalesce(lines.quantity, 1.0)
    assumed = (paid + given) * (1.0 - margin) if margin is not None else ibis.null("float64")
    goods = ibis.coalesce(known.cast("float64"), assumed.cast("float64") if margin is not None else assumed)
    return lines.select(
        "customer",
        "currency",
        "order_id",
        "offer",
        "kind",
        "at",
        paid=paid * sign,
        given=given * sign,
        goods=goods * sign,
        uncosted=ibis.ifelse(goods.isnull(), 1, 0),
    )


def customer_money(tables: Tables, *, start: datetime, end: datetime, currency: str, margin: float | None) -> pa.Table:
    """One row per customer with purchases in [start, end): revenue, discount, margin (minor units), orders, lines left out.

    Columns: ``customer``, ``revenue`` int64, ``discount`` int64, ``margin`` float64, ``orders`` int64, ``foreign`` int64
    (lines in another currency, left out of all sums).

    Raises
    ------
    StateError
        Some lines have no cost and no margin is assumed in the shop's settings: profit cannot be stated.
    """
    import ibis

    lines = _lines(tables, start=start, end=end, margin=margin)
    home = (lines.currency == currency) | lines.currency.isnull()
    sums = lines.group_by("customer").aggregate(
        revenue=ibis.ifelse(home, lines.paid, 0).sum().cast("int64"),
        discount=ibis.ifelse(home, lines.given, 0).sum().cast("int64"),
        goods=ibis.ifelse(home, ibis.coalesce(lines.goods, 0.0), 0.0).sum(),
        orders=lines.order_id.nunique(where=home & (lines.kind == "purchase")),
        foreign=ibis.ifelse(home, 0, 1).sum().cast("int64"),
        uncosted=ibis.ifelse(home, lines.uncosted, 0).sum().cast("int64"),
    )
    found = tables.to_arrow(sums)
    import pyarrow.compute as pc

    missing = pc.sum(found["uncosted"]).as_py() or 0
    if missing:
        raise StateError(
            f"{missing} order lines have no cost, so profit cannot be stated. Load items with a cost, "
            "or declare an assumed margin (a share, for example margin = 0.4) in the mapping file or in tradewind.toml."
        )
    profit = pc.subtract(pc.cast(found["revenue"], pa.float64()), found["goods"])
    return pa.table(
        {
            "customer": found["customer"],
            "revenue": found["revenue"],
            "discount": found["discount"],
            "margin": profit,
            "orders": pc.cast(found["orders"], pa.int64()),
            "foreign": found["foreign"],
        }
    )


def seen_until(tables: Tables) -> datetime | None:
    """When the shop's log ends: its last event that is not a message of our own; None without any."""
    events = tables.events()
    last = tables.to_arrow(events.filter(events.source != "deliver").aggregate(at=events.at.max()))["at"][0].as_py()
    return None if last is None else utc(last)


def offer_discounts(tables: Tables, *, start: datetime, end: datetime, currency: str) -> pa.Table:
    """Per ``customer`` and ``offer`` in the window: discount ``given`` (minor units, what a coupon really cost) and ``orders`` with it."""
    import ibis

    lines = _lines(tables, start=start, end=end, margin=0.0)
    home = (lines.currency == currency) | lines.currency.isnull()
    used = lines.filter(lines.offer.notnull(), home)
    orders = used.order_id.nunique(where=used.kind == "purchase").cast("int64")
    return tables.to_arrow(
        used.group_by("customer", "offer").aggregate(given=ibis.coalesce(used.given.sum(), 0).cast("int64"), orders=orders)
    )


def daily_margin(tables: Tables, *, start: datetime, end: datetime, currency: str, margin: float | None) -> pa.Table:
    """Margin per ``customer`` and whole ``day`` since ``start`` (0, 1, ...), minor units: for curves over time."""
    import ibis

    lines = _lines(tables, start=start, end=end, margin=margin)
    home = (lines.currency == currency) | lines.currency.isnull()
    lines = lines.filter(home)
    day = ((lines.at.epoch_seconds() - int(start.timestamp())) / 86_400.0).floor().cast("int64")
    lines = lines.mutate(day=day, profit=lines.paid.cast("float64") - ibis.coalesce(lines.goods, 0.0))
    return tables.to_arrow(lines.group_by("customer", "day").aggregate(margin=lines.profit.sum()))


def clicks(tables: Tables, *, start: datetime, end: datetime) -> set[str]:
    """Decisions whose message was clicked in the window."""
    import ibis

    events = tables.events(as_of=end)
    events = events.filter(events.at >= ibis.literal(start), events.kind == "click", events.decision_id.notnull())
    return set(tables.to_arrow(events.select("decision_id").distinct())["decision_id"].to_pylist())
