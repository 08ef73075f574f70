"""Features that follow from a customer's own aggregates and the shop's totals: rates, shares, the life-cycle stage."""

from __future__ import annotations

import ibis

from tradewind.learn._grains import CODE_BITS, DAY, FRESH, Build, Expr, Moment, code, ratio, weight
from tradewind.learn.features import EVIDENCE

DERIVED: dict[str, Build] = {}

DOUBT = 3 * EVIDENCE["purchase"] * FRESH  # a preference is believed by half after three fresh purchases
HOUR_DOUBT = 12 * FRESH
PRIOR_LINES = 5  # pseudo-observations from the shop's own rates
PRIOR_MESSAGES = 10
PRIOR_INTERVALS = 1
DEFAULT_INTERVAL = 30 * DAY  # where nobody has bought twice yet


def derived(build: Build) -> Build:
    """Register a function of the row of aggregates under its name."""
    DERIVED[build.__name__] = build
    return build


def shop_totals(wide: Expr) -> Expr:
    """One row: sums over all customers, from which the shop's own rates follow."""
    interval = _interval_us(wide)
    return wide.aggregate(
        **{f"shop_{name}": wide[name].sum() for name in ("lines", "discounted", "sent")},
        **{f"shop_{name}": ibis.least(wide[name], wide.sent).sum() for name in ("opened", "clicked")},  # some opens lack their message
        shop_interval_sum=interval.sum(),
        shop_interval_count=interval.count(),
    )


def _interval_us(r: Expr) -> Expr:
    """Mean time between orders in whole microseconds; null below two orders."""
    return (r.last_order_us - r.first_order_us) // ibis.ifelse(r.frequency > 1, r.frequency - 1, None)


def _shrunk(part: Expr, whole: Expr, shop_part: Expr, shop_whole: Expr, prior: int) -> Expr:
    """(part + prior * shop's rate) / (whole + prior); null where the shop has no observation at all."""
    return (part.cast("float64") + ratio(shop_part * prior, shop_whole)) / (whole + prior).cast("float64")


@derived
def since_us(r: Expr) -> Expr:
    """First sign of life: the sign-up or the first thing done."""
    return ibis.least(r.first_us.coalesce(r.signed_us), r.signed_us.coalesce(r.first_us))


@derived
def tenure_days(r: Expr, now: Moment) -> Expr:
    return (-since_us(r) + now.us).cast("float64") / float(DAY)


@derived
def recency_days(r: Expr, now: Moment) -> Expr:
    return (-r.last_purchase_us + now.us).cast("float64") / float(DAY)


@derived
def monetary(r: Expr) -> Expr:
    return r.bought - r.refunded


@derived
def spend_90d(r: Expr) -> Expr:
    return r.bought_90d - r.refunded_90d


@derived
def aov(r: Expr) -> Expr:
    return ratio(r.bought - r.refunded, r.frequency)


@derived
def interval_days(r: Expr) -> Expr:
    return ratio(r.last_order_us - r.first_order_us, (r.frequency - 1) * DAY)


@derived
def refund_share(r: Expr) -> Expr:
    return ratio(r.refunded, r.bought)


@derived
def category_code(r: Expr) -> Expr:
    return code(r.category_top, CODE_BITS)


@derived
def top_category_share(r: Expr) -> Expr:
    return ratio(weight(r.category_top, CODE_BITS), r.category_weight)


@derived
def category_confidence(r: Expr) -> Expr:
    return ratio(weight(r.category_top, CODE_BITS), r.category_weight + DOUBT)


@derived
def brand_code(r: Expr) -> Expr:
    return code(r.brand_top, CODE_BITS)


@derived
def top_brand_share(r: Expr) -> Expr:
    return ratio(weight(r.brand_top, CODE_BITS), r.brand_weight)


@derived
def price_band(r: Expr) -> Expr:
    return (2 * r.band_sum + r.band_weight) // (2 * r.band_weight).nullif(0)


@derived
def discount_affinity(r: Expr) -> Expr:
    return _shrunk(r.discounted, r.lines, r.shop_discounted, r.shop_lines, PRIOR_LINES)


@derived
def best_hour(r: Expr) -> Expr:
    return code(r.hour_top, 5)


@derived
def hour_confidence(r: Expr) -> Expr:
    return ratio(weight(r.hour_top, 5), r.hour_weight + HOUR_DOUBT)


@derived
def channel_number(r: Expr) -> Expr:
    return code(r.channel_top, 5)


@derived
def open_rate(r: Expr) -> Expr:
    return _shrunk(ibis.least(r.opened, r.sent), r.sent, r.shop_opened, r.shop_sent, PRIOR_MESSAGES)


@derived
def click_rate(r: Expr) -> Expr:
    return _shrunk(ibis.least(r.clicked, r.sent), r.sent, r.shop_clicked, r.shop_sent, PRIOR_MESSAGES)


@derived
def stage(r: Expr, now: Moment) -> Expr:
    """Where the silence since the last purchase stands against the customer's own rhythm (shrunk towards the shop's)."""
    gaps = r.frequency - 1
    shop = (r.shop_interval_sum // r.shop_interval_count.nullif(0)).coalesce(DEFAULT_INTERVAL)
    own = (r.last_order_us - r.first_order_us + PRIOR_INTERVALS * shop) // (gaps + PRIOR_INTERVALS).nullif(0)
    silence = -r.last_purchase_us + now.us
    return ibis.cases(
        (r.frequency == 0, "prospect"),
        (r.first_order_us >= now.ago(30), "new"),
        (2 * silence <= 3 * own, "active"),
        (silence <= 3 * own, "at_risk"),
        else_="lapsed",
    )
