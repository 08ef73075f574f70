"""A shop with two customers and its public pages, asked without a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import select
from starlette.testclient import TestClient

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver.links import Links
from tradewind.engine.ledger import metadata
from tradewind.serve.public import app
from tradewind.shop import Shop
from tradewind.types import Message

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BASE = "https://shop.example/t"


class Site:
    """A shop, its clock, its pages and a browser without cookies or scripts."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.at = NOW
        self.shop = Shop.open(url, now=lambda: self.at)
        points = {"customer": ["ann", "ann"], "channel": ["email", "sms"], "address": ["ann@mail.example", "+8613800000000"]}
        Vault(self.shop.home).put(pa.table(points, schema=schema.CONTACTS))
        self.desk = self.shop.consents
        self.desk.grant("ann", "email", source="checkout")
        self.wait(minutes=1)
        self.links = Links.of(self.shop.home, BASE)
        self.browser = TestClient(app(self.shop, base=BASE, **settings), base_url="https://shop.example", follow_redirects=False)

    def wait(self, **span: float) -> None:
        self.at += timedelta(**span)

    def why(self, channel: str = "email") -> str:
        with self.shop.home.ledger.read() as conn:
            return Consents(self.shop.home).allowed(conn, "ann", channel)[1]

    def addresses(self) -> dict[str, str]:
        """One address for every route."""
        preferences = f"{BASE}/preferences/{self.desk.preferences_token('ann', 'email')}"
        asked = self.desk.request("ann", "sms", locale="en", source="checkout")
        return {
            "unsubscribe": self.links.unsubscribe(MESSAGE),
            "preferences": preferences,
            "confirm": f"{BASE}/confirm/{asked.token}",
            "click": self.links.click(MESSAGE, "https://shop.example/tea?a=1&b=2", at=self.at),
            "open": self.links.open(MESSAGE, at=self.at),
        }

    def dump(self, *, without: tuple[str, ...] = ()) -> Mapping[str, list[Any]]:
        """Every row of every table of the ledger."""
        with self.shop.home.ledger.read() as conn:
            return {
                name: sorted(map(repr, conn.execute(select(table)).all())) for name, table in metadata.tables.items() if name not in without
            }


MESSAGE = Message("m1", "d1", "p1", "ann", "email", "en", {}, (), "", "", NOW, None, {})
