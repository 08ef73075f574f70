"""Backups: whole or refused, of one moment although others write, without a key, and without whoever was erased since."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import select

import tradewind as tw
from tradewind import schema
from tradewind.collect import backup as saving
from tradewind.collect import erase_journal
from tradewind.collect.backup import ABOUT, backup, check, renew, restore
from tradewind.collect.erase import erase
from tradewind.collect.vault import Vault
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, Locked, StateError
from tradewind.types import Event

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from tradewind.engine.home import Home
from tradewind.types import Event
at = datetime(2026, 3, 1, tzinfo=UTC)
with Home.open(sys.argv[1]) as home:
    for number in range(10**6):
        when = at + timedelta(hours=number % 200)
        home.log.append([Event(f"w{number}-{part}", when, "view", "w", customer="w") for part in "ab"], now=at)
        if number % 5 == 4:
            home.log.compact(now=at)
        print(number, flush=True)
"""


def fill(home: Home) -> None:
    """Three people with events, addresses and a mention of one by another."""
    names = ["ann-1", "bob-2", "cat-3"]
    addresses = [f"{name}@mail.example" for name in names]
    Vault(home).put(pa.table({"customer": names, "channel": ["email"] * 3, "address": addresses}, schema=schema.CONTACTS))
    home.log.append([Event(f"e-{name}", NOW, "purchase", "t", customer=name, item="tea", value=700) for name in names], now=NOW)
    home.log.append([Event("says", NOW, "review", "t", customer="bob-2", text="ask ann-1@mail.example")], now=NOW)
    home.log.compact(now=NOW)
    home.log.append([Event("late", NOW, "view", "t", customer="cat-3")], now=NOW)
    (home.root / "reports").mkdir()
    (home.root / "reports" / "a.html").write_text("<p>hello", encoding="utf-8")


def test_a_restored_shop_is_the_shop_of_that_moment(each_home: Home, home_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fill(each_home)
    saved = backup(each_home, tmp_path / "saved", now=NOW)
    assert saved.files == len(check(tmp_path / "saved")["files"])
    data = b"".join(path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file())
    with each_home.ledger.read() as conn:
        wrapped = [bytes(key) for key in conn.execute(select(books.vault_keys.c.wrapped_key)).scalars()]
    assert len(wrapped) == 3
    assert not any(key in data for key in wrapped), "a backup holds no key"
    grown = request.getfixturevalue("another_database") if home_url.startswith("postgresql") else None
    for url in [str(tmp_path / "back"), *([f"{grown}&root={tmp_path / 'pg'}"] if grown else [])]:
        done = restore(tmp_path / "saved", url, keys=each_home.root / "keys", now=NOW)
        assert (done.keys, done.erased) == (3, 0)
        with Home.open(url, create=False) as back:
            assert Vault(back).address("ann-1", "email") == "ann-1@mail.example"
            assert back.settings == each_home.settings
            assert (back.root / "reports" / "a.html").read_text() == "<p>hello"
            assert back.log.compact(now=NOW) == 1
            assert back.tables.to_arrow(back.tables.events()).num_rows == 5
            with pytest.raises(InputError, match="not empty"):
                restore(tmp_path / "saved", url, keys=each_home.root / "keys", now=NOW)


@pytest.fixture
def another_database(postgres_server: str) -> Iterator[str]:
    """A second database on the same server."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute("CREATE DATABASE restored")
        yield postgres_server.replace("/postgres?", "/restored?")
        conn.execute("DROP DATABASE restored WITH (FORCE)")


def test_a_backup_taken_while_others_write_is_of_one_moment(each_home: Home, home_url: str, tmp_path: Path) -> None:
    fill(each_home)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, home_url], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(8)][-1]
        backup(each_home, tmp_path / "saved", now=NOW)
        assert writer.poll() is None, "the writer went on"
    finally:
        writer.kill()
        writer.communicate()
    restore(tmp_path / "saved", tmp_path / "back", keys=each_home.root / "keys", now=NOW)
    with Home.open(tmp_path / "back", create=False) as back:
        back.log.compact(now=NOW)
        ids = set(back.tables.to_arrow(back.tables.events().filter(lambda t: t.source == "w"))["id"].to_pylist())
        seen = len(ids) // 2
        assert seen > told
        assert ids == {f"w{number}-{part}" for number in range(seen) for part in "ab"}, "no half of an append, none left out"


def test_a_damaged_or_foreign_backup_is_refused_and_nothing_is_left_behind(home: Home, tmp_path: Path) -> None:
    fill(home)
    saved, keys = tmp_path / "saved", home.root / "keys"
    backup(home, saved, now=NOW)
    with pytest.raises(InputError, match="not empty; nothing is overwritten"):
        backup(home, saved, now=NOW)
    with pytest.raises(InputError, match="lies in the shop"):
        backup(home, home.root / "copy", now=NOW)
    for name in ("ledger.db", str(home.log.files("events")[0].relative_to(home.root))):
        whole = (saved / name).read_bytes()
        (saved / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(StateError, match="missing, cut short or changed"):
            restore(saved, tmp_path / "back", keys=keys, now=NOW)
        (saved / name).write_bytes(whole)
    about = (saved / ABOUT).read_text()
    (saved / ABOUT).write_text(about[:100])
    with pytest.raises(StateError, match="is damaged"):
        restore(saved, tmp_path / "back", keys=keys, now=NOW)
    (saved / ABOUT).write_text(json.dumps({**json.loads(about), "shop": "another"}))
    with pytest.raises(StateError, match="its list of files was changed"):
        restore(saved, tmp_path / "back", keys=keys, now=NOW)
    (saved / ABOUT).unlink()
    with pytest.raises(InputError, match="cut off"):
        restore(saved, tmp_path / "back", keys=keys, now=NOW)
    (saved / ABOUT).write_text(about)
    with pytest.raises(StateError, match=r"lacks .*\.keys"):
        restore(saved, tmp_path / "back", keys=tmp_path, now=NOW)
    mine = shutil.copytree(keys, tmp_path / "mine")
    (mine / erase_journal.NAME).unlink()
    with pytest.raises(StateError, match="lacks erasures"):
        restore(saved, tmp_path / "back", keys=mine, now=NOW)
    shutil.copy(keys / erase_journal.NAME, mine)
    (mine / "master.key").write_text("A" * 43 + "=\n")
    with pytest.raises(StateError, match="does not open"):
        restore(saved, tmp_path / "back", keys=mine, now=NOW)
    assert not (tmp_path / "back").exists()
    assert restore(saved, tmp_path / "back", keys=keys, now=NOW).keys == 3


def test_who_was_erased_after_a_backup_does_not_come_back_with_it(each_home: Home, tmp_path: Path) -> None:
    fill(each_home)
    backup(each_home, tmp_path / "saved", now=NOW)
    done = erase(each_home, ["ann-1"], now=NOW)
    assert done.backup_keys == 1
    back = restore(tmp_path / "saved", tmp_path / "back", keys=each_home.root / "keys", now=NOW)
    assert (back.keys, back.erased) == (2, 1)
    with tw.Shop.open(tmp_path / "back", create=False) as shop:
        proof = shop.privacy.verify("ann-1", addresses=["ann-1@mail.example"])
        assert proof.clean, proof.to_text()
        assert shop.privacy.verify().clean
        assert Vault(shop.home).address("bob-2", "email") == "bob-2@mail.example"
        with shop.home.ledger.read() as conn:
            stops = conn.execute(select(books.suppressions.c.address_hash)).scalars().all()
        assert stops == [Vault(shop.home).hash("ann-1@mail.example")]
        rows = shop.home.tables.to_arrow(shop.home.tables.events()).to_pylist()
    assert next(row["text"] for row in rows if row["id"] == "says") == "ask ***"
    assert sum(row["value"] or 0 for row in rows if row["kind"] == "purchase") == 2100


def test_a_journal_that_was_cut_or_changed_is_refused(home: Home, tmp_path: Path) -> None:
    fill(home)
    backup(home, tmp_path / "saved", now=NOW)
    erase(home, ["ann-1"], now=NOW)
    erase(home, ["bob-2"], now=NOW)
    keys = shutil.copytree(home.root / "keys", tmp_path / "keys")
    journal = keys / erase_journal.NAME
    assert b"ann" not in journal.read_bytes()
    lines = journal.read_bytes().splitlines(keepends=True)
    for changed in (lines[1], lines[0] + lines[1].replace(b"2026", b"2027"), lines[0] + b"{}\n"):
        journal.write_bytes(changed)
        with pytest.raises(StateError, match="is not as it was written"):
            restore(tmp_path / "saved", tmp_path / "back", keys=keys, now=NOW)
    assert not (tmp_path / "back").exists()


def test_a_backup_is_written_anew_without_the_erased(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home)
    folder = tmp_path / "saved"
    first = backup(home, folder, now=NOW)
    with tw.Shop(home, now=lambda: NOW) as shop:
        look = partial(shop.privacy.verify, "ann-1", paths=[folder], addresses=["ann-1@mail.example"])
        assert not look().clean
        shop.privacy.erase("ann-1", backups=[folder])
        proof = look()
        assert proof.clean, proof.to_text()
        assert not Path(first.keys).exists()
        real = Path.replace

        def cut(self: Path, target: Path) -> Path:
            if self.name == "saved.new":
                raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", cut)
            with pytest.raises(KeyboardInterrupt):
                renew(shop.home, folder, now=NOW)
        assert not folder.exists()
        renew(shop.home, folder, now=NOW)
        assert restore(folder, tmp_path / "back", keys=shop.home.root / "keys", now=NOW).keys == 2
        assert {path.name for path in tmp_path.iterdir()} == {"shop", "saved", "back"}


def test_files_that_are_replaced_meanwhile_are_copied_anew(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home)
    real, count = saving._named, iter(range(100))

    def named(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        if next(count) == 0:  # an erasure between the snapshot and the copy
            erase(home, ["ann-1"], now=NOW)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(saving, "_named", named)
        backup(home, tmp_path / "saved", now=NOW)
    done = restore(tmp_path / "saved", tmp_path / "back", keys=home.root / "keys", now=NOW)
    assert (done.keys, done.erased) == (2, 0)
    gone = home.log.files("events")[0]
    moved = gone.replace(tmp_path / "aside")
    with pytest.raises(StateError, match=r"is gone.*doctor"):
        backup(home, tmp_path / "other", now=NOW)
    moved.replace(gone)
    monkeypatch.setattr(saving, "TRIES", 0)
    with pytest.raises(Locked, match="Try again"):
        backup(home, tmp_path / "third", now=NOW)
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "third").exists()
