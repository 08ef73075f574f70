"""Erasure: nothing is left in any byte, sums are what they were, and no cut-off leaves a state that a rerun does not finish."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import privacy_kit as kit
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

import tradewind as tw
from tradewind import schema
from tradewind.collect import erase as erasing
from tradewind.collect import erase_events, erase_files, erase_ledger, erase_plans
from tradewind.collect.erase_clean import People
from tradewind.collect.erase_trained import Rule, due
from tradewind.collect.vault import Vault
from tradewind.engine import audit
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import erasures
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn import _store, forget_models
from tradewind.learn.base import load as load_model
from tradewind.learn.registry import active, publish
from tradewind.types import Event

Built = tuple[Path, str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("privacy")
    return folder, kit.build(folder)


@pytest.fixture
def shop(built: Built, tmp_path: Path) -> Iterator[tw.Shop]:
    """A copy of the shop, some time later."""
    with tw.Shop.open(kit.copy(built[0], tmp_path / "shop"), create=False, now=lambda: kit.LATER) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_shop(request: pytest.FixtureRequest, shop: tw.Shop, tmp_path: Path) -> Iterator[tw.Shop]:
    """The copy, and what its backup becomes on PostgreSQL."""
    if request.param == "sqlite":
        yield shop
        return
    shop.privacy.backup(tmp_path / "saved")
    url = f"{request.getfixturevalue('postgres_url')}&root={tmp_path / 'grown'}"
    tw.Shop.restore(tmp_path / "saved", url, keys=shop.home.root / "keys", now=kit.LATER)
    with tw.Shop.open(url, create=False, now=lambda: kit.LATER) as grown:
        yield grown


def test_a_person_who_is_everywhere_is_nowhere_afterwards(each_shop: tw.Shop, built: Built) -> None:
    shop, person = each_shop, built[1]
    before, estimates = kit.sums(shop)
    found = {one.place for one in shop.privacy.verify(person, addresses=[kit.EMAIL]).findings}
    here = [place for place in kit.PLACES if shop.home.ledger.dialect == "sqlite" or place not in ("ledger.db", "ledger strange")]
    for place in here:
        assert any(one.startswith(place) for one in found), f"the search itself finds {place}"
    done = shop.privacy.erase(person)
    proof = shop.privacy.verify(person, addresses=[kit.EMAIL])
    assert proof.findings == ()
    assert proof.bytes > 100_000
    assert proof.values > 5_000
    assert shop.privacy.verify().findings == (), "nor by the keyed hashes that the shop keeps"
    assert done.events_removed
    assert done.events_kept
    whole, after = kit.sums(shop)
    assert whole == before
    assert after == pytest.approx(estimates, rel=1e-9), "the order of sums may differ, the sums may not"
    with pytest.raises(NotFound, match="knows nothing"):
        shop.privacy.export(person)
    with shop.home.ledger.read() as conn:
        assert audit.verify(conn).sound
        last = audit.entries(conn, action="customer.erase", limit=1)[0]
    assert last.detail["rewritten"][0]["head_was"] != last.detail["rewritten"][0]["head_became"]
    assert person not in json.dumps([last.subject, dict(last.detail), done.to_json()])
    assert done.certificates[0]["mac"]


STEPS: list[tuple[Any, str, bool]] = [  # cut off before it begins, and whether the transaction had committed; bench/erase.py has them all
    (erase_plans, "rewrite", False),
    (erase_ledger, "forget", False),
    (erase_events, "unlink", True),
    (erase_files, "forget", True),
    (erasing, "_say", True),
    (erasing, "clear_free_pages", True),
]


def test_cut_off_at_any_step_a_rerun_finishes(shop: tw.Shop, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception is the softest way to be cut off; what the disk and the ledger hold is the same as after a kill."""
    before, _ = kit.sums(shop)
    people = [*[name for name in shop.plan().rows if name != built[1]][: len(STEPS) - 1], built[1]]
    vault = Vault(shop.home)
    addresses = {name: vault.address(name, "email") for name in people}
    for person, (module, name, committed) in zip(people, STEPS, strict=True):

        def cut(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, name, cut)
            with pytest.raises(KeyboardInterrupt):
                shop.privacy.erase(person)
        gone = vault.address(person, "email") is None
        assert gone == (committed or addresses[person] is None), f"{name}: the key goes in the one transaction, not before and not later"
        done = shop.privacy.erase(person)
        assert done.certificates
        assert done.customers == (name != "clear_free_pages"), "there only the free pages were left to be cleared"
    assert kit.sums(shop)[0] == before
    assert shop.privacy.verify().findings == ()
    for person in people[-2:]:
        assert shop.privacy.verify(person, addresses=[one for one in [addresses[person]] if one]).findings == ()
    files = [path.read_bytes() for path in shop.home.root.rglob("*") if path.is_file()]
    for person in people:
        assert not any(person.encode() in data for data in files)
    with shop.home.ledger.read() as conn:
        assert conn.execute(select(erasures.c.subject).where(erasures.c.finished_at.is_(None))).all() == []
        assert len(conn.execute(select(erasures.c.subject)).all()) == len(people)


def test_a_disk_that_refuses_in_the_middle_loses_nothing(shop: tw.Shop, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = kit.sums(shop)
    shop.home.log.compact(now=kit.LATER)
    files = {path.relative_to(shop.home.root) for path in shop.home.root.rglob("*.parquet")}
    real, count = erase_events._place, iter(range(100))

    def place(*arguments: Any, **named: Any) -> None:
        if next(count) == 3:
            raise OSError(errno.ENOSPC, "refused")
        real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(erase_events, "_place", place)
        with pytest.raises(OSError, match="refused"):
            shop.privacy.erase(built[1])
    assert kit.sums(shop)[0] == before
    assert Vault(shop.home).address(built[1], "email") == kit.EMAIL
    shop.home.log.sweep()
    assert {path.relative_to(shop.home.root) for path in shop.home.root.rglob("*.parquet")} == files
    shop.privacy.erase(built[1])
    assert shop.privacy.verify(built[1], addresses=[kit.EMAIL]).clean


def test_an_old_file_does_not_bring_a_person_back(shop: tw.Shop, built: Built) -> None:
    person = built[1]
    shop.privacy.erase(person)
    back = pa.table({"id": ["back"], "at": [kit.END], "customer": [person], "kind": ["view"], "source": ["old"]})
    shop.collect(schema.conform(back, schema.EVENTS))
    shop.collect(schema.conform(pa.table({"customer": [person, "new"]}), schema.CUSTOMERS))
    points = pa.table({"customer": [person, "new"], "channel": ["email"] * 2, "address": [kit.EMAIL] * 2}, schema=schema.CONTACTS)
    assert Vault(shop.home).put(points).erased == 1, "the id that was erased"
    proof = shop.privacy.verify(person, addresses=[kit.EMAIL])
    assert proof.clean, proof.to_text()
    assert shop.privacy.again() is None
    assert shop.privacy.find(kit.EMAIL) == ["new"], "the same address under another id is another matter, and suppressed:"
    with shop.home.ledger.read() as conn:
        reasons = conn.execute(
            select(books.suppressions.c.reason).where(books.suppressions.c.address_hash == Vault(shop.home).hash(kit.EMAIL))
        )
        assert "erased" in set(reasons.scalars())


def test_what_stays_of_a_person_in_the_log_is_a_line_of_a_sum(shop: tw.Shop, built: Built) -> None:
    person = built[1]
    plan = shop.plan()
    decision = plan.row(person)["decision_id"]
    start = shop.home.tables.to_arrow(shop.home.tables.events().filter(lambda t: t.customer == person))
    lines = start.filter(pc.is_in(start["kind"], value_set=pa.array(["purchase", "refund"])))
    shop.privacy.erase(person)
    left = shop.home.tables.to_arrow(shop.home.tables.events().filter(lambda t: t.source == "erased"))
    money = left.filter(pc.is_in(left["kind"], value_set=pa.array(["purchase", "refund"])))
    assert sorted(money["value"].to_pylist()) == sorted(lines["value"].to_pylist())
    for name in ("session", "text", "rating", "context"):
        assert left[name].null_count == left.num_rows
    assert set(left["id"].to_pylist()).isdisjoint(start["id"].to_pylist())
    assert set(left["order_id"].drop_null().to_pylist()).isdisjoint(start["order_id"].drop_null().to_pylist())
    assert decision not in shop.plan().table["decision_id"].to_pylist(), "an id that anybody can compute from the customer's"
    row = next(one for one in shop.plan().table.to_pylist() if one["customer"] not in plan.rows)
    assert (row["features"], row["suppressed"], set(row["reasons"])) == ("", "{}", {"[]"})
    features = shop.plan().features
    assert features is not None
    mine = features.filter(pc.equal(features["decision_id"], row["decision_id"])).to_pylist()[0]
    assert {value for name, value in mine.items() if name.startswith("x:")} == {None}


def test_a_household_keeps_its_size_under_a_name_of_the_plan(shop: tw.Shop, built: Built) -> None:
    person, other = built[1], next(name for name in shop.plan().rows if name != built[1])
    path = shop.home.root / f"plans/{shop.plan().plan_id}.parquet"
    table = pq.read_table(path)
    shared = pc.if_else(pc.is_in(table["customer"], value_set=pa.array([person, other])), "flat 7", table["unit"])
    pq.write_table(table.set_column(table.column_names.index("unit"), "unit", shared), path)
    found = erase_plans.find(shop.home, people := People((person,)))
    erase_plans.rewrite(shop.home, found, people)
    fresh = pq.read_table(shop.home.root / erase_plans.following(f"plans/{found[0].plan_id}.parquet"))
    rows = {row["customer"]: row["unit"] for row in fresh.to_pylist()}
    alias = next(name for name in rows if name not in table["customer"].to_pylist())
    assert rows[alias] == rows[other]
    assert rows[other] not in ("flat 7", alias)


def test_models_forget_the_rows_of_a_person_and_answer_everybody_else_as_before(shop: tw.Shop, built: Built) -> None:
    person = built[1]
    folders = [path for path in (shop.home.root / "models" / "recommend").iterdir() if path.is_dir()]
    before = {path: load_model(path) for path in folders}
    assert forget_models.forget(shop.home, People((person,))) >= len(folders)
    for path, old in before.items():
        new = load_model(path)
        assert person in old._known
        assert new._known == old._known - {person}
        assert person.encode() not in (path / "arrays.npz").read_bytes()
        if old.name == "graph":  # its counts are sums; only the open end of the person is gone
            values, arrays = old.state()
            _, fresh = new.state()
            assert np.array_equal(fresh["items.ends"], arrays["items.ends"])
            assert len(_store.unpack("tail.customers", fresh)) == len(_store.unpack("tail.customers", arrays)) - 1
            assert values["name"] == "graph"


def test_models_that_saw_a_person_have_a_deadline_and_learning_lifts_it(shop: tw.Shop, built: Built) -> None:
    door = shop.privacy
    assert door.rule(Rule(days=10, late="refuse")) == Rule(10, "refuse")
    with pytest.raises(InputError, match="late"):
        door.rule(Rule(late="shrug"))
    door.erase(built[1])
    late = due(shop.home)
    assert {(one.name, one.erased, one.deadline) for one in late} == {("recommend", 1, kit.LATER + timedelta(days=10))}
    assert sum(one.active for one in late) == 1
    shop.now = lambda: kit.LATER + timedelta(days=11)
    with pytest.raises(StateError, match="had to be learned anew until 2026-04-30"):
        shop.decide(as_of=kit.END)
    kit.fit(shop, kit.LATER)
    assert not any(one.active for one in due(shop.home))
    shop.privacy.check()
    assert active(shop.home, "recommend").as_of == kit.LATER


def test_a_model_that_could_not_see_a_person_is_left_in_peace(home: Home) -> None:
    home.log.append([Event("e1", kit.END, "view", "t", customer="early", item="i")], now=kit.END)
    home.log.append([Event("e2", kit.END + timedelta(days=9), "view", "t", customer="late", item="i")], now=kit.END)
    home.log.compact(now=kit.END)
    kit_publish(home)
    with tw.Shop(home, now=lambda: kit.LATER) as shop:
        assert shop.privacy.erase("late").models == ()
        home.log.append([Event("e3", kit.END, "view", "t", customer="after", item="i")], now=kit.LATER)
        home.log.compact(now=kit.LATER)
        assert shop.privacy.erase("after").models == (), "an event before its time, in a file that it never read"
        assert len(shop.privacy.erase("early").models) == 1


def kit_publish(home: Home) -> None:
    def save(path: Path) -> None:
        (path / "a.json").write_text("{}", encoding="ascii")

    publish(home, "toy", save, as_of=kit.END + timedelta(days=1), card={}, now=kit.END)


def test_short_ids_are_found_as_whole_values_only(home: Home) -> None:
    events = [Event(f"e{n}", kit.END, "purchase", "t", customer=name, item="12", value=12) for n, name in enumerate(["12", "120", "1"])]
    home.log.append(events, now=kit.END)
    context = '{"customer":"12","item":"12","n":12}'
    home.log.append([Event("r", kit.END, "review", "t", customer="1", text="12 of 12", context=context)], now=kit.END)
    home.log.append([Event("s", kit.END, "purchase", "t", customer="100234", item="100234", order_id="12", value=1)], now=kit.END)
    with tw.Shop(home, now=lambda: kit.LATER) as shop:
        shop.collect(schema.conform(pa.table({"item": ["12", "100234"], "brand": ["12", "12"]}), schema.ITEMS))
        shop.privacy.erase("12")
        rows = home.tables.to_arrow(home.tables.events()).to_pylist()
        assert {row["customer"] for row in rows} == {None, "120", "1", "100234"}
        assert {row["item"] for row in rows if row["kind"] == "purchase"} == {"12", "100234"}, "an item of the same name is no person"
        said = json.loads(next(row["context"] for row in rows if row["id"] == "r"))
        assert said["customer"] not in ("12", "***")
        assert (said["item"], said["n"]) == ("12", 12)
        assert next(row["text"] for row in rows if row["id"] == "r") == "12 of 12"
        proof = shop.privacy.verify("12")
        assert any("fewer than" in note for note in proof.notes)
        assert proof.clean, proof.to_text()
        items = home.tables.to_arrow(home.tables.get("items")).to_pylist()
        assert [(row["item"], row["brand"]) for row in items] == [("100234", "12"), ("12", "12")], "nor one in the catalogue"
        shop.privacy.erase("100234")
        proof = shop.privacy.verify(["12", "100234"])
        assert proof.clean, proof.to_text()
        assert shop.privacy.verify().clean
        assert home.tables.to_arrow(home.tables.get("items")).to_pylist() == items


def test_bad_input_is_told_and_changes_nothing(shop: tw.Shop, built: Built) -> None:
    with pytest.raises(NotFound, match=r'customer "nobody".*--find'):
        shop.privacy.erase(["nobody", built[1]])
    with pytest.raises(InputError, match="ids of customers"):
        shop.privacy.erase([])
    with pytest.raises(InputError, match="is no backup"):
        shop.privacy.erase(built[1], backups=[shop.home.root / "reports"])
    with pytest.raises(InputError, match="does not exist"):
        shop.privacy.verify(built[1], paths=["/nowhere/at/all"])
    with pytest.raises(InputError, match="customer's id along"):
        shop.privacy.verify(addresses=[kit.EMAIL])
    assert Vault(shop.home).address(built[1], "email") == kit.EMAIL
    with shop.home.ledger.read() as conn:
        assert conn.execute(select(erasures)).all() == []


def test_an_export_has_everything_of_one_person_and_nothing_of_others(shop: tw.Shop, built: Built) -> None:
    person = built[1]
    assert shop.privacy.find(kit.EMAIL.upper()) == [person]
    assert shop.privacy.find("stranger@mail.example") == []
    told = shop.privacy.export(person)
    text = json.dumps(told.to_json(), ensure_ascii=False)
    assert next(row["address"] for row in told.data["contacts"] if row["channel"] == "email") == kit.EMAIL
    for section in ("contacts", "consents", "profile", "segments", "events", "orders", "decisions", "messages"):
        assert told.data[section], section
    assert {row["id"] for row in told.data["events"]} >= {"mine", "waits"}
    assert isinstance(told.data["decisions"][0]["reasons"], list)
    customers = shop.home.tables.to_arrow(shop.home.tables.get("customers"))
    for other in customers["customer"].to_pylist():
        assert other == person or f'"{other}"' not in text, "another person is in the export"
    households = set(customers["household"].drop_null().to_pylist())
    assert not any(f'"{house}"' in text for house in households - {person})
    assert "&#x27;" in told.to_html()
    assert kit.EMAIL in told.to_markdown()
    with shop.home.ledger.read() as conn:
        entry = audit.entries(conn, action="customer.export", limit=1)[0]
    assert person not in entry.subject
