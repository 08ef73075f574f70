"""The export: what a real shop would give away, no truth in it, dirt that can be counted."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tradewind import schema
from tradewind.errors import InputError
from tradewind.simulate import people
from tradewind.simulate import write as export
from tradewind.simulate.data import words
from tradewind.simulate.world import World
from tradewind.simulate.write import Written, events_of, write_truth

DIRT = 0.05


@pytest.fixture(scope="module")
def tiny() -> World:
    return World.make("tiny", seed=4, start=date(2026, 1, 5), days=60)


@pytest.fixture(scope="module")
def written(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return tiny.write(tmp_path_factory.mktemp("shop"), dirt=DIRT)


def calls(written: Written) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (written.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_two_exports_are_the_same_bytes(tiny: World, written: Written, tmp_path: Path) -> None:
    again = World.make("tiny", seed=4, start=date(2026, 1, 5), days=60).write(tmp_path, dirt=DIRT)
    for first, second in zip(written.files, again.files, strict=True):
        assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest(), first.name


def test_calls_are_segment_track_calls(tiny: World, written: Written) -> None:
    found = calls(written)
    assert {call["type"] for call in found} == {"track"}
    assert all(call["messageId"] and call["anonymousId"] and call["timestamp"].endswith("Z") for call in found)
    orders = [call["properties"] for call in found if call["event"] == "Order Completed"]
    lines = [product for order in orders for product in order["products"]]
    true = events_of(tiny, 0).filter(pc.field("kind") == "purchase")
    assert len(lines) == true.num_rows
    paid = sum(round(100 * (line["price"] * line["quantity"] - line["discount"])) for line in lines)
    assert paid == pc.sum(true["value"]).as_py()
    assert len({order["order_id"] for order in orders}) == len(orders)
    assert round(100 * sum(order["revenue"] for order in orders)) == paid


def test_dirt_is_counted_and_lies_beside_the_true_rows(tiny: World, written: Written, tmp_path: Path) -> None:
    found = calls(written)
    counts = Counter(call["messageId"] for call in found)
    assert sum(counts.values()) - len(counts) == written.dirt["duplicate"] > 0
    assert sum(call["properties"].get("product_id", "").startswith("X") for call in found) == written.dirt["unknown_item"]
    assert sum(call["properties"].get("currency") == "USD" for call in found) == written.dirt["mixed_currency"]
    assert sum(not call["timestamp"].startswith("2026") for call in found) == written.dirt["impossible_time"]
    missing = [call for call in found if call["event"] in ("Product Viewed", "Product Added") and "product_id" not in call["properties"]]
    assert len(missing) == written.dirt["missing_item"]
    assert sum(written.dirt.values()) == pytest.approx(DIRT * written.rows["events"], rel=0.02)
    clean = tiny.write(tmp_path)
    assert sum(clean.dirt.values()) == 0
    lines = set((tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines())
    assert lines <= set((written.folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    with pytest.raises(InputError, match="dirt"):
        tiny.write(tmp_path, dirt=0.9)


def test_no_truth_leaks_into_the_export(written: Written) -> None:
    latent = re.compile(rf"\b({'|'.join([*people.NAMES, 'archetype', 'latent', 'pull', 'slope', 'annoyed'])})\b")
    for path in written.files:
        text = path.read_text(encoding="utf-8")
        if path.name == "items.csv":
            text = text.replace("regular", "")
        assert not latent.search(text), (path.name, latent.search(text))
    keys = {key for call in calls(written) for key in [*call, *call["context"], *call["properties"]]}
    assert keys <= {
        *("type", "event", "messageId", "userId", "anonymousId", "timestamp", "context", "properties", "device", "sessionId"),
        *("order_id", "currency", "decision_id", "offer", "channel", "product_id", "price", "quantity", "query", "rating"),
        *("review_body", "products", "revenue", "total", "discount", "coupon", "coupon_id", "value", "ship_to"),
    }
    for name, columns in (
        ("items", schema.ITEMS),
        ("customers", schema.CUSTOMERS),
        ("contacts", schema.CONTACTS),
        ("consents", schema.CONSENTS),
    ):
        with (written.folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert set(next(csv.reader(file))) <= set(columns.names)


def test_truth_goes_elsewhere(tiny: World, tmp_path: Path) -> None:
    path, saved = write_truth(tiny, tmp_path / "truth")
    table = pq.read_table(path)
    assert table.num_rows == tiny.customers
    assert set(table["archetype"].to_pylist()) <= set(people.NAMES)
    assert World.load(saved) == tiny


def test_addresses_reach_nobody(written: Written) -> None:
    with (written.folder / "contacts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["customer"], row["channel"]) for row in rows}) == len(rows) == written.rows["contacts"]
    assert all(row["address"].endswith("@example.com") for row in rows if row["channel"] == "email")
    assert all(re.fullmatch(r"\+86100\d{8}", row["address"]) for row in rows if row["channel"] == "sms")


def test_the_mapping_names_files_and_columns_that_exist(written: Written) -> None:
    mapping = tomllib.loads((written.folder / "mapping.toml").read_text(encoding="utf-8"))
    assert mapping["simulated"] is True
    for source in mapping["source"]:
        assert (written.folder / source["files"]).exists()
        assert source["into"] in schema.TABLES
        assert set(source.get("columns", {})) <= set(schema.TABLES[source["into"]].names)


def test_reviews_follow_their_rating() -> None:
    events = events_of(World.make(3_000, seed=8, start=date(2026, 1, 5), days=42), 0)
    rows = events.filter(pc.field("kind") == "review").to_pylist()
    data = words("words")
    assert {row["rating"] for row in rows} >= {2.0, 3.0, 4.0, 5.0}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        mood = "positive" if row["rating"] >= 4 else "neutral" if row["rating"] == 3 else "negative"
        language = "en" if row["text"].isascii() else "zh"
        openings = [re.escape(text).replace(r"\{noun\}", ".+") for text in data["reviews"][language][mood]]
        assert any(re.match(opening, row["text"]) for opening in openings), row
        tone = "negative" if mood == "negative" else "positive"
        named = [name for name, aspect in data["aspects"].items() if aspect[language][tone] in row["text"]]
        assert named, row
        seen.update((language, name) for name in named)
    assert len(seen) == 2 * len(data["aspects"])


def test_large_worlds_export_parquet_chunk_by_chunk(tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LINES_UP_TO", 0)
    done = tiny.write(tmp_path)
    table = pq.read_table(tmp_path / "events")
    assert [path.name for path in done.files[:1]] == ["part-00000.parquet"]
    assert table.num_rows == done.rows["events"]
    assert table.cast(schema.EVENTS).equals(events_of(tiny, 0))
    assert isinstance(table, pa.Table)
    assert 'files = "events/*.parquet"' in (tmp_path / "mapping.toml").read_text(encoding="utf-8")
