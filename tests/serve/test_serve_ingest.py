"""Events over HTTP: once, on disk before the answer, judged as collect judges, nobody's address in clear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from hot_kit import NOW, asked, fits, run
from sqlalchemy import select

from tradewind.collect.ingest import collect
from tradewind.collect.quarantine import QUARANTINE
from tradewind.engine.home import Home
from tradewind.engine.ledger import inbox
from tradewind.serve.group import Group
from tradewind.serve.ingest import Intake, Taken
from tradewind.serve.recent import Recent
from tradewind.serve.rows import Shape, judge
from tradewind.types import micros

GOOD = {"id": "e1", "at": "2026-02-28T09:00:00Z", "kind": "view", "customer": "ann", "item": "tea"}


def waiting(home: Home) -> dict[str, Any]:
    with home.ledger.read() as conn:
        return {str(one[0]): json.loads(str(one[1])) for one in conn.execute(select(inbox.c.id, inbox.c.row.label("told")))}


ROWS: list[dict[str, Any]] = [
    GOOD,
    GOOD | {"id": "e2", "kind": "Product Viewed", "at": "2026-02-28 17:00:00+08:00", "item": " tea "},
    GOOD | {"id": "e3", "kind": "purchase", "value": 1_990, "quantity": 2, "discount": 10, "currency": "CNY", "order_id": "o1"},
    GOOD | {"id": "e4", "kind": "purchase", "value": -1},
    GOOD | {"id": "e5", "quantity": 0},
    GOOD | {"id": "e6", "kind": "smile"},
    GOOD | {"id": "e7", "at": "2026-03-01T00:10:00Z"},
    GOOD | {"id": "e8", "at": "1989-12-31T00:00:00Z"},
    GOOD | {"id": "e9", "at": "yesterday"},
    GOOD | {"id": "e10", "at": "2026-02-28T09:00:00"},
    GOOD | {"id": "e11", "rating": -2},
    GOOD | {"id": "e12", "rating": "4.5", "text": "fine", "channel": "email", "decision_id": "d1", "offer": "ten", "session": "s1"},
    GOOD | {"id": "e13", "value": 5, "currency": "EUR"},
    GOOD | {"id": "e14", "quantity": "many"},
    GOOD | {"id": "e15", "kind": ""},
    GOOD | {"id": "e16", "at": None},
    GOOD | {"id": "e17", "context": {"path": "/tea", "deep": {"a": [1, 2.5]}}},
    GOOD | {"id": "e18", "context": "none"},
    GOOD | {"id": "e19", "customer": 42, "value": 0},
    GOOD | {"id": "e20", "at": "2026-03-01T00:04:59Z"},
]


def test_a_row_is_judged_as_collect_judges_it(home: Home, tmp_path: Path) -> None:
    """The same rows through the SQL of collect: the same are good, with the same values, and the same are held for the same field."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    mapping = tmp_path / "mapping.toml"
    off = "".join(f"[rules.{name}]\nenabled = false\n" for name in ("bots", "near_duplicates", "outliers_mad"))
    mapping.write_text(
        f'tradewind = 1\ncurrency = "CNY"\n{off}[[source]]\nfiles = "rows.jsonl"\ninto = "events"\nmoney = "minor"\n', encoding="utf-8"
    )
    collect(home, file, mapping=mapping, now=NOW)
    stored = {row["id"]: row for row in home.tables.to_arrow(home.tables.get("events")).to_pylist()}
    held = {json.loads(row["row"])["id"]: row["field"] for row in _quarantine(home)}

    shape = Shape(micros(NOW), "CNY", "rows.jsonl")
    ours = {row["id"]: judge(row, shape) for row in ROWS}
    assert {name for name, found in ours.items() if isinstance(found, dict)} == set(stored)
    for name, found in ours.items():
        if not isinstance(found, dict):
            assert found[0].field == held[name], name
            continue
        theirs = {key: value for key, value in stored[name].items() if value is not None}
        assert set(found) == set(theirs), name
        for key, value in theirs.items():
            expected = micros(value) if key == "at" else value
            assert (json.loads(found[key]) == json.loads(str(expected))) if key == "context" else (found[key] == expected), (name, key)


def _quarantine(home: Home) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in home.log.files("quarantine") for row in pq.read_table(path, schema=QUARANTINE).to_pylist()]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"custommer": "ann"}, "custommer", "customer"),
        ({"customer": "ann@mail.example"}, "customer", "e-mail"),
        ({"value": 19.9}, "value", "minor units"),
        ({"value": True}, "value", "minor units"),
        ({"item": ["tea"]}, "item", "text"),
        ({"id": "x" * 256}, "id", "255"),
        ({"text": "a\0b"}, "text", "NUL"),
    ],
)
def test_stricter_than_a_file(change: dict[str, Any], field: str, reason: str) -> None:
    found = judge(GOOD | change, Shape(micros(NOW), "CNY", "test"))
    assert isinstance(found, list)
    assert found[0].field == field
    assert reason in found[0].reason


def test_the_same_content_without_an_id_is_the_same_event() -> None:
    shape, row = Shape(micros(NOW), "CNY", "test"), {key: value for key, value in GOOD.items() if key != "id"}
    first, again, other = judge(row, shape), judge(dict(reversed(row.items())), shape), judge(row | {"item": "cup"}, shape)
    assert isinstance(first, dict) and isinstance(again, dict) and isinstance(other, dict)  # noqa: PT018
    assert first["id"] == again["id"] != other["id"]


def test_people_stay_out_of_the_log() -> None:
    context = {"path": "/a", "email": "ann@mail.example", "user": {"phone": "139", "plan": "gold"}, "note": "to ann@mail.example"}
    found = judge(GOOD | {"context": context, "text": "write to bob@mail.example"}, Shape(micros(NOW), "CNY", "test"))
    assert isinstance(found, dict)
    assert json.loads(found["context"]) == {"path": "/a", "user": {"plan": "gold"}, "note": "to ***"}
    assert found["text"] == "write to ***"


def test_many_requests_share_transactions_and_each_learns_what_was_new(each_home: Home) -> None:
    """On both ledgers: repeated within a request, across requests at once, and later; every event is there once."""
    intake = Intake(each_home, recent := Recent(), now=lambda: NOW)

    async def send() -> Sequence[Taken]:
        rows = [GOOD | {"id": f"e{number % 50}"} for number in range(100)]
        return await asyncio.gather(*(intake.take(rows[start : start + 5], source="test") for start in range(0, 100, 5)))

    first, second = run(send()), run(send())
    intake.close()
    assert sum(one.stored for one in first) == 50
    assert sum(one.known for one in first) == 50
    assert sum(one.stored for one in second) == 0
    assert sorted(waiting(each_home)) == sorted(f"e{number}" for number in range(50))
    assert waiting(each_home)["e7"]["at"] == micros(NOW - timedelta(hours=15))
    assert len(recent) == 50
    assert each_home.log.compact(now=NOW) == 50
    assert len(each_home.log.files("events")) == 1


def test_what_was_compacted_and_comes_again_stays_once(each_home: Home) -> None:
    intake = Intake(each_home, Recent(), now=lambda: NOW)
    for _ in range(2):
        assert run(intake.take([GOOD], source="test")).stored == 1
        each_home.log.compact(now=NOW)
    intake.close()
    assert each_home.tables.to_arrow(each_home.tables.get("events")).num_rows == 1


def test_a_full_queue_says_so_and_keeps_nothing_of_the_request() -> None:
    started: list[int] = []

    def slow(things: Sequence[int]) -> list[int]:
        import time

        started.extend(things)
        time.sleep(0.2)
        return list(things)

    async def press() -> list[Any]:
        group: Group[int, int] = Group("test", slow, most=3, at_once=1)
        return await asyncio.gather(*(group.put(number) for number in range(8)), return_exceptions=True)

    found = run(press())
    refused = [one for one in found if isinstance(one, HTTPException)]
    assert refused
    assert all(one.status_code == 429 and one.headers and one.headers["retry-after"] == "1" for one in refused)
    assert sorted(started) == sorted(one for one in found if isinstance(one, int))


def test_a_failed_commit_reaches_who_waits_and_nobody_else() -> None:
    async def go() -> list[Any]:
        def commit(things: Sequence[int]) -> list[int | Exception]:
            if 1 in things:
                raise RuntimeError("disk")
            return [ValueError("mine") if thing == 2 else thing for thing in things]

        group: Group[int, int] = Group("test", commit, most=10, at_once=1)
        return await asyncio.gather(*(group.put(number) for number in range(4)), return_exceptions=True)

    zero, one, two, three = run(go())
    assert (zero, three) == (0, 3)
    assert isinstance(one, RuntimeError)
    assert isinstance(two, ValueError)


def test_what_is_recent_is_bounded() -> None:
    recent = Recent(each=3, most=5)
    rows = [{"id": str(number), "at": number, "kind": "view", "customer": f"c{number % 4}", "item": "tea"} for number in range(40)]
    recent.add(rows)
    assert len(recent) <= 5
    assert [seen.id for seen in recent.of("c3", None)] == ["31", "35", "39"]
    recent.only(frozenset({"35"}), upto=40)
    assert [seen.id for seen in recent.of("c3", None)] == ["35"]
    assert len(recent) == 1


def test_the_report_of_a_batch(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        assert shop.post("/v1/events", GOOD) == {"stored": 1, "known": 0, "quarantined": 0, "unused": 0, "people": 0, "rows": []}
        told = shop.post("/v1/events", {"events": [GOOD, GOOD | {"id": "e2", "kind": "smile"}, 7]})
        fits(told, "/v1/events")
        assert (told["stored"], told["known"], told["quarantined"]) == (0, 1, 2)
        assert [one["row"] for one in told["rows"]] == [1, 2]
        assert told["rows"][0]["why"] == [{"field": "kind", "rule": "type kind", "reason": "is no known value."}]
        assert shop.client.post("/v1/events", content=b"{").status_code == 400
        assert shop.client.post("/v1/events", json=[]).status_code == 422
        assert waiting(shop.shop.home)["e1"]["source"] == "key:test"


SEGMENT = [
    {"type": "track", "event": "Product Added", "messageId": "m1", "userId": "c01", "timestamp": "2026-02-28T09:00:00Z",
     "properties": {"product_id": "i03", "price": 19.9, "quantity": 2, "currency": "CNY"}},
    {"type": "track", "event": "Order Completed", "messageId": "m2", "userId": "c01", "timestamp": "2026-02-28T10:00:00Z",
     "properties": {"order_id": "o1", "discount": 5, "products": [{"product_id": "i03", "price": 10}, {"product_id": "i04", "price": 20}]}},
    {"type": "page", "messageId": "m3", "anonymousId": "a1", "timestamp": "2026-02-28T11:00:00Z", "context": {"page": {"path": "/x"}}},
]  # fmt: skip
GA4 = [
    {"client_id": "9.1", "user_id": "c02", "timestamp_micros": "1772269200000000",
     "events": [{"name": "view_item", "params": {"currency": "CNY", "items": [{"item_id": "i05", "price": 3.5}]}}]},
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "calls"), [("/v1/segment", {"batch": SEGMENT}, SEGMENT), ("/v1/ga4", GA4[0], GA4)])
def test_payloads_become_what_collect_makes_of_them(path: str, body: Any, calls: list[Any], home: Home, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(json.dumps(call) + "\n" for call in calls), encoding="utf-8")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('tradewind = 1\ncurrency = "CNY"\n[[source]]\nfiles = "calls.jsonl"\ninto = "events"\n', encoding="utf-8")
    collect(home, file, mapping=mapping, now=NOW)
    events = home.tables.to_arrow(home.tables.get("events")).to_pylist()
    wanted = [{key: value for key, value in row.items() if value is not None} | {"at": micros(row["at"])} for row in events]
    with asked(tmp_path / "service") as shop:
        told = shop.post(path, body)
        fits(told, path)
        assert told["stored"] == len(wanted)
        found = list(waiting(shop.shop.home).values())
    named = path == "/v1/segment"  # a GA4 event has no id but the hash of its text

    def plain(rows: list[Any]) -> list[Any]:
        ours = [{key: value for key, value in row.items() if key != "source" and (named or key != "id")} for row in rows]
        return sorted(ours, key=lambda row: json.dumps(row, sort_keys=True))

    assert plain(found) == plain(wanted)


def test_a_segment_person_goes_to_the_vault_and_bad_calls_come_back(tmp_path: Path) -> None:
    calls = [
        {"type": "identify", "userId": "c02", "timestamp": "2026-02-28T09:00:00Z", "traits": {"email": "ann@mail.example", "plan": "gold"}},
        {"type": "track", "event": "Smiled", "userId": "c02", "timestamp": "2026-02-28T09:00:00Z"},
        {"type": "track", "event": "Cart Viewed", "userId": "c02"},
        {"type": "track", "event": "Product Viewed", "userId": "ann@mail.example", "messageId": "m9", "properties": {"product_id": "i01"}},
    ]
    with asked(tmp_path) as shop:
        told = shop.post("/v1/segment", {"batch": calls})
        assert (told["stored"], told["quarantined"], told["unused"], told["people"]) == (0, 2, 1, 1)
        assert told["rows"][0]["row"] == 1
        shop.shop.close()
        folder = tmp_path / "shop"
    clear = [str(path) for path in folder.rglob("*") if path.is_file() and b"ann@mail.example" in path.read_bytes()]
    assert not clear
