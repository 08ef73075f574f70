"""Segment and GA4 payloads: one event per order line, exact money, identities kept."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
from collect_shops import NOW, events, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.collect.ingest import collect
from tradewind.collect.mapping import SourceMap
from tradewind.collect.quarantine import quarantine_rows
from tradewind.collect.sources import _segment
from tradewind.collect.vault import Vault
from tradewind.engine.home import Home
from tradewind.errors import InputError

MAPPING = 'currency = "GBP"\n[[source]]\nfiles = "*.jsonl"\ninto = "events"\n'
AT = "2026-01-02T03:04:05.678Z"


def track(name: str, number: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, "messageId": number, "userId": "u1", "timestamp": AT, "properties": properties}


def write(base: Path, *calls: Any) -> Path:
    base.mkdir(exist_ok=True)
    (base / "mapping.toml").write_text(MAPPING)
    text = "".join((call if isinstance(call, str) else json.dumps(call)) + "\n" for call in calls)
    (base / "calls.jsonl").write_text(text, encoding="utf-8")
    return base


def test_an_order_becomes_one_purchase_per_line(home: Home, tmp_path: Path) -> None:
    products = [{"product_id": "a", "price": 3.33}, {"product_id": "b", "price": "3.33", "quantity": 2}]
    order = track("Order Completed", "m1", order_id="o1", discount=1, coupon="SAVE", products=products, decision_id="d1")
    collect(home, write(tmp_path / "in", order, order), now=NOW)
    one, two = events(home)
    assert [one["id"], two["id"]] == ["m1#0", "m1#1"]
    assert [one["value"] + one["discount"], two["value"] + two["discount"]] == [333, 666]
    assert one["discount"] + two["discount"] == 100
    assert (one["order_id"], one["offer"], one["decision_id"], one["currency"], one["kind"]) == ("o1", "SAVE", "d1", "GBP", "purchase")
    assert one["at"] == datetime.fromisoformat(AT)


@cache
def _con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


@settings(max_examples=15, deadline=None)
@given(prices=st.lists(st.integers(1, 99_999), min_size=1, max_size=8), discount=st.integers(0, 5_000))
def test_an_orders_discount_is_shared_exactly(prices: list[int], discount: int) -> None:
    products = [{"product_id": str(number), "price": price / 100} for number, price in enumerate(prices)]
    discount = min(discount, sum(prices))
    call = json.dumps(track("Order Completed", "m", discount=discount / 100, products=products))
    objects = "SELECT '" + call + "' AS j, 1 AS _pos"
    part, *_ = _segment.parts(_con(), objects, ["calls"], source=SourceMap("s", "events", currency="GBP"))
    found = _con().execute(f'SELECT CAST("value" AS BIGINT), CAST(discount AS BIGINT) FROM ({part.sql})').fetchall()
    assert sum(off for _, off in found) == discount
    assert sum(value for value, _ in found) == sum(prices) - discount


def test_names_of_both_specifications_become_kinds(home: Home, tmp_path: Path) -> None:
    names = [
        "Product Viewed",
        "product added",
        "Product Removed",
        "Products Searched",
        "Checkout Started",
        "Product Reviewed",
        "Email Opened",
    ]
    calls = [track(name, f"m{number}", product_id="a") for number, name in enumerate(names)]
    calls.append({"type": "page", "messageId": "p1", "anonymousId": "z", "timestamp": AT, "context": {"page": {"path": "/sale"}}})
    calls += [track("Cart Viewed", "left out"), track("Moon Landed", "strange"), {"type": "group", "messageId": "g", "userId": "u"}]
    report = collect(home, write(tmp_path / "in", *calls), now=NOW)
    assert [row["kind"] for row in events(home)] == ["view", "cart", "uncart", "search", "checkout", "review", "open", "view"]
    assert (report.rows_in, report.rows_dropped, report.rows_quarantined) == (11, 2, 1)
    unused = report.check("unused calls")
    assert unused is not None
    assert unused.example == "group (1), track Cart Viewed (1)"
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["field"], held["value"], held["line"]) == ("kind", "Moon Landed", 10)


def test_identify_fills_customers_and_the_vault_only(home: Home, tmp_path: Path) -> None:
    traits = {"email": "Ann@Example.org", "phone": "+441234", "firstName": "Ann", "plan": "gold", "createdAt": "2025-01-01T00:00:00Z"}
    call = {
        "type": "identify",
        "messageId": "i1",
        "userId": "u1",
        "traits": traits,
        "context": {"locale": "en-GB", "timezone": "Europe/London"},
    }
    report = collect(home, write(tmp_path / "in", call, track("Product Viewed", "m1", product_id="a")), now=NOW)
    (one,) = table(home, "customers")
    assert (one["customer"], one["locale"], one["zone"]) == ("u1", "en-GB", "Europe/London")
    assert json.loads(one["attributes"]) == {"plan": "gold", "createdAt": "2025-01-01T00:00:00Z"}
    assert Vault(home).address("u1", "email") == "Ann@Example.org"
    assert {count.table: count.stored for count in report.counts} == {"events": 1, "customers": 1, "contacts": 2}
    stored = b"".join(path.read_bytes() for path in (home.root / "data").rglob("*.parquet"))
    assert b"xample" not in stored
    assert b"+441234" not in stored


def test_lines_that_are_no_objects_are_quarantined(home: Home, tmp_path: Path) -> None:
    collect(
        home, write(tmp_path / "in", track("Product Viewed", "m1"), '{"broken', "[1]", "", '"text"', track("Product Viewed", "m2")), now=NOW
    )
    assert [row["id"] for row in events(home)] == ["m1", "m2"]
    assert [(row["line"], row["reason"]) for row in quarantine_rows(home).to_pylist()] == [
        (2, "the line is no JSON"),
        (3, "the line holds JSON, but no object"),
        (5, "the line holds JSON, but no object"),
    ]


def test_a_price_that_is_no_number_is_quarantined_and_its_sister_line_stays(home: Home, tmp_path: Path) -> None:
    products = [{"product_id": "a", "price": "cheap"}, {"product_id": "b", "price": 2}]
    collect(home, write(tmp_path / "in", track("Order Completed", "m1", products=products)), now=NOW)
    assert [row["id"] for row in events(home)] == ["m1#1"]
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["field"], held["value"]) == ("value", "cheap")


def test_ga4_as_exported_and_as_sent(home: Home, tmp_path: Path) -> None:
    parameters = [{"key": "currency", "value": {"string_value": "GBP"}}, {"key": "ga_session_id", "value": {"int_value": 7}}]
    items = [{"item_id": "i", "price": 5.0, "quantity": 2, "discount": 1}, {"item_id": "k", "price": 2}]
    micros = 1_767_225_600_000_000
    exported = {"event_name": "purchase", "event_timestamp": micros, "user_id": "u", "event_params": parameters, "items": items}
    batch = [{"name": "view_item", "params": {"items": [{"item_id": "i", "price": 5}]}}, {"name": "scroll", "params": {}}]
    sent = {"client_id": "c", "timestamp_micros": str(micros), "events": [*batch, {"name": "search", "params": {"search_term": "tea"}}]}
    report = collect(home, write(tmp_path / "in", exported, sent, sent), now=NOW)
    found = {(row["kind"], row["item"]): row for row in events(home)}
    assert found["purchase", "i"]["value"] == 1000
    assert found["purchase", "i"]["discount"] == 200
    assert found["purchase", "k"]["value"] == 200
    assert found["purchase", "i"]["session"] == "7"
    assert found["view", "i"]["customer"] is None
    assert found["search", None]["text"] == "tea"
    assert found["search", None]["at"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert (len(found), report.rows_dropped, report.duplicates) == (4, 2, 2)


def test_payloads_need_no_mapping(home: Home, tmp_path: Path) -> None:
    base = write(tmp_path / "in", track("Product Viewed", "m1", product_id="a"))
    (base / "mapping.toml").unlink()
    assert collect(home, base / "calls.jsonl", now=NOW).rows_stored == 1


def test_a_json_list_is_told(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a JSON list"):
        collect(home, write(tmp_path / "in", "[1, 2]"), now=NOW)
