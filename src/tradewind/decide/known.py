"""What the shop's own tables say about people and pieces at one moment: who is blocked, who holds an offer, what will be sold out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from tradewind.decide.offers.base import STACK
from tradewind.engine.ledger import plans
from tradewind.schema import TIME, Kind
from tradewind.types import Offer, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

BLOCKED = "blocked"  # the audience, or the true value among a customer's attributes
SOLD = timedelta(days=28)  # of sales from which it is expected how long a stock lasts


def blocked(home: Home) -> frozenset[str]:
    """Customers in the audience ``blocked``, or with a true ``blocked`` among their attributes."""
    tables = home.tables
    listed = tables.to_arrow(tables.get("audiences"))
    found = set(listed.filter(pc.equal(listed["campaign"], BLOCKED))["customer"].to_pylist())
    people = tables.to_arrow(tables.get("customers").select("customer", "attributes"))
    for row in people.filter(pc.is_valid(people["attributes"])).to_pylist():
        if BLOCKED in row["attributes"] and str(json.loads(row["attributes"]).get(BLOCKED, "")).lower() in ("true", "1", "yes"):
            found.add(row["customer"])
    return frozenset(found)


def held(home: Home, offers: Sequence[Offer], *, as_of: datetime) -> pa.Table | None:
    """(customer, offer) of the stacking groups that customers hold: coupons given and not used, and offers of open plans.

    None when no offer is of a group. Only what was given before ``as_of`` counts.
    """
    names = sorted(one.offer for one in offers if STACK in one.terms)
    if not names:
        return None
    events = home.tables.events(as_of=as_of)
    mine = events.filter(events.offer.isin(names) & events.customer.notnull() & events.kind.isin([str(Kind.COUPON), str(Kind.REDEEM)]))
    pairs: set[tuple[str, str]] = set()
    for row in home.tables.to_arrow(mine.select("customer", "offer", "kind", "at", "id").order_by("at", "id")).to_pylist():
        (pairs.add if row["kind"] == str(Kind.COUPON) else pairs.discard)((row["customer"], row["offer"]))
    used = {
        (row["customer"], row["offer"])
        for row in home.tables.to_arrow(mine.filter(mine.kind == str(Kind.REDEEM)).select("customer", "offer").distinct()).to_pylist()
    }
    pairs |= _open(home, names, as_of) - used
    ordered = sorted(pairs)
    return pa.table(
        {"customer": pa.array([one for one, _ in ordered], pa.string()), "offer": pa.array([one for _, one in ordered], pa.string())}
    )


def _open(home: Home, names: Sequence[str], as_of: datetime) -> set[tuple[str, str]]:
    """Who was promised which of the offers by a plan whose window is open."""
    from tradewind.decide.commit import chosen, load

    with home.ledger.read() as conn:
        rows = conn.execute(select(plans.c.plan_id, plans.c.as_of, plans.c.meta).where(plans.c.as_of < micros(as_of))).all()
    found: set[tuple[str, str]] = set()
    for plan_id, at, meta in rows:
        if from_micros(int(at)) + timedelta(days=float(json.loads(meta)["window_days"])) > as_of:
            told = chosen(load(home, plan_id)).select(["customer", "offer"])
            mine = told.filter(pc.is_in(told["offer"], value_set=pa.array(list(names))))
            found |= set(zip(mine["customer"].to_pylist(), mine["offer"].to_pylist(), strict=True))
    return found


def with_stock_ends(home: Home, items: pa.Table, *, as_of: datetime) -> pa.Table:
    """``items`` with ``stock_ends``: when what is in stock will be sold; null where nothing says that it will be.

    By the forecast of the shop's demand where there is one (``decide/foreseen.py``), else at the pace of the last ``SOLD``.
    """
    from tradewind.decide.foreseen import NEVER, sold_out

    events = home.tables.events(as_of=as_of)
    sold = events.filter((events.kind == str(Kind.PURCHASE)) & events.item.notnull() & (events.at >= as_of - SOLD))
    counts = home.tables.to_arrow(sold.group_by("item").aggregate(pieces=lambda t: t.quantity.fill_null(1).sum())).to_pylist()
    pace = {row["item"]: float(row["pieces"] or 0) for row in counts}
    stock = {row["item"]: row["stock"] for row in items.select(["item", "stock"]).to_pylist() if row["stock"] is not None}
    ends = {
        item: micros(as_of) + round(SOLD / timedelta(microseconds=1) * pieces / pace[item])
        for item, pieces in stock.items()
        if pace.get(item, 0) > 0 and pieces < 1000 * pace[item]
    }
    for item, end in sold_out(home, stock, as_of=as_of).items():
        if end < NEVER:
            ends[item] = end
        else:
            ends.pop(item, None)  # the pace of the past says less than the forecast that the stock outlasts
    return items.append_column("stock_ends", pa.array([ends.get(item) for item in items["item"].to_pylist()], pa.int64()).cast(TIME))
