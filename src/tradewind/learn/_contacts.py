"""One row per targeted customer of a campaign: what was known when it started, and whether a coupon was redeemed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import InputError, unknown
from tradewind.learn._grains import DAY, Expr, Moment, past, time_us
from tradewind.learn.profiles import PROFILE, STAGES, profiles
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

KEYS = ("campaign", "customer", "at", "label")
OF_CUSTOMER = tuple(
    field.name for field in PROFILE if (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)) and field.name != "best_hour"
)
OF_CAMPAIGN = ("kind_rate", "days", "offers", "items")
OF_PAIR = (
    "targeted", "redeemed_campaigns", "redemptions", "same_kind_redeemed", "redeem_recency_days", "redeem_share",
    "match_lines", "match_items", "match_spend", "match_recency_days", "match_share", "shelf_lines", "shelf_share",
)  # fmt: skip
FEATURES = (*OF_CUSTOMER, "stage", *OF_CAMPAIGN, *OF_PAIR)
PRIOR_RATE, PRIOR_TARGETS = 0.05, 20  # where no campaign of a kind was seen yet


def campaign_rows(tables: Tables, campaign: str, *, as_of: datetime, until: datetime | None = None) -> pa.Table:
    """The audience of ``campaign``: campaign, customer, at, label and ``FEATURES`` (float64, null: unknown), as of ``as_of``.

    ``label`` (int8) is 1 for who redeemed an offer of this campaign in [as_of, min(end of the campaign, until)), and
    null for all when ``until`` is None.

    Raises
    ------
    NotFound
        There is no such campaign.
    """
    now = Moment(as_of)
    calendar = tables.to_arrow(tables.get("campaigns")).to_pylist()
    found = next((row for row in calendar if row["campaign"] == campaign), None)
    if found is None:
        raise unknown("campaign", campaign, [row["campaign"] for row in calendar])
    audience = tables.to_arrow(tables.get("audiences").filter(lambda t: t.campaign == campaign).select("customer").distinct())
    history = _history(tables, now)
    profile = profiles(tables, as_of=as_of)
    columns: dict[str, Any] = {name: _aligned(audience, profile, name) for name in (*OF_CUSTOMER, "stage")}
    columns["stage"] = pc.index_in(columns["stage"], value_set=pa.array(STAGES))
    columns |= _of_campaign(tables, found, calendar, history, now)
    columns |= _of_pair(tables, found, calendar, audience, history, now)
    n = audience.num_rows
    label = pa.nulls(n, pa.int8()) if until is None else _label(tables, found, audience, now, until)
    table: dict[str, Any] = {
        "campaign": pa.array([campaign] * n, pa.string()),
        "customer": audience["customer"],
        "at": pa.array([as_of] * n, pa.timestamp("us", tz="UTC")),
        "label": label,
    }
    for name in FEATURES:
        column = columns[name]
        table[name] = pa.array(np.full(n, float(column))) if isinstance(column, int | float) else column.cast(pa.float64())
    return pa.table(table).sort_by("customer")


def training_rows(tables: Tables, *, before: datetime, since: datetime | None = None) -> pa.Table:
    """The rows of all campaigns that start in [since, before), each as of its own start, with outcomes cut off at ``before``.

    ``since`` is by default the first event: an earlier campaign has no history to learn from. A campaign of which less
    than half the window lies before ``before`` is left out: its answers are mostly unknown.

    Raises
    ------
    InputError
        No campaign is left.
    """
    if since is None:
        events = tables.events(as_of=before)
        first = tables.to_arrow(events.aggregate(us=time_us(tables, events.at).min()))["us"][0].as_py()
        since = before if first is None else from_micros(first)
    calendar = tables.to_arrow(tables.get("campaigns")).sort_by("starts_at").to_pylist()
    over = [row for row in calendar if half_over(row, since=since, before=before)]
    chosen = [campaign_rows(tables, row["campaign"], as_of=row["starts_at"], until=before) for row in over]
    chosen = [rows for rows in chosen if rows.num_rows]
    if not chosen:
        raise InputError(
            f"No campaign with an audience starts between {since.isoformat()} and {before.isoformat()} and is half over by then. "
            "Collect campaigns, audiences and offers, or choose a later time."
        )
    return pa.concat_tables(chosen)


def half_over(campaign: Mapping[str, Any], *, since: datetime, before: datetime) -> bool:
    """Whether a campaign starts in [since, before) and at least half of its window lies before ``before``."""
    start, end = campaign["starts_at"], campaign["ends_at"]
    return start is not None and end is not None and since <= start < before and before - start >= (end - start) / 2


def _history(tables: Tables, now: Moment) -> pa.Table:
    """Redemptions before the moment: customer, campaign, us."""
    offers = tables.get("offers").select("offer", "campaign")
    redeemed = past(tables, now).filter(lambda t: t.kind == "redeem").select("customer", "offer", "us")
    return tables.to_arrow(redeemed.join(offers, "offer").select("customer", "campaign", "us"))


def _of_campaign(tables: Tables, found: dict[str, Any], calendar: list[dict[str, Any]], history: pa.Table, now: Moment) -> dict[str, float]:
    offers = tables.get("offers").filter(lambda t: t.campaign == found["campaign"])
    items = tables.get("offer_items").semi_join(offers, "offer")
    counts = tables.to_arrow(offers.aggregate(n=lambda t: t.count())), tables.to_arrow(items.aggregate(n=lambda t: t.item.nunique()))
    alike = _earlier(calendar, now, kind=found["kind"])
    reached = tables.to_arrow(tables.get("audiences").filter(lambda t: t.campaign.isin(alike or [""])).aggregate(n=lambda t: t.count()))
    answered = _distinct(history.filter(pc.is_in(history["campaign"], value_set=pa.array(alike, pa.string()))))
    span = (found["ends_at"] - found["starts_at"]).total_seconds() / 86_400 if found["ends_at"] and found["starts_at"] else float("nan")
    return {
        "kind_rate": (answered.num_rows + PRIOR_TARGETS * PRIOR_RATE) / (reached["n"][0].as_py() + PRIOR_TARGETS),
        "days": span,
        "offers": float(counts[0]["n"][0].as_py()),
        "items": float(counts[1]["n"][0].as_py()),
    }


def _of_pair(
    tables: Tables, found: dict[str, Any], calendar: list[dict[str, Any]], audience: pa.Table, history: pa.Table, now: Moment
) -> dict[str, Any]:
    mailed = tables.get("audiences").filter(lambda t: t.campaign.isin(_earlier(calendar, now) or [""]))
    targeted = tables.to_arrow(mailed.group_by("customer").aggregate(n=lambda t: t.count()))
    events = history.group_by("customer").aggregate([("us", "count"), ("us", "max")])
    campaigns = _distinct(history).group_by("customer").aggregate([("campaign", "count")])
    alike = _distinct(
        history.filter(pc.is_in(history["campaign"], value_set=pa.array(_earlier(calendar, now, kind=found["kind"]), pa.string())))
    )
    same = alike.group_by("customer").aggregate([("campaign", "count")])
    match = tables.to_arrow(_matches(tables, found["campaign"], now))
    counts = {
        "targeted": _count(audience, targeted, "n"),
        "redeemed_campaigns": _count(audience, campaigns, "campaign_count"),
        "redemptions": _count(audience, events, "us_count"),
        "same_kind_redeemed": _count(audience, same, "campaign_count"),
    }
    for name in ("match_lines", "match_items", "match_spend", "shelf_lines"):
        counts[name] = _count(audience, match, name)
    lines = _count(audience, match, "lines")
    prior = pc.add(counts["targeted"].cast(pa.float64()), float(PRIOR_TARGETS))
    counts["redeem_share"] = pc.divide(pc.add(counts["redeemed_campaigns"].cast(pa.float64()), PRIOR_TARGETS * PRIOR_RATE), prior)
    counts["match_share"] = pc.divide(counts["match_lines"].cast(pa.float64()), pc.add(lines.cast(pa.float64()), 1.0))
    counts["shelf_share"] = pc.divide(counts["shelf_lines"].cast(pa.float64()), pc.add(lines.cast(pa.float64()), 1.0))
    counts["redeem_recency_days"] = _days(_aligned(audience, events, "us_max"), now)
    counts["match_recency_days"] = _days(_aligned(audience, match, "match_last"), now)
    return counts


def _matches(tables: Tables, campaign: str, now: Moment) -> Expr:
    """Per customer: lines bought so far, lines of the campaign's own items, and lines from the same categories."""
    offers = tables.get("offers").filter(lambda t: t.campaign == campaign)
    own = tables.get("offer_items").semi_join(offers, "offer").select("item").distinct()
    catalogue = tables.get("items").select("item", "category")
    shelves = catalogue.semi_join(own, "item").filter(lambda t: t.category.notnull()).select("category").distinct()
    flags = catalogue.left_join(own.mutate(own=1), "item").left_join(shelves.mutate(near=1), "category")
    flags = flags.select(item=flags.item, own=flags.own.coalesce(0), near=flags.near.coalesce(0))
    bought = past(tables, now).filter(lambda t: t.kind == "purchase").select("customer", "item", "us", "paid")
    lines = bought.left_join(flags, "item").drop("item_right")
    lines = lines.mutate(own=lines.own.coalesce(0), near=lines.near.coalesce(0))
    return lines.group_by("customer").aggregate(
        lines=lambda t: t.count(),
        match_lines=lambda t: t.own.sum(),
        match_items=lambda t: ibis.ifelse(t.own == 1, t.item, None).nunique(),
        match_spend=lambda t: (t.own * t.paid).sum(),
        match_last=lambda t: ibis.ifelse(t.own == 1, t.us, None).max(),
        shelf_lines=lambda t: t.near.sum(),
    )


def _label(tables: Tables, found: dict[str, Any], audience: pa.Table, now: Moment, until: datetime) -> pa.Array:
    end = until if found["ends_at"] is None else min(until, found["ends_at"])
    offers = tables.get("offers").filter(lambda t: t.campaign == found["campaign"])
    events = tables.events(as_of=end).filter(lambda t: (t.kind == "redeem") & t.customer.notnull())
    answered = events.filter(time_us(tables, events.at) >= now.us).semi_join(offers, "offer")
    who = tables.to_arrow(answered.select("customer").distinct())["customer"].combine_chunks()
    return pc.is_in(audience["customer"].combine_chunks(), value_set=who).cast(pa.int8())


def _earlier(calendar: list[dict[str, Any]], now: Moment, *, kind: str | None = None) -> list[str]:
    """Campaigns that had started, of one kind if given."""
    started = [row for row in calendar if row["starts_at"] is not None and micros(row["starts_at"]) < now.us]
    return [row["campaign"] for row in started if kind is None or row["kind"] == kind]


def _distinct(history: pa.Table) -> pa.Table:
    return history.group_by(["customer", "campaign"]).aggregate([])


def _aligned(audience: pa.Table, table: pa.Table, name: str) -> pa.Array:
    """The column of ``table`` for each customer of the audience; null for who is not in it."""
    if not table.num_rows:
        return pa.nulls(audience.num_rows, table[name].type)
    where = pc.index_in(audience["customer"].combine_chunks(), value_set=table["customer"].combine_chunks())
    return table[name].combine_chunks().take(where)


def _count(audience: pa.Table, table: pa.Table, name: str) -> pa.Array:
    return pc.fill_null(_aligned(audience, table, name).cast(pa.int64()), 0)


def _days(us: pa.Array, now: Moment) -> pa.Array:
    return pc.divide(pc.subtract(float(now.us), us.cast(pa.float64())), float(DAY))
