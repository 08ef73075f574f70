"""What ``compose`` reads of a shop: decisions, languages and zones, items, offers, ratings and reasons."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select

from tradewind.compose import locales
from tradewind.compose.components import ANCHORED, wording
from tradewind.compose.facts import MIN_PRAISE, MIN_REVIEWS, Aspect, Proof, sensitive
from tradewind.compose.markets import Markets, load
from tradewind.compose.pricelog import histories
from tradewind.compose.prices import History
from tradewind.decide.read import read_offers
from tradewind.engine.ledger import manifest
from tradewind.learn import product_queue, reviews
from tradewind.schema import Kind
from tradewind.types import NOTHING, Offer, Reason, utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

_CATALOGUE = select(manifest.c.path).where(manifest.c.name.in_(("items", "offers", "offer_items"))).order_by(manifest.c.path)
COLUMNS = (
    "item", "title", "title_zh", "title_en", "category", "brand", "price", "currency", "stock", "available_from", "available_until",
    "attributes",
)  # fmt: skip


def catalogue(conn: Connection) -> str:
    """Return a mark of the catalogue, the offers and what was confirmed of items: what was written under another one is looked at again.

    ``deliver`` asks in the transaction that hands a message off, so nothing leaves with a price that was replaced before.
    """
    told = repr(conn.execute(_CATALOGUE).scalars().all()) + product_queue.mark(conn)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Material:
    """Everything that texts are made of, read once per run; decisions and customers stay in Arrow until a chunk asks."""

    decisions: pa.Table
    customers: pa.Table
    items: Mapping[str | None, Mapping[str, Any]]
    offers: Mapping[str | None, Offer]
    proofs: Mapping[str | None, Proof]
    histories: Mapping[str, History]
    markets: Markets
    mark: str  # of the catalogue that was read, see ``catalogue``

    @classmethod
    def read(cls, home: Home, plan: Plan, *, offers: Sequence[Offer] | None, now: datetime) -> Material:
        """Read what the plan needs; terms are the committed ones of the plan, scope and window are those of the tables."""
        tables, markets = home.tables, load(home.root)
        with home.ledger.read() as conn:
            mark = catalogue(conn)  # before the tables: a load in between makes the texts stale, not false
        decisions = _chosen(plan.table)
        customers = tables.to_arrow(tables.get("customers").select("customer", "locale", "zone", "attributes")).combine_chunks()
        wanted = set(decisions["item"].to_pylist()) | {_anchor(reason) for reason in _reasons(decisions["reasons"].to_pylist())}
        goods = tables.to_arrow(tables.get("items").select(*COLUMNS))
        rows = goods.filter(pc.is_in(goods["item"], pa.array([i for i in wanted if i is not None], pa.string()))).to_pylist()
        return cls(
            decisions,
            customers,
            {row["item"]: row for row in product_queue.completed(home, rows)},
            _offers(plan, (*read_offers(tables), *(offers or ())), decisions),
            _proofs(home, now),
            {**histories(home, [i for i in wanted if i is not None], now=now)} if any(m.prices for m in markets.markets) else {},
            markets,
            mark,
        )

    def of(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return per decision id of a chunk: item, offer, reasons, locale, zone and country; ``missing`` where the plan lacks it."""
        ids = [row["decision_id"] for row in rows]
        found = {row["decision_id"]: row for row in _lookup(self.decisions, "decision_id", ids)}
        people = {row["customer"]: row for row in _lookup(self.customers, "customer", [row["customer"] for row in rows])}
        told: dict[str, dict[str, Any]] = {}
        for row in rows:
            decision, person = found.get(row["decision_id"]), people.get(row["customer"], {})
            if decision is None:
                told[row["decision_id"]] = {"missing": "the plan has no such decision"}
            else:
                where = {"locale": person.get("locale"), "zone": person.get("zone"), "country": country(person)}
                told[row["decision_id"]] = {**decision, **where}
        return told

    def reason(self, told: Mapping[str, Any]) -> tuple[Reason | None, Mapping[str, Any] | None]:
        """Return the first reason that may become words, and the item that it speaks of."""
        for reason in _reasons([told["reasons"]]):
            kind = wording(reason)
            if kind is None:
                continue
            if kind not in ANCHORED:
                return reason, None
            anchor = self.items.get(_anchor(reason))
            if anchor is None or anchor["item"] == told["item"] or any(sensitive(str(anchor.get(c) or "")) for c in ("title", "category")):
                continue
            return reason, anchor
        return None, None


def country(person: Mapping[str, Any]) -> str | None:
    """The country of a row of ``customers``: its attribute ``country``, else, where its time zone does not say it, its language tag's.

    ``deliver`` keeps the hours of that country's law. None: unknown, and the hours of every country that may be meant hold.
    """
    try:
        told = json.loads(person.get("attributes") or "{}")
    except ValueError:
        told = {}
    own = told.get("country") if isinstance(told, dict) else None
    if isinstance(own, str) and re.fullmatch("[A-Z]{2}", own.strip().upper()):
        return own.strip().upper()
    tag = re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?[-_]([A-Za-z]{2})(?:[-_].*)?", person.get("locale") or "")
    return tag[1].upper() if tag and locales.zone(person.get("zone")) is None else None


def _chosen(table: pa.Table) -> pa.Table:
    """The decisions that reach somebody, each with the reasons of the chosen candidate."""
    table = table.filter(pc.and_(pc.equal(table["variant"], "treat"), pc.not_equal(table["action"], NOTHING))).combine_chunks()
    owner = pc.list_parent_indices(table["candidates"])
    mine = pc.equal(pc.list_flatten(table["candidates"]), table["action"].take(owner))
    reasons = pc.list_flatten(table["reasons"]).filter(mine)
    place = pc.index_in(pa.array(range(table.num_rows), pa.int64()), owner.cast(pa.int64()).filter(mine).combine_chunks())
    return table.select(["decision_id", "item", "offer"]).append_column("reasons", reasons.take(place))


def _lookup(table: pa.Table, column: str, values: Sequence[str]) -> list[dict[str, Any]]:
    if not table.num_rows:
        return []
    places = pc.index_in(pa.array(values, pa.string()), table[column])
    rows: list[dict[str, Any]] = table.take(places.drop_null()).to_pylist()
    return rows


def _reasons(texts: Sequence[str]) -> list[Reason]:
    found: list[Reason] = []
    for text in dict.fromkeys(texts):
        found += [Reason(told["code"], told.get("details", {})) for told in json.loads(text or "[]")]
    return found


def _anchor(reason: Reason) -> str | None:
    return reason.details.get("item") if wording(reason) in ANCHORED else None


def _offers(plan: Plan, known: Sequence[Offer], decisions: pa.Table) -> dict[str | None, Offer]:
    """The offers of the plan: as the shop knows them now, with the terms that the budget was reserved for."""
    now_known = {offer.offer: offer for offer in known}
    offers: dict[str | None, Offer] = {}
    for name, meta in plan.meta["offers"].items():
        ends_at = utc(meta["ends_at"]) if meta["ends_at"] else None
        if name in now_known:
            offers[name] = replace(now_known[name], terms=meta["terms"])
        else:  # scope unknown: speak only of the items that the plan chose for it
            mine = decisions.filter(pc.equal(decisions["offer"], name))["item"].drop_null().to_pylist()
            offers[name] = Offer(name, meta["kind"], meta["terms"], items=frozenset(mine) or None, ends_at=ends_at)
    return offers


def _proofs(home: Home, now: datetime) -> dict[str | None, Proof]:
    """Mean rating and number of ratings per item with enough support; none where ratings are on another scale than 1 to 5."""
    events = home.tables.events(as_of=now.astimezone(UTC))
    rated = events.filter((events.kind == Kind.REVIEW.value) & events.rating.notnull() & events.item.notnull())
    sums = rated.group_by("item").aggregate(
        count=rated.rating.count(), mean=rated.rating.mean(), low=rated.rating.min(), high=rated.rating.max()
    )
    rows = home.tables.to_arrow(sums).to_pylist()
    if any(row["low"] < 1 or row["high"] > 5 for row in rows):
        return {}
    praise = _aspects(home, now)
    return {
        row["item"]: Proof(Decimal(repr(round(row["mean"], 4))), row["count"], praise.get(row["item"], ()))
        for row in rows
        if row["count"] >= min(MIN_REVIEWS, MIN_PRAISE)
    }


def _aspects(home: Home, now: datetime) -> dict[str, tuple[Aspect, ...]]:
    """Aspects that reviews praise or blame, codes of our list only: what ``learn`` read in their texts, or for an item whose
    reviews come with aspects (``{"aspects": {"fit": 1, "size": -1}}`` in the context), those."""
    events = home.tables.events(as_of=now.astimezone(UTC))
    told = events.filter((events.kind == Kind.REVIEW.value) & events.item.notnull() & events.context.contains('"aspects"'))
    codes = locales.data("locales")["en"]["aspects"]
    counts: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for row in home.tables.to_arrow(told.select("item", "context")).to_pylist():
        try:
            found = json.loads(row["context"]).get("aspects")
        except (ValueError, AttributeError):
            continue  # a context that is no object holds no aspects
        for code, sign in found.items() if isinstance(found, dict) else ():
            if code in codes and sign in (1, -1):
                counts[row["item"]][code, sign > 0] += 1
    given = {
        item: tuple(Aspect(code, tally[code, True], tally[code, True] + tally[code, False]) for code in codes if tally[code, True])
        for item, tally in counts.items()
    }
    read = {
        item: tuple(Aspect(code, *told[code]) for code in codes if told.get(code, (0, 0))[0])
        for item, told in reviews.praise(home, before=now).items()
    }
    return read | given
