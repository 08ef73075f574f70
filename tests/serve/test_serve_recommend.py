"""Recommendations over HTTP: an event is in the next answer, what may not be shown is not, models change without a failed request."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from hot_kit import ITEMS, NOW, PEOPLE, asked, fits, learn
from sqlalchemy import update

from tradewind import schema
from tradewind.engine.ledger import models
from tradewind.serve import engines
from tradewind.serve.recent import Recent
from tradewind.types import Event

STEP = {"at": "2026-02-28T23:00:00Z", "kind": "view"}


def test_an_event_is_in_the_next_answer(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        before = shop.post("/v1/recommend", {"customer": "stranger", "k": 3})
        fits(before, "/v1/recommend")
        assert before["items"] == []
        shop.post("/v1/events", STEP | {"customer": "stranger", "item": "i10"})
        after = shop.items("stranger", k=3)
        assert after[0] == "i11"  # where everybody went from there
        assert shop.items(PEOPLE[2]) != [] == shop.items("nobody")
        known = shop.items(PEOPLE[2], k=5)
        shop.post("/v1/events", STEP | {"customer": PEOPLE[2], "item": "i20"})
        assert shop.items(PEOPLE[2], k=5) != known


def test_it_is_the_answer_of_the_recommender_itself(tmp_path: Path) -> None:
    """History from the files plus events from the service gives what one history of both gives."""
    with asked(tmp_path) as shop:
        shop.post("/v1/events", [STEP | {"customer": PEOPLE[4], "item": item, "id": item} for item in ("i15", "i16")])
        found = shop.post("/v1/recommend", {"customer": PEOPLE[4], "k": 8})
        assert shop.turn() == ["refresh", "gather", "compact"]
        loaded = shop.hot.engines._load_recommending(shop.hot.engines._recommending)
        assert len(shop.hot.recent) == 0  # the files have them now
        again = shop.post("/v1/recommend", {"customer": PEOPLE[4], "k": 8})
        assert again == found
        assert loaded.histories.lengths[loaded.rows[PEOPLE[4]]] == 10


def test_a_session_of_nobody_and_events_of_the_request(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        shop.post("/v1/events", STEP | {"session": "s1", "item": "i10"})
        by_session = shop.post("/v1/recommend", {"session": "s1", "k": 3})
        assert by_session["items"][0]["item"] == "i11"
        told = shop.post("/v1/recommend", {"events": [{"item": "i10"}], "k": 3, "reasons": True})
        assert [one["item"] for one in told["items"]] == [one["item"] for one in by_session["items"]]
        assert told["items"][0]["reasons"][0]["code"] == "because"
        fits(told, "/v1/recommend")
        got = shop.get("/v1/recommend", session="s1", k=3)
        assert got == by_session
        fits(got, "/v1/recommend", "get")


def test_bought_and_sold_out_items_stay_away(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        everything = shop.items(PEOPLE[3], k=100)
        assert ITEMS[3] not in everything  # bought
        assert ITEMS[0] not in everything  # sold out
        assert ITEMS[3] in shop.items(PEOPLE[3], k=100, again=True)
        told = {"item": ["i05"], "title": ["i05"], "price": [1_000], "stock": [0]}
        assert "i05" in everything
        shop.shop.collect(schema.conform(pa.table(told), schema.ITEMS))
        assert shop.hot.engines.refresh() == ["recommend"]
        assert "i05" not in shop.items(PEOPLE[3], k=100)


def test_who_switched_personalisation_off_is_a_stranger(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        shop.post("/v1/events", STEP | {"customer": PEOPLE[1], "item": "i10"})
        no = {"customer": [PEOPLE[1]], "channel": ["personalisation"], "granted": [False], "at": [NOW], "source": ["test"]}
        shop.shop.collect(pa.table(no, schema=schema.CONSENTS))
        told = shop.post("/v1/recommend", {"customer": PEOPLE[1], "events": [{"item": "i10"}]})
        assert told["personal"] is False
        assert told["items"] == shop.post("/v1/recommend", {})["items"]


def test_models_are_swapped_and_rolled_back_without_a_failed_request(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        first = shop.post("/v1/recommend", {"customer": PEOPLE[5]})
        stop, seen = threading.Event(), []

        def press() -> None:
            while not stop.is_set():
                seen.append(shop.client.post("/v1/recommend", json={"customer": PEOPLE[5]}))

        pressing = threading.Thread(target=press)
        pressing.start()
        second = learn(shop.shop.home, window=1, top=5)
        assert shop.hot.engines.refresh() == ["recommend"]
        assert shop.post("/v1/recommend", {"customer": PEOPLE[5]})["model"] == second.version
        with shop.shop.home.ledger.write() as conn:
            conn.execute(update(models).where(models.c.name == "recommend").values(active=models.c.version == first["model"]))
        assert shop.hot.engines.refresh() == ["recommend"]
        assert shop.post("/v1/recommend", {"customer": PEOPLE[5]}) == first
        assert shop.hot.engines.refresh() == []
        stop.set()
        pressing.join()
        assert {one.status_code for one in seen} == {200}
        assert {one.json()["model"] for one in seen} == {first["model"], second.version}


def test_old_histories_are_read_again_and_erased_ones_at_once(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        shop.post("/v1/events", STEP | {"customer": "new", "item": "i10"})
        shop.items("new")
        shop.hot.upkeep.turn(everything=True)  # the event is in a file now
        assert shop.hot.engines.refresh() == []
        shop.clock.at += engines.HISTORIES_EVERY + timedelta(seconds=1)
        assert shop.hot.engines.refresh() == ["recommend"]
        assert shop.items("new")[0] == "i11"
        shop.shop.privacy.erase("new")
        assert shop.hot.engines.refresh() == ["recommend"]
        assert shop.items("new") == []
        shop.post("/v1/events", STEP | {"customer": "newer", "item": "i10"})  # in no file yet
        assert shop.items("newer") != []
        shop.shop.privacy.erase("newer")
        assert shop.hot.engines.refresh() == ["recommend"]
        assert shop.items("newer") == []


def test_what_waited_in_the_inbox_before_the_start_is_known(tmp_path: Path) -> None:
    with asked(tmp_path / "first") as shop:
        shop.shop.home.log.append([Event("early", NOW, "view", "test", customer="early", item="i10")], now=NOW)
        recent = Recent()
        again = engines.Engines(shop.shop.home, recent, now=shop.clock)
        assert [one.item for one in recent.of("early", None)] == ["i10"]
        again.close()


ODD: list[dict[str, object]] = [
    {"k": 0}, {"k": "3"}, {"k": True}, {"k": 501}, {"events": [{"item": "i1", "kind": "smile"}]}, {"who": "me"},
]  # fmt: skip


def test_odd_questions_are_refused(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        for body in ODD:
            assert shop.post("/v1/recommend", body, status=422)["error"] == "InputError"
