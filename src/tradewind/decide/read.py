"""Offers as the tables hold them, read into values that a decision can use."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tradewind.engine.tables import Tables
from tradewind.errors import InputError, unknown
from tradewind.types import Offer

RECOMMEND = Offer(offer="recommend", kind="product")


def read_offers(tables: Tables, *, only: Sequence[str] | None = None) -> tuple[Offer, ...]:
    """The shop's offers with their items and audiences; a shop without any gets one: recommend a product.

    ``only`` keeps offers whose id or kind is named.

    Raises
    ------
    NotFound
        ``only`` names neither an offer nor a kind that the shop has.
    InputError
        The terms of an offer are no JSON object.
    """
    items: dict[str, set[str]] = defaultdict(set)
    for row in tables.to_arrow(tables.get("offer_items")).to_pylist():
        items[row["offer"]].add(row["item"])
    audiences: dict[str, set[str]] = defaultdict(set)
    for row in tables.to_arrow(tables.get("audiences")).to_pylist():
        audiences[row["campaign"]].add(row["customer"])
    frozen = {campaign: frozenset(members) for campaign, members in audiences.items()}
    found = [
        Offer(
            offer=row["offer"],
            kind=row["kind"],
            terms=_terms(row["offer"], row["terms"]),
            items=frozenset(items[row["offer"]]) if row["offer"] in items else None,
            campaign=row["campaign"],
            starts_at=row["starts_at"],
            ends_at=row["ends_at"],
            eligible=row["eligible"],
            audience=frozen.get(row["campaign"]) if row["campaign"] is not None else None,
            title={locale: row[column] for locale, column in (("zh-CN", "title_zh"), ("en", "title_en")) if row[column]},
        )
        for row in tables.to_arrow(tables.get("offers")).to_pylist()
    ]
    found = sorted(found, key=lambda offer: offer.offer) or [RECOMMEND]
    if only is None:
        return tuple(found)
    known = {offer.offer for offer in found} | {offer.kind for offer in found}
    for name in only:
        if name not in known:
            raise unknown("offer or kind of offer", str(name), known)
    return tuple(offer for offer in found if offer.offer in only or offer.kind in only)


def _terms(offer: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f'Offer "{offer}": its terms are no JSON ({error}). Write for example {{"percent": 10}} and collect it again.'
        ) from error
    if not isinstance(found, dict):
        raise InputError(f'Offer "{offer}": its terms must be a JSON object such as {{"percent": 10}}; got {text}. Collect it again.')
    return found
