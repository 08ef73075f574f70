"""Every feature of a customer, each one small function, written once for all engines.

A feature belongs to a *grain*: a table with several rows per customer that is made once and shared. Its function takes
that table, and the :class:`Moment` ``now`` if it needs it, and returns an aggregate: a column of its own name. What
follows from aggregates is in ``_derived.py``. To add a feature: write it here under ``@feature(<grain>)``, or there
under ``@derived``, and name its column in ``profiles.PROFILE`` if the profile shall show it; the checks find it.

Portable subset: no ordered array aggregation, no ``first`` or ``arg_max`` (ties), no float sums, no engine's calendar
(all times are microseconds), integers wherever a value is summed or compared.
"""

from __future__ import annotations

from collections.abc import Callable

import ibis

from tradewind.learn._grains import (
    CODE_BITS,
    DAY,
    HOUR,
    Build,
    Expr,
    Moment,
    channel_code,
    count_if,
    decay,
    pack,
    sum_if,
)

FEATURES: dict[str, dict[str, Build]] = {}  # grain -> name -> function

NOT_OWN = ("sent", "bounce", "coupon")  # done to the customer, not by the customer
EVIDENCE = {"view": 1, "wish": 3, "cart": 3, "purchase": 8}  # how much an event says about taste


def feature(grain: str) -> Callable[[Build], Build]:
    """Register an aggregate over ``grain`` under the function's name."""

    def register(build: Build) -> Build:
        FEATURES.setdefault(grain, {})[build.__name__] = build
        return build

    return register


# ---- grain "activity": the events themselves -----------------------------------------------------------------------


def _own(t: Expr) -> Expr:
    return t.kind.notin(list(NOT_OWN))


@feature("activity")
def first_us(t: Expr) -> Expr:
    return ibis.ifelse(_own(t), t.us, None).min()


@feature("activity")
def last_us(t: Expr) -> Expr:
    return ibis.ifelse(_own(t), t.us, None).max()


@feature("activity")
def views_30d(t: Expr, now: Moment) -> Expr:
    return count_if((t.kind == "view") & (t.us >= now.ago(30)))


@feature("activity")
def carts_30d(t: Expr, now: Moment) -> Expr:
    return count_if((t.kind == "cart") & (t.us >= now.ago(30)))


@feature("activity")
def messages_30d(t: Expr, now: Moment) -> Expr:
    return count_if((t.kind == "sent") & (t.us >= now.ago(30)))


@feature("activity")
def last_message_us(t: Expr) -> Expr:
    return ibis.ifelse(t.kind == "sent", t.us, None).max()


@feature("activity")
def refunded(t: Expr) -> Expr:
    return sum_if(t.kind == "refund", t.paid)


@feature("activity")
def refunded_90d(t: Expr, now: Moment) -> Expr:
    return sum_if((t.kind == "refund") & (t.us >= now.ago(90)), t.paid)


# ---- grain "clock": one row per customer and hour in which the customer did something ---------------------------------


def clock(events: Expr) -> Expr:
    own = events.filter(_own(events)).mutate(stamp=lambda t: t.us // HOUR)
    hourly = own.group_by("customer", "stamp").aggregate(n=lambda t: t.count())
    return hourly.mutate(day=hourly.stamp // 24)


@feature("clock")
def active_days(t: Expr) -> Expr:
    return t.day.nunique()


# ---- grain "hours": one row per customer and hour of the day (UTC) ---------------------------------------------------


def hours(clock_rows: Expr, now: Moment) -> Expr:
    t = clock_rows.mutate(hour=clock_rows.stamp - clock_rows.day * 24, weight=decay(-clock_rows.day + now.us // DAY) * clock_rows.n)
    return t.group_by("customer", "hour").aggregate(weight=lambda t: t.weight.sum())


@feature("hours")
def hour_top(t: Expr) -> Expr:
    return pack(t.weight, t.hour, 5).max()


@feature("hours")
def hour_weight(t: Expr) -> Expr:
    return t.weight.sum()


# ---- grain "orders": one row per customer and order; a purchase without an order id is an order of its own -------------


def orders(events: Expr, now: Moment) -> Expr:
    bought = events.filter(events.kind == "purchase").mutate(order=lambda t: t.order_id.coalesce(t.id))
    return bought.group_by("customer", "order").aggregate(
        ordered=lambda t: t.us.min(),
        latest=lambda t: t.us.max(),
        value=lambda t: t.paid.sum(),
        value_90d=lambda t: sum_if(t.us >= now.ago(90), t.paid),
        lines=lambda t: t.count(),
        discounted=lambda t: count_if(t.discount > 0),
        money=lambda t: t.currency.max(),
    )


@feature("orders")
def frequency(t: Expr) -> Expr:
    return t.count()


@feature("orders")
def orders_30d(t: Expr, now: Moment) -> Expr:
    return count_if(t.ordered >= now.ago(30))


@feature("orders")
def first_order_us(t: Expr) -> Expr:
    return t.ordered.min()


@feature("orders")
def last_order_us(t: Expr) -> Expr:
    return t.ordered.max()


@feature("orders")
def last_purchase_us(t: Expr) -> Expr:
    return t.latest.max()


@feature("orders")
def bought(t: Expr) -> Expr:
    return t.value.sum()


@feature("orders")
def bought_90d(t: Expr) -> Expr:
    return t.value_90d.sum()


@feature("orders")
def lines(t: Expr) -> Expr:
    return t.lines.sum()


@feature("orders")
def discounted(t: Expr) -> Expr:
    return t.discounted.sum()


@feature("orders")
def currency(t: Expr) -> Expr:
    return t.money.max()


# ---- grain "taste": one row per customer, category and brand, with decayed evidence -----------------------------------


def taste(events: Expr, shelf: Expr, now: Moment) -> Expr:
    shown = events.filter(events.kind.isin(list(EVIDENCE))).join(shelf, "item")
    weight = ibis.cases(*((shown.kind == kind, points) for kind, points in EVIDENCE.items()), else_=0)
    t = shown.mutate(age=-(shown.us // DAY) + now.us // DAY, evidence=weight, is_purchase=shown.kind == "purchase")
    t = t.mutate(fresh=decay(t.age))
    return t.group_by("customer", "shelf_category", "shelf_brand").aggregate(
        weight=lambda t: (t.fresh * t.evidence).sum(),
        band_weight=lambda t: sum_if(t.is_purchase & t.band.notnull(), t.fresh),
        band_sum=lambda t: sum_if(t.is_purchase & t.band.notnull(), t.fresh * t.band),
    )


@feature("taste")
def band_weight(t: Expr) -> Expr:
    return t.band_weight.sum()


@feature("taste")
def band_sum(t: Expr) -> Expr:
    return t.band_sum.sum()


def by_code(taste_rows: Expr, column: str) -> Expr:
    """Grain "categories" or "brands": one row per customer and code."""
    known = taste_rows.filter(taste_rows[column].notnull())
    return known.group_by("customer", code=known[column]).aggregate(weight=lambda t: t.weight.sum())


@feature("categories")
def category_top(t: Expr) -> Expr:
    return pack(t.weight, t.code, CODE_BITS).max()


@feature("categories")
def category_weight(t: Expr) -> Expr:
    return t.weight.sum()


@feature("brands")
def brand_top(t: Expr) -> Expr:
    return pack(t.weight, t.code, CODE_BITS).max()


@feature("brands")
def brand_weight(t: Expr) -> Expr:
    return t.weight.sum()


# ---- grain "messages": one row per customer and message; opens of one message count once ------------------------------


def messages(events: Expr) -> Expr:
    t = events.filter(events.kind.isin(["sent", "open", "click"])).mutate(message=lambda t: t.decision_id.coalesce(t.id))
    return t.group_by("customer", "message").aggregate(
        sent=lambda t: ibis.ifelse(t.kind == "sent", 1, 0).max(),
        opened=lambda t: ibis.ifelse(t.kind == "sent", 0, 1).max(),
        clicked=lambda t: ibis.ifelse(t.kind == "click", 1, 0).max(),
    )


@feature("messages")
def sent(t: Expr) -> Expr:
    return t.sent.sum()


@feature("messages")
def opened(t: Expr) -> Expr:
    return t.opened.sum()


@feature("messages")
def clicked(t: Expr) -> Expr:
    return t.clicked.sum()


# ---- grain "channels": one row per customer and channel of the customer's answers -------------------------------------


def channels(events: Expr, now: Moment) -> Expr:
    t = events.filter(events.kind.isin(["open", "click"]))
    t = t.mutate(code=channel_code(t.channel), weight=decay(-(t.us // DAY) + now.us // DAY) * ibis.ifelse(t.kind == "click", 3, 1))
    return t.filter(t.code >= 0).group_by("customer", "code").aggregate(weight=lambda t: t.weight.sum())


@feature("channels")
def channel_top(t: Expr) -> Expr:
    return pack(t.weight, t.code, 5).max()
