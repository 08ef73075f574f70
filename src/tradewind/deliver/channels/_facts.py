"""What is true now about an item and an offer, for channels that show a text later than it was written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tradewind.compose.facts import Facts, Storefront, gather, unsellable
from tradewind.compose.material import catalogue
from tradewind.compose.writing import Refreshed, refresh
from tradewind.decide.read import read_offers
from tradewind.types import Message, Offer

if TYPE_CHECKING:
    from tradewind.engine.home import Home


class Now:
    """The shop's catalogue and offers as committed; they are read again when they were replaced."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._mark: str | None = None
        self._items: dict[str, Mapping[str, Any]] = {}
        self._offers: dict[str, Offer] = {}

    def of(
        self, item: str | None, *, offer: str | None = None, locale: str, zone: str | None = None, at: datetime
    ) -> tuple[Facts, Mapping[str, Any] | None, Offer | None, str | None]:
        """Facts, catalogue row, offer, and why nothing may be said: unknown, out of stock, not on sale, ended."""
        self._read()
        row = None if item is None else self._items.get(item)
        given = None if offer is None else self._offers.get(offer)
        why = unsellable(row, given, send_at=at)
        if (item is not None and row is None) or (offer is not None and given is None):
            why = "the item is not in the catalogue" if row is None and item is not None else "the offer is not known"
        shop = self._home.settings
        store = Storefront(shop.name, shop.currency, shop.url, shop.zone)
        return gather(row, offer=given, store=store, locale=locale, zone=zone, at=at), row, given, why

    def again(self, message: Message, *, at: datetime) -> Refreshed:
        """The message in the words of today's facts, or why it is not said any more."""
        about = message.headers
        facts, _row, _offer, why = self.of(
            about.get("item"), offer=about.get("offer"), locale=message.locale, zone=about.get("zone"), at=at
        )
        if why is not None:
            return Refreshed("withheld", None, why)
        return refresh(message, facts, now=at)

    def mark(self) -> str:
        """A mark of the catalogue and the offers as they are committed now."""
        with self._home.ledger.read() as conn:
            return catalogue(conn)

    def _read(self) -> None:
        mark = self.mark()
        if mark == self._mark:
            return
        tables = self._home.tables
        self._items = {row["item"]: row for row in tables.to_arrow(tables.get("items")).to_pylist()}
        self._offers = {offer.offer: offer for offer in read_offers(tables)}
        self._mark = mark
